"""The raylet's end of the relay: what drivers and workers of this node say to a head elsewhere, and the answers.

The other end is gcs/relay.py. Used by node/rooms.py on nodes that are not heads.
"""

from __future__ import annotations

from typing import Any

from linckia.protocol import messages as m
from linckia.protocol.batch import decode_batch, encode_batch


class Relaying:
    """Who of this node talks to the GCS, by worker id. ``gcs`` is the link to the head."""

    def __init__(self, gcs: Any) -> None:
        self.gcs = gcs
        self.clients: dict[bytes, Any] = {}

    def to_head(self, peer: Any, message: m.Message) -> None:
        """Pass a message on, and remember where answers go."""
        self.clients[peer.peer_id] = peer
        self.gcs.post(m.Relayed(peer.peer_id, peer.peer_role, encode_batch([message])))

    def from_head(self, message: m.RelayedBack) -> None:
        """To the process that it is for, if it is still there."""
        client = self.clients.get(message.worker_id)
        if client is not None:
            for inner in decode_batch(message.batch):
                client.post(inner)

    def ended(self, peer: Any) -> None:
        """A connection of this node is closed."""
        known = self.clients.get(peer.peer_id)
        if known is not None and known is peer:
            del self.clients[peer.peer_id]
            self.gcs.post(m.RelayEnded(peer.peer_id))
