"""Placement groups over several nodes: the four strategies, labels, and what the loss of a node does (section 6)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from engine import IS_LINCKIA, better, module, ray, wait_for

pg = module("util.placement_group")
util = module("util")
InGroup = module("util.scheduling_strategies").PlacementGroupSchedulingStrategy
PlacementGroupID = type(pg.PlacementGroup.empty().id)
RACKS = ("east", "east", "west")


@ray.remote
def node_id() -> str:
    """Where it runs."""
    found: str = ray.get_runtime_context().get_node_id()
    return found


@ray.remote(max_restarts=-1, max_task_retries=-1)
class Anchor:
    """Lives in a bundle."""

    def where(self) -> tuple[str, int]:
        """Node and process."""
        return ray.get_runtime_context().get_node_id(), os.getpid()


@pytest.fixture(scope="module")
def trio() -> Iterator[Any]:
    """A head and two more nodes, two CPUs each, with racks."""
    ray.shutdown()
    cluster = module("cluster_utils").Cluster(
        initialize_head=True, head_node_args={"num_cpus": 2, "labels": {"rack": RACKS[0], "slot": "0"}}
    )
    for index in (1, 2):
        cluster.add_node(num_cpus=2, labels={"rack": RACKS[index], "slot": str(index)})
    cluster.connect()
    wait_for(lambda: ray.cluster_resources().get("CPU") == 6, what="three nodes")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def clean(trio: Any) -> Iterator[None]:
    """No group outlives its test."""
    yield
    for group_id, row in util.placement_group_table().items():
        if row["state"] != "REMOVED":
            util.remove_placement_group(pg.PlacementGroup(PlacementGroupID.from_hex(group_id)))
    wait_for(lambda: ray.available_resources().get("CPU") == 6, what="all CPUs free again")


@pytest.fixture
def new_cluster() -> Iterator[Callable[..., Any]]:
    """Makes a cluster of so many two-CPU nodes besides a head without CPUs."""
    ray.shutdown()
    made: list[Any] = []

    def make(count: int) -> tuple[Any, list[Any]]:
        cluster = module("cluster_utils").Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        made.append(cluster)
        nodes = [cluster.add_node(num_cpus=2) for _ in range(count)]
        cluster.connect()
        wait_for(lambda: ray.cluster_resources().get("CPU") == 2 * count, what="the nodes")
        return cluster, nodes

    yield make
    ray.shutdown()
    for cluster in made:
        cluster.shutdown()


def made(bundles: list[dict[str, float]], **options: Any) -> Any:
    """A group that is there."""
    group = util.placement_group(bundles, **options)
    assert group.wait(20), util.placement_group_table(group)
    return group


def nodes_of(group: Any) -> list[str]:
    """Of its bundles."""
    row = util.placement_group_table(group)["bundles_to_node_id"]
    return [row[index] for index in sorted(row)]


def state(group: Any) -> str:
    """As the table says."""
    found: str = util.placement_group_table(group)["state"]
    return found


def by_slot() -> list[str]:
    """The node ids of the trio."""
    labels = {node["Labels"]["slot"]: node["NodeID"] for node in ray.nodes()}
    return [labels[slot] for slot in sorted(labels)]


# --- strategies -------------------------------------------------------------------------------------------------------


@pytest.mark.row("6.3")
def test_pack_takes_one_node_when_it_can(clean: None) -> None:
    assert len(set(nodes_of(made([{"CPU": 1}, {"CPU": 1}], strategy="PACK")))) == 1


@pytest.mark.row("6.3")
def test_pack_takes_more_nodes_when_it_must(clean: None) -> None:
    found = Counter(nodes_of(made([{"CPU": 1}] * 5)))
    assert sorted(found.values()) == [1, 2, 2]


@pytest.mark.row("6.4")
def test_spread_takes_distinct_nodes_when_it_can(clean: None) -> None:
    assert len(set(nodes_of(made([{"CPU": 1}] * 3, strategy="SPREAD")))) == 3


@pytest.mark.row("6.4")
def test_spread_shares_nodes_when_it_must(clean: None) -> None:
    assert sorted(Counter(nodes_of(made([{"CPU": 1}] * 5, strategy="SPREAD"))).values()) == [1, 2, 2]


@pytest.mark.row("6.5")
def test_strict_pack_is_one_node_or_nothing(clean: None) -> None:
    assert len(set(nodes_of(made([{"CPU": 1}, {"CPU": 1}], strategy="STRICT_PACK")))) == 1
    group = util.placement_group([{"CPU": 2}, {"CPU": 2}], strategy="STRICT_PACK")
    assert not group.wait(1)
    assert state(group) == "PENDING"


@pytest.mark.row("6.6")
def test_strict_spread_is_distinct_nodes_or_nothing(clean: None) -> None:
    assert len(set(nodes_of(made([{"CPU": 1}] * 3, strategy="STRICT_SPREAD")))) == 3
    group = util.placement_group([{"CPU": 0.25}] * 4, strategy="STRICT_SPREAD")
    assert not group.wait(1)
    assert state(group) == "PENDING"


@pytest.mark.row("6.8", "14.21")
def test_all_or_nothing_over_nodes(clean: None) -> None:
    first = made([{"CPU": 2}])
    group = util.placement_group([{"CPU": 2}] * 3)
    assert not group.wait(1)
    assert ray.available_resources()["CPU"] == 4, "two of three bundles would fit"
    util.remove_placement_group(first)
    assert group.wait(20)
    assert len(set(nodes_of(group))) == 3


@pytest.mark.row("6.8")
def test_many_groups_at_a_time(clean: None) -> None:
    groups = [util.placement_group([{"CPU": 1}] * 2, strategy="SPREAD") for _ in range(8)]
    wait_for(lambda: sum(state(group) == "CREATED" for group in groups) == 3, what="three of the groups fit")
    wait_for(lambda: ray.available_resources().get("CPU", 0) == 0, what="the reports that nothing is free")
    for _ in range(len(groups)):
        done = next(group for group in groups if state(group) == "CREATED")
        groups.remove(done)
        util.remove_placement_group(done)
        fit = min(3, len(groups))
        wait_for(lambda fit=fit: sum(state(g) == "CREATED" for g in groups) == fit, what=f"{fit} groups")  # type: ignore[misc]


@pytest.mark.row("4.12", "6.19")
def test_work_runs_on_the_node_of_its_bundle(clean: None) -> None:
    group = made([{"CPU": 1}] * 3, strategy="STRICT_SPREAD")
    refs = [node_id.options(scheduling_strategy=InGroup(group, index)).remote() for index in range(3)]
    assert ray.get(refs, timeout=30) == nodes_of(group)
    actors = [Anchor.options(num_cpus=1, scheduling_strategy=InGroup(group, index)).remote() for index in range(3)]
    assert [found for found, _ in ray.get([actor.where.remote() for actor in actors], timeout=30)] == nodes_of(group)


@pytest.mark.row("4.12", "6.19")
def test_any_bundle_may_be_on_any_node(clean: None) -> None:
    group = made([{"CPU": 1}] * 3, strategy="STRICT_SPREAD")
    actors = [Anchor.options(num_cpus=1, scheduling_strategy=InGroup(group)).remote() for _ in range(3)]
    found = {where for where, _ in ray.get([actor.where.remote() for actor in actors], timeout=30)}
    assert found == set(nodes_of(group))


@pytest.mark.row("6.20")
def test_children_run_in_the_group_wherever_it_is(clean: None) -> None:
    group = made([{"CPU": 1}] * 3, strategy="STRICT_SPREAD")

    @ray.remote(num_cpus=0)
    def parent() -> list[str]:
        found: list[str] = ray.get([node_id.remote() for _ in range(6)])
        return found

    found = ray.get(parent.options(scheduling_strategy=InGroup(group, 0, True)).remote(), timeout=30)
    assert set(found) <= set(nodes_of(group))


# --- labels -----------------------------------------------------------------------------------------------------------


@pytest.mark.row("6.24", "2.8")
def test_a_selector_per_bundle(clean: None) -> None:
    slots = by_slot()
    group = made([{"CPU": 1}, {"CPU": 1}], bundle_label_selector=[{"slot": "2"}, {"slot": "in(1)"}])
    assert nodes_of(group) == [slots[2], slots[1]]


@pytest.mark.row("6.24")
def test_a_selector_that_nothing_matches(clean: None) -> None:
    group = util.placement_group([{"CPU": 1}], bundle_label_selector=[{"rack": "north"}])
    assert not group.wait(1)
    assert state(group) == "PENDING"


@pytest.mark.row("6.2", "6.5")
def test_a_soft_target(clean: None) -> None:
    for slot in by_slot():
        assert set(nodes_of(made([{"CPU": 0.5}] * 2, strategy="STRICT_PACK", _soft_target_node_id=slot))) == {slot}
    made([{"CPU": 0.5}], strategy="STRICT_PACK", _soft_target_node_id="ab" * 28)


@pytest.mark.row("6.7")
def test_a_rack_for_all_bundles(clean: None) -> None:
    racks = {node["NodeID"]: node["Labels"]["rack"] for node in ray.nodes()}
    group = made([{"CPU": 2}, {"CPU": 2}], topology_strategy={"rack": "STRICT_PACK"})
    assert {racks[node] for node in nodes_of(group)} == {"east"}
    small = util.placement_group([{"CPU": 1}] * 3, topology_strategy={"rack": "STRICT_PACK"})
    assert not small.wait(1), "no rack has three CPUs left"


@pytest.mark.row("6.7")
@pytest.mark.parametrize("topology", [{"rack": "SPREAD"}, {"a": "STRICT_PACK", "b": "STRICT_PACK"}, {"rack": "nearby"}])
def test_topologies_that_make_no_sense(clean: None, topology: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="topology"):
        util.placement_group([{"CPU": 1}], topology_strategy=topology)


# --- nodes that come and go -------------------------------------------------------------------------------------------


@pytest.mark.row("6.6", "6.8")
def test_a_group_waits_for_a_node(new_cluster: Any) -> None:
    cluster, _ = new_cluster(1)
    group = util.placement_group([{"CPU": 1}] * 2, strategy="STRICT_SPREAD")
    actors = [Anchor.options(num_cpus=1, scheduling_strategy=InGroup(group, index)).remote() for index in range(2)]
    refs = [node_id.options(num_cpus=0, scheduling_strategy=InGroup(group, index)).remote() for index in range(2)]
    assert not group.wait(1)
    cluster.add_node(num_cpus=2)
    assert group.wait(30)
    assert ray.get(refs, timeout=30) == nodes_of(group)
    assert [found for found, _ in ray.get([actor.where.remote() for actor in actors], timeout=30)] == nodes_of(group)


@pytest.mark.row("6.21", "6.22", "6.9")
def test_a_lost_node_takes_its_bundles_only(new_cluster: Any) -> None:
    cluster, nodes = new_cluster(2)
    group = made([{"CPU": 2}, {"CPU": 2}], strategy="STRICT_SPREAD")
    before = nodes_of(group)
    actors = [Anchor.options(num_cpus=1, scheduling_strategy=InGroup(group, index)).remote() for index in range(2)]
    where = ray.get([actor.where.remote() for actor in actors], timeout=30)
    lost = next(node for node in nodes if node.node_id == before[1])
    cluster.remove_node(lost, allow_graceful=False)
    wait_for(lambda: state(group) == "RESCHEDULING", what="rescheduling")
    assert ray.get(actors[0].where.remote(), timeout=30) == where[0], "the other bundle's actor goes on"
    again = actors[1].where.remote()
    assert ray.wait([again], timeout=1)[0] == [], "it waits for its bundle"
    assert not group.wait(0.5) or not IS_LINCKIA
    new = cluster.add_node(num_cpus=2)
    wait_for(lambda: state(group) == "CREATED", timeout_s=30, what="created again")
    assert nodes_of(group) == [before[0], new.node_id]
    assert ray.get(again, timeout=30)[0] == new.node_id
    assert ray.get(actors[0].where.remote(), timeout=30) == where[0]
    assert ray.get(group.ready(), timeout=10) == group


@pytest.mark.row("6.21")
def test_a_lost_bundle_moves_at_once_when_there_is_room(new_cluster: Any) -> None:
    cluster, nodes = new_cluster(3)
    group = made([{"CPU": 2}, {"CPU": 2}], strategy="STRICT_SPREAD")
    before = nodes_of(group)
    cluster.remove_node(next(node for node in nodes if node.node_id == before[0]), allow_graceful=False)
    wait_for(lambda: nodes_of(group)[0] not in ("", before[0]) and state(group) == "CREATED", what="moved")
    assert nodes_of(group)[1] == before[1]
    assert ray.get(node_id.options(scheduling_strategy=InGroup(group, 0)).remote(), timeout=30) == nodes_of(group)[0]


@pytest.mark.row("6.21")
def test_lost_bundles_come_before_new_groups(new_cluster: Any) -> None:
    cluster, nodes = new_cluster(2)
    group = made([{"CPU": 2}, {"CPU": 2}], strategy="STRICT_SPREAD")
    waiting = util.placement_group([{"CPU": 2}])
    assert not waiting.wait(1)
    cluster.remove_node(next(node for node in nodes if node.node_id == nodes_of(group)[1]), allow_graceful=False)
    wait_for(lambda: state(group) == "RESCHEDULING", what="rescheduling")
    cluster.add_node(num_cpus=2)
    wait_for(lambda: state(group) == "CREATED", timeout_s=30, what="created again")
    assert state(waiting) == "PENDING"


@pytest.mark.row("6.17", "6.21")
def test_a_group_with_lost_bundles_can_be_removed(new_cluster: Any) -> None:
    cluster, nodes = new_cluster(2)
    group = made([{"CPU": 2}, {"CPU": 2}], strategy="STRICT_SPREAD")
    cluster.remove_node(next(node for node in nodes if node.node_id == nodes_of(group)[1]), allow_graceful=False)
    wait_for(lambda: state(group) == "RESCHEDULING", what="rescheduling")
    util.remove_placement_group(group)
    wait_for(lambda: ray.available_resources().get("CPU") == 2, what="the other bundle is free again")


@pytest.mark.row("6.21")
@better("a retried task of a lost bundle may fail with the node")
def test_a_task_of_a_lost_bundle_runs_again_where_the_bundle_goes(
    new_cluster: Any, new_channel: Any, new_gate: Any
) -> None:
    cluster, nodes = new_cluster(3)
    group, channel, gate = made([{"CPU": 2}, {"CPU": 2}], strategy="STRICT_SPREAD"), new_channel(), new_gate()
    before = nodes_of(group)

    @ray.remote(max_retries=3)
    def held(channel: Any, gate: Any) -> str:
        found = str(ray.get_runtime_context().get_node_id())
        channel.send(found)
        gate.wait()
        return found

    ref = held.options(scheduling_strategy=InGroup(group, 1)).remote(channel, gate)
    assert channel.receive(30) == before[1]
    cluster.remove_node(next(node for node in nodes if node.node_id == before[1]), allow_graceful=False)
    again = channel.receive(30)
    assert again not in before
    gate.open()
    assert ray.get(ref, timeout=30) == again
