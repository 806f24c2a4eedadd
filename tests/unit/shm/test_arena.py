"""Arena: blocks without round trips, recycling, what is kept and what goes back."""

from __future__ import annotations

import pytest

from linckia.base.errors import ObjectStoreFullError
from linckia.model.wire import Block
from linckia.shm.arena import Arena
from linckia.shm.effects import MIB, DenyExtent, GrantExtent
from linckia.shm.store import StoreCore


class FakeSegment:
    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes


class Node:
    """A store that answers at once, and counts."""

    def __init__(self, capacity: int = 1024 * MIB) -> None:
        self.core = StoreCore(capacity)
        self.asked: list[int] = []
        self.returned: list[tuple[int, int]] = []
        self.arena = Arena(FakeSegment(capacity), self.request, self.take_back, keep_bytes=32 * MIB)  # type: ignore[arg-type]

    def request(self, size: int) -> tuple[int, int]:
        self.asked.append(size)
        (answer, *_) = [*self.core.alloc_extent(b"me", 1, size, 0.0), *self.core.tick(9.0)]
        if isinstance(answer, DenyExtent):
            raise ObjectStoreFullError(answer.reason)
        assert isinstance(answer, GrantExtent)
        return answer.offset, answer.size

    def take_back(self, extents: list[tuple[int, int]]) -> None:
        self.returned += extents
        self.core.extents_returned(b"me", extents, 0.0)


def test_small_blocks_share_one_extent() -> None:
    node = Node()
    blocks = [node.arena.allocate(200_000) for _ in range(50)]
    assert len(node.asked) == 1
    assert len({b.offset for b in blocks}) == 50
    assert blocks[0] == Block(0, 200_000)
    assert node.arena.leased_bytes == 16 * MIB


@pytest.mark.row("P17")
def test_a_loop_of_puts_and_frees_asks_once_and_uses_one_place() -> None:
    node = Node()
    places = set()
    for _ in range(10_000):
        block = node.arena.allocate(MIB)
        places.add(block.offset)
        node.arena.free(block.offset)
    assert (len(node.asked), len(places), node.arena.used_bytes) == (1, 1, 0)


def test_a_large_block_has_its_own_extent_and_gets_the_same_place_again() -> None:
    node = Node()
    places = set()
    for _ in range(5):
        block = node.arena.allocate(100 * MIB)
        places.add(block.offset)
        node.arena.free(block.offset)
    assert places == {0}
    assert node.arena.leased_bytes == 0, "above the bound: given back each time"
    assert node.core.usage().leased_bytes == 0


def test_extents_up_to_the_bound_are_kept() -> None:
    node = Node()
    blocks = [node.arena.allocate(12 * MIB) for _ in range(5)]
    for block in blocks:
        node.arena.free(block.offset)
    assert node.arena.leased_bytes == 24 * MIB
    assert node.returned == [(b.offset, 12 * MIB) for b in blocks[:3]], "those that were unused longest"


def test_a_large_free_does_not_push_out_what_is_kept() -> None:
    node = Node()
    small, large = node.arena.allocate(1000), node.arena.allocate(100 * MIB)
    node.arena.free(small.offset)
    node.arena.free(large.offset)
    assert node.returned == [(large.offset, 100 * MIB)]


def test_trim_returns_everything_unused_and_nothing_else() -> None:
    node = Node()
    small, large = node.arena.allocate(1000), node.arena.allocate(20 * MIB)
    node.arena.free(large.offset)
    assert node.arena.trim() == 20 * MIB
    assert node.arena.trim() == 0
    assert node.arena.holds(small.offset)
    assert not node.arena.holds(large.offset)
    assert node.arena.leased_bytes == node.core.usage().leased_bytes == 16 * MIB


def test_what_is_kept_is_given_back_when_it_is_too_small_for_the_next_block() -> None:
    node = Node(80 * MIB)
    first = node.arena.allocate(4 * MIB)
    node.arena.free(first.offset)
    assert node.arena.leased_bytes == 4 * MIB, "kept"
    assert node.arena.allocate(80 * MIB).size == 80 * MIB, "the whole store is needed"


def test_a_fresh_extent_is_not_given_back_by_another_threads_failure() -> None:
    node = Node()
    assert node.arena.try_allocate(20 * MIB) is None
    node.arena.add_extent(*node.request(20 * MIB))
    assert node.arena.try_allocate(30 * MIB) is None, "another thread, before the first one comes back"
    assert node.returned == []
    assert node.arena.try_allocate(20 * MIB) == 0
    node.arena.free(0)
    assert node.arena.try_allocate(30 * MIB) is None
    assert node.returned == [(0, 20 * MIB)], "used once: not fresh any more"


def test_a_trimmed_fresh_extent_leaves_no_trace() -> None:
    node = Node()
    node.arena.add_extent(*node.request(20 * MIB))
    assert node.arena.trim() == 20 * MIB
    node.arena.add_extent(*node.request(20 * MIB))
    node.arena.free(node.arena.allocate(20 * MIB).offset)
    assert node.arena.try_allocate(30 * MIB) is None
    assert len(node.returned) == 2


def test_a_full_store_is_an_error_that_says_why() -> None:
    node = Node(64 * MIB)
    node.arena.allocate(60 * MIB)
    with pytest.raises(ObjectStoreFullError, match=r"no room for 20\.0 MiB: capacity 64\.0 MiB, used 60\.0 MiB"):
        node.arena.allocate(20 * MIB)


def test_freeing_what_is_not_there_is_an_error() -> None:
    with pytest.raises(KeyError, match="offset 640"):
        Node().arena.free(640)


def test_an_empty_object_takes_a_block_of_its_own() -> None:
    node = Node()
    assert node.arena.allocate(0).offset != node.arena.allocate(0).offset
