"""What this node keeps for owners: replicas until they are freed, and what outlives its owner.

To the pull queue a replica is read by one more process, which does not let go; it is never evicted. When its owner ends
it becomes a primary, and the store's block changes hands; so does a primary of this node that has replicas. What is
kept, and until when, is core/objects/kept.py's; which node keeps what is the owner's (worker/replicas.py). Built by
raylet/object_host.py.
"""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any, Protocol

from linckia.base.limits import REPLICAS_STORE_SHARE
from linckia.core.objects.copies import Copy
from linckia.core.objects.kept import COMING, HERE, PRIMARY, Kept, KeptTable
from linckia.core.objects.pull_records import Item
from linckia.protocol import messages as m
from linckia.protocol.transfer_messages import REPLICA
from linckia.raylet.pull_manager import PullManager

if TYPE_CHECKING:
    from collections.abc import Callable

CLIENT = b"replicas"
ORPHANS = b"orphans"
"""To the store, the owner of blocks that outlived theirs."""


class Blocks(Protocol):
    """The store and the disk of this node, as far as primaries are concerned (raylet/object_host.py)."""

    def take_over(self, offset: int, object_id: bytes, owner_id: bytes) -> bool: ...
    def let_go(self, offset: int, object_id: bytes) -> None: ...
    def stays_at(self, offset: int, object_id: bytes) -> bool: ...


class ReplicaHost:
    """One per raylet. ``job_goes_on(job_id)``; ``tell_head(message)``; ``orphaned(kept)``: a complete copy has no owner
    any more; ``ended(object_id)``: what was orphaned is not kept any more.
    """

    closed = False  # to the pull queue it is a process that never ends

    def __init__(self, pulls: PullManager, capacity_bytes: int, blocks: Blocks) -> None:
        self.pulls, self.blocks = pulls, blocks
        self.table = KeptTable(int(capacity_bytes * REPLICAS_STORE_SHARE))
        self.job_goes_on: Callable[[bytes], bool] = lambda _job_id: True
        self.tell_head: Callable[[m.Message], None] = lambda _message: None
        self.orphaned: Callable[[Kept], None] = lambda _kept: None
        self.ended: Callable[[bytes], None] = lambda _object_id: None
        self._asked: dict[int, tuple[bytes, list[tuple[Any, int]]]] = {}  # our rid -> object, whom to answer, by which
        self._rid_of: dict[bytes, int] = {}  # replicas on their way
        self._named: dict[bytes, bytes] = {}  # owners that the head was told of, with their jobs: once each
        self._rids = itertools.count(1)

    # --- owners that live ---------------------------------------------------------------------------------------------

    def on_keep(self, peer: Any, message: m.KeepCopy) -> None:
        """An owner wants a copy here. A repeated request is answered like the first."""
        item = message.item
        kept = self.table.objects.get(item.object_id)
        if item.block.node_id == self.pulls.node_id:
            self._guard(kept, message)
        elif kept is None:
            self._begin(peer, message)
        elif kept.state == COMING:
            self._asked[self._rid_of[item.object_id]][1].append((peer, message.rid))
        else:
            peer.post(m.CopyKept(message.rid))

    def _guard(self, kept: Kept | None, message: m.KeepCopy) -> None:
        """Ours is the primary: it stays if its owner ends."""
        if kept is None:
            kept = self._new(message)
            kept.state = PRIMARY
            self._add(kept)
        if kept.state == PRIMARY:
            kept.offset = message.item.block.offset

    @staticmethod
    def _new(message: m.KeepCopy) -> Kept:
        item = message.item
        return Kept(item.object_id, item.size, item.owner, message.copies, shared=message.shared)

    def _add(self, kept: Kept) -> None:
        self.table.add(kept)
        owner_id = kept.owner.worker_id
        if owner_id not in self._named and self.job_goes_on(kept.job_id):
            self._named[owner_id] = kept.job_id
            self.tell_head(m.KeepsFor([(owner_id, kept.job_id)]))

    def _begin(self, peer: Any, message: m.KeepCopy) -> None:
        item = message.item
        if not self.table.fits(item.size, is_orphan=message.is_orphan):
            why = f"no room for {item.size} bytes: {self.table.room_text()}"
            self.table.miss(item.object_id, why)
            peer.post(m.CopyKept(message.rid, why))
            return
        self._add(self._new(message))
        rid = self._rid_of[item.object_id] = next(self._rids)
        self._asked[rid] = (item.object_id, [(peer, message.rid)])
        wanted = [Item(item.object_id, item.size, item.owner, item.block)]
        self.pulls.carry_out(self.pulls.queue.want(CLIENT, rid, wanted, REPLICA, time.monotonic()))

    def on_shared(self, _peer: Any, message: m.CopiesShared) -> None:
        """Its owner has handed out references."""
        self.table.share(message.object_ids)

    def post(self, message: m.Message) -> None:
        """The pull queue's answer."""
        if not isinstance(message, m.ObjectFetched | m.FetchFailed):
            return
        object_id, asked = self._asked.pop(message.rid, (b"", []))
        kept = self.table.objects.get(object_id)
        if kept is None:
            return
        del self._rid_of[object_id]
        reason = ""
        if isinstance(message, m.ObjectFetched):
            kept.state = HERE
            if kept.is_orphan:
                self._adopt(kept)
        else:
            reason = message.reason or message.kind
            self.table.remove(object_id)
            self.table.miss(object_id, f"its copy, of {kept.copies} that were wanted, was not complete: {reason}")
        for peer, rid in asked:
            peer.post(m.CopyKept(rid, reason))

    def released(self, object_ids: list[bytes]) -> None:
        """Their owner has freed them."""
        for object_id in object_ids:
            self._let_go(self.table.remove(object_id))

    def promoted(self, object_id: bytes) -> None:
        """Their owner has made our copy the primary, which stays without us; its block is found when it matters."""
        if self.table.is_primary(object_id):
            self._unpin(object_id)

    def _let_go(self, kept: Kept | None) -> None:
        if kept is None:
            return
        if kept.is_orphan:
            self.ended(kept.object_id)
        if kept.state != PRIMARY:
            self._unpin(kept.object_id)

    def _unpin(self, object_id: bytes) -> None:
        now_s, queue = time.monotonic(), self.pulls.queue
        rid = self._rid_of.pop(object_id, 0)
        if rid:
            del self._asked[rid]
        effects = queue.cancel(CLIENT, rid, now_s) if rid else queue.unpin(CLIENT, [object_id], now_s)
        self.pulls.carry_out(effects)

    # --- owners and jobs that end -------------------------------------------------------------------------------------

    def owner_gone(self, worker_id: bytes) -> None:
        """What nobody needs goes; the rest has no owner any more."""
        orphans: list[Kept] = []
        garbage: list[Kept] = []
        if self.table.keeps_for(worker_id):
            goes_on = self.job_goes_on(self.table.job_of_owner(worker_id))
            orphans, garbage = self.table.owner_gone(worker_id, job_goes_on=goes_on)
        for kept in garbage:
            self._let_go(self.table.remove(kept.object_id))
        for kept in orphans:
            if kept.state != COMING:
                self._adopt(kept)
        if self.table.keeps_for(worker_id) or any(each.object_id in self.table.missed for each in [*garbage, *orphans]):
            return  # who looks for a copy asks here, and is told why there is none
        if self._named.pop(worker_id, None) is not None:
            self.tell_head(m.KeepsNothingFor([worker_id]))

    def _adopt(self, kept: Kept) -> None:
        """It is a primary from now on, of nobody."""
        object_id = kept.object_id
        offset = self.pulls.copies.promote(object_id)
        if kept.state == HERE:
            self._unpin(object_id)
            self.table.is_primary(object_id)
        if offset >= 0:
            kept.offset = offset
        if not self.blocks.take_over(kept.offset, object_id, kept.owner.worker_id) and offset < 0:
            self.table.remove(object_id)
            self.table.miss(object_id, "it was gone when its owner ended")
            return
        self.orphaned(kept)

    def job_ended(self, job_id: bytes) -> None:
        """What has outlived its owner ends now."""
        for owner_id in [each for each, job in self._named.items() if job == job_id]:
            del self._named[owner_id]
        for kept in self.table.orphans_of(job_id):
            self.table.remove(kept.object_id)
            self.ended(kept.object_id)
            if kept.state == PRIMARY:
                self.blocks.let_go(kept.offset, kept.object_id)
            else:
                self._unpin(kept.object_id)

    # --- who looks for a copy -----------------------------------------------------------------------------------------

    def kept_here(self, object_id: bytes) -> m.KeptCopy:
        """What this node has of an object, as it tells others."""
        kept = self.table.objects.get(object_id)
        if kept is None:
            return m.KeptCopy(-1, why=self.table.missed.get(object_id, ""))
        copy = self.pulls.copies.get(object_id)
        if kept.state == COMING:
            arrives = copy is not None and copy.offset >= 0 and self.pulls.is_receiving(object_id)
            waits = m.KeptCopy(-1, why="its copy has not begun to arrive", is_coming=True)
            return m.KeptCopy(kept.size) if arrives else waits
        in_place = copy is None and kept.is_orphan and self.blocks.stays_at(kept.offset, object_id)
        return m.KeptCopy(kept.size, kept.offset if in_place else -1, complete=True)  # else it may move, or has

    def block_owner(self, copy: Copy) -> bytes:
        """To the store, of a copy that is complete now."""
        kept = self.table.objects.get(copy.object_id)
        return ORPHANS if kept is not None and kept.is_orphan else copy.owner.worker_id

    def keeps_for(self) -> m.KeepsFor:
        """For a head that knows nothing of us."""
        return m.KeepsFor(list(self._named.items()))
