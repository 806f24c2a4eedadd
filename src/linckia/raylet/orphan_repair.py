"""Makes anew the copies of values whose owners have ended, when nodes that kept some have died.

Which, by whom and where is core/objects/orphan_repair.py's; where the copies are is found by ``orphans.py``, and a node
that is asked for one keeps it as for an owner (``replicas.py``). Built by raylet/object_host.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from linckia.core.objects import orphan_search as o
from linckia.core.objects.kept import Kept
from linckia.core.objects.orphan_repair import Look, OrphanRepair
from linckia.model.wire import Block
from linckia.protocol import messages as m
from linckia.raylet.orphans import OrphanFinder
from linckia.rpc.reactor import Timer

LOOK_AFTER_S = 0.1
"""What happens at once is looked at together, and other nodes have heard of it too."""


class Members(NamedTuple):
    """Nodes of the cluster, this one among them; ``leaving``: those whose machines will be taken away."""

    living: set[bytes]
    leaving: set[bytes]


class OrphanRepairer:
    """One per raylet."""

    def __init__(self, finder: OrphanFinder, members: Callable[[], Members]) -> None:
        self.finder, self._members = finder, members
        self.core = OrphanRepair(finder.node_id)
        self._timer: Timer | None = None
        finder.replicas.orphaned = self._orphaned
        finder.replicas.ended = self.core.ended

    def _orphaned(self, kept: Kept) -> None:
        self.core.orphaned(kept.object_id, kept.owner.worker_id, kept.copies)
        self._schedule()

    def node_gone(self, node_id: bytes) -> None:
        """It is dead."""
        self.core.node_dead(node_id)
        self._schedule()

    def node_joined(self) -> None:
        """There may be room now."""
        self.core.node_joined()
        self._schedule()

    # --- looking ------------------------------------------------------------------------------------------------------

    def _schedule(self) -> None:
        now_s = time.monotonic()
        due_s = self.core.next_s(now_s)
        if due_s is None:
            return
        due_s = max(due_s, now_s + LOOK_AFTER_S)
        if self._timer is not None:
            if self._timer.due_s <= due_s:
                return
            self._timer.cancel()
        self._timer = self.finder.reactor.call_later(due_s - now_s, self._look)

    def _look(self) -> None:
        self._timer = None
        for owner_id, object_ids in self.core.take_due(time.monotonic()):
            self.finder.survey(owner_id, object_ids, self._looked)
        self._schedule()

    def _looked(self, object_id: bytes, found: o.Found) -> None:
        kept = self.finder.replicas.table.objects.get(object_id)
        if kept is None:
            return
        look = Look([each.node_id for each in found.sources], found.unsure, found.is_whole)
        members = self._members()
        for node_id in self.core.looked(object_id, look, members.living, time.monotonic(), members.leaving):
            self._ask(kept, node_id)
        self._schedule()

    def _ask(self, kept: Kept, node_id: bytes) -> None:
        object_id, finder = kept.object_id, self.finder
        here = finder.replicas.kept_here(object_id)
        item = m.Wanted(object_id, here.size, kept.owner, Block(here.offset, here.size, finder.node_id))

        def answered(answer: Any, _reason: str) -> None:
            if not isinstance(answer, m.CopyKept):
                self.core.silent(object_id, node_id, time.monotonic())
            elif answer.reason:
                self.core.refused(object_id, node_id, time.monotonic())
            else:
                self.core.kept(object_id, node_id)
            self._schedule()

        finder.links.request(node_id, lambda rid: m.KeepCopy(rid, item, kept.copies, is_orphan=True), answered)
