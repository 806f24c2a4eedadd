"""Faults on purpose: requests and answers that carry a ``rid`` are lost, doubled or late, by a seeded plan (R 7.24).

For tests only: ``LINCKIA_TESTING_FAULTS`` in the environment switches them on in every process of a cluster. The
simulator's network asks ``Faults.copies``; ``install`` makes the real transport do so too, by replacing methods of
``Connection``, so that it costs nothing when it is off. Other messages rely on the order of their connection and are
never touched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from linckia.protocol import messages as m
from linckia.rpc.connection import Connection

EXCHANGES: dict[type[m.Message], tuple[type[m.Message], ...]] = {
    m.RequestLease: (m.LeaseGranted, m.LeaseRefused, m.LeaseSpilled),
    m.CancelLease: (m.LeaseGranted, m.LeaseRefused, m.LeaseSpilled),
    m.CreateGroup: (m.GroupCreated,),
    m.AllocExtent: (m.ExtentGranted, m.ExtentDenied),
    m.AddBorrower: (m.BorrowerAdded,),
    m.RegisterDriver: (m.DriverRegistered,),
    m.RegisterActor: (m.ActorRegistered,),
    m.GetActorByName: (m.ActorFound,),
    m.ListActors: (m.ActorList,),
    m.KvPut: (m.KvReply,),
    m.KvGet: (m.KvReply,),
    m.KvDel: (m.KvReply,),
    m.KvKeys: (m.KvReply,),
    m.ClusterQuery: (m.ClusterAnswer,),
}
"""Requests that may come twice, and their answers."""

REQUESTS = frozenset(EXCHANGES)
ANSWERS = frozenset(answer for answers in EXCHANGES.values() for answer in answers)
OTHER_ANSWERS = frozenset({m.LeaseSpilled, m.Failure})
"""They are never lost, because nobody repeats what leads to them."""
_MASK = (1 << 64) - 1
REPEAT_FIRST_S, REPEAT_MAX_S = 0.05, 1.0


class FaultPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Probabilities from 0 to 1 per message. ``drop`` needs senders that repeat what is not answered; ``install`` makes
    such senders of all who ask.
    """

    seed: int = 0
    drop: float = 0.0
    duplicate: float = 0.0
    delay: float = 0.0
    delay_max_s: float = 0.05


class Faults:
    """Decides for each message. The same plan and messages give the same faults."""

    def __init__(self, plan: FaultPlan) -> None:
        self.plan = plan
        self._state = plan.seed & _MASK
        self.lost = self.doubled = self.late = 0

    def copies(self, message: m.Message) -> tuple[float, ...]:
        """Extra delays in seconds of the copies to send; empty when the message is lost."""
        plan, kind = self.plan, type(message)
        if kind not in REQUESTS and kind not in ANSWERS:
            return (0.0,)
        if self._chance() < plan.drop:
            self.lost += 1
            return ()
        first = 0.0
        if self._chance() < plan.delay:
            self.late += 1
            first = self._chance() * plan.delay_max_s
        if self._chance() < plan.duplicate:
            self.doubled += 1
            return (first, self._chance() * plan.delay_max_s)
        return (first,)

    def _chance(self) -> float:
        """SplitMix64: equal in every process and Python version."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        mixed = self._state
        mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
        mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB & _MASK
        return ((mixed ^ (mixed >> 31)) >> 11) / (1 << 53)


class Repeater:
    """Sends requests again until they are answered, at growing intervals: what a transport that loses messages needs.
    A request that was lost is told by nothing else than the missing answer, and so is an answer.
    """

    def __init__(self, transmit: Callable[[Connection, m.Message], None]) -> None:
        self.transmit = transmit
        self.open: dict[tuple[Connection, int], m.Message] = {}
        self.repeated = 0

    def asked(self, connection: Connection, request: Any, after_s: float = REPEAT_FIRST_S) -> None:
        """It was sent, or lost: look later whether it was answered."""
        key = connection, request.rid
        self.open[key] = request

        def look() -> None:
            waiting = self.open.get(key)
            if waiting is None or waiting is not request:
                return
            if connection.closed:
                del self.open[key]
                return
            self.repeated += 1
            self.transmit(connection, waiting)
            self.asked(connection, waiting, min(REPEAT_MAX_S, after_s * 1.5))

        connection.reactor.call_later(after_s, look)

    def heard(self, connection: Connection, messages: list[m.Message]) -> None:
        """Answers end the repetition of what they answer."""
        for message in messages:
            if type(message) in ANSWERS or type(message) in OTHER_ANSWERS:
                self.open.pop((connection, message.rid), None)  # type: ignore[attr-defined]


def install(plan: FaultPlan) -> Callable[[], None]:
    """Put the faults into every connection of this process; returns what takes them out again."""
    faults = Faults(plan)
    originals: dict[str, Any] = {"post": Connection.post, "send": Connection.send, "_deliver": Connection._deliver}

    def faulty(original: Callable[[Connection, m.Message], None]) -> Callable[[Connection, m.Message], None]:
        def transmit(connection: Connection, message: m.Message) -> None:
            if plan.drop and type(message) in REQUESTS:
                repeater.asked(connection, message)
            through(original, connection, message)

        return transmit

    def through(original: Callable[[Connection, m.Message], None], connection: Connection, message: m.Message) -> None:
        for delay_s in faults.copies(message):
            if delay_s:
                connection.reactor.call_later(delay_s, lambda: originals["send"](connection, message))
            else:
                original(connection, message)

    def deliver(connection: Connection, body: bytes | memoryview) -> None:
        to_whom = connection.on_messages

        def watched(conn: Connection, messages: list[m.Message]) -> None:
            repeater.heard(conn, messages)
            to_whom(conn, messages)

        connection.on_messages = watched
        try:
            originals["_deliver"](connection, body)
        finally:
            connection.on_messages = to_whom

    repeater = Repeater(lambda connection, message: through(originals["send"], connection, message))

    def set_methods(methods: dict[str, Any]) -> None:
        for name, method in methods.items():
            setattr(Connection, name, method)

    set_methods({name: faulty(originals[name]) for name in ("post", "send")})
    if plan.drop:
        set_methods({"_deliver": deliver})
    return lambda: set_methods(originals)


def install_from(text: str) -> Callable[[], None]:
    """``install`` the plan in LINCKIA_TESTING_FAULTS, such as ``{"seed": 7, "duplicate": 0.1, "delay": 0.2}``."""
    try:
        plan = msgspec.json.decode(text.encode(), type=FaultPlan)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise ValueError(f"LINCKIA_TESTING_FAULTS={text!r}: expected a JSON object like FaultPlan, {error}") from None
    return install(plan)
