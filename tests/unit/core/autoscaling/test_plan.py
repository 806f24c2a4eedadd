"""The autoscaler's plan: who is started and ended for what, and that constant demand leads to finitely many actions."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linckia.core.autoscaling.plan import plan
from linckia.core.autoscaling.records import Amounts, Demand, Gang, Limits, NodeType, Plan, RunningNode

SMALL = NodeType("small", {"CPU": 2.0}, max_workers=4)
GPU = NodeType("gpu", {"CPU": 2.0, "GPU": 1.0}, max_workers=2)
LIMITS = Limits([SMALL, GPU], idle_timeout_s=60.0)


def node(name: str, kind: NodeType = SMALL, free: Amounts | None = None, idle_since_s: float = 0.0) -> RunningNode:
    total = kind.resources
    return RunningNode(name.encode(), kind.name, total, total if free is None else free, idle_since_s=idle_since_s)


def tasks(count: int, **amounts: float) -> Demand:
    return Demand(shapes=[(dict(amounts), count, [])])


def launched(made: Plan) -> dict[str, int]:
    return {each.node_type: each.count for each in made.launch}


@pytest.mark.row("10.5", "10.7")
def test_demand_starts_as_many_as_it_needs_and_no_gpu_for_cpus() -> None:
    assert launched(plan(LIMITS, [], {}, tasks(3, CPU=1.0), 0.0)) == {"small": 2}


def test_what_is_free_and_what_is_on_its_way_comes_first() -> None:
    assert launched(plan(LIMITS, [node("a")], {"small": 1}, tasks(4, CPU=1.0), 0.0)) == {}
    assert launched(plan(LIMITS, [node("a", free={"CPU": 0.0})], {}, tasks(1, CPU=1.0), 0.0)) == {"small": 1}


@pytest.mark.row("10.6")
def test_limits_win_over_demand_and_are_told() -> None:
    made = plan(LIMITS, [], {}, tasks(100, CPU=2.0, GPU=1.0), 0.0)
    assert launched(made) == {"gpu": 2}
    assert "max_workers is reached" in made.unmet[0][1]
    capped = Limits([SMALL], max_workers=1)
    assert launched(plan(capped, [], {}, tasks(100, CPU=2.0), 0.0)) == {"small": 1}


@pytest.mark.row("10.19")
def test_what_no_type_can_hold_starts_nothing() -> None:
    made = plan(LIMITS, [], {}, tasks(1, CPU=64.0), 0.0)
    assert (made.launch, made.unmet[0][1]) == ([], "no node type can hold it")


@pytest.mark.row("10.3")
def test_the_minimum_is_kept() -> None:
    limits = Limits([NodeType("small", {"CPU": 1.0}, min_workers=2)], idle_timeout_s=1.0)
    assert launched(plan(limits, [], {}, Demand(), 0.0)) == {"small": 2}
    idle = [node("a", limits.types[0], idle_since_s=1.0), node("b", limits.types[0], idle_since_s=1.0)]
    assert plan(limits, idle, {}, Demand(), 1000.0).terminate == []


@pytest.mark.row("10.9", "10.10")
def test_idle_nodes_go_longest_idle_first() -> None:
    nodes = [node("young", idle_since_s=50.0), node("old", idle_since_s=10.0), node("busy")]
    assert [each.node_id for each in plan(LIMITS, nodes, {}, Demand(), 75.0).terminate] == [b"old"]
    assert [each.node_id for each in plan(LIMITS, nodes, {}, Demand(), 500.0).terminate] == [b"old", b"young"]


@pytest.mark.row("10.15")
@pytest.mark.parametrize(
    ("limits", "causes"),
    [
        (Limits([SMALL], idle_timeout_s=10.0), ["IDLE", "IDLE", "IDLE"]),
        (Limits([msgspec.structs.replace(SMALL, max_workers=2)], idle_timeout_s=1e6), ["MAX_NUM_NODE_PER_TYPE"]),
        (Limits([SMALL], max_workers=1, idle_timeout_s=1e6), ["MAX_NUM_NODES", "MAX_NUM_NODES"]),
        (Limits([msgspec.structs.replace(SMALL, min_workers=3)], max_workers=1, idle_timeout_s=10.0), []),
    ],
)
def test_each_termination_has_a_cause(limits: Limits, causes: list[str]) -> None:
    nodes = [node(name, idle_since_s=since_s) for name, since_s in [("a", 1.0), ("b", 2.0), ("c", 3.0)]]
    ended = plan(limits, nodes, {}, Demand(), 1000.0).terminate
    assert [each.cause for each in ended] == causes
    assert [each.node_id for each in ended] == [b"a", b"b", b"c"][: len(causes)], "longest idle first"


@pytest.mark.row("P41")
def test_a_node_that_a_waiting_gang_needs_is_not_idle() -> None:
    gang = Gang("g", [{"CPU": 2.0}, {"CPU": 2.0}], "STRICT_SPREAD")
    nodes = [node("a", idle_since_s=1.0)]
    made = plan(LIMITS, nodes, {}, Demand(gangs=[gang]), 1000.0)
    assert (launched(made), made.terminate) == ({"small": 1}, [])


@pytest.mark.row("6.23", "10.5")
def test_a_gang_is_started_whole_or_not_at_all() -> None:
    fits = Gang("g", [{"CPU": 2.0}] * 4, "STRICT_SPREAD")
    assert launched(plan(LIMITS, [], {}, Demand(gangs=[fits]), 0.0)) == {"small": 4}
    too_large = Gang("g", [{"CPU": 2.0}] * 7, "STRICT_SPREAD")
    made = plan(LIMITS, [], {}, Demand(gangs=[too_large]), 0.0)
    assert made.launch == []
    assert made.unmet
    one = Gang("g", [{"CPU": 1.0}] * 2, "STRICT_PACK")
    assert launched(plan(LIMITS, [], {}, Demand(gangs=[one]), 0.0)) == {"small": 1}


@pytest.mark.row("10.11")
def test_a_requested_size_counts_what_is_in_use() -> None:
    wanted = Demand(constraints=[{"CPU": 1.0}] * 4)
    busy = [node("a", free={"CPU": 0.0}), node("b", free={"CPU": 0.0}, idle_since_s=1.0)]
    made = plan(LIMITS, busy, {}, wanted, 1000.0)
    assert (made.launch, made.terminate) == ([], [])
    assert launched(plan(LIMITS, busy[:1], {}, wanted, 0.0)) == {"small": 1}


@pytest.mark.row("10.8")
def test_growth_is_bounded_per_round() -> None:
    limits = Limits([NodeType("small", {"CPU": 1.0})], upscaling_speed=1.0)
    assert launched(plan(limits, [], {}, tasks(100, CPU=1.0), 0.0)) == {"small": 5}
    twenty = [node(str(i), limits.types[0], free={"CPU": 0.0}) for i in range(20)]
    assert launched(plan(limits, twenty, {}, tasks(100, CPU=1.0), 0.0)) == {"small": 20}
    assert launched(plan(limits, twenty, {"small": 15}, tasks(100, CPU=1.0), 0.0)) == {"small": 5}


@pytest.mark.row("2.8", "10.5")
def test_labels_choose_the_type() -> None:
    limits = Limits([SMALL, NodeType("fast", {"CPU": 1.0}, labels={"disk": "ssd"})])
    demand = Demand(shapes=[({"CPU": 1.0}, 1, [{"disk": "ssd"}])])
    assert launched(plan(limits, [], {}, demand, 0.0)) == {"fast": 1}
    fallback = Demand(shapes=[({"CPU": 1.0}, 1, [{"disk": "tape"}, {"disk": "ssd"}])])
    assert launched(plan(limits, [], {}, fallback, 0.0)) == {"fast": 1}


@pytest.mark.row("6.24", "10.11", "13.8")
def test_labels_choose_the_type_for_gangs_and_requested_sizes_too() -> None:
    limits = Limits([NodeType(zone, {"CPU": 2.0}, labels={"zone": zone}, max_workers=2) for zone in ("a", "b")])
    b, a = {"zone": "b"}, {"zone": "a"}
    gang = Gang("g", [{"CPU": 1.0}] * 2, "PACK", selectors=[b, a])
    assert launched(plan(limits, [], {}, Demand(gangs=[gang]), 0.0)) == {"a": 1, "b": 1}
    together = Gang("g", [{"CPU": 1.0}] * 2, "STRICT_PACK", selectors=[b, {}])
    assert launched(plan(limits, [], {}, Demand(gangs=[together]), 0.0)) == {"b": 1}
    never = Gang("g", [{"CPU": 1.0}] * 2, "STRICT_PACK", selectors=[b, a])
    made = plan(limits, [], {}, Demand(gangs=[never]), 0.0)
    assert (made.launch, len(made.unmet)) == ([], 1)
    sized = Demand(constraints=[{"CPU": 1.0}] * 3, constraint_selectors=[b, b, b])
    assert launched(plan(limits, [], {}, sized, 0.0)) == {"b": 2}


@pytest.mark.row("P41")
@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 12)), max_size=4),
    st.lists(st.tuples(st.sampled_from(["PACK", "SPREAD", "STRICT_SPREAD"]), st.integers(1, 4)), max_size=2),
)
def test_constant_demand_leads_to_finitely_many_actions(
    shapes: list[tuple[int, int]], gangs: list[tuple[str, int]]
) -> None:
    """Every launch arrives, nothing is taken: after some rounds nothing more happens, within all limits."""
    demand = Demand(
        shapes=[({"CPU": float(cpus)}, count, []) for cpus, count in shapes],
        gangs=[Gang(str(i), [{"CPU": 1.0}] * count, strategy) for i, (strategy, count) in enumerate(gangs)],
    )
    nodes: list[RunningNode] = []
    for round_number in range(30):
        made = plan(LIMITS, nodes, {}, demand, 1000.0 * round_number)
        gone = {each.node_id for each in made.terminate}
        nodes = [each for each in nodes if each.node_id not in gone]
        for launch in made.launch:
            kind = next(each for each in LIMITS.types if each.name == launch.node_type)
            for _ in range(launch.count):
                nodes.append(node(f"{round_number}-{len(nodes)}", kind, idle_since_s=1000.0 * round_number + 1))
        for kind in LIMITS.types:
            assert sum(each.node_type == kind.name for each in nodes) <= kind.max_workers
        if not made.launch and not made.terminate:
            return
    raise AssertionError("it never came to rest")
