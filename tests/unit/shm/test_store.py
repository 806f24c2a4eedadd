"""Store core: grants, forwards, deaths, adoption, denial; then a random crowd of processes that dies at any moment."""

from __future__ import annotations

import pytest

from linckia.shm.check import check_store
from linckia.shm.effects import (
    MIB,
    DenyExtent,
    Effect,
    ForwardFree,
    GrantExtent,
    Recall,
    ReleasePages,
    StoreOptions,
    size_text,
)
from linckia.shm.store import StoreCore

DRIVER, WORKER, OTHER = b"driver", b"worker", b"other"
OPTIONS = StoreOptions(extent_bytes=1 * MIB)


def make(capacity: int = 256 * MIB) -> StoreCore:
    core = StoreCore(capacity, OPTIONS)
    for client in (DRIVER, WORKER, OTHER):
        core.client_joined(client, f"{client.decode()} pid 1")
    return core


def granted(effects: list[Effect]) -> GrantExtent:
    (grant,) = effects
    assert isinstance(grant, GrantExtent)
    return grant


def seal(core: StoreCore, holder: bytes, offset: int, owner: bytes, size: int = 1000) -> bytes:
    object_id = b"object at %d by %s" % (offset, holder)
    assert core.sealed(holder, [(offset, size, object_id, owner)]) == []
    return object_id


def test_small_requests_share_an_extent_and_large_ones_have_their_own() -> None:
    core = make()
    assert granted(core.alloc_extent(WORKER, 7, 1000, 0.0)) == GrantExtent(WORKER, 7, 0, 1 * MIB)
    large = granted(core.alloc_extent(WORKER, 8, 3 * MIB + 1, 0.0))
    assert (large.rid, large.size) == (8, 3 * MIB + 4096)


def test_a_small_store_gives_small_extents() -> None:
    core = make(4 * MIB)
    assert granted(core.alloc_extent(WORKER, 7, 1000, 0.0)).size == 4 * MIB // 64


def test_the_owners_free_goes_to_the_living_holder() -> None:
    core = make()
    extent = granted(core.alloc_extent(WORKER, 1, 5000, 0.0))
    seal(core, WORKER, extent.offset + 64, DRIVER)
    assert core.usage().sealed_bytes == 1000
    assert core.free_blocks(DRIVER, [extent.offset + 64], 0.0) == [ForwardFree(WORKER, (extent.offset + 64,))]
    assert core.usage().objects == 0
    check_store(core)


def test_frees_of_one_message_are_grouped_by_holder() -> None:
    core = make()
    one = granted(core.alloc_extent(WORKER, 1, 5000, 0.0)).offset
    two = granted(core.alloc_extent(OTHER, 1, 5000, 0.0)).offset
    for holder, offset in ((WORKER, one), (OTHER, two), (WORKER, one + 1024)):
        seal(core, holder, offset, DRIVER)
    effects = core.free_blocks(DRIVER, [one, two, one + 1024], 0.0)
    assert effects == [ForwardFree(WORKER, (one, one + 1024)), ForwardFree(OTHER, (two,))]


def test_a_holder_frees_its_own_block_without_a_forward() -> None:
    core = make()
    extent = granted(core.alloc_extent(DRIVER, 1, 5000, 0.0))
    seal(core, DRIVER, extent.offset, DRIVER)
    assert core.free_blocks(DRIVER, [extent.offset], 0.0) == []
    assert core.usage().objects == 0


def test_a_free_may_overtake_the_free_and_the_seal_before_it() -> None:
    core = make()
    place = granted(core.alloc_extent(WORKER, 1, 5000, 0.0)).offset
    seal(core, WORKER, place, WORKER)
    # The worker has freed that one and made another one there for the driver; neither message is here yet.
    assert core.free_blocks(DRIVER, [place], 0.0) == [ForwardFree(WORKER, (place,))]
    assert core.free_blocks(WORKER, [place], 0.0) == []
    assert core.sealed(WORKER, [(place, 10, b"the driver's", DRIVER)]) == []
    assert core.usage().objects == 0
    check_store(core)


def test_an_adoption_may_overtake_the_seal() -> None:
    core = make()
    place = granted(core.alloc_extent(WORKER, 1, 5000, 0.0)).offset
    core.client_died(DRIVER, 0.0)
    assert core.sealed(OTHER, [(place, 10, b"result", OTHER)]) == []
    assert core.sealed(WORKER, [(place, 10, b"result", DRIVER)]) == []
    assert core.tick(OPTIONS.orphan_grace_s) == []
    check_store(core)
    assert core.free_blocks(OTHER, [place], 2.0) == [ForwardFree(WORKER, (place,))]


def test_the_free_after_an_adoption_that_came_too_late_harms_nobody() -> None:
    core = make()
    place = granted(core.alloc_extent(WORKER, 1, 5000, 0.0)).offset
    seal(core, WORKER, place, DRIVER)
    core.client_died(DRIVER, 0.0)
    core.tick(OPTIONS.orphan_grace_s)
    core.sealed(OTHER, [(place, 10, b"long gone", OTHER)])
    assert core.free_blocks(OTHER, [place], 2.0) == []
    check_store(core)


def test_a_holder_that_adopts_is_told_like_any_other() -> None:
    core = make()
    place = granted(core.alloc_extent(WORKER, 1, 5000, 0.0)).offset
    object_id = seal(core, WORKER, place, DRIVER)
    core.client_died(DRIVER, 0.0)
    for reader in (WORKER, OTHER):
        core.sealed(reader, [(place, 1000, object_id, reader)])
    core.tick(OPTIONS.orphan_grace_s)
    assert core.free_blocks(WORKER, [place], 2.0) == [], "the other one still reads"
    assert core.free_blocks(OTHER, [place], 3.0) == [ForwardFree(WORKER, (place,))]
    check_store(core)


def test_a_free_may_overtake_sealed() -> None:
    core = make()
    extent = granted(core.alloc_extent(WORKER, 1, 5000, 0.0))
    assert core.free_blocks(DRIVER, [extent.offset], 0.0) == [ForwardFree(WORKER, (extent.offset,))]
    seal(core, WORKER, extent.offset, DRIVER)  # sent before the worker heard of the free
    assert core.usage().objects == 0
    seal(core, WORKER, extent.offset, DRIVER)  # the next object at this place is a new one
    assert core.usage().objects == 1
    check_store(core)


def test_returned_extents_are_granted_again() -> None:
    core = make()
    first = granted(core.alloc_extent(WORKER, 1, 100 * MIB, 0.0))
    assert core.extents_returned(WORKER, [(first.offset, first.size)], 0.0) == []
    assert granted(core.alloc_extent(OTHER, 2, 100 * MIB, 0.0)).offset == first.offset, "recycled pages first"
    assert core.extents_returned(WORKER, [(first.offset, first.size)], 0.0) == [], "not the worker's any more"
    assert core.usage().extents == 1


def test_a_dead_holder_leaves_the_blocks_of_living_owners() -> None:
    core = make()
    extent = granted(core.alloc_extent(WORKER, 1, 5000, 0.0))
    seal(core, WORKER, extent.offset + 640, DRIVER)
    seal(core, WORKER, extent.offset + 6400, WORKER)
    core.client_died(WORKER, 10.0)
    assert core.usage().leased_bytes == extent.size, "kept for a grace period"
    assert core.next_deadline() == 10.0 + OPTIONS.orphan_grace_s
    core.tick(10.0 + OPTIONS.orphan_grace_s)
    check_store(core)
    assert core.usage().leased_bytes == 1024, "the driver's block, rounded up"
    assert core.free_blocks(DRIVER, [extent.offset + 640], 12.0) == [], "the store frees it itself"
    check_store(core)
    assert core.usage().leased_bytes == 0


def test_a_dead_owners_blocks_go_back_to_their_holder() -> None:
    core = make()
    extent = granted(core.alloc_extent(WORKER, 1, 5000, 0.0))
    seal(core, WORKER, extent.offset, DRIVER)
    assert core.client_died(DRIVER, 0.0) == []
    assert core.tick(OPTIONS.orphan_grace_s) == [ForwardFree(WORKER, (extent.offset,))]
    assert core.sealed(WORKER, [(extent.offset + 640, 10, b"late", DRIVER)]) == [
        ForwardFree(WORKER, (extent.offset + 640,))
    ], "the result of a task whose owner died before it ended"
    check_store(core)


def test_both_dead_leaves_nothing() -> None:
    core = make()
    extent = granted(core.alloc_extent(WORKER, 1, 5000, 0.0))
    seal(core, WORKER, extent.offset, DRIVER)
    core.client_died(DRIVER, 0.0)
    core.client_died(WORKER, 0.5)
    core.tick(OPTIONS.orphan_grace_s)
    core.tick(OPTIONS.orphan_grace_s + 0.5)
    check_store(core)
    assert core.usage().leased_bytes == 0


@pytest.mark.parametrize("holder_dies", [False, True])
def test_a_reader_adopts_the_block_of_a_dead_owner(holder_dies: bool) -> None:
    core = make()
    extent = granted(core.alloc_extent(WORKER, 1, 5000, 0.0))
    object_id = seal(core, WORKER, extent.offset, DRIVER)
    core.client_died(DRIVER, 0.0)
    if holder_dies:
        core.client_died(WORKER, 0.0)
    assert core.sealed(OTHER, [(extent.offset, 1000, object_id, OTHER)]) == []
    assert core.tick(OPTIONS.orphan_grace_s) == [], "somebody still reads it"
    check_store(core)
    assert core.usage().objects == 1
    forwards = [] if holder_dies else [ForwardFree(WORKER, (extent.offset,))]
    assert core.free_blocks(OTHER, [extent.offset], 2.0) == forwards
    assert core.usage().objects == 0
    check_store(core)


def test_an_adopter_that_dies_lets_go() -> None:
    core = make()
    extent = granted(core.alloc_extent(WORKER, 1, 5000, 0.0))
    object_id = seal(core, WORKER, extent.offset, DRIVER)
    core.client_died(DRIVER, 0.0)
    core.sealed(OTHER, [(extent.offset, 1000, object_id, OTHER)])
    core.tick(OPTIONS.orphan_grace_s)
    core.client_died(OTHER, 5.0)
    assert core.tick(5.0 + OPTIONS.orphan_grace_s) == [ForwardFree(WORKER, (extent.offset,))]
    check_store(core)


def test_an_owner_on_another_node_is_forgotten_with_its_last_block() -> None:
    core = make()
    extent = granted(core.alloc_extent(WORKER, 1, 5000, 0.0))
    seal(core, WORKER, extent.offset, b"remote")
    assert core.free_blocks(b"remote", [extent.offset], 0.0)
    assert b"remote" not in core._clients


def test_an_impossible_size_is_denied_at_once() -> None:
    core = make(10 * MIB)
    (denied,) = core.alloc_extent(DRIVER, 3, 11 * MIB, 0.0)
    assert isinstance(denied, DenyExtent)
    assert denied.rid == 3
    assert "11.0 MiB" in denied.reason
    assert "capacity 10.0 MiB" in denied.reason
    assert "larger object_store_memory" in denied.reason


def test_a_full_store_recalls_waits_and_serves_what_comes_back() -> None:
    core = make(10 * MIB)
    extent = granted(core.alloc_extent(WORKER, 1, 9 * MIB, 0.0))
    assert core.alloc_extent(DRIVER, 2, 5 * MIB, 0.0) == [Recall(WORKER)]
    assert core.next_deadline() == OPTIONS.recall_every_s
    assert core.tick(OPTIONS.recall_every_s) == [Recall(WORKER)]
    (grant,) = core.extents_returned(WORKER, [(extent.offset, extent.size)], 0.1)
    assert isinstance(grant, GrantExtent)
    assert (grant.client, grant.rid) == (DRIVER, 2)
    check_store(core)


def test_requests_are_served_in_order() -> None:
    core = make(10 * MIB)
    extent = granted(core.alloc_extent(WORKER, 1, 9 * MIB, 0.0))
    core.alloc_extent(DRIVER, 2, 9 * MIB, 0.0)
    assert core.alloc_extent(OTHER, 3, MIB, 0.0) == [], "would fit, but must not overtake"
    effects = core.extents_returned(WORKER, [(extent.offset, extent.size)], 0.1)
    assert [e.rid for e in effects if isinstance(e, GrantExtent)] == [2, 3]


def test_a_full_store_denies_with_figures() -> None:
    core = make(10 * MIB)
    extent = granted(core.alloc_extent(WORKER, 1, 9 * MIB, 0.0))
    seal(core, WORKER, extent.offset, DRIVER, 8 * MIB)
    core.alloc_extent(OTHER, 2, 5 * MIB, 0.0)
    core.alloc_extent(DRIVER, 3, MIB, 0.0)
    denied, served = core.tick(OPTIONS.deny_after_s)
    assert isinstance(denied, DenyExtent)
    assert isinstance(served, GrantExtent)
    assert served.rid == 3, "whoever waited behind gets its turn"
    for part in ("5.0 MiB", "capacity 10.0 MiB", "largest free range 1.0 MiB", "driver pid 1 8.0 MiB in 1 objects"):
        assert part in denied.reason


def test_the_death_of_a_waiting_process_withdraws_its_request() -> None:
    core = make(10 * MIB)
    extent = granted(core.alloc_extent(WORKER, 1, 9 * MIB, 0.0))
    core.alloc_extent(DRIVER, 2, 5 * MIB, 0.0)
    core.client_died(DRIVER, 0.0)
    assert core.extents_returned(WORKER, [(extent.offset, extent.size)], 0.1) == []


def test_memory_of_the_dead_serves_those_who_wait() -> None:
    core = make(10 * MIB)
    granted(core.alloc_extent(WORKER, 1, 9 * MIB, 0.0))
    core.client_died(WORKER, 0.0)
    core.alloc_extent(DRIVER, 2, 5 * MIB, 0.5)
    assert [type(e) for e in core.tick(OPTIONS.orphan_grace_s)] == [GrantExtent]


def test_idle_memory_goes_back_to_the_system_in_steps_but_a_warm_reserve_stays() -> None:
    core = StoreCore(100 * MIB, StoreOptions(release_after_s=10, keep_warm_bytes=20 * MIB, release_step_bytes=30 * MIB))
    extent = granted(core.alloc_extent(WORKER, 1, 90 * MIB, 0.0))
    assert core.next_deadline() is None, "nothing to release while it is in use"
    core.extents_returned(WORKER, [(extent.offset, extent.size)], 1.0)
    assert core.next_deadline() == 11.0
    released: list[ReleasePages] = []
    now = core.next_deadline()
    while now is not None:
        for effect in core.tick(now):
            assert isinstance(effect, ReleasePages)
            released.append(effect)
        now = core.next_deadline()
    assert [(e.offset // MIB, e.size // MIB) for e in released] == [(60, 30), (30, 30), (20, 10)]


def test_memory_in_use_is_never_released() -> None:
    core = StoreCore(100 * MIB, StoreOptions(release_after_s=10, keep_warm_bytes=0))
    low, high = (granted(core.alloc_extent(WORKER, rid, 40 * MIB, 0.0)) for rid in (1, 2))
    core.extents_returned(WORKER, [(low.offset, low.size)], 0.0)
    assert core.tick(10.0) == [ReleasePages(0, 40 * MIB)]
    assert high.offset == 40 * MIB


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 * MIB, "5.0 MiB"), (3 << 40, "3072.0 GiB")]
)
def test_sizes_are_written_for_people(size: int, text: str) -> None:
    assert size_text(size) == text


# --- what a dead process leaves behind --------------------------------------------------------------------------------


def test_an_owner_learns_what_a_dead_process_made_for_it_before_and_after_its_burial() -> None:
    core = make()
    extent = granted(core.alloc_extent(WORKER, 1, 5000, 0.0))
    mine = seal(core, WORKER, extent.offset + 64, DRIVER)
    seal(core, WORKER, extent.offset + 2048, OTHER)
    assert core.lives(WORKER)
    core.client_died(WORKER, 1.0)
    assert not core.lives(WORKER)
    assert core.left_by(WORKER, DRIVER) == [(mine, extent.offset + 64, 1000)]
    core.tick(1.0 + OPTIONS.orphan_grace_s)
    assert core.left_by(WORKER, DRIVER) == [(mine, extent.offset + 64, 1000)]
    core.free_blocks(DRIVER, [extent.offset + 64], 3.0)
    assert core.left_by(WORKER, DRIVER) == []
    core.free_blocks(OTHER, [extent.offset + 2048], 3.0)
    assert (core.usage().objects, len(core._left)) == (0, 0)
    assert core.left_by(b"nobody", DRIVER) == []
