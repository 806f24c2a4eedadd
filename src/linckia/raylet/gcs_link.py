"""A raylet's connection to the head over TCP, with the surface of a connection: it comes back by itself.

Messages posted while the head is away wait here, in order; when it is back the node registers again first
(``on_up``). Built by node/rooms.py for nodes that are not heads.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from typing import Any

from linckia.base.backoff import Backoff
from linckia.base.limits import HEAD_RETRY_MAX_S
from linckia.host.entropy import random_generator
from linckia.protocol import messages as m
from linckia.rpc.connection import Connection
from linckia.rpc.handshake import Identity
from linckia.rpc.reactor import Reactor

QUEUED_MAX_MESSAGES = 100_000


class GcsLink:
    """``on_messages(link, batch)`` gets what the head says; ``on_up()`` is called on each new connection, before
    anything that waited is sent; ``on_refused(reason)`` when the head will not talk to us (token, version).
    """

    def __init__(
        self,
        reactor: Reactor,
        endpoint: str,
        identity: Identity,
        on_messages: Callable[[Any, list[m.Message]], None],
        on_up: Callable[[], None],
        on_refused: Callable[[str], None],
    ) -> None:
        self.reactor, self.endpoint, self.identity = reactor, endpoint, identity
        self._on_messages, self._on_up, self._on_refused = on_messages, on_up, on_refused
        self.peer_id, self.peer_role = b"gcs", "gcs"
        self.closed = False
        self.up = False
        self._conn: Connection | None = None
        self._waiting: deque[m.Message] = deque(maxlen=QUEUED_MAX_MESSAGES)
        self._backoff, self._attempt = Backoff(0.05, HEAD_RETRY_MAX_S, jitter=0.5), 0
        self.rng = random_generator()  # replaced by the simulator
        self._was_up = False
        self.last_error = "no answer"

    def open(self) -> None:
        """Begin to connect; never blocks."""
        if self.closed:
            return
        try:
            conn = self.reactor.connect(self.endpoint, self.identity, self._deliver, self._lost)
        except OSError as error:
            self.last_error = str(error)
            self._again()
            return
        self._conn = conn
        conn.on_established = self._established

    def _established(self, _conn: Connection) -> None:
        if not self._was_up:
            self._was_up = True
        else:
            print(f"the head at {self.endpoint} is back", file=sys.stderr)  # noqa: T201
        self.up = True
        self._attempt = 0
        self._on_up()
        while self._waiting:
            self.post_now(self._waiting.popleft())

    def _deliver(self, _conn: Connection, batch: list[m.Message]) -> None:
        self._on_messages(self, batch)

    def _lost(self, _conn: Connection, reason: str) -> None:
        was_up, self.up, self._conn = self.up, False, None
        self.last_error = reason
        if self.closed:
            return
        if "refused:" in reason:
            self._on_refused(reason)
            return
        if was_up:
            print(f"the head at {self.endpoint} is away: {reason}", file=sys.stderr)  # noqa: T201
        self._again()

    def _again(self) -> None:
        self.reactor.call_later(self._backoff.delay_s(self._attempt, self.rng), self.open)
        self._attempt += 1

    @property
    def is_heard(self) -> bool:
        """The head's host takes what we send."""
        return self.up and self._conn is not None and not self._conn.is_stuck

    def post(self, message: m.Message) -> None:
        """To the head, now or when it is back."""
        if self.up and self._conn is not None:
            self._conn.post(message)
        else:
            self._waiting.append(message)

    send = post

    def post_now(self, message: m.Message) -> None:
        """To the head, ahead of what waits; lost when it is away."""
        if self._conn is not None:
            self._conn.post(message)

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
