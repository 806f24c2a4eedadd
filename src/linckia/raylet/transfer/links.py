"""Connections from this node to others, for objects only: one for requests per node, and a pool of streams.

Connections are made on first use and never block the reactor. Who cannot be reached is told at once, with both
addresses (S 18). Used by raylet/pull_manager.py.
"""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Callable
from typing import Any

from linckia.protocol import messages as m
from linckia.rpc.connection import Connection
from linckia.rpc.handshake import Identity
from linckia.rpc.reactor import Reactor

STREAM_IDLE_S = 10.0  # less than the server's
CONNECT_MAX_S = 5.0
ANSWER_MAX_S = 5.0  # it answers at once, if with a refusal; asking again does no harm
UNREACHABLE_S = 5.0  # who could not be reached is not tried again for so long: other sources come first

Answered = Callable[[Any, str], None]
"""(message, "") or (None, reason)."""
GotStream = Callable[[socket.socket | None, str], None]


class _Link:
    __slots__ = ("conn", "open")

    def __init__(self) -> None:
        self.conn: Any = None
        self.open: dict[int, Answered] = {}


class NodeLinks:
    """``endpoint_of(node_id)`` is a node's public endpoint, empty when it is not known (any more)."""

    def __init__(
        self, reactor: Reactor, identity: Identity | None, here: str, endpoint_of: Callable[[bytes], str]
    ) -> None:
        self.reactor, self.here, self.endpoint_of = reactor, here, endpoint_of
        self._identity = Identity("data", identity.worker_id, identity.token) if identity is not None else None
        self._links: dict[bytes, _Link] = {}
        self._idle: dict[bytes, list[tuple[socket.socket, Any]]] = {}
        self._rids = itertools.count(1)
        self._unreached: dict[bytes, tuple[float, str]] = {}  # node -> until when it is not tried, and why
        self.on_unreachable: Callable[[bytes, str], None] = lambda _node_id, _reason: None

    # --- requests -----------------------------------------------------------------------------------------------------

    def request(self, node_id: bytes, make: Callable[[int], m.Message], answered: Answered) -> None:
        """Send ``make(rid)``; ``answered`` is called once, never from within this call."""
        link = self._links.get(node_id)
        if link is None or link.conn.closed:
            link = _Link()
            try:
                link.conn = self._connect(node_id, lambda _conn, batch: self._on_messages(link, batch), link)
            except (OSError, ValueError) as error:
                reason = self._unreachable(node_id, str(error))
                self.reactor.call_soon(lambda: answered(None, reason))
                return
            self._links[node_id] = link
        rid = next(self._rids)
        link.open[rid] = answered
        link.conn.post(make(rid))
        self.reactor.call_later(ANSWER_MAX_S, lambda: self._too_late(node_id, link, rid))

    def post(self, node_id: bytes, message: m.Message) -> None:
        """To a node we are connected to."""
        link = self._links.get(node_id)
        if link is not None and not link.conn.closed:
            link.conn.post(message)

    def _connect(self, node_id: bytes, on_messages: Any, link: _Link) -> Connection:
        if self._identity is None:
            raise OSError("this node has no identity")
        endpoint = self.endpoint_of(node_id)
        if not endpoint:
            raise OSError("it is not in the cluster (any more)")
        until_s, why = self._unreached.get(node_id, (0.0, ""))
        if time.monotonic() < until_s:
            raise OSError(why)

        def closed(conn: Connection, reason: str) -> None:
            if not conn.established:
                self._unreached[node_id] = (time.monotonic() + UNREACHABLE_S, reason)
                self.on_unreachable(node_id, reason)
            if self._links.get(node_id) is link:
                del self._links[node_id]
            self._fail(node_id, link, reason)

        conn = self.reactor.connect(endpoint, self._identity, on_messages, closed)
        self.reactor.call_later(CONNECT_MAX_S, lambda: self._check(conn))
        return conn

    def _check(self, conn: Connection) -> None:
        if not conn.established and not conn.closed:
            conn.close(f"no connection within {CONNECT_MAX_S:g} s")

    def _on_messages(self, link: _Link, batch: list[m.Message]) -> None:
        for message in batch:
            answered = link.open.pop(getattr(message, "rid", 0), None)
            if answered is not None:
                answered(message, "")

    def _too_late(self, node_id: bytes, link: _Link, rid: int) -> None:
        answered = link.open.pop(rid, None)
        if answered is not None:
            answered(None, self._unreachable(node_id, f"no answer within {ANSWER_MAX_S:g} s"))

    def _fail(self, node_id: bytes, link: _Link, reason: str) -> None:
        waiting, link.open = link.open, {}
        for answered in waiting.values():
            answered(None, self._unreachable(node_id, reason))

    def _unreachable(self, node_id: bytes, reason: str) -> str:
        endpoint = self.endpoint_of(node_id).removeprefix(f"node:{node_id.hex()}:").rstrip(":")
        return f"{self.here} cannot reach node {node_id.hex()[:8]} ({endpoint or 'address unknown'}): {reason}"

    # --- streams ------------------------------------------------------------------------------------------------------

    def stream(self, node_id: bytes, got: GotStream) -> None:
        """A socket on which to read objects of that node; ``got`` is called once."""
        idle = self._idle.get(node_id)
        if idle:
            sock, timer = idle.pop()
            timer.cancel()
            self.reactor.call_soon(lambda: got(sock, ""))
            return
        link = _Link()

        def ready(conn: Connection, _batch: list[m.Message]) -> None:
            link.open.clear()
            got(conn.detach(), "")

        try:
            link.conn = self._connect(node_id, ready, link)
        except (OSError, ValueError) as error:
            reason = self._unreachable(node_id, str(error))
            self.reactor.call_soon(lambda: got(None, reason))
            return
        rid = next(self._rids)
        link.open[rid] = lambda _message, reason: got(None, reason)
        link.conn.post(m.OpenStream(rid))

    def give_back(self, node_id: bytes, sock: socket.socket) -> None:
        """A stream that is not used now; kept for a while."""
        timer = self.reactor.call_later(STREAM_IDLE_S, lambda: self._drop(node_id, sock))
        self._idle.setdefault(node_id, []).append((sock, timer))

    def _drop(self, node_id: bytes, sock: socket.socket) -> None:
        kept = [entry for entry in self._idle.get(node_id, []) if entry[0] is not sock]
        if kept:
            self._idle[node_id] = kept
        else:
            self._idle.pop(node_id, None)
        sock.close()

    def unreachable(self, node_id: bytes, reason: str) -> None:
        """Nothing gets there: what is asked of it fails now, other sources come first for a while."""
        self._unreached[node_id] = (time.monotonic() + UNREACHABLE_S, reason)
        link = self._links.get(node_id)
        if link is not None and not link.conn.closed:
            link.conn.close(reason)

    def node_gone(self, node_id: bytes, reason: str) -> None:
        """That node is dead: what is asked of it fails now."""
        self._unreached.pop(node_id, None)
        link = self._links.get(node_id)
        if link is not None and not link.conn.closed:
            link.conn.close(f"it is dead: {reason}")
        for sock, timer in self._idle.pop(node_id, []):
            timer.cancel()
            sock.close()

    def close(self) -> None:
        """Disconnect from everybody."""
        for link in list(self._links.values()):
            link.conn.close("the node ends")
        for idle in self._idle.values():
            for sock, timer in idle:
                timer.cancel()
                sock.close()
        self._idle.clear()
