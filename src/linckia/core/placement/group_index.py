"""Which living groups end with a job or a detached actor, and which have or are getting bundles on a node: so that the
end of either costs what hung on it. Pure bookkeeping, used by the directory of groups.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from linckia.core.tables.index import Index

if TYPE_CHECKING:
    from linckia.model.placement import GroupSpec


class GroupIndex:
    """Group ids, in the order in which they came."""

    def __init__(self) -> None:
        self._jobs: Index[bytes, bytes] = Index()
        self._actors: Index[bytes, bytes] = Index()
        self._nodes: Index[bytes, bytes] = Index()

    @property
    def is_empty(self) -> bool:
        """Nothing is remembered of groups that are gone."""
        return not (self._jobs or self._actors or self._nodes)

    def add(self, spec: GroupSpec) -> None:
        """The group lives: until its job ends, or with the process of the detached actor that made it (R 6.18)."""
        if spec.detached:
            return
        index, owner = (self._actors, spec.creator) if spec.creator else (self._jobs, spec.job_id)
        index.add(owner, spec.group_id)

    def discard(self, spec: GroupSpec, nodes: Iterable[bytes]) -> None:
        """It was removed, and had or was getting bundles on ``nodes``."""
        self._actors.discard(spec.creator, spec.group_id)
        self._jobs.discard(spec.job_id, spec.group_id)
        self.leaves(spec.group_id, nodes)

    def comes(self, group_id: bytes, nodes: Iterable[bytes]) -> None:
        """It has, or is getting, bundles there."""
        for node_id in nodes:
            self._nodes.add(node_id, group_id)

    def leaves(self, group_id: bytes, nodes: Iterable[bytes]) -> None:
        """It has none there any more. Idempotent."""
        for node_id in nodes:
            self._nodes.discard(node_id, group_id)

    def of_job(self, job_id: bytes) -> list[bytes]:
        """Groups that end with this job."""
        return self._jobs.of(job_id)

    def of_actor(self, actor_id: bytes) -> list[bytes]:
        """Groups that end with the process of this detached actor."""
        return self._actors.of(actor_id)

    def on(self, node_id: bytes) -> list[bytes]:
        """Groups with bundles on this node, or about to have some."""
        return self._nodes.of(node_id)
