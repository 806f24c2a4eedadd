"""Budgets: the oldest of what is over go first, what lives never, and estimated sizes are not below the truth."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import msgspec
import pytest

from linckia.base.limits import DEAD_ACTORS_MAX_BYTES, MIB
from linckia.core.actors import directory as actors
from linckia.core.actors.directory import ActorDirectory
from linckia.core.actors.record import ACTOR_RECORD_BYTES
from linckia.core.placement.directory import GroupDirectory
from linckia.core.scheduling.view import ClusterView
from linckia.core.tables.budget import Ledger, Recent
from linckia.model.placement import GroupSpec
from linckia.model.specs import ActorSpec, MethodSpec
from linckia.model.wire import Address

MANY = 100_000
METHODS = [MethodSpec(f"method{each}", 1, None, b"", "", False, False) for each in range(10)]


def test_the_oldest_go_until_the_rest_fits() -> None:
    ledger = Ledger[str](100, "the oldest")
    assert [ledger.add(key, 30) for key in "abc"] == [[], [], []]
    assert ledger.add("d", 60) == ["a", "b"]
    assert (list(ledger), ledger.bytes, ledger.evicted, ledger.evicted_bytes) == (["c", "d"], 90, 2, 60)


def test_what_lives_again_does_not_go() -> None:
    ledger = Ledger[str](100, "the oldest")
    ledger.add("a", 50)
    ledger.add("b", 50)
    ledger.remove("a")
    ledger.remove("never there")
    assert ledger.add("c", 50) == []
    assert list(ledger) == ["b", "c"]


def test_the_latest_stays_however_large_it_is() -> None:
    ledger = Ledger[str](100, "the oldest")
    ledger.add("a", 10)
    assert ledger.add("b", 1000) == ["a"]
    assert list(ledger) == ["b"]
    assert ledger.add("c", 10) == ["b"]


def test_the_latest_of_a_stream_are_kept() -> None:
    recent = Recent[int](100)
    for number in range(50):
        recent.add(number, 10)
    assert list(recent) == list(range(40, 50))
    assert (recent.bytes, recent.evicted) == (100, 40)


# --- actors -----------------------------------------------------------------------------------------------------------


def spec(number: int, text: bytes = b"") -> ActorSpec:
    return ActorSpec(
        actor_id=b"actor%011d" % number, job_id=b"job1", class_id=b"c" * 28, class_blob=b"x" * 2000 + text,
        class_name=f"Actor{number}", class_module=f"module{number}", args=b"y" * 300, extras=None,
        owner=Address(b"owner%d" % number, f"unix:/tmp/session/sockets/owner-{number}"), name="", namespace="ns",
        detached=False, get_if_exists=False, max_restarts=0, max_task_retries=0, max_concurrency=1, is_async=False,
        concurrency_groups={}, max_pending_calls=-1, lifetime_resources={"CPU": 1.0},
        placement_resources={"CPU": 1.0}, methods=METHODS,
    )  # fmt: skip


def live_and_die(directory: ActorDirectory, number: int, text: bytes = b"") -> None:
    made = msgspec.msgpack.decode(msgspec.msgpack.encode(spec(number, text)), type=ActorSpec)
    directory.register(made, ready=True)
    worker = Address(b"w%d" % number, f"unix:/tmp/session/sockets/worker-{number}")
    directory.leased(made.actor_id, worker, 1)
    directory.alive(made.actor_id, worker, 1, f"Actor{number}()")
    directory.process_ended(made.actor_id, 0, f"killed by signal 9 on node {number}", intended=False)


def test_a_hundred_thousand_dead_actors_stay_within_the_budget_and_the_living_are_there() -> None:
    directory = ActorDirectory()
    gone: dict[bytes, None] = {}
    directory.on_change = lambda actor_id: gone.setdefault(actor_id) if actor_id not in directory.actors else None
    directory.register(spec(MANY), ready=True)
    plain = msgspec.structs.replace(spec(0), class_blob=b"", methods=[])
    for number in range(MANY):
        actor_id = b"actor%011d" % number
        directory.register(msgspec.structs.replace(plain, actor_id=actor_id), ready=True)
        directory.process_ended(actor_id, 0, "killed by signal 9", intended=False)
    dead = directory.dead
    assert dead.bytes <= DEAD_ACTORS_MAX_BYTES
    assert len(directory.actors) == len(dead) + 1 < 20_000
    assert len(gone) == dead.evicted == MANY - len(dead), "each that goes is told to the store"
    assert b"actor%011d" % MANY in directory.actors, "the first of all, which lives"
    assert next(iter(dead)) == b"actor%011d" % (MANY - len(dead)), "the first that died are gone"


def memory_of(make: Callable[[int], object], count: int) -> int:
    """Bytes that so many take, besides what the first ones bring along."""
    for number in range(100):
        make(number)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(100, 100 + count):
            make(number)
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


def test_a_dead_actor_takes_no_more_than_is_counted_for_it() -> None:
    directory = ActorDirectory()
    took = memory_of(lambda number: live_and_die(directory, number), 1000)
    counted = directory.dead.bytes * 1000 // 1100
    assert counted / 2 < took < counted


def test_what_a_dead_actor_says_counts() -> None:
    directory = ActorDirectory()
    live_and_die(directory, 1)
    before = directory.dead.bytes
    directory.register(spec(2), ready=True)
    directory.failed(spec(2).actor_id, b"e" * MIB)
    assert directory.dead.bytes - before > MIB
    assert directory.actors[spec(2).actor_id].spec.class_blob == b"", "its class is not kept"


def test_the_next_head_forgets_those_first_that_died_first(monkeypatch: pytest.MonkeyPatch) -> None:
    first = ActorDirectory()
    for number in (3, 1, 2):
        live_and_die(first, number)
    monkeypatch.setattr(actors, "DEAD_ACTORS_MAX_BYTES", 2 * ACTOR_RECORD_BYTES + 500)
    after = ActorDirectory()
    for actor in sorted(first.actors.values(), key=lambda each: each.death_number):
        after.restore(actor)
    assert list(after.actors) == [spec(number).actor_id for number in (1, 2)]
    live_and_die(after, 4)
    assert list(after.actors) == [spec(number).actor_id for number in (2, 4)]


# --- placement groups -------------------------------------------------------------------------------------------------


def test_a_removed_group_takes_no_more_than_is_counted_for_it() -> None:
    directory = GroupDirectory(ClusterView())

    def make(number: int) -> None:
        made = GroupSpec(b"group%011d" % number, [{"CPU": 1.0}, {"CPU": 2.0}], "PACK", f"g{number}", "ns")
        directory.create(msgspec.msgpack.decode(msgspec.msgpack.encode(made), type=GroupSpec), 0.0)
        directory.remove(made.group_id)

    took = memory_of(make, 1000)
    counted = directory.gone.bytes * 1000 // 1100
    assert counted / 2 < took < counted
    directory.gone.budget_bytes = 10_000
    make(5000)
    assert len(directory.groups) == len(directory.gone) <= 3
