"""The autoscaler's loop: ask the head what there is, decide (`core/autoscaling/rounds.py`), have it written down, act
through the provider.

It keeps nothing between rounds but the provider, so it may die at any moment. Runs in a process of its own beside the
head (node/scaler_process.py), and in the simulator in virtual time with the fake provider. Nothing here blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec

from linckia.core.autoscaling.records import Limits, Observation, Round
from linckia.core.autoscaling.rounds import next_round
from linckia.scaling.providers.base import Provider

ROUND_EVERY_S: Final = 1.0
ANSWER_MAX_S: Final = 30.0
"""A head that has not answered by then is asked anew: a store may take its time, and its own end is ours too."""
_encode = msgspec.msgpack.encode
_decode_seen = msgspec.msgpack.Decoder(Observation).decode


class Head(Protocol):
    """The way to the head: `gcs/scaling.py` answers."""

    def ask(self, what: str, body: bytes, then: Callable[[bytes], None]) -> None:
        """``then`` gets the answer, if there ever is one."""
        ...


class Monitor:
    """``new_name()`` gives a name that no instance had before."""

    def __init__(
        self,
        limits: Limits,
        provider: Provider,
        head: Head,
        call_later: Callable[[float, Callable[[], None]], Any],
        now_s: Callable[[], float],
        new_name: Callable[[], str],
    ) -> None:
        self.limits, self.provider, self.head = limits, provider, head
        self._call_later, self._now_s, self._new_name = call_later, now_s, new_name
        self._types = {each.name: each for each in limits.types}
        self._asked_s: float | None = None  # when the round under way began
        self.rounds = 0
        self.stopped = False

    def start(self) -> None:
        """Begin the rounds."""
        self._tick()

    def stop(self) -> None:
        """Do nothing more, whatever is answered."""
        self.stopped = True

    def _tick(self) -> None:
        if self.stopped:
            return
        if self._asked_s is None or self._now_s() - self._asked_s > ANSWER_MAX_S:
            self._asked_s = began_s = self._now_s()
            self._ask("see", b"", lambda body: self._seen(began_s, _decode_seen(body)))
        self._call_later(ROUND_EVERY_S, self._tick)

    def _ask(self, what: str, body: bytes, then: Callable[[bytes], None]) -> None:
        def answered(answer: bytes) -> None:
            if not self.stopped:
                then(answer)

        self.head.ask(what, body, answered)

    def _seen(self, began_s: float, seen: Observation) -> None:
        if began_s != self._asked_s:
            return  # so late that it was asked anew
        self.provider.observed(seen)
        made = next_round(
            self.limits, seen, self.provider.non_terminated(), dict(self.provider.poll_errors()), self._new_name
        )
        self._ask("round", _encode(made), lambda _body: self._written(began_s, made))

    def _written(self, began_s: float, made: Round) -> None:
        """It is in the store: the provider may hear of it."""
        if began_s != self._asked_s:
            return
        self._asked_s = None
        self.rounds += 1
        for name, node_type in made.launch:
            self.provider.launch(self._types[node_type], name)
        self.provider.terminate(made.end)
        for name, reason in made.drain:
            self._drain(name, reason)

    def _drain(self, name: str, reason: str) -> None:
        def answered(why_not: bytes) -> None:
            if not why_not:
                self.provider.terminate([name])

        self._ask("drain", _encode((name, reason)), answered)
