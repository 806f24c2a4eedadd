"""Which node work goes to: labels, affinity, SPREAD, the default policy, and what waits (sections 2 and 4)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from engine import IS_LINCKIA, exceptions, module, ray, wait_for

strategies = module("util.scheduling_strategies")
Affinity = strategies.NodeAffinitySchedulingStrategy
UNKNOWN_NODE = "ab" * 28


@ray.remote
def node_id() -> str:
    """Where it runs."""
    found: str = ray.get_runtime_context().get_node_id()
    return found


@ray.remote
def held(gate: Any, channel: Any) -> str:
    """Says where it is, and stays there."""
    found: str = ray.get_runtime_context().get_node_id()
    channel.send(found)
    gate.wait()
    return found


@ray.remote
class Resident:
    """Lives somewhere."""

    def where(self) -> str:
        """The node."""
        found: str = ray.get_runtime_context().get_node_id()
        return found


@pytest.fixture(scope="module")
def trio() -> Iterator[Any]:
    """Three nodes of two CPUs: the head (zone a), one in b with a fast disk, one in b with a slow one."""
    ray.shutdown()
    cluster = module("cluster_utils").Cluster(
        initialize_head=True, head_node_args={"num_cpus": 2, "labels": {"zone": "a", "slot": "0"}}
    )
    cluster.add_node(num_cpus=2, resources={"fast": 2}, labels={"zone": "b", "disk": "ssd", "slot": "1"})
    cluster.add_node(num_cpus=2, labels={"zone": "b", "disk": "hdd", "slot": "2"})
    cluster.connect()
    wait_for(lambda: ray.cluster_resources().get("CPU") == 6, what="three nodes")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def slots(trio: Any) -> Iterator[list[str]]:
    """The ids of the trio: head, fast, slow. All CPUs are free before the test and after it."""
    wait_for(lambda: ray.available_resources().get("CPU") == 6, what="all CPUs free")
    found = {node["Labels"]["slot"]: node["NodeID"] for node in ray.nodes()}
    yield [found[slot] for slot in sorted(found)]
    wait_for(lambda: ray.available_resources().get("CPU") == 6, what="all CPUs free again")


@pytest.fixture
def occupy(new_gate: Any, new_channel: Any) -> Iterator[Callable[..., Any]]:
    """Fills a node's CPUs until the test ends, or the gate that is returned opens."""
    refs: list[Any] = []
    gates: list[Any] = []

    def fill(node: str, cpus: int = 2) -> Any:
        gate, channel = new_gate(), new_channel()
        gates.append(gate)
        refs.append(held.options(num_cpus=cpus, scheduling_strategy=Affinity(node, soft=False)).remote(gate, channel))
        assert channel.receive() == node
        free = {"CPU": 6 - cpus}  # the others hear of it
        wait_for(lambda: ray.available_resources().get("CPU", 0) <= free["CPU"], what="it is known to be full")
        return gate

    yield fill
    for gate in gates:
        gate.open()
    ray.get(refs, timeout=30)


def is_pending(ref: Any, seconds: float = 1.0) -> bool:
    """It has not become ready meanwhile."""
    return not ray.wait([ref], timeout=seconds)[0]


# --- labels -----------------------------------------------------------------------------------------------------------


@pytest.mark.row("2.8", "4.11")
@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ({"disk": "ssd"}, {1}),
        ({"zone": "!b"}, {0}),
        ({"slot": "in(1,2)"}, {1, 2}),
        ({"slot": "!in(0,1)"}, {2}),
        ({"disk": "!ssd"}, {0, 2}),
        ({"zone": "b", "disk": "hdd"}, {2}),
    ],
)
def test_a_selector_is_a_hard_rule(slots: list[str], selector: dict[str, str], expected: set[int]) -> None:
    allowed = {slots[index] for index in expected}
    assert set(ray.get([node_id.options(label_selector=selector).remote() for _ in range(5)], timeout=30)) <= allowed
    actor = Resident.options(label_selector=selector).remote()
    assert ray.get(actor.where.remote(), timeout=30) in allowed


@pytest.mark.row("2.8", "4.11")
def test_a_selector_can_name_the_node(slots: list[str]) -> None:
    for slot in slots:
        assert ray.get(node_id.options(label_selector={"ray.io/node-id": slot}).remote(), timeout=30) == slot


@pytest.mark.row("2.8", "4.11")
def test_a_selector_keeps_waiting_for_its_full_node(slots: list[str], occupy: Any) -> None:
    gate = occupy(slots[1])
    ref = node_id.options(label_selector={"disk": "ssd"}).remote()
    assert is_pending(ref)
    gate.open()
    assert ray.get(ref, timeout=30) == slots[1]


@pytest.mark.row("2.8", "2.10", "4.11")
def test_spread_among_the_nodes_of_a_selector(slots: list[str], new_gate: Any, new_channel: Any) -> None:
    gate, channel = new_gate(), new_channel()
    refs = [
        held.options(label_selector={"zone": "b"}, scheduling_strategy="SPREAD").remote(gate, channel) for _ in range(2)
    ]
    assert set(channel.receive_many(2)) <= {slots[1], slots[2]}
    gate.open()
    ray.get(refs, timeout=30)


@pytest.mark.row("2.9", "4.11")
def test_the_fallback_when_the_selector_matches_nothing(slots: list[str]) -> None:
    options = {
        "label_selector": {"zone": "nowhere"},
        "fallback_strategy": [{"label_selector": {"zone": "void"}}, {"label_selector": {"disk": "hdd"}}],
    }
    assert ray.get(node_id.options(**options).remote(), timeout=30) == slots[2]
    actor = Resident.options(**options).remote()
    assert ray.get(actor.where.remote(), timeout=30) == slots[2]


@pytest.mark.row("2.9", "4.11")
def test_the_first_selector_that_can_be_served_wins(slots: list[str]) -> None:
    options = {"label_selector": {"disk": "ssd"}, "fallback_strategy": [{"label_selector": {"disk": "hdd"}}]}
    found = ray.get([node_id.options(**options).remote() for _ in range(2)], timeout=30)
    assert set(found) == {slots[1]}


@pytest.mark.row("2.9", "4.11")
def test_the_fallback_when_the_first_is_full(slots: list[str], occupy: Any) -> None:
    occupy(slots[1])
    options = {"label_selector": {"disk": "ssd"}, "fallback_strategy": [{"label_selector": {"disk": "hdd"}}]}
    assert ray.get(node_id.options(**options).remote(), timeout=30) == slots[2]


@pytest.mark.row("2.9", "4.11")
def test_no_fallback_left_waits(slots: list[str]) -> None:
    ref = node_id.options(label_selector={"a": "b"}, fallback_strategy=[{"label_selector": {"a": "c"}}]).remote()
    assert is_pending(ref)
    ray.cancel(ref)
    with pytest.raises(exceptions.TaskCancelledError):
        ray.get(ref, timeout=30)


@pytest.mark.row("2.12")
@pytest.mark.parametrize(
    ("rule", "expected"),
    [("In", {1}), ("NotIn", {0, 2}), ("Exists", {1, 2}), ("DoesNotExist", {0})],
)
def test_label_rules(slots: list[str], rule: str, expected: set[int]) -> None:
    wanted = getattr(strategies, rule)(*(["ssd"] if rule.endswith("In") else []))
    strategy = strategies.NodeLabelSchedulingStrategy(hard={"disk": wanted})
    found = ray.get([node_id.options(scheduling_strategy=strategy).remote() for _ in range(4)], timeout=30)
    assert set(found) <= {slots[index] for index in expected}
    actor = Resident.options(scheduling_strategy=strategy).remote()
    assert ray.get(actor.where.remote(), timeout=30) in {slots[index] for index in expected}


@pytest.mark.row("2.12")
def test_soft_label_rules_prefer(slots: list[str]) -> None:
    soft = strategies.NodeLabelSchedulingStrategy(
        hard={"zone": strategies.In("b")}, soft={"disk": strategies.In("hdd")}
    )
    assert ray.get(node_id.options(scheduling_strategy=soft).remote(), timeout=30) == slots[2]
    nowhere = strategies.NodeLabelSchedulingStrategy(
        hard={"disk": strategies.In("ssd")}, soft={"disk": strategies.In("tape")}
    )
    assert ray.get(node_id.options(scheduling_strategy=nowhere).remote(), timeout=30) == slots[1]


# --- affinity ---------------------------------------------------------------------------------------------------------


@pytest.mark.row("2.11", "4.10")
@pytest.mark.parametrize("soft", [False, True])
def test_affinity_to_a_node_with_room(slots: list[str], soft: bool) -> None:
    for slot in slots:
        assert ray.get(node_id.options(scheduling_strategy=Affinity(slot, soft)).remote(), timeout=30) == slot
        actor = Resident.options(scheduling_strategy=Affinity(slot, soft)).remote()
        assert ray.get(actor.where.remote(), timeout=30) == slot


@pytest.mark.row("2.11", "4.10", "14.12")
@pytest.mark.parametrize("soft", [False, True])
def test_affinity_waits_for_a_full_node(slots: list[str], occupy: Any, soft: bool) -> None:
    gate = occupy(slots[2])
    ref = node_id.options(scheduling_strategy=Affinity(slots[2], soft)).remote()
    assert is_pending(ref), "others have room, it waits all the same"
    gate.open()
    assert ray.get(ref, timeout=30) == slots[2]


@pytest.mark.row("2.11", "4.10")
def test_soft_affinity_that_spills(slots: list[str], occupy: Any) -> None:
    occupy(slots[2])
    strategy = Affinity(slots[2], soft=True, _spill_on_unavailable=True)
    assert ray.get(node_id.options(scheduling_strategy=strategy).remote(), timeout=30) != slots[2]


@pytest.mark.row("2.11", "4.10", "3.52")
def test_hard_affinity_that_fails(slots: list[str], occupy: Any) -> None:
    strategy = Affinity(slots[2], soft=False, _fail_on_unavailable=True)
    assert ray.get(node_id.options(scheduling_strategy=strategy).remote(), timeout=30) == slots[2]
    occupy(slots[2])
    with pytest.raises(exceptions.TaskUnschedulableError):
        ray.get(node_id.options(scheduling_strategy=strategy).remote(), timeout=30)


@pytest.mark.row("2.11", "4.10", "3.51", "3.52", "14.12")
@pytest.mark.parametrize("why", ["unknown", "too small"])
def test_hard_affinity_that_can_never_be(slots: list[str], why: str) -> None:
    node, more = (UNKNOWN_NODE, {}) if why == "unknown" else (slots[2], {"resources": {"fast": 1}})
    options = {"scheduling_strategy": Affinity(node, soft=False), **more}
    with pytest.raises(exceptions.TaskUnschedulableError):
        ray.get(node_id.options(**options).remote(), timeout=30)
    with pytest.raises(exceptions.ActorUnschedulableError):
        ray.get(Resident.options(**options).remote().where.remote(), timeout=30)


@pytest.mark.row("2.11", "4.10")
@pytest.mark.parametrize("why", ["unknown", "too small"])
def test_soft_affinity_that_can_never_be_goes_elsewhere(slots: list[str], why: str) -> None:
    node, more = (UNKNOWN_NODE, {}) if why == "unknown" else (slots[2], {"resources": {"fast": 1}})
    options = {"scheduling_strategy": Affinity(node, soft=True), **more}
    allowed = set(slots) if why == "unknown" else {slots[1]}
    assert ray.get(node_id.options(**options).remote(), timeout=30) in allowed
    assert ray.get(Resident.options(**options).remote().where.remote(), timeout=30) in allowed


# --- SPREAD and the default -------------------------------------------------------------------------------------------


@pytest.mark.row("2.10", "4.9")
def test_spread(slots: list[str], new_gate: Any, new_channel: Any) -> None:
    gate, channel = new_gate(), new_channel()
    refs = [held.options(scheduling_strategy="SPREAD").remote(gate, channel) for _ in range(6)]
    found = Counter(channel.receive_many(6))
    gate.open()
    ray.get(refs, timeout=30)
    assert found == dict.fromkeys(slots, 2)


@pytest.mark.row("2.10", "4.9")
def test_spread_actors(slots: list[str]) -> None:
    actors = [Resident.options(num_cpus=1, scheduling_strategy="SPREAD").remote() for _ in range(3)]
    assert len(set(ray.get([actor.where.remote() for actor in actors], timeout=30))) >= 2
    del actors


@pytest.mark.row("4.7", "4.14")
def test_the_local_node_first_then_the_others(slots: list[str], new_gate: Any, new_channel: Any) -> None:
    gate, channel = new_gate(), new_channel()
    refs, found = [], []
    for count in range(6):
        refs.append(held.remote(gate, channel))
        found.append(channel.receive())
        left = 6 - count - 1
        wait_for(lambda left=left: ray.available_resources().get("CPU", 0) == left, what="known")  # type: ignore[misc]
    gate.open()
    ray.get(refs, timeout=30)
    assert found[0] == slots[0], "the driver's own node, up to half of it"
    assert Counter(found) == dict.fromkeys(slots, 2), "then all there is"


@pytest.mark.row("4.14")
def test_a_burst_uses_every_node(slots: list[str], new_gate: Any, new_channel: Any) -> None:
    gate, channel = new_gate(), new_channel()
    refs = [held.remote(gate, channel) for _ in range(9)]
    assert Counter(channel.receive_many(6)) == dict.fromkeys(slots, 2)
    assert channel.settled() == [], "no more than there is room for"
    gate.open()
    ray.get(refs, timeout=60)


@pytest.mark.row("4.7", "4.15")
def test_children_start_where_their_parent_is(slots: list[str]) -> None:
    @ray.remote(num_cpus=0)
    def parent() -> str:
        found: str = ray.get(node_id.remote())
        return found

    for slot in slots:
        assert ray.get(parent.options(scheduling_strategy=Affinity(slot, False)).remote(), timeout=30) == slot


@pytest.mark.row("4.13")
def test_work_that_needs_nothing_goes_anywhere(slots: list[str]) -> None:
    actors = [Resident.options(num_cpus=0).remote() for _ in range(16)]
    assert len(set(ray.get([actor.where.remote() for actor in actors], timeout=60))) > 1


@pytest.mark.row("2.4", "4.6")
def test_own_resources_decide_the_node(slots: list[str], new_gate: Any, new_channel: Any) -> None:
    gate, channel = new_gate(), new_channel()
    refs = [held.options(resources={"fast": 1}).remote(gate, channel) for _ in range(3)]
    assert channel.receive_many(2) == [slots[1]] * 2
    assert channel.settled() == []
    gate.open()
    assert set(ray.get(refs, timeout=30)) == {slots[1]}


@pytest.mark.row("4.17")
def test_processes_are_used_again_on_every_node(slots: list[str]) -> None:
    @ray.remote
    def pid() -> int:
        return os.getpid()

    for slot in slots:
        options = {"scheduling_strategy": Affinity(slot, soft=False)}
        found = [ray.get(pid.options(**options).remote(), timeout=30) for _ in range(6)]
        assert len(set(found)) <= (2 if IS_LINCKIA else 6)
