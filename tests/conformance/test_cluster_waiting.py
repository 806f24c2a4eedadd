"""Work that waits for a node that can run it, and parents that wait for their children (sections 2, 4 and 14)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from engine import better, exceptions, module, ray, wait_for

Affinity = module("util.scheduling_strategies").NodeAffinitySchedulingStrategy


@ray.remote
def node_id() -> str:
    """Where it runs."""
    found: str = ray.get_runtime_context().get_node_id()
    return found


@ray.remote
class Resident:
    """Lives somewhere."""

    def where(self) -> str:
        """The node."""
        found: str = ray.get_runtime_context().get_node_id()
        return found


@pytest.fixture
def own() -> Iterator[Any]:
    """A connected cluster of the test's own: a head without CPUs."""
    ray.shutdown()
    cluster = module("cluster_utils").Cluster(initialize_head=True, connect=True, head_node_args={"num_cpus": 0})
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def is_pending(ref: Any, seconds: float = 1.0) -> bool:
    """It has not become ready meanwhile."""
    return not ray.wait([ref], timeout=seconds)[0]


# --- what cannot run yet ----------------------------------------------------------------------------------------------


@pytest.mark.row("4.6", "14.11")
def test_what_no_node_can_run_waits_for_one(own: Any) -> None:
    ref = node_id.remote()
    actor = Resident.options(resources={"disk": 1}).remote()
    place = actor.where.remote()
    assert is_pending(ref)
    assert is_pending(place, 0.1)
    first = own.add_node(num_cpus=1)
    assert ray.get(ref, timeout=30) == first.node_id
    second = own.add_node(num_cpus=1, resources={"disk": 1})
    assert ray.get(place, timeout=30) == second.node_id


@pytest.mark.row("4.6", "14.11")
def test_the_sum_of_the_nodes_is_not_a_node(own: Any) -> None:
    own.add_node(num_cpus=2)
    own.add_node(num_cpus=2)
    ref = node_id.options(num_cpus=3).remote()
    assert is_pending(ref)
    large = own.add_node(num_cpus=3)
    assert ray.get(ref, timeout=30) == large.node_id


@pytest.mark.row("2.8", "4.6")
def test_a_node_with_the_label_comes_later(own: Any) -> None:
    own.add_node(num_cpus=1, labels={"zone": "a"})
    ref = node_id.options(label_selector={"zone": "b"}).remote()
    actor = Resident.options(label_selector={"zone": "b"}).remote()
    place = actor.where.remote()
    assert is_pending(ref)
    new = own.add_node(num_cpus=1, labels={"zone": "b"})
    assert ray.get([ref, place], timeout=30) == [new.node_id] * 2


@pytest.mark.row("4.10", "3.51", "3.52")
def test_affinity_to_a_node_that_died(own: Any) -> None:
    gone, other = own.add_node(num_cpus=1), own.add_node(num_cpus=1)
    own.remove_node(gone)
    wait_for(lambda: ray.cluster_resources().get("CPU") == 1, what="it is known to be gone")
    soft, hard = Affinity(gone.node_id, soft=True), Affinity(gone.node_id, soft=False)
    assert ray.get(node_id.options(scheduling_strategy=soft).remote(), timeout=30) == other.node_id
    with pytest.raises(exceptions.TaskUnschedulableError):
        ray.get(node_id.options(scheduling_strategy=hard).remote(), timeout=30)
    with pytest.raises(exceptions.ActorUnschedulableError):
        ray.get(Resident.options(scheduling_strategy=hard).remote().where.remote(), timeout=30)


@pytest.mark.row("2.2", "14.1")
def test_a_head_without_cpus(own: Any) -> None:
    plain, free = Resident.remote(), Resident.options(num_cpus=0).remote()
    assert ray.get(free.where.remote(), timeout=30) == own.head_node.node_id
    place = plain.where.remote()
    assert is_pending(place)
    node = own.add_node(num_cpus=1)
    assert ray.get(place, timeout=30) == node.node_id
    more = [Resident.remote() for _ in range(5)]
    assert set(ray.get([actor.where.remote() for actor in more], timeout=60)) == {node.node_id}


@pytest.mark.row("4.6")
def test_a_cancelled_wait_is_forgotten(own: Any) -> None:
    ref = node_id.remote()
    assert is_pending(ref, 0.5)
    ray.cancel(ref)
    with pytest.raises(exceptions.TaskCancelledError):
        ray.get(ref, timeout=30)
    node = own.add_node(num_cpus=1)
    assert ray.get(node_id.remote(), timeout=30) == node.node_id


@pytest.mark.row("4.6", "P38")
@better("Ray says nothing about a ref that waits")
def test_why_it_waits(own: Any) -> None:
    own.add_node(num_cpus=2, labels={"zone": "a"})
    large = node_id.options(num_cpus=3).remote()
    elsewhere = node_id.options(label_selector={"zone": "b"}).remote()
    why = ray.util.why_pending
    wait_for(lambda: "CPU" in str(why(large)) and "3" in str(why(large)), what="it says what is missing")
    wait_for(lambda: "zone" in str(why(elsewhere)), what="it says which label is missing")


# --- blocked parents --------------------------------------------------------------------------------------------------


@pytest.mark.row("4.16", "14.10")
def test_parents_deeper_than_there_are_cpus(own: Any) -> None:
    for _ in range(2):
        own.add_node(num_cpus=1)

    @ray.remote
    def deep(level: int) -> int:
        return 1 + ray.get(deep.remote(level - 1)) if level else 0

    assert ray.get(deep.remote(6), timeout=50) == 6


@pytest.mark.row("4.16")
def test_a_blocked_parent_lends_its_cpu_but_nothing_else(own: Any) -> None:
    node = own.add_node(num_cpus=1, resources={"disk": 1})

    @ray.remote(resources={"disk": 1})
    def parent(channel: Any) -> list[Any]:
        child = node_id.remote()
        greedy = node_id.options(num_cpus=0, resources={"disk": 1}).remote()
        return [ray.get(child), not ray.wait([greedy], timeout=1)[0]]

    assert ray.get(parent.remote(None), timeout=50) == [node.node_id, True]


@pytest.mark.row("4.16", "14.10")
def test_a_blocked_actor_keeps_its_cpu(own: Any) -> None:
    own.add_node(num_cpus=1)

    @ray.remote(num_cpus=1)
    class Parent:
        def waits(self) -> bool:
            return not ray.wait([node_id.remote()], timeout=1.5)[0]

    assert ray.get(Parent.remote().waits.remote(), timeout=50)
