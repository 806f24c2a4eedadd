"""Copies that a node keeps for an owner: pinned until they are freed, whatever ends them, and half a store at most.
When their owner ends, those that others may refer to stay until the job ends; so does a primary.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from linckia.core.objects import pull_records as p
from linckia.core.objects.copies import CopyTable
from linckia.core.objects.pulls import PullQueue
from linckia.model.wire import Address, Block
from linckia.protocol import messages as m
from linckia.raylet.replicas import ORPHANS, ReplicaHost

CAPACITY = 1000
OWNER = Address(b"owner", "unix:/owner")
OBJECT = b"o" * 28
JOB = b"o" * 4


class Node:
    """A node without I/O: pulls succeed when the test says so."""

    def __init__(self) -> None:
        self.copies = CopyTable()
        self.queue = PullQueue(b"here", CAPACITY, self.copies)
        self.transfers: list[bytes] = []
        self.gone: list[bytes] = []
        self.node_id = b"here"
        self.blocks: dict[bytes, int] = {}  # primaries of owners: object -> offset
        self.adopted: dict[bytes, int] = {}
        self.host = ReplicaHost(self, CAPACITY, self)  # type: ignore[arg-type]
        self.to_head: list[Any] = []
        self.host.tell_head = self.to_head.append
        self.ended: set[bytes] = set()
        self.host.job_goes_on = lambda job_id: job_id not in self.ended
        self.said: list[m.CopyKept] = []
        self.closed = False
        self._offsets = 0

    def post(self, message: Any) -> None:
        """As the owner's connection."""
        self.said.append(message)

    def carry_out(self, effects: Iterable[p.Effect]) -> None:
        for effect in effects:
            match effect:
                case p.Allocate():
                    self._offsets += 1
                    self.carry_out(self.queue.allocated(effect.object_id, self._offsets, 0.0) or [])
                case p.Transfer():
                    self.transfers.append(effect.object_id)
                case p.Discard():
                    self.gone.append(effect.copy.object_id)
                case p.Answer():
                    self.host.post(m.ObjectFetched(effect.rid, effect.offsets))
                case p.Failed():
                    self.host.post(m.FetchFailed(effect.rid, effect.object_id, effect.kind, effect.reason))
                case _:
                    pass

    def keep(
        self, object_id: bytes = OBJECT, size: int = 100, rid: int = 1, *, at: bytes = b"there", shared: bool = True
    ) -> None:
        if at == self.node_id:
            self.blocks[object_id] = 4711
        item = m.Wanted(object_id, size, OWNER, Block(4711, size, at))
        self.host.on_keep(self, m.KeepCopy(rid, item, 2, shared))

    def take_over(self, offset: int, object_id: bytes, owner_id: bytes) -> bool:
        """As object_host.py: the store's block changes hands."""
        assert owner_id == OWNER.worker_id
        found = self.blocks.get(object_id) == offset or self.copies.offset_of(object_id) == offset >= 0
        if found:
            self.adopted[object_id] = offset
        return found

    def stays_at(self, offset: int, object_id: bytes) -> bool:
        return self.blocks.get(object_id) == offset and object_id in self.adopted

    def let_go(self, offset: int, object_id: bytes) -> None:
        assert self.adopted.pop(object_id) == offset
        self.carry_out(self.queue.freed([object_id]))

    def is_receiving(self, object_id: bytes) -> bool:
        return object_id in self.transfers

    def ends(self, job_id: bytes = JOB) -> None:
        self.ended.add(job_id)
        self.host.job_ended(job_id)

    def arrives(self, object_id: bytes = OBJECT) -> None:
        self.carry_out(self.queue.transferred(object_id, 0.0))

    def frees(self, *object_ids: bytes) -> None:
        """As object_host.py does on FreeCopies."""
        self.host.released(list(object_ids))
        self.carry_out(self.queue.freed(list(object_ids)))

    def is_empty(self) -> bool:
        table = self.host.table
        kept = table.objects or table.replica_bytes or table.orphan_bytes or table._of_owner or table._orphans_of_job
        under_way = self.host._asked or self.host._rid_of
        return not (self.copies.copies or self.queue.bundles or self.queue.pulls or kept or self.adopted or under_way)


def test_it_is_kept_until_its_owner_frees_it() -> None:
    node = Node()
    node.keep(rid=7)
    assert (node.transfers, node.said) == ([OBJECT], [])
    node.arrives()
    assert node.said == [m.CopyKept(7)]
    assert node.queue.evict() == [], "nobody's need makes it go"
    node.frees(OBJECT)
    assert node.gone == [OBJECT] and node.is_empty()


def test_a_mere_copy_becomes_a_replica() -> None:
    node = Node()
    item = p.Item(OBJECT, 100, OWNER, Block(0, 100, b"there"))
    node.carry_out(node.queue.want(b"reader", 1, [item], 0, 0.0))
    node.arrives()
    node.carry_out(node.queue.unpin(b"reader", [OBJECT], 0.0))
    node.keep(rid=2)
    assert node.said == [m.CopyKept(2)] and node.queue.evict() == []
    node.frees(OBJECT)
    assert node.is_empty()


def test_asked_twice_it_is_kept_once() -> None:
    node = Node()
    node.keep(rid=1)
    node.keep(rid=2)
    node.arrives()
    node.keep(rid=3)
    assert [said.rid for said in node.said] == [1, 2, 3]
    assert node.host.table.replica_bytes == 100
    node.frees(OBJECT)
    assert node.is_empty()


def test_freed_while_it_is_on_its_way() -> None:
    node = Node()
    node.keep()
    node.frees(OBJECT)
    assert node.is_empty() and node.gone == [OBJECT]


def test_one_that_became_the_primary_goes_when_it_is_freed_as_such() -> None:
    node = Node()
    node.keep()
    node.arrives()
    assert node.copies.promote(OBJECT) > 0
    node.host.promoted(OBJECT)
    assert node.host.table.replica_bytes == 0
    assert node.queue.evict() == [] and OBJECT in node.copies.copies, "a primary stays"
    node.frees(OBJECT)
    assert node.is_empty()


def test_what_others_may_refer_to_outlives_its_owner_until_the_job_ends() -> None:
    node = Node()
    node.keep()
    node.arrives()
    node.host.owner_gone(b"somebody else")
    assert node.host.table.orphan_bytes == 0
    node.host.owner_gone(OWNER.worker_id)
    node.host.owner_gone(OWNER.worker_id)
    assert node.adopted == {OBJECT: node.copies.offset_of(OBJECT)} and node.queue.evict() == [], "it is the only copy"
    assert node.host.table.orphan_bytes == 100 == node.copies.promoted_bytes
    assert node.host.kept_here(OBJECT) == m.KeptCopy(100, complete=True)
    node.ends(b"xxxx")
    assert node.adopted
    node.ends()
    assert node.is_empty() and node.gone == [OBJECT]
    assert node.to_head == [m.KeepsFor([(OWNER.worker_id, JOB)])]


def test_the_head_is_told_once_for_all_that_an_owner_has_here() -> None:
    node = Node()
    for number in range(5):
        node.keep(rid=number)
        node.arrives()
        node.frees(OBJECT)
    assert node.to_head == [m.KeepsFor([(OWNER.worker_id, JOB)])] == [node.host.keeps_for()]
    node.host.owner_gone(OWNER.worker_id)
    node.host.owner_gone(OWNER.worker_id)
    assert node.to_head[1:] == [m.KeepsNothingFor([OWNER.worker_id])] and not node.host.keeps_for().owners
    node.keep(rid=9)
    node.ends()
    assert not node.host.keeps_for().owners, "a new head need not know"


def test_what_nobody_else_refers_to_ends_with_its_owner() -> None:
    node = Node()
    node.keep(shared=False)
    node.arrives()
    node.keep(b"2" * 28, rid=2, shared=False, at=b"here")
    node.host.owner_gone(OWNER.worker_id)
    assert not node.adopted and not node.host.table.objects
    assert [each.copy.object_id for each in node.queue.evict() if isinstance(each, p.Discard)] == [OBJECT]
    assert node.to_head[-1] == m.KeepsNothingFor([OWNER.worker_id])


def test_a_reference_that_left_later_counts() -> None:
    node = Node()
    node.keep(shared=False)
    node.arrives()
    node.host.on_shared(node, m.CopiesShared([OBJECT, b"unknown" * 4]))
    node.host.owner_gone(OWNER.worker_id)
    assert OBJECT in node.adopted


def test_after_the_job_nothing_outlives_its_owner() -> None:
    """As what a detached actor owns."""
    node = Node()
    node.ended.add(JOB)
    node.keep()
    node.arrives()
    assert not node.to_head, "nobody needs to find it"
    node.host.owner_gone(OWNER.worker_id)
    assert not node.adopted and not node.host.table.objects


def test_a_primary_stays_when_its_owner_ends() -> None:
    node = Node()
    node.keep(at=b"here", rid=0)
    assert node.said == [] and node.transfers == [] and node.host.table.replica_bytes == 0
    assert node.host.kept_here(OBJECT) == m.KeptCopy(100, -1, complete=True), "its owner may move it to disk"
    node.host.owner_gone(OWNER.worker_id)
    assert node.adopted == {OBJECT: 4711} and node.host.table.orphan_bytes == 100
    assert node.host.kept_here(OBJECT) == m.KeptCopy(100, 4711, complete=True)
    node.ends()
    assert node.is_empty()


def test_a_primary_that_was_moved_to_disk_is_not_read_where_it_was() -> None:
    node = Node()
    node.keep(at=b"here", rid=0)
    node.host.owner_gone(OWNER.worker_id)
    node.blocks.clear()  # the store's block is gone, or the spiller's: other bytes are there now
    assert node.host.kept_here(OBJECT) == m.KeptCopy(100, -1, complete=True)


def test_a_primary_that_is_gone_already_is_not_kept() -> None:
    node = Node()
    node.keep(at=b"here", rid=0)
    node.blocks.clear()
    node.host.owner_gone(OWNER.worker_id)
    assert not node.host.table.objects and "gone" in node.host.kept_here(OBJECT).why
    assert node.to_head == [m.KeepsFor([(OWNER.worker_id, JOB)])], "who asks is sent here, to hear why"


def test_a_promoted_replica_outlives_its_owner() -> None:
    node = Node()
    node.keep()
    node.arrives()
    offset = node.copies.promote(OBJECT)
    node.host.promoted(OBJECT)
    node.host.owner_gone(OWNER.worker_id)
    assert node.adopted == {OBJECT: offset}
    node.ends()
    assert node.is_empty()


def test_a_copy_that_was_on_its_way_goes_on_arriving() -> None:
    node = Node()
    node.keep()
    node.host.owner_gone(OWNER.worker_id)
    assert node.host.kept_here(OBJECT) == m.KeptCopy(100), "it may be read as it arrives"
    (copy,) = node.copies.copies.values()
    assert node.host.block_owner(copy) == ORPHANS
    node.arrives()
    assert OBJECT in node.adopted and node.host.kept_here(OBJECT).complete
    node.ends()
    assert node.is_empty()


def test_a_copy_that_waits_for_room_is_told_as_such() -> None:
    node = Node()
    node.keep()
    node.transfers.clear()
    assert node.host.kept_here(OBJECT) == m.KeptCopy(-1, why="its copy has not begun to arrive", is_coming=True)


def test_a_copy_that_never_arrived_is_remembered_as_missing() -> None:
    node = Node()
    node.keep()
    node.host.owner_gone(OWNER.worker_id)
    node.carry_out(node.queue.transfer_failed(OBJECT, b"there", "gone", 0.0))
    node.carry_out(node.queue.located(OBJECT, [], "owner_died", "it was killed", 0.0))
    told = node.host.kept_here(OBJECT)
    assert told.size < 0 and "of 2 that were wanted, was not complete" in told.why and "it was killed" in told.why
    assert node.is_empty()


def test_a_job_may_end_while_copies_arrive() -> None:
    node = Node()
    node.keep()
    node.host.owner_gone(OWNER.worker_id)
    node.ends()
    assert node.is_empty() and node.gone == [OBJECT]


def test_replicas_and_orphans_share_half_of_the_store() -> None:
    node = Node()
    for number in range(4):
        node.keep(bytes([number]) * 24 + JOB, 100, rid=number)
        node.arrives(bytes([number]) * 24 + JOB)
    big = b"p" * 28
    node.keep(big, 200, rid=0, at=b"here")
    node.host.owner_gone(OWNER.worker_id)
    assert len(node.adopted) == 4 and big not in node.adopted
    assert "no room" in node.host.kept_here(big).why
    node.keep(b"x" * 28, 200, rid=9)
    assert "400 bytes" in node.said[-1].reason, "orphans count"


def test_copies_made_without_an_owner_leave_room_for_owners_that_live() -> None:
    node = Node()
    for number in range(3):
        item = m.Wanted(bytes([number]) * 28, 100, OWNER, Block(-1, 100, b"there"))
        node.host.on_keep(node, m.KeepCopy(number, item, 2, is_orphan=True))
        node.arrives(item.object_id)
        node.host.owner_gone(OWNER.worker_id)
    assert [bool(said.reason) for said in node.said] == [False, False, True]
    assert node.host.table.orphan_bytes == 200 and "200 of them" in node.said[-1].reason
    node.keep(b"x" * 28, 300, rid=9)
    node.arrives(b"x" * 28)
    assert node.said[-1] == m.CopyKept(9)


def test_half_of_the_store_is_the_most() -> None:
    node = Node()
    for number in range(6):
        node.keep(bytes([number]) * 28, 100, rid=number)
        if number < 5:
            node.arrives(bytes([number]) * 28)
    assert [bool(said.reason) for said in node.said] == [False] * 5 + [True]
    assert "500" in node.said[-1].reason
    node.frees(bytes([0]) * 28)
    node.keep(b"x" * 28, 100, rid=9)
    node.arrives(b"x" * 28)
    assert node.said[-1] == m.CopyKept(9)


def test_a_fetch_that_fails_is_told_and_leaves_nothing() -> None:
    node = Node()
    node.keep(rid=4)
    (pull,) = node.queue.pulls.values()
    for _ in range(5):
        node.carry_out(node.queue.transfer_failed(OBJECT, pull.source, "gone", 0.0))
        node.carry_out(node.queue.located(OBJECT, [], "lost", "it was freed", 0.0))
    assert node.said == [m.CopyKept(4, "it was freed")]
    assert node.is_empty()


def test_what_has_no_owner_is_told_when_it_is_complete_and_when_it_ends() -> None:
    node = Node()
    told: list[tuple[str, bytes]] = []
    node.host.orphaned = lambda kept: told.append(("orphaned", kept.object_id))
    node.host.ended = lambda object_id: told.append(("ended", object_id))
    late, lost = b"2" * 20 + JOB + b"....", b"3" * 20 + JOB + b"...."
    node.keep()
    node.arrives()
    node.keep(late, rid=2)
    node.keep(lost, rid=3, at=b"here")
    node.blocks.clear()
    assert not told, "its owner lives"
    node.host.owner_gone(OWNER.worker_id)
    assert told == [("orphaned", OBJECT)]
    node.arrives(late)
    assert told[1:] == [("orphaned", late)]
    node.ends()
    assert told[2:] == [("ended", OBJECT), ("ended", late)]


def test_what_its_owner_frees_too_late_has_ended() -> None:
    node = Node()
    ended: list[bytes] = []
    node.host.ended = ended.append
    node.keep()
    node.arrives()
    node.keep(b"2" * 28, rid=2)
    node.frees(b"2" * 28)
    assert not ended, "costs nothing while its owner lives"
    node.host.owner_gone(OWNER.worker_id)
    node.host.released([OBJECT])
    assert ended == [OBJECT]
