"""The spill queue alone: batches, caps, failures, readers; then a crowd of owners at random."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from linckia.core.objects import spill_records as r
from linckia.core.objects.spilling import SpillQueue

OWNER, OTHER = b"owner", b"other"
ROOMY = r.DiskSpace(10**12, 10**12)
OPTIONS = r.SpillOptions(batch_bytes=100, batch_objects=4, least_bytes=50, free_min_bytes=0, writers=2)


def blocks(count: int, size: int = 25, owner: bytes = OWNER) -> list[r.Candidate]:
    return [r.Candidate(b"%s-%d" % (owner, index), index * 1000, size, owner) for index in range(count)]


def only(effects: list[r.Effect], kind: Any) -> list[Any]:
    return [effect for effect in effects if type(effect) is kind]


def asked(queue: SpillQueue, wanted: int, candidates: list[r.Candidate], disk: r.DiskSpace = ROOMY) -> r.Ask:
    (ask,) = only(queue.pressed(wanted, candidates, disk, 0.0), r.Ask)
    return ask  # type: ignore[no-any-return]


@pytest.mark.row("3.15")
def test_the_oldest_go_first_and_enough_of_them() -> None:
    queue = SpillQueue(OPTIONS)
    assert asked(queue, 60, blocks(10)).object_ids == [b"owner-0", b"owner-1", b"owner-2"]
    assert queue.pressed(60, blocks(10), ROOMY, 0.0) == []  # they are on their way
    assert len(asked(SpillQueue(OPTIONS), 1, blocks(10)).object_ids) == 2  # at least least_bytes


@pytest.mark.row("3.15")
def test_objects_are_fused_up_to_a_size_and_a_number() -> None:
    queue = SpillQueue(OPTIONS)
    ask = asked(queue, 1000, blocks(9, size=40))
    writes = only(queue.answered(OWNER, ask.rid, ask.object_ids, ROOMY, 0.0), r.Write)
    assert [len(write.batch.entries) for write in writes] == [3, 3]  # two writers; a file is full from 100 bytes on
    more = only(queue.written(writes[0].batch.file, ROOMY, 0.0), r.Write)
    assert [len(write.batch.entries) for write in more] == [3]
    tiny = SpillQueue(OPTIONS)
    ask = asked(tiny, 1000, blocks(5, size=10))
    writes = only(tiny.answered(OWNER, ask.rid, ask.object_ids, ROOMY, 0.0), r.Write)
    assert [len(write.batch.entries) for write in writes] == [4, 1]


@pytest.mark.row("3.15")
def test_large_objects_begin_with_a_page_of_their_file_and_small_ones_do_not() -> None:
    queue = SpillQueue(OPTIONS._replace(batch_bytes=1 << 30))
    sizes = [100, 100, (1 << 20) + 1, 100, 1 << 20]
    objects = [r.Candidate(b"%d" % index, index << 24, size, OWNER) for index, size in enumerate(sizes)]
    ask = queue.pressed(1 << 30, objects, ROOMY, 0.0)[0]
    assert isinstance(ask, r.Ask)
    writes = only(queue.answered(OWNER, ask.rid, ask.object_ids, ROOMY, 0.0), r.Write)
    first = writes[0].batch
    assert [entry.position for entry in first.entries] == [0, 100, 4096, 4096 + (1 << 20) + 1]
    assert first.size == 4096 + (1 << 20) + 101
    assert [entry.position for entry in writes[1].batch.entries] == [0]


def test_what_an_heir_takes_over_outlives_its_owner_on_disk() -> None:
    queue, heir = SpillQueue(OPTIONS), b"heir"
    ask = asked(queue, 75, blocks(3))
    assert not queue.inherit(b"owner-0", heir), "still its owner's, in memory"
    (write,) = only(queue.answered(OWNER, ask.rid, ask.object_ids, ROOMY, 0.0), r.Write)
    assert queue.inherit(b"owner-0", heir), "while it is written"
    queue.written(write.batch.file, ROOMY, 0.0)
    assert queue.inherit(b"owner-1", heir) and not queue.inherit(b"unknown", heir)
    assert only(queue.owner_gone(OWNER), r.DropShare) == [r.DropShare(write.batch.file)], "the third goes"
    assert list(queue.entries) == [b"owner-0", b"owner-1"] and queue.begin_read(b"owner-0") is not None
    assert len(only(queue.freed([b"owner-0", b"owner-1"])[0], r.DropShare)) == 2
    assert not queue.entries and queue.stored_bytes == 0


def test_what_an_owner_does_not_allow_is_left_alone_for_a_while() -> None:
    queue = SpillQueue(OPTIONS)
    ask = asked(queue, 50, blocks(4))
    (write,) = only(queue.answered(OWNER, ask.rid, ask.object_ids[:1], ROOMY, 0.0), r.Write)
    assert [entry.object_id for entry in write.batch.entries] == [b"owner-0"]
    assert asked(queue, 75, blocks(4)).object_ids == [b"owner-2", b"owner-3"]
    (later,) = only(queue.pressed(100, blocks(4), ROOMY, OPTIONS.ask_again_s), r.Ask)
    assert later.object_ids == [b"owner-1"]


def test_an_answer_of_somebody_else_changes_nothing() -> None:
    queue = SpillQueue(OPTIONS)
    ask = asked(queue, 50, blocks(2))
    assert queue.asked(OTHER, ask.rid, ask.object_ids) == []
    assert queue.answered(OTHER, ask.rid, ask.object_ids, ROOMY, 0.0) == []
    assert len(queue.asked(OWNER, ask.rid, [*ask.object_ids, b"stranger"])) == 2


@pytest.mark.row("P21")
def test_the_cap_of_spill_files_is_kept_and_its_end_is_said_once() -> None:
    queue = SpillQueue(OPTIONS._replace(max_bytes=60))
    ask = asked(queue, 100, blocks(4))
    assert len(ask.object_ids) == 2
    (write,) = only(queue.answered(OWNER, ask.rid, ask.object_ids, ROOMY, 0.0), r.Write)
    full = ROOMY._replace(files_bytes=50)
    queue.written(write.batch.file, full, 0.0)
    left = blocks(4)[2:]
    (said,) = queue.pressed(100, left, full, 0.0)
    assert isinstance(said, r.Say) and "spill_max_bytes of 60" in said.text and queue.is_disk_full
    assert queue.pressed(100, left, full, 10.0) == []  # looked again, same trouble, no second line
    assert not queue.is_busy(10.0)
    effects, _ = queue.freed(ask.object_ids)
    assert only(effects, r.DropShare) == [r.DropShare(write.batch.file)] * 2
    assert len(only(queue.pressed(100, left, ROOMY, 20.0), r.Ask)) == 1  # there is room again


@pytest.mark.row("P19")
@pytest.mark.parametrize(
    ("total", "free", "free_min", "may"),
    [
        (1000, 500, 100, True),
        (1000, 74, 100, False),  # 24 bytes below 95 %, less than one object
        (1000, 76, 100, True),
        (1_000_000, 40_000, 10_000, True),  # over 95 %, but plenty is free
        (1_000_000, 10_010, 10_000, False),
        (20, 20, 0, False),
    ],
)
def test_a_disk_is_full_by_percent_and_by_bytes(total: int, free: int, free_min: int, may: bool) -> None:
    queue = SpillQueue(OPTIONS._replace(free_min_bytes=free_min))
    effects = queue.pressed(25, blocks(1), r.DiskSpace(total, free), 0.0)
    assert bool(only(effects, r.Ask)) is may
    assert bool(queue.trouble) is not may


@pytest.mark.row("P20")
def test_a_failing_disk_is_tried_a_few_times_then_objects_go_back_to_their_owner() -> None:
    queue = SpillQueue(OPTIONS)
    ask = asked(queue, 50, blocks(2))
    (write,) = only(queue.answered(OWNER, ask.rid, ask.object_ids, ROOMY, 0.0), r.Write)
    now_s = 0.0
    for _ in range(OPTIONS.tries - 1):
        assert queue.failed(write.batch.file, "no space", ROOMY, now_s, is_full=True) == []
        now_s = queue.next_deadline(now_s) or 0.0
        (write,) = only(queue.tick(ROOMY, now_s), r.Write)
    effects = queue.failed(write.batch.file, "no space", ROOMY, now_s, is_full=True)
    assert [effect.entry.object_id for effect in only(effects, r.GiveBack)] == ask.object_ids
    assert [effect.text for effect in only(effects, r.Say)] == ["spilling is suspended: no space"]
    assert not queue.is_busy(now_s) and queue.pressed(50, blocks(2), ROOMY, now_s) == []
    ask2 = only(queue.pressed(50, blocks(2), ROOMY, now_s + OPTIONS.recheck_s), r.Ask)[0]
    (write,) = only(queue.answered(OWNER, ask2.rid, ask2.object_ids, ROOMY, now_s + 1), r.Write)
    assert r.Say("spilling goes on") in queue.written(write.batch.file, ROOMY, now_s + 1)
    assert not queue.trouble


def test_a_reader_of_memory_keeps_it_until_it_has_ended() -> None:
    queue = SpillQueue(OPTIONS)
    ask = asked(queue, 25, blocks(2))
    (write,) = only(queue.answered(OWNER, ask.rid, ask.object_ids, ROOMY, 0.0), r.Write)
    entry = queue.begin_read(b"owner-0")
    assert entry is not None and entry.in_memory
    freed = only(queue.written(write.batch.file, ROOMY, 0.0), r.FreeMemory)
    assert [effect.entry.object_id for effect in freed] == [b"owner-1"]
    assert only(queue.end_read(entry), r.FreeMemory) == [r.FreeMemory(entry)]
    stored = queue.begin_read(b"owner-0")
    assert stored is not None and not stored.in_memory


def test_freed_while_it_is_written_goes_when_the_file_is_complete() -> None:
    queue = SpillQueue(OPTIONS)
    ask = asked(queue, 50, blocks(2))
    (write,) = only(queue.answered(OWNER, ask.rid, ask.object_ids, ROOMY, 0.0), r.Write)
    assert queue.freed([b"owner-0", b"unknown"]) == ([], [b"unknown"])
    effects = queue.written(write.batch.file, ROOMY, 0.0)
    assert len(only(effects, r.FreeMemory)) == 2 and only(effects, r.DropShare) == [r.DropShare(write.batch.file)]
    assert list(queue.entries) == [b"owner-1"]


class Crowd(RuleBasedStateMachine):
    """Owners that allow, refuse, free and die; a disk that fails; readers. Memory is freed once, and never read."""

    @initialize(cap=st.sampled_from([0, 100]))
    def begin(self, cap: int) -> None:
        self.queue = SpillQueue(OPTIONS._replace(max_bytes=cap, tries=2))
        self.cap, self.now_s, self.serial = cap, 0.0, 0
        self.memory: dict[bytes, r.Candidate] = {}  # in the store
        self.in_use: set[bytes] = set()
        self.nodes: set[bytes] = set()  # memory that is the node's
        self.asks: list[r.Ask] = []
        self.writes: list[r.Batch] = []
        self.shares: dict[int, int] = {}
        self.sizes: dict[int, int] = {}
        self.readers: list[r.SpillEntry] = []

    def disk(self) -> r.DiskSpace:
        return ROOMY._replace(files_bytes=sum(self.sizes.values()))

    def do(self, effects: list[r.Effect]) -> None:
        for effect in effects:
            match effect:
                case r.Ask():
                    assert not set(effect.object_ids) - set(self.memory)
                    self.asks.append(effect)
                case r.Write():
                    entries = effect.batch.entries
                    assert all(entry.object_id in self.nodes for entry in entries), "written without permission"
                    assert len(entries) <= OPTIONS.batch_objects
                    self.writes.append(effect.batch)
                    total = sum(self.sizes.values()) + sum(batch.size for batch in self.writes)
                    assert not self.cap or total <= self.cap, "beyond the cap"
                case r.FreeMemory():
                    object_id = effect.entry.object_id
                    assert not any(entry is effect.entry for entry in self.readers), "freed under a reader"
                    self.nodes.remove(object_id)
                    del self.memory[object_id]
                case r.DropShare():
                    self.shares[effect.file] -= 1
                    assert self.shares[effect.file] >= 0
                    if not self.shares[effect.file]:
                        del self.sizes[effect.file]
                case r.GiveBack():
                    self.nodes.remove(effect.entry.object_id)

    @rule(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=6), owner=st.sampled_from([OWNER, OTHER]))
    def put(self, sizes: list[int], owner: bytes) -> None:
        for size in sizes:
            self.serial += 1
            object_id = b"%d" % self.serial
            self.memory[object_id] = r.Candidate(object_id, self.serial, size, owner)

    @rule(data=st.data())
    def use(self, data: st.DataObject) -> None:
        free = sorted(set(self.memory) - self.nodes)
        if free:
            self.in_use.add(data.draw(st.sampled_from(free)))

    @rule(wanted=st.integers(1, 200))
    def press(self, wanted: int) -> None:
        candidates = [block for object_id, block in self.memory.items() if object_id not in self.nodes]
        self.do(self.queue.pressed(wanted, candidates, self.disk(), self.now_s))

    @precondition(lambda self: self.asks)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        ask = self.asks.pop(data.draw(st.integers(0, len(self.asks) - 1)))
        allowed = [each for each in ask.object_ids if each not in self.in_use and each in self.memory]
        taken = [entry.object_id for entry in self.queue.asked(ask.owner, ask.rid, allowed)]
        self.nodes.update(taken)
        self.do(self.queue.answered(ask.owner, ask.rid, taken, self.disk(), self.now_s))

    @precondition(lambda self: self.writes)
    @rule(data=st.data(), fails=st.booleans())
    def end_write(self, data: st.DataObject, fails: bool) -> None:
        batch = self.writes.pop(data.draw(st.integers(0, len(self.writes) - 1)))
        if fails:
            self.do(self.queue.failed(batch.file, "broken", self.disk(), self.now_s, is_full=False))
        else:
            self.shares[batch.file], self.sizes[batch.file] = len(batch.entries), batch.size
            self.do(self.queue.written(batch.file, self.disk(), self.now_s))

    @precondition(lambda self: self.nodes)
    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        entry = self.queue.begin_read(data.draw(st.sampled_from(sorted(self.nodes))))
        if entry is not None and entry.in_memory:
            assert entry.object_id in self.nodes
            self.readers.append(entry)

    @precondition(lambda self: self.readers)
    @rule()
    def stop_reading(self) -> None:
        self.do(self.queue.end_read(self.readers.pop()))

    @precondition(lambda self: self.queue.entries)
    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        object_id = data.draw(st.sampled_from(sorted(self.queue.entries)))
        if self.queue.entries[object_id].state == r.ASKED:
            if object_id not in self.in_use:
                self.memory.pop(object_id, None)  # its owner frees the block; the answer does not name it
        else:
            self.do(self.queue.freed([object_id])[0])

    @rule(owner=st.sampled_from([OWNER, OTHER]))
    def die(self, owner: bytes) -> None:
        self.do(self.queue.owner_gone(owner))
        for object_id in [b.object_id for b in self.memory.values() if b.owner == owner]:
            if object_id not in self.nodes:
                del self.memory[object_id]
        self.in_use &= set(self.memory)

    @rule(step_s=st.sampled_from([0.01, 0.3, 2.0]))
    def wait(self, step_s: float) -> None:
        self.now_s += step_s
        self.do(self.queue.tick(self.disk(), self.now_s))

    @invariant()
    def progress_or_reason(self) -> None:
        if not hasattr(self, "queue"):
            return
        if self.queue.is_busy(self.now_s):
            assert self.asks or self.writes or self.queue.next_deadline(self.now_s) is not None

    def teardown(self) -> None:
        """Everything is freed: nothing stays, neither in memory nor on disk."""
        if not hasattr(self, "queue"):
            return
        while self.readers:
            self.do(self.queue.end_read(self.readers.pop()))
        for owner in (OWNER, OTHER):
            self.do(self.queue.owner_gone(owner))
        while self.writes:
            batch = self.writes.pop()
            self.shares[batch.file], self.sizes[batch.file] = len(batch.entries), batch.size
            self.do(self.queue.written(batch.file, self.disk(), self.now_s))
        assert not self.queue.entries and not self.sizes and not self.nodes
        assert self.queue.stored_bytes == self.queue.reserved_bytes == 0


TestCrowd = Crowd.TestCase
TestCrowd.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
