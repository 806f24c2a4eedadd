"""Connections from this node to the owners of objects: where is it, and what became of our copies.

Owners on this node are reached over the connection they have with us, others through their node's port. An owner that
cannot be reached is asked again by whoever asked; it is dead only when the cluster says so. Used by
raylet/pull_manager.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from linckia.base.addresses import node_of
from linckia.model.wire import Address
from linckia.protocol import messages as m
from linckia.rpc.connection import Connection
from linckia.rpc.handshake import Identity
from linckia.rpc.reactor import Reactor

GONE_REMEMBERED_MAX = 10_000
ANSWER_MAX_S = 10.0  # an owner that computes answers late; asking it again does no harm

Located = Callable[[list[Any], str, str], None]
"""(sources, kind, reason)."""


class OwnerLinks:
    """``local(worker_id)`` is the connection of a process of this node, or None. ``dispatch(conn, message)`` takes what
    owners send by themselves.
    """

    def __init__(
        self,
        reactor: Reactor,
        identity: Identity | None,
        here: str,
        local: Callable[[bytes], Any],
        dispatch: Callable[[Any, m.Message], None],
    ) -> None:
        self.reactor, self.here, self._local, self._dispatch = reactor, here, local, dispatch
        self._identity = identity
        self._connections: dict[bytes, Connection] = {}
        self._open: dict[int, tuple[Address, Located]] = {}
        self._gone: dict[bytes, str] = {}  # processes that have ended, the latest: who asks later is told so too
        self._dead_nodes: dict[bytes, str] = {}  # likewise: their processes
        self._rids = itertools.count(1)

    def connection(self, owner: Address) -> Any:
        """An open or opening connection; None when there is no way."""
        conn = self._local(owner.worker_id) or self._connections.get(owner.worker_id)
        if conn is not None and not conn.closed:
            return conn
        if self._identity is None or not owner.endpoint:
            return None
        try:
            conn = self.reactor.connect(
                owner.endpoint, self._identity, self._on_messages, self._on_close, route=owner.worker_id
            )
        except (OSError, ValueError):
            return None
        conn.state = owner.worker_id
        self._connections[owner.worker_id] = conn
        return conn

    def locate(self, owner: Address, make: Callable[[int], m.Message], located: Located) -> None:
        """Ask; ``located`` is called once, never from within this call."""
        ended = self.why_gone(owner)
        if ended:
            self.reactor.call_soon(lambda: located([], "owner_died", ended))
            return
        conn = self.connection(owner)
        if conn is None:
            text = f"{self.here} cannot reach the owner at {owner.endpoint}"
            self.reactor.call_soon(lambda: located([], "owner_unreachable", text))
            return
        rid = next(self._rids)
        self._open[rid] = (owner, located)
        conn.post(make(rid))
        self.reactor.call_later(ANSWER_MAX_S, lambda: self._too_late(rid, owner))

    def post(self, owner: Address, message: m.Message) -> None:
        """Tell an owner, if it can be reached."""
        conn = self.connection(owner) if not self.why_gone(owner) else None
        if conn is not None:
            conn.post(message)

    def on_location(self, _peer: Any, message: m.ObjectLocation) -> None:
        """An owner's answer."""
        entry = self._open.pop(message.rid, None)
        if entry is not None:
            entry[1](message.sources, message.kind, message.reason)

    def _too_late(self, rid: int, owner: Address) -> None:
        entry = self._open.pop(rid, None)
        if entry is not None:
            entry[1]([], "owner_unreachable", f"the owner at {owner.endpoint} has not answered {self.here} for 10 s")

    def _on_messages(self, conn: Connection, batch: list[m.Message]) -> None:
        for message in batch:
            self._dispatch(conn, message)

    def _on_close(self, conn: Connection, reason: str) -> None:
        if self._connections.get(conn.state) is conn:
            del self._connections[conn.state]
        self._fail(conn.state, "owner_unreachable", f"{self.here} cannot reach the owner: {reason}")

    def why_gone(self, owner: Address) -> str:
        """Why that process has ended; empty when it has not, as far as is known."""
        return self._gone.get(owner.worker_id) or self._dead_nodes.get(node_of(owner.endpoint), "")

    def node_gone(self, node_id: bytes, reason: str) -> None:
        """All its processes have ended."""
        self._dead_nodes[node_id] = f"its owner's node {node_id.hex()[:8]} is dead: {reason}"
        if len(self._dead_nodes) > GONE_REMEMBERED_MAX:
            del self._dead_nodes[next(iter(self._dead_nodes))]
        owners = [owner.worker_id for owner, _ in self._open.values() if node_of(owner.endpoint) == node_id]
        for worker_id in dict.fromkeys(owners):
            self.gone(worker_id, self._dead_nodes[node_id])

    def gone(self, worker_id: bytes, reason: str) -> None:
        """The cluster says that this process has ended."""
        conn = self._connections.pop(worker_id, None)
        self._gone[worker_id] = reason or "that process has ended"
        if len(self._gone) > GONE_REMEMBERED_MAX:
            del self._gone[next(iter(self._gone))]
        self._fail(worker_id, "owner_died", reason)
        if conn is not None:
            conn.close("that process has ended")

    def _fail(self, worker_id: bytes, kind: str, reason: str) -> None:
        for rid, (owner, located) in list(self._open.items()):
            if owner.worker_id == worker_id:
                del self._open[rid]
                located([], kind, reason)

    def close(self) -> None:
        """Disconnect."""
        for conn in list(self._connections.values()):
            conn.close("the node ends")
