"""Range allocator: tiling, merging, recycling and reuse of low addresses."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from linckia.shm.allocator import RangeAllocator, size_class

KIB = 1024


def make(size: int = 1024 * KIB, alignment: int = 64) -> RangeAllocator:
    ranges = RangeAllocator(alignment)
    ranges.add_region(0, size)
    return ranges


def must(start: int | None) -> int:
    assert start is not None
    return start


def test_sizes_are_rounded_up_and_starts_are_aligned() -> None:
    ranges = make()
    starts = [must(ranges.allocate(size)) for size in (1, 64, 65, 0)]
    assert starts == [0, 64, 128, 256]
    assert ranges.used == {0: 64, 64: 64, 128: 128, 256: 64}


def test_a_freed_block_is_the_next_one_of_its_size() -> None:
    ranges = make()
    blocks = [must(ranges.allocate(100 * KIB)) for _ in range(5)]
    ranges.free(blocks[1])
    ranges.free(blocks[3])
    assert ranges.allocate(100 * KIB) == blocks[3], "the most recently freed is the warmest"
    assert ranges.allocate(100 * KIB) == blocks[1]


def test_used_memory_is_reused_before_untouched_memory() -> None:
    ranges = make()
    for _ in range(100):
        start = must(ranges.allocate(300 * KIB))
        assert start == 0
        ranges.free(start)


def test_neighbours_merge_into_one_range() -> None:
    ranges = make(64 * 3)
    a, b, c = (must(ranges.allocate(64)) for _ in range(3))
    assert ranges.free(a) is None
    assert ranges.free(c) is None
    assert ranges.largest_free() == 64
    assert ranges.free(b) == 0, "the region is empty now"
    assert list(ranges.free_ranges()) == [(0, 192)]


def test_regions_do_not_merge_and_leave_one_by_one() -> None:
    ranges = RangeAllocator()
    ranges.add_region(0, 128)
    ranges.add_region(128, 128)
    assert ranges.allocate(256) is None
    start = must(ranges.allocate(128))
    assert ranges.unused_regions() == [(128 - start, 128)]
    assert ranges.remove_region(128 - start) == 128
    with pytest.raises(ValueError, match="in use"):
        ranges.remove_region(start)
    assert ranges.free(start) == start


def test_a_range_of_the_same_class_is_found_although_the_newest_is_too_small() -> None:
    ranges = RangeAllocator()
    ranges.add_region(0, 64 * 33)  # one class (32..35 units), three sizes
    ranges.add_region(1 << 20, 64 * 32)
    assert ranges.allocate(64 * 33) == 0


def test_freeing_twice_is_named() -> None:
    ranges = make()
    start = must(ranges.allocate(10))
    ranges.free(start)
    with pytest.raises(KeyError, match=f"offset {start} is not allocated here"):
        ranges.free(start)


def test_carve_keeps_what_it_is_told_and_frees_the_rest() -> None:
    ranges = make(64 * 100)
    start = must(ranges.allocate(64 * 50))
    assert ranges.carve(start, [(64 * 10, 70), (64 * 12, 1)]) == [64 * 10, 64 * 12]
    ranges.check()
    assert ranges.used == {64 * 10: 128, 64 * 12: 64}
    assert ranges.allocate(64 * 10) == 0


def test_carve_refuses_ranges_outside() -> None:
    ranges = make(64 * 100)
    start = must(ranges.allocate(64 * 5))
    with pytest.raises(ValueError, match="beyond the end"):
        ranges.carve(start, [(64 * 4, 65)])


@pytest.mark.parametrize("region", [(1, 64), (0, 63), (0, 0), (64, -64)])
def test_regions_are_whole_units(region: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="64-byte units"):
        RangeAllocator().add_region(*region)


def test_size_classes_are_monotonic_and_fine() -> None:
    classes = [size_class(units) for units in range(1, 5000)]
    assert classes == sorted(classes)
    assert classes[:15] == list(range(1, 16)), "small sizes have exact classes"
    for units in range(16, 5000):
        first = units
        while first > 1 and size_class(first - 1) == size_class(units):
            first -= 1
        assert units < first * 9 / 8 + 1


class AllocatorMachine(RuleBasedStateMachine):
    """Random regions, blocks and carvings against a model that knows which unit belongs to whom."""

    REGION = 64 * 40

    def __init__(self) -> None:
        super().__init__()
        self.ranges = RangeAllocator()
        self.blocks: dict[int, int] = {}
        self.regions: set[int] = set()

    @rule(slot=st.integers(0, 5))
    def add(self, slot: int) -> None:
        if slot not in self.regions:
            self.regions.add(slot)
            self.ranges.add_region(slot * self.REGION, self.REGION)

    @rule(size=st.integers(0, 64 * 45))
    def allocate(self, size: int) -> None:
        start = self.ranges.allocate(size)
        need = max(size + 63 & -64, 64)
        if start is None:
            assert self.longest_free() < need, "refused although it fits"
            return
        assert all(start + need <= s or s + n <= start for s, n in self.blocks.items()), "overlaps a used block"
        assert any(r * self.REGION <= start and start + need <= (r + 1) * self.REGION for r in self.regions)
        self.blocks[start] = need

    @precondition(lambda self: self.blocks)
    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        start = data.draw(st.sampled_from(sorted(self.blocks)))
        del self.blocks[start]
        emptied = self.ranges.free(start)
        region = start // self.REGION * self.REGION
        still = any(region <= s < region + self.REGION for s in self.blocks)
        assert emptied == (None if still else region)

    @precondition(lambda self: self.blocks)
    @rule(data=st.data())
    def carve(self, data: st.DataObject) -> None:
        start = data.draw(st.sampled_from(sorted(self.blocks)))
        units = self.blocks.pop(start) // 64
        keep = data.draw(st.sets(st.integers(0, units - 1)))
        self.ranges.carve(start, [(start + 64 * unit, 64) for unit in keep])
        self.blocks.update({start + 64 * unit: 64 for unit in keep})

    @rule()
    def drop_unused(self) -> None:
        for start, size in self.ranges.unused_regions():
            assert self.ranges.remove_region(start) == size == self.REGION
            self.regions.discard(start // self.REGION)

    @invariant()
    def consistent(self) -> None:
        self.ranges.check()
        assert self.ranges.used == self.blocks
        assert self.ranges.largest_free() == self.longest_free()

    def longest_free(self) -> int:
        longest = 0
        for region in self.regions:
            run = 0
            position, end = region * self.REGION, (region + 1) * self.REGION
            while position < end:
                if position in self.blocks:
                    position, run = position + self.blocks[position], 0
                else:
                    position, run = position + 64, run + 64
                    longest = max(longest, run)
        return longest


TestAllocatorMachine = AllocatorMachine.TestCase
TestAllocatorMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
