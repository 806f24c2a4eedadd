"""Which node each actor was sent to, and which actors each node was sent. Pure bookkeeping; used by
gcs/actor_placement.py.
"""

from __future__ import annotations


class Places:
    """Both directions of one relation. An actor that waits for a node has no place."""

    def __init__(self) -> None:
        self._node_of: dict[bytes, bytes] = {}
        self._on: dict[bytes, dict[bytes, None]] = {}

    def __contains__(self, actor_id: object) -> bool:
        return actor_id in self._node_of

    def __len__(self) -> int:
        return len(self._node_of)

    def put(self, actor_id: bytes, node_id: bytes) -> None:
        """It was sent there, and nowhere else."""
        self.pop(actor_id)
        self._node_of[actor_id] = node_id
        self._on.setdefault(node_id, {})[actor_id] = None

    def pop(self, actor_id: bytes) -> None:
        """It has no place any more. Idempotent."""
        node_id = self._node_of.pop(actor_id, None)
        if node_id is None:
            return
        there = self._on[node_id]
        del there[actor_id]
        if not there:
            del self._on[node_id]

    def get(self, actor_id: bytes) -> bytes:
        """Its node, or empty."""
        return self._node_of.get(actor_id, b"")

    def actors(self) -> list[bytes]:
        """All that have a place, in the order in which they were sent."""
        return list(self._node_of)

    def on(self, node_id: bytes) -> list[bytes]:
        """Actors that are on a node, or on their way; costs what is there."""
        return list(self._on.get(node_id, ()))
