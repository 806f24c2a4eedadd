"""Which copies of values whose owners have ended are made anew, by whom, and where: events in, nodes to ask out.

Each node that keeps such a value looks where the others are (``orphan_search.py``) when its owner ends, and again when
one of those nodes dies. All see the same, and the keeper with the smallest id acts. Nodes are chosen by a hash of
object and node: should two act at once, they ask the same node, which keeps one copy. A look that has not found out
all is repeated after a while; one that found too few nodes, when others join or do not refuse any more. Called by
``raylet/orphan_repair.py``; time comes as ``now_s``.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection
from typing import NamedTuple

from linckia.core.objects.replicas import RETRY_AFTER_S
from linckia.core.tables.index import Index


class Look(NamedTuple):
    """What a look has found of one object, besides here. ``unsure``: a copy is arriving there, or the node is silent.
    ``is_whole`` False: there may be keepers that nobody has named.
    """

    complete: Collection[bytes]
    unsure: Collection[bytes] = ()
    is_whole: bool = True


class _Orphan:
    __slots__ = ("asked", "nodes", "owner_id", "wanted")

    def __init__(self, owner_id: bytes, wanted: int) -> None:
        self.owner_id, self.wanted = owner_id, wanted
        self.nodes: dict[bytes, None] = {}  # besides this one: where a copy is or comes
        self.asked: dict[bytes, None] = {}  # of these: by us, without an answer


class OrphanRepair:
    """All complete copies on one node of values without an owner."""

    def __init__(self, node_id: bytes) -> None:
        self.node_id = node_id
        self.objects: dict[bytes, _Orphan] = {}
        self._at: Index[bytes, bytes] = Index()  # node -> objects
        self._due: Index[bytes, bytes] = Index()  # owner -> objects to look for
        self._later: dict[bytes, float] = {}  # objects to look for then, in this order
        self._lacking: dict[bytes, None] = {}  # ours to repair, for want of nodes
        self._blocked: dict[bytes, float] = {}  # nodes that have refused or not answered, until when

    # --- what happens -------------------------------------------------------------------------------------------------

    def orphaned(self, object_id: bytes, owner_id: bytes, wanted: int) -> None:
        """A complete copy is here, and its owner has ended. ``wanted``: in all."""
        if object_id not in self.objects and wanted > 1:
            self.objects[object_id] = _Orphan(owner_id, wanted)
            self._due.add(owner_id, object_id)

    def ended(self, object_id: bytes) -> None:
        """Nothing is kept here any more. Idempotent."""
        orphan = self.objects.pop(object_id, None)
        if orphan is None:
            return
        for node_id in orphan.nodes:
            self._at.discard(node_id, object_id)
        self._due.discard(orphan.owner_id, object_id)
        self._later.pop(object_id, None)
        self._lacking.pop(object_id, None)

    def node_dead(self, node_id: bytes) -> None:
        """Its copies are gone."""
        self._blocked.pop(node_id, None)
        for object_id in self._at.pop(node_id):
            orphan = self.objects[object_id]
            del orphan.nodes[node_id]
            orphan.asked.pop(node_id, None)
            self._due.add(orphan.owner_id, object_id)

    def node_joined(self) -> None:
        """It may keep what is lacking."""
        for object_id in self._lacking:
            self._due.add(self.objects[object_id].owner_id, object_id)

    # --- looking ------------------------------------------------------------------------------------------------------

    def next_s(self, now_s: float) -> float | None:
        """When ``take_due`` has something."""
        return now_s if self._due else next(iter(self._later.values()), None)

    def take_due(self, now_s: float) -> list[tuple[bytes, list[bytes]]]:
        """(owner, objects to look for) now; tell ``looked`` of each."""
        while self._later and next(iter(self._later.values())) <= now_s:
            object_id = next(iter(self._later))
            del self._later[object_id]
            self._due.add(self.objects[object_id].owner_id, object_id)
        return [(owner_id, self._due.pop(owner_id)) for owner_id in list(self._due)]

    def looked(
        self, object_id: bytes, look: Look, living: Collection[bytes], now_s: float, leaving: Collection[bytes] = ()
    ) -> list[bytes]:
        """Nodes to ask for a copy: tell ``kept``, ``refused`` or ``silent`` of each. ``living``: all nodes; of these,
        ``leaving`` are asked for nothing.
        """
        orphan = self.objects.get(object_id)
        if orphan is None:
            return []
        complete = [node_id for node_id in look.complete if node_id in living]
        unsure = [node_id for node_id in look.unsure if node_id in living and node_id not in complete]
        self._place(object_id, orphan, dict.fromkeys([*complete, *unsure, *orphan.asked]))
        self._lacking.pop(object_id, None)
        if unsure or not look.is_whole:
            self._look_later(object_id, now_s)
        missing = orphan.wanted - 1 - len(orphan.nodes)
        if missing <= 0 or not look.is_whole or any(node_id < self.node_id for node_id in complete):
            return []
        others = [each for each in living if each not in orphan.nodes and each not in leaving and each != self.node_id]
        chosen = [each for each in others if not self._is_blocked(each, now_s)]
        chosen.sort(key=lambda node_id: (zlib.crc32(object_id + node_id), node_id))
        del chosen[missing:]
        for node_id in chosen:
            self._ask(object_id, orphan, node_id)
        if len(chosen) < missing:
            self._lacking[object_id] = None
            if len(others) > len(chosen):
                self._look_later(object_id, now_s)
        return chosen

    # --- what was asked -----------------------------------------------------------------------------------------------

    def kept(self, object_id: bytes, node_id: bytes) -> None:
        """It has its copy."""
        orphan = self.objects.get(object_id)
        if orphan is not None:
            orphan.asked.pop(node_id, None)

    def refused(self, object_id: bytes, node_id: bytes, now_s: float) -> None:
        """It will not have one: another is looked for at once, and nothing is asked of it for a while."""
        self._block(node_id, now_s + RETRY_AFTER_S)
        orphan = self.objects.get(object_id)
        if orphan is not None and node_id in orphan.asked:
            del orphan.asked[node_id], orphan.nodes[node_id]
            self._at.discard(node_id, object_id)
            self._due.add(orphan.owner_id, object_id)

    def silent(self, object_id: bytes, node_id: bytes, now_s: float) -> None:
        """It has not answered: it may be at work still. Look after a while, when nothing is asked of it yet."""
        self._block(node_id, now_s + 2 * RETRY_AFTER_S)
        orphan = self.objects.get(object_id)
        if orphan is not None and node_id in orphan.asked:
            del orphan.asked[node_id]
            self._look_later(object_id, now_s)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _place(self, object_id: bytes, orphan: _Orphan, nodes: dict[bytes, None]) -> None:
        for node_id in orphan.nodes:
            self._at.discard(node_id, object_id)
        orphan.nodes = nodes
        for node_id in nodes:
            self._at.add(node_id, object_id)

    def _ask(self, object_id: bytes, orphan: _Orphan, node_id: bytes) -> None:
        orphan.nodes[node_id] = orphan.asked[node_id] = None
        self._at.add(node_id, object_id)

    def _look_later(self, object_id: bytes, now_s: float) -> None:
        if object_id not in self._later:
            self._later[object_id] = now_s + RETRY_AFTER_S

    def _block(self, node_id: bytes, until_s: float) -> None:
        self._blocked[node_id] = max(until_s, self._blocked.get(node_id, 0.0))

    def _is_blocked(self, node_id: bytes, now_s: float) -> bool:
        until_s = self._blocked.get(node_id)
        if until_s is not None and now_s >= until_s:
            del self._blocked[node_id]
            return False
        return until_s is not None
