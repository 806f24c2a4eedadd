"""Drivers and workers of other nodes, as the GCS sees them: each is a `RelayPeer` with the surface of a connection.

Their raylet passes their messages on over its own connection (`Relayed`), so that only raylets have to find the head.
Used by node/rooms.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from linckia.core.tables.relation import Relation
from linckia.protocol import messages as m
from linckia.protocol.batch import decode_batch, encode_batch


class RelayPeer:
    """A runtime process behind a raylet's connection."""

    def __init__(self, link: Any, worker_id: bytes, role: str) -> None:
        self.link, self.peer_id, self.peer_role = link, worker_id, role
        self.state: Any = None
        self._closed = False

    @property
    def closed(self) -> bool:
        """True once the process or its node is gone."""
        return self._closed or self.link.closed

    def post(self, message: m.Message) -> None:
        """To that process, in order."""
        if not self.closed:
            self.link.post(m.RelayedBack(self.peer_id, encode_batch([message])))

    send = post

    def end(self) -> None:
        """It has hung up."""
        self._closed = True


class Relays:
    """All relayed processes by worker id. ``on_message(peer, message)`` is the GCS's dispatcher."""

    def __init__(self, on_batch: Callable[[Any, list[m.Message]], None], on_gone: Callable[[Any], None]) -> None:
        self._on_batch, self._on_gone = on_batch, on_gone
        self.peers: dict[bytes, RelayPeer] = {}
        self._links: Relation[bytes, int] = Relation(0)  # by the identity of their raylet's connection

    def handlers(self) -> dict[type, Callable[[Any, Any], None]]:
        """Message type -> handler(link of the raylet, message)."""
        return {m.Relayed: self._on_relayed, m.RelayEnded: self._on_ended}

    def _on_relayed(self, link: Any, message: m.Relayed) -> None:
        peer = self.peers.get(message.worker_id)
        if peer is None or peer.link is not link:
            peer = self.peers[message.worker_id] = RelayPeer(link, message.worker_id, message.role)
            self._links.put(message.worker_id, id(link))
        self._on_batch(peer, decode_batch(message.batch))

    def _on_ended(self, _link: Any, message: m.RelayEnded) -> None:
        if message.worker_id in self.peers:
            self._end(message.worker_id)

    def node_gone(self, link: Any) -> None:
        """A raylet's connection is closed: its processes cannot be reached for now."""
        for worker_id in self._links.at(id(link)):
            self._end(worker_id)

    def _end(self, worker_id: bytes) -> None:
        self._links.pop(worker_id)
        peer = self.peers.pop(worker_id)
        peer.end()
        self._on_gone(peer)
