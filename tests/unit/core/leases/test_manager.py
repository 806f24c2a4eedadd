"""The lease manager by cases: who gets a worker, in which order, and what is asked of the world."""

from __future__ import annotations

import msgspec
import pytest

from linckia.core.leases.manager import START_FAILURES_BEFORE_REFUSAL, LeaseManager
from linckia.core.leases.records import (
    Broken,
    Effect,
    Grant,
    Infeasible,
    Kill,
    LeaseRequest,
    Recall,
    Refuse,
    Retire,
    StartWorkers,
)
from linckia.core.leases.vectors import to_units

JOB = b"job1"


def make(cpus: float = 2, *, workers: int = 0, max_workers: int = 0, **more: float) -> LeaseManager:
    """A manager with idle workers w0, w1, ..."""
    manager = LeaseManager(to_units({"CPU": cpus, **more}), soft_limit=int(cpus), max_workers=max_workers)
    manager.prestart(workers)
    for number in range(workers):
        manager.worker_ready(f"w{number}".encode(), 0.0)
    return manager


def ask(owner: str = "a", rid: int = 1, *, job: bytes = JOB, nested: bool = False, **resources: float) -> LeaseRequest:
    return LeaseRequest(owner.encode(), rid, to_units(resources or {"CPU": 1}), job, nested)


def grants(effects: list[Effect]) -> list[tuple[str, int]]:
    return [(e.request.owner.decode(), e.request.rid) for e in effects if isinstance(e, Grant)]


def lease_id(effects: list[Effect]) -> int:
    (grant,) = [e for e in effects if isinstance(e, Grant)]
    return grant.lease_id


def test_grants_at_once_what_fits() -> None:
    manager = make(workers=2)
    (grant,) = manager.request(ask(CPU=0.5))
    assert isinstance(grant, Grant)
    assert grant.assigned == {"CPU": 0.5}
    assert grant.bind
    assert manager.available_amounts() == {"CPU": 1.5}


def test_starts_a_worker_when_there_is_none() -> None:
    manager = make()
    assert manager.request(ask()) == [StartWorkers(1)]
    assert grants(manager.worker_ready(b"w", 0.0)) == [("a", 1)]


def test_prestarted_workers_on_their_way_are_counted() -> None:
    manager = make()
    manager.prestart(2)
    assert manager.request(ask()) == []
    assert manager.request(ask(rid=2)) == []
    assert grants(manager.worker_ready(b"w", 0.0)) == [("a", 1)]


def test_starts_in_bounded_parallel() -> None:
    manager = make(cpus=100)
    started = [e for rid in range(20) for e in manager.request(ask(rid=rid))]
    assert sum(e.count for e in started if isinstance(e, StartWorkers)) == 8
    assert manager.worker_ready(b"w", 0.0)[-1] == StartWorkers(1)


def test_a_repeated_request_is_granted_once() -> None:
    manager = make()
    manager.request(ask())
    assert manager.request(ask()) == []
    assert len(grants(manager.worker_ready(b"w", 0.0))) == 1


def test_fifo_within_a_shape() -> None:
    manager = make(cpus=1, workers=1)
    first = lease_id(manager.request(ask(rid=1)))
    for rid in (2, 3, 4):
        manager.request(ask(rid=rid))
    assert grants(manager.returned(b"a", first, reusable=True, now_s=1.0)) == [("a", 2)]


def test_nested_before_drivers() -> None:
    manager = make(cpus=1, workers=1)
    first = lease_id(manager.request(ask()))
    manager.request(ask("driver", 2))
    manager.request(ask("parent", 3, nested=True))
    assert grants(manager.returned(b"a", first, reusable=True, now_s=1.0)) == [("parent", 3)]


def test_a_shape_that_does_not_fit_blocks_no_other() -> None:
    manager = make(cpus=2, workers=2)
    manager.request(ask(rid=1))
    assert grants(manager.request(ask(rid=2, CPU=2))) == []
    assert grants(manager.request(ask(rid=3, CPU=1))) == [("a", 3)]


@pytest.mark.row("4.6")
def test_infeasible_waits_warns_once_and_is_demand() -> None:
    manager = make()
    (warning,) = manager.request(ask(rid=1, CPU=3))
    assert isinstance(warning, Infeasible)
    assert "CPU: 3" in warning.text
    assert "CPU: 2" in warning.text
    assert manager.request(ask(rid=2, CPU=3)) == []
    assert manager.demand() == [({"CPU": 3.0}, 2, b"")]
    assert manager.explain((b"a", 1))[0] == "infeasible"
    manager.cancel((b"a", 1))
    assert manager.demand() == [({"CPU": 3.0}, 1, b"")]


@pytest.mark.row("2.2")
def test_an_actor_holds_nothing_but_needs_a_feasible_node() -> None:
    manager = make(cpus=1, workers=1)
    manager.request(ask())
    actor = LeaseRequest(b"actor", -1, {}, JOB, actor_id=b"actor", placement=to_units({"CPU": 1}))
    assert manager.request(actor) == [StartWorkers(1)]
    assert grants(manager.worker_ready(b"w", 0.0)) == [("actor", -1)]
    nowhere = make(cpus=0)
    assert isinstance(nowhere.request(actor)[0], Infeasible)


@pytest.mark.row("4.16")
def test_blocked_gives_its_cpu_back_and_takes_it_at_once() -> None:
    manager = make(cpus=1, workers=2, oil=1)
    manager.request(ask(CPU=1, oil=1))
    assert grants(manager.request(ask(rid=2))) == []
    worker = next(iter(manager.leases.values())).worker_id
    assert grants(manager.blocked(worker)) == [("a", 2)]
    assert manager.available["oil"] == 0
    assert manager.blocked(worker) == []
    manager.unblocked(worker)
    assert manager.available["CPU"] == -10_000
    assert manager.available_amounts()["CPU"] == 0
    manager.unblocked(worker)
    assert manager.available["CPU"] == -10_000


@pytest.mark.row("4.16")
def test_actors_keep_their_cpu_while_blocked() -> None:
    manager = make(cpus=1, workers=1)
    manager.request(LeaseRequest(b"actor", -1, to_units({"CPU": 1}), JOB, actor_id=b"actor"))
    assert manager.blocked(b"w0") == []
    assert manager.available["CPU"] == 0


def test_a_worker_that_dies_blocked_gives_back_only_the_rest() -> None:
    manager = make(cpus=1, workers=1, oil=1)
    manager.request(ask(CPU=1, oil=1))
    manager.blocked(b"w0")
    (broken,) = manager.worker_exited(b"w0")
    assert isinstance(broken, Broken)
    assert manager.available == {"CPU": 10_000, "oil": 10_000}


@pytest.mark.row("4.17")
def test_workers_serve_one_job() -> None:
    manager = make(cpus=2, workers=1)
    first = lease_id(manager.request(ask(job=b"one")))
    manager.returned(b"a", first, reusable=True, now_s=0.0)
    assert manager.request(ask(rid=2, job=b"two")) == [StartWorkers(1)]
    (grant,) = manager.request(ask(rid=3, job=b"one"))
    assert isinstance(grant, Grant)
    assert not grant.bind


@pytest.mark.row("4.17")
def test_surplus_idle_workers_end_after_a_second() -> None:
    manager = make(cpus=1, workers=3)
    assert manager.next_retirement_s() == 1.0
    assert manager.retire_idle(0.5) == []
    assert manager.retire_idle(1.0) == [Retire(b"w0", "idle"), Retire(b"w1", "idle")]
    assert manager.next_retirement_s() is None


@pytest.mark.row("P13")
def test_at_the_limit_of_workers_an_idle_one_of_another_job_makes_room() -> None:
    manager = make(cpus=2, workers=1, max_workers=1)
    first = lease_id(manager.request(ask(job=b"one")))
    manager.returned(b"a", first, reusable=True, now_s=0.0)
    (retire,) = manager.request(ask(rid=2, job=b"two"))
    assert isinstance(retire, Retire)
    assert manager.worker_exited(b"w0") == [StartWorkers(1)]


def test_workers_that_cannot_start_are_refused_after_some_tries() -> None:
    manager = make()
    manager.request(ask())
    for _ in range(START_FAILURES_BEFORE_REFUSAL - 1):
        assert manager.worker_start_failed("bad") == [StartWorkers(1)]
    (refusal,) = manager.worker_start_failed("bad")
    assert isinstance(refusal, Refuse)
    assert refusal.reason == "bad"
    assert manager.available_amounts() == {"CPU": 2.0}


def test_only_the_owner_returns_a_lease() -> None:
    manager = make(workers=1)
    lease = lease_id(manager.request(ask()))
    assert manager.returned(b"thief", lease, reusable=True, now_s=0.0) == []
    assert len(manager.leases) == 1


def test_a_worker_returned_as_used_up_is_not_granted_again() -> None:
    manager = make(workers=1)
    lease = lease_id(manager.request(ask()))
    manager.returned(b"a", lease, reusable=False, now_s=0.0)
    assert manager.request(ask(rid=2)) == [StartWorkers(1)]


def test_the_owner_of_a_lease_is_gone() -> None:
    manager = make(cpus=1, workers=1)
    manager.request(ask(rid=1))
    manager.request(ask(rid=2))
    assert manager.owner_gone(b"a") == [Kill(b"w0", "its owner died")]
    assert manager.pending == {}
    assert isinstance(manager.worker_exited(b"w0")[0], Broken)
    assert manager.available_amounts() == {"CPU": 1.0}


def test_a_dead_worker_takes_its_nested_workers_along() -> None:
    manager = make(cpus=2, workers=2)
    manager.request(ask(CPU=1))
    parent = next(iter(manager.leases.values())).worker_id
    child = manager.request(ask(parent.decode(), 5, nested=True))
    assert grants(child)
    assert [type(e) for e in manager.worker_exited(parent)] == [Broken, Kill]


@pytest.mark.row("4.34")
def test_the_end_of_a_job_spares_detached_actors() -> None:
    manager = make(cpus=4, workers=3)
    manager.request(ask())
    manager.request(LeaseRequest(b"d", -1, {}, JOB, actor_id=b"d", detached=True))
    manager.request(LeaseRequest(b"n", -1, {}, JOB, actor_id=b"n"))
    manager.request(ask("other", 1, job=b"job2"))
    killed = [e.worker_id for e in manager.job_gone(JOB) if isinstance(e, Kill)]
    spared = [lease.worker_id for lease in manager.leases.values() if lease.request.detached]
    assert len(killed) == 2
    assert not set(killed) & set(spared)
    assert (b"other", 1) in manager.pending


def test_recall_asks_the_richest_and_stops_at_equal_shares() -> None:
    manager = make(cpus=5, workers=5)
    for rid in range(4):
        manager.request(ask("rich", rid))
    manager.request(ask("poor", 0))
    (first,) = manager.request(ask("new", 0))
    assert isinstance(first, Recall)
    assert first.owner == b"rich"
    (second,) = manager.request(ask("poor", 1))  # rich has three left, poor one
    assert isinstance(second, Recall)
    assert second.owner == b"rich"
    assert manager.request(ask("poor", 2)) == []  # two each are coming
    assert manager.request(ask("rich", 9)) == []


def test_a_recalled_lease_is_not_asked_for_twice() -> None:
    manager = make(cpus=1, workers=1)
    held = lease_id(manager.request(ask("rich", 0)))
    assert manager.request(ask("new", 0)) == [Recall(b"rich", held)]
    assert manager.request(ask("newer", 0)) == []
    assert grants(manager.returned(b"rich", held, reusable=True, now_s=0.0)) == [("new", 0)]


@pytest.mark.row("4.4")
@pytest.mark.parametrize("differs", ["strategy", "runtime_env", "preferred"])
def test_an_owner_is_asked_for_what_it_cannot_use_itself(differs: str) -> None:
    """Tasks of the same shape and of another scheduling key cannot run on its idle lease."""
    manager = make(cpus=1, workers=1)
    held = lease_id(manager.request(ask("a", 0)))
    assert manager.request(ask("a", 1)) == [], "it will use the lease it has"
    other = msgspec.structs.replace(ask("a", 2), **{differs: b"other"})
    assert manager.request(other) == [Recall(b"a", held)]


@pytest.mark.row("2.3")
def test_gpus_are_whole_devices_or_parts_of_one() -> None:
    manager = make(cpus=4, workers=4, GPU=2)
    (half,) = manager.request(ask(rid=1, GPU=0.5))
    (one,) = manager.request(ask(rid=2, GPU=1))
    (other_half,) = manager.request(ask(rid=3, GPU=0.5))
    assert isinstance(half, Grant)
    assert isinstance(one, Grant)
    assert isinstance(other_half, Grant)
    assert half.assigned == {"GPU": 0.5, "GPU/0": 0.5}
    assert one.assigned == {"GPU": 1.0, "GPU/1": 1.0}
    assert other_half.assigned == {"GPU": 0.5, "GPU/0": 0.5}


def test_crumbs_of_two_gpus_are_not_one() -> None:
    manager = make(cpus=8, workers=4, GPU=2)
    for rid in (1, 2, 3):
        assert grants(manager.request(ask(rid=rid, GPU=0.6 if rid < 3 else 0.5))) == ([("a", rid)] if rid < 3 else [])
    assert manager.explain((b"a", 3))[0] == "resources"
