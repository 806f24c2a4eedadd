"""Whose life each actor depends on, and on which node that is. Pure bookkeeping; used by the directory of actors.

A detached actor depends on nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from linckia.base.addresses import node_of
from linckia.core.tables.relation import Relation

if TYPE_CHECKING:
    from linckia.model.specs import ActorSpec


class Owners:
    """Living actors by their owner's process, and owners by their node. Costs are those of what is asked for."""

    def __init__(self) -> None:
        self._actors: Relation[bytes, bytes] = Relation(b"")
        self._nodes: Relation[bytes, bytes] = Relation(b"")

    def __len__(self) -> int:
        return len(self._actors)

    def add(self, spec: ActorSpec) -> None:
        """The actor lives, as long as its owner does."""
        if not spec.detached:
            self._actors.put(spec.actor_id, spec.owner.worker_id)
            self._nodes.put(spec.owner.worker_id, node_of(spec.owner.endpoint))

    def discard(self, spec: ActorSpec) -> None:
        """The actor is dead. Idempotent."""
        self._actors.pop(spec.actor_id)
        if not self._actors.has(spec.owner.worker_id):
            self._nodes.pop(spec.owner.worker_id)

    def actors_of(self, worker_id: bytes) -> list[bytes]:
        """Ids of the actors that live by that process."""
        return self._actors.at(worker_id)

    def on(self, node_id: bytes) -> list[bytes]:
        """Worker ids of owners on a node."""
        return self._nodes.at(node_id)
