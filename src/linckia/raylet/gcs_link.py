"""A raylet's connection to the head that leads, with the surface of a connection: it comes back by itself, and finds
another head when there are several.

It is one end of a session (core/links/windows.py; the other is gcs/links.py): what was posted arrives once and in
order, whatever happens to connections meanwhile. A head that knows nothing of the session (it was started again, or
another one leads now) begins a new one: ``on_new_head`` then tells it everything. An epoch below one that was seen is
an old leader's: it is not listened to. Built by node/rooms.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from linckia.base.backoff import Backoff
from linckia.base.limits import (
    HANDSHAKE_MAX_S,
    HEAD_RETRY_MAX_S,
    HEAD_SILENT_MAX_S,
    LINK_ACK_AFTER_S,
    LINK_ACK_EVERY,
    LINK_WINDOW_MAX,
)
from linckia.core.links.terms import Terms
from linckia.core.links.windows import ReceiveCount, SendWindow
from linckia.host.entropy import random_generator
from linckia.host.own_log import say
from linckia.protocol import messages as m
from linckia.protocol.prompt import PROMPT
from linckia.rpc.connection import Connection
from linckia.rpc.endpoints import HEAD_ROUTE
from linckia.rpc.handshake import Identity
from linckia.rpc.reactor import Reactor


class GcsLink:
    """``addresses``: host:port of heads, any of them. ``on_messages(link, batch)`` gets what the head says;
    ``on_new_head(unacked)`` is called when a session begins, with what the last head did not acknowledge: nothing but
    what it posts reaches the new one. ``on_refused(reason)`` when a head will not talk to us (token, version).
    """

    def __init__(
        self,
        reactor: Reactor,
        endpoints: Sequence[str],
        node_id: bytes,
        identity: Identity,
        on_messages: Callable[[Any, list[m.Message]], None],
        on_new_head: Callable[[list[m.Message]], None],
        on_refused: Callable[[str], None],
    ) -> None:
        self.reactor, self.node_id, self.identity = reactor, node_id, identity
        self.endpoints = list(endpoints)
        self.endpoint = self.endpoints[0]
        self._on_messages, self._on_new_head, self._on_refused = on_messages, on_new_head, on_refused
        self.peer_id, self.peer_role = b"gcs", "gcs"
        self.closed = False
        self.up = False
        self.terms = Terms()
        self._head = b""  # instance of the head that the session is with
        self._conn: Connection | None = None
        self._window: SendWindow[m.Message] = SendWindow(LINK_WINDOW_MAX)
        self._received = ReceiveCount(LINK_ACK_EVERY)
        self._ack_timer: Any = None
        self._patience: Any = None
        self._failed: dict[str, int] = {}  # endpoints that did not answer -> epoch that was known then
        self._backoff, self._attempt = Backoff(0.02, HEAD_RETRY_MAX_S, jitter=0.5), 0
        self.rng = random_generator()  # replaced by the simulator
        self.last_error = "no answer"
        self.on_presence: Callable[[bool], None] = lambda _is_up: None  # the head is away, or there again

    @property
    def epoch(self) -> int:
        """The highest term that is known."""
        return self.terms.epoch

    # --- connecting ---------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Begin to connect; never blocks. One attempt at a time."""
        if self.closed or self._conn is not None:
            return
        try:
            conn = self.reactor.connect(self.endpoint, self.identity, self._deliver, self._lost, route=HEAD_ROUTE)
        except OSError as error:
            self.last_error = str(error)
            self._try_next()
            return
        self._conn = conn
        conn.on_established = self._established
        rounds = self._attempt // len(self.endpoints)  # a head that is stopped: its node takes the connection, and
        patience_s = HEAD_SILENT_MAX_S * (1 + rounds)  # nobody answers, until the node knows who leads instead
        self._wait_for(conn, min(HANDSHAKE_MAX_S, patience_s), f"{self.endpoint} does not answer")

    def _established(self, conn: Connection) -> None:
        conn.post(m.LinkHello(self.node_id, self._head, self._received.told(), self.epoch))
        self._wait_for(conn, HEAD_SILENT_MAX_S, f"{self.endpoint} knows no head that leads")

    def _wait_for(self, conn: Connection, patience_s: float, otherwise: str) -> None:
        if self._patience is not None:
            self._patience.cancel()
        self._patience = self.reactor.call_later(patience_s, lambda: self._too_long(conn, otherwise))

    def _too_long(self, conn: Connection, error: str) -> None:
        """Another head may lead."""
        if conn is self._conn and not self.up:
            self.last_error = error
            self._hang_up("it does not lead")
            self._try_next()

    def _hang_up(self, reason: str) -> None:
        conn, self._conn = self._conn, None
        if conn is not None:
            conn.close(reason)

    def _lost(self, conn: Connection, reason: str) -> None:
        if conn is not self._conn:
            return  # one that we hung up on: whoever did goes on
        was_up, self.up, self._conn = self.up, False, None
        self.last_error = reason
        if self.closed:
            return
        if "refused:" in reason:
            self._on_refused(reason)
            return
        if was_up:
            say(f"the head at {self.endpoint} is away: {reason}")
            self.on_presence(False)
        self._try_next()

    def _try_next(self) -> None:
        """Another head, or after a while this one again."""
        self._failed[self.endpoint] = self.epoch
        place = self.endpoints.index(self.endpoint) if self.endpoint in self.endpoints else -1
        self.endpoint = self.endpoints[(place + 1) % len(self.endpoints)]
        rounds = self._attempt // len(self.endpoints)  # of all heads: the first round goes without a pause
        alone = len(self.endpoints) == 1
        delay_s = self._backoff.delay_s(rounds, self.rng) if rounds or alone else 0.0
        self._attempt += 1
        self.reactor.call_later(delay_s, self.open)

    def _not_leader(self, message: m.NotLeader) -> None:
        """Go where it says, unless that one is known to be away. Else stay: it says more when it knows more."""
        self._learn(message.heads)
        leader = f"tcp:{message.leader}" if message.leader else ""
        known = self._failed.get(leader, -1)
        if leader and leader != self.endpoint and message.epoch > known:
            self._hang_up("another head leads")
            self.endpoint = leader
            self.open()

    def leader_is(self, address: str, epoch: int) -> None:
        """A head says that it leads by that epoch. The one that we talk to may be stopped, or cut off from us alone."""
        if epoch < self.epoch:
            said = f"{address} says that it leads by epoch {epoch}, which {self.epoch} has ended"
            say(f"{said}; {self.terms.refused()}")
        elif epoch > self.epoch and not self.closed:
            self._learn([address])
            self.up = False
            self._hang_up("another head leads")
            self.endpoint = f"tcp:{address}"
            self.open()

    def _learn(self, heads: list[str]) -> None:
        for head in heads:
            if f"tcp:{head}" not in self.endpoints:
                self.endpoints.append(f"tcp:{head}")

    # --- the session --------------------------------------------------------------------------------------------------

    def _deliver(self, conn: Connection, batch: list[m.Message]) -> None:
        if conn is not self._conn:
            self.terms.refused(len(batch))
            return
        for message in batch:
            kind = type(message)
            if kind is m.LinkAck:
                self._window.acked(message.received)  # type: ignore[attr-defined]
            elif kind is m.LinkWelcome:
                self._welcome(conn, message)
            elif kind is m.NotLeader:
                self._not_leader(message)  # type: ignore[arg-type]
            elif not self.up or conn is not self._conn:
                self.terms.refused()  # and the rest: of a session that has ended
                return
            else:
                is_due = self._received.add()
                if kind is not m.HeadPaused:  # that it cannot lead now is no command, and true whoever leads
                    self.terms.heard(time.monotonic())
                if kind is m.HeadsChanged:
                    self._learn(message.heads)  # type: ignore[attr-defined]
                elif kind is m.HeadPaused:
                    self._paused(message.why)  # type: ignore[attr-defined]
                else:
                    self._on_messages(self, [message])
                self._acknowledge(now=is_due or kind in PROMPT)

    def _welcome(self, conn: Connection, message: Any) -> None:
        if message.epoch < self.epoch:
            self.last_error = (
                f"the head at {self.endpoint} leads by epoch {message.epoch}, which {self.epoch} has ended"
            )
            say(f"{self.last_error}; {self.terms.refused()}")
            self._hang_up(self.last_error)
            self._try_next()
            return
        if self._patience is not None:
            self._patience.cancel()
        if self._head:
            say(f"the head at {self.endpoint} is back")
        if ended := self.terms.begin(message.epoch):
            say(ended)
        self.up, self._attempt = True, 0
        self._failed.clear()
        self.on_presence(True)
        if message.resumed:
            self._window.acked(message.received)
            for unacked in self._window.unacked():
                conn.post(unacked)
            return
        unacked_by_last = self._window.unacked()
        self._window, self._head = SendWindow(LINK_WINDOW_MAX), message.head
        self._received.restart()
        self._on_new_head(unacked_by_last)

    def _paused(self, why: str) -> None:
        """It is there, and of no use; or it is of use again."""
        self.last_error = why or self.last_error
        self.on_presence(not why)

    def _acknowledge(self, *, now: bool) -> None:
        if now:
            self._tell_received()
        elif self._ack_timer is None:
            self._ack_timer = self.reactor.call_later(LINK_ACK_AFTER_S, self._on_ack_timer)

    def _on_ack_timer(self) -> None:
        self._ack_timer = None
        self._tell_received()

    def _tell_received(self) -> None:
        if self.up and self._conn is not None and self._received.untold:
            self._conn.post(m.LinkAck(self._received.told()))

    # --- the surface of a connection ----------------------------------------------------------------------------------

    @property
    def is_heard(self) -> bool:
        """The head's host takes what we send."""
        return self.up and self._conn is not None and not self._conn.is_stuck

    def post(self, message: m.Message) -> None:
        """To the head, now or when there is one again."""
        if type(message) is not m.Heartbeat:  # the next one says as much
            self._window.add(message)
        if self.up and self._conn is not None:
            self._conn.post(message)

    send = post

    def flush(self) -> None:
        """Write what was posted."""
        if self._conn is not None:
            self._conn.flush()

    def close(self, reason: str = "") -> None:
        """For good."""
        self.closed = True
        if self._conn is not None:
            self._conn.flush()
            self._conn.close(reason or "the node ends")
