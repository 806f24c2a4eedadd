"""Bundles that wait at a node: tasks give way, smaller requests do not get in between, and what cannot come is told."""

from __future__ import annotations

from linckia.core.leases.manager import LeaseManager
from linckia.core.leases.records import Claimed, Effect, Grant, LeaseRequest, Recall
from linckia.core.leases.vectors import Units, to_units

ONE = to_units({"CPU": 1.0})
TWO = to_units({"CPU": 2.0})


def node(cpus: float = 2.0) -> LeaseManager:
    manager = LeaseManager(to_units({"CPU": cpus}), soft_limit=8)
    manager.prestart(8)
    for number in range(8):
        manager.worker_ready(b"w%d" % number, 0.0)
    return manager


def task(rid: int, need: Units = ONE, actor_id: bytes = b"") -> LeaseRequest:
    return LeaseRequest(owner=b"driver", rid=rid, resources=need, job_id=b"job", actor_id=actor_id)


def granted(effects: list[Effect]) -> list[Grant]:
    return [each for each in effects if isinstance(each, Grant)]


def filled(cpus: float = 2.0) -> tuple[LeaseManager, list[Grant]]:
    """All CPUs are leased to tasks of one driver."""
    manager = node(cpus)
    grants = [grant for rid in range(int(cpus)) for grant in granted(manager.request(task(rid)))]
    assert len(grants) == cpus
    return manager, grants


def give_back(manager: LeaseManager, grant: Grant) -> list[Effect]:
    return manager.returned(b"driver", grant.lease_id, reusable=True, now_s=1.0)


def test_tasks_are_asked_to_give_way_and_the_claim_gets_what_comes_back() -> None:
    manager, grants = filled()
    assert manager.reserve([ONE]) is None
    (recall,) = manager.claim(b"group", [ONE]) or []
    assert isinstance(recall, Recall)
    effects = give_back(manager, next(grant for grant in grants if grant.lease_id == recall.lease_id))
    assert [each.owner for each in effects if isinstance(each, Claimed)] == [b"group"]
    assert manager.available["CPU"] == 0
    assert not granted(manager.request(task(9)))


def test_what_comes_back_one_by_one_is_kept_for_a_claim_that_needs_several() -> None:
    manager, grants = filled()
    assert len(manager.claim(b"group", [ONE, ONE]) or []) == 2
    assert not manager.request(task(9)), "it is smaller, and comes later"
    assert not granted(give_back(manager, grants[0]))
    effects = give_back(manager, grants[1])
    assert [len(each.gpus) for each in effects if isinstance(each, Claimed)] == [2]
    assert not granted(effects)


def test_who_needs_other_resources_does_not_wait_for_a_claim() -> None:
    manager = LeaseManager(to_units({"CPU": 1.0, "disk": 1.0}), soft_limit=2)
    manager.prestart(2)
    manager.worker_ready(b"w", 0.0)
    manager.worker_ready(b"v", 0.0)
    assert granted(manager.request(task(1)))
    manager.claim(b"group", [ONE])
    assert granted(manager.request(task(2, to_units({"disk": 1.0}))))


def test_a_claim_that_is_dropped_lets_the_others_go_on() -> None:
    manager, grants = filled()
    manager.claim(b"group", [ONE, ONE])
    manager.request(task(9))
    give_back(manager, grants[0])
    assert len(granted(manager.drop_claim(b"group"))) == 1
    assert manager.drop_claim(b"group") == []


def test_what_actors_hold_is_not_waited_for() -> None:
    manager = node()
    assert granted(manager.request(task(1, TWO, actor_id=b"actor")))
    assert manager.claim(b"group", [ONE]) is None
    assert not manager.claims.bundles


def test_what_tasks_have_been_asked_for_already_counts() -> None:
    manager, _ = filled()
    manager.claim(b"group", [ONE, ONE])
    manager.drop_claim(b"group")
    assert manager.claim(b"group", [ONE, ONE]) == [], "both are on their way"
