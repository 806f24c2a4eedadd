"""Placement groups on one node: making, waiting for, looking at and removing them (section 6 of the list)."""

from __future__ import annotations

import math
import pickle
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from engine import INIT_OPTIONS, IS_LINCKIA, better, exceptions, module, ray, wait_for

pg = module("util.placement_group")
util = module("util")
InGroup = module("util.scheduling_strategies").PlacementGroupSchedulingStrategy
PlacementGroupID = type(pg.PlacementGroup.empty().id)
CPUS = 4
INFEASIBLE = [{"CPU": 100}]


@pytest.fixture(scope="module")
def four() -> Iterator[None]:
    """Four CPUs and four slots."""
    ray.shutdown()
    ray.init(**(INIT_OPTIONS | {"num_cpus": CPUS, "resources": {"slot": 4}, "namespace": "groups"}))
    yield
    ray.shutdown()


@pytest.fixture(autouse=True)
def _clean(four: None) -> Iterator[None]:
    """No group outlives its test, and what it held is free again."""
    yield
    if not ray.is_initialized():
        return
    for group_id, row in util.placement_group_table().items():
        if row["state"] != "REMOVED":
            util.remove_placement_group(pg.PlacementGroup(PlacementGroupID.from_hex(group_id)))
    wait_for(lambda: free("CPU") == CPUS and free("slot") == 4, what="all resources free again")


def free(name: str) -> float:
    """Of the plain pool."""
    amount: float = ray.available_resources().get(name, 0.0)
    return amount


def made(bundles: list[dict[str, float]], **options: Any) -> Any:
    """A group that is there."""
    group = util.placement_group(bundles, **options)
    assert group.wait(20), util.placement_group_table(group)
    return group


def state(group: Any) -> str:
    """As the table says."""
    found: str = util.placement_group_table(group)["state"]
    return found


# --- making -----------------------------------------------------------------------------------------------------------


@pytest.mark.row("6.1")
def test_it_returns_at_once() -> None:
    took_s = math.inf
    for _ in range(5):
        began_s = time.perf_counter()
        util.placement_group(INFEASIBLE)
        took_s = min(took_s, time.perf_counter() - began_s)
    assert took_s < 0.05


@pytest.mark.row("6.2")
@pytest.mark.parametrize(
    "bundles",
    [
        {"CPU": 1},
        ({"CPU": 1},),
        None,
        [],
        [{}],
        [{"CPU": 1}, {}],
        [{"CPU": 0}],
        [{"CPU": 1}, {"CPU": 0, "GPU": 0}],
        [{1: 1}],
        [{"CPU": "1"}],
        [{"CPU": None}],
        ["CPU"],
    ],
)
def test_bundles_that_make_no_sense(bundles: Any) -> None:
    with pytest.raises(ValueError, match="undle"):
        util.placement_group(bundles)


@pytest.mark.row("6.2")
@better("a negative amount adds to the node")
@pytest.mark.parametrize("amount", [-1, math.nan, math.inf, 1e30])
def test_amounts_that_make_no_sense(amount: float) -> None:
    with pytest.raises(ValueError, match="CPU"):
        util.placement_group([{"CPU": amount}])


@pytest.mark.row("6.2")
@pytest.mark.parametrize(
    "options",
    [
        {"strategy": "TIGHT"},
        {"strategy": "pack"},
        {"lifetime": "for ever"},
        {"lifetime": "non_detached"},
        {"bundle_label_selector": []} if IS_LINCKIA else {"bundle_label_selector": [{}, {}]},
        {"bundle_label_selector": [{"a": "b"}, {"a": "b"}]},
        {"bundle_label_selector": [{"a": "in("}]},
        {"strategy": "PACK", "topology_strategy": [{"ray.io/node-id": "PACK"}]}
        if not IS_LINCKIA
        else {"strategy": "PACK", "topology_strategy": {"ray.io/node-id": "PACK"}},
        {"strategy": "PACK", "_soft_target_node_id": "ab" * 28},
        {"_soft_target_node_id": "ab" * 28},
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w+"):
        util.placement_group([{"CPU": 1}], **options)


@pytest.mark.row("6.2")
def test_what_is_refused_reserves_nothing() -> None:
    before = len(util.placement_group_table())
    with pytest.raises(ValueError, match="undle"):
        util.placement_group([{"CPU": 1}, {"CPU": 0}])
    assert len(util.placement_group_table()) == before
    assert free("CPU") == CPUS


@pytest.mark.row("6.1", "6.2")
@pytest.mark.parametrize("strategy", ["PACK", "SPREAD", "STRICT_PACK"])
def test_each_strategy_that_one_node_can_satisfy(strategy: str) -> None:
    group = made([{"CPU": 1}, {"CPU": 2}], strategy=strategy)
    row = util.placement_group_table(group)
    assert row["strategy"] == strategy
    assert len(set(row["bundles_to_node_id"].values())) == 1
    assert free("CPU") == 1


@pytest.mark.row("6.6")
def test_strict_spread_needs_as_many_nodes_as_bundles() -> None:
    group = util.placement_group([{"CPU": 1}, {"CPU": 1}], strategy="STRICT_SPREAD")
    assert not group.wait(1)
    assert state(group) == "PENDING"
    assert free("CPU") == CPUS


@pytest.mark.row("6.1")
def test_fractions_and_custom_resources() -> None:
    made([{"CPU": 0.5, "slot": 1}, {"slot": 1.5}])
    assert (free("CPU"), free("slot")) == (3.5, 1.5)


# --- waiting ----------------------------------------------------------------------------------------------------------


@pytest.mark.row("6.11")
def test_ready_gives_the_group() -> None:
    group = util.placement_group([{"CPU": 1}])
    found = ray.get(group.ready(), timeout=20)
    assert found == group
    assert found.bundle_specs == [{"CPU": 1.0}]


@pytest.mark.row("6.11")
def test_ready_can_be_waited_for_with_others() -> None:
    good, bad = util.placement_group([{"CPU": 1}]), util.placement_group(INFEASIBLE)
    first, second = good.ready(), bad.ready()
    done, rest = ray.wait([second, first], num_returns=1, timeout=20)
    assert (done, rest) == ([first], [second])


@pytest.mark.row("6.11")
def test_ready_can_be_awaited() -> None:
    import asyncio  # noqa: PLC0415

    group = util.placement_group([{"CPU": 1}])

    async def main() -> Any:
        return await group.ready()

    assert asyncio.run(main()) == group


@pytest.mark.row("6.11")
def test_ready_takes_no_cpu_and_passes_to_tasks() -> None:
    group = made([{"CPU": CPUS}])

    @ray.remote(num_cpus=0)
    def size(ready: Any) -> int:
        return len(ready.bundle_specs)

    assert ray.get(group.ready(), timeout=10) == group, "no CPU is left for a task"
    assert ray.get(size.remote(group.ready()), timeout=20) == 1


@pytest.mark.row("6.11")
def test_ready_in_another_process_than_the_creator() -> None:
    group = util.placement_group([{"CPU": 1}])

    @ray.remote
    def elsewhere(group: Any) -> tuple[bool, bool]:
        return ray.get(group.ready(), timeout=20) == group, group.wait(20)

    assert ray.get(elsewhere.remote(group), timeout=30) == (True, True)


@pytest.mark.row("6.12")
def test_wait_says_no_when_the_time_is_over() -> None:
    group = util.placement_group(INFEASIBLE)
    began_s = time.monotonic()
    assert group.wait(timeout_seconds=1) is False
    assert 0.9 <= time.monotonic() - began_s < 5


@pytest.mark.row("6.12")
def test_wait_says_yes_again_and_again() -> None:
    group = util.placement_group([{"CPU": 1}])
    assert group.wait(20) is True
    assert group.wait(20) is True


@pytest.mark.row("6.8")
def test_a_group_waits_for_room_and_then_is_made() -> None:
    first = made([{"CPU": 3}])
    second = util.placement_group([{"CPU": 2}])
    assert not second.wait(1)
    util.remove_placement_group(first)
    assert second.wait(20)


@pytest.mark.row("6.8", "14.21")
def test_all_or_nothing() -> None:
    first = made([{"CPU": 3}])
    group = util.placement_group([{"CPU": 1}, {"CPU": 1}])
    assert not group.wait(1)
    assert free("CPU") == 1, "one bundle would fit, both do not"
    assert state(group) == "PENDING"
    util.remove_placement_group(first)
    assert group.wait(20)
    assert wait_for(lambda: free("CPU") == 2)


@pytest.mark.row("6.8")
def test_a_group_that_fits_does_not_wait_for_one_that_cannot() -> None:
    util.placement_group(INFEASIBLE)
    assert util.placement_group([{"CPU": 1}]).wait(20)


@pytest.mark.row("6.8")
def test_a_hundred_groups_one_after_the_other() -> None:
    for _ in range(100 if IS_LINCKIA else 10):
        group = made([{"CPU": 2}, {"slot": 1}])
        util.remove_placement_group(group)
    wait_for(lambda: free("CPU") == CPUS)


# --- handles and tables -----------------------------------------------------------------------------------------------


@pytest.mark.row("6.13")
def test_what_a_handle_tells() -> None:
    group = util.placement_group([{"CPU": 1}, {"CPU": 0.5, "slot": 2}])
    assert group.bundle_specs == [{"CPU": 1.0}, {"CPU": 0.5, "slot": 2.0}]
    assert all(type(amount) is float for bundle in group.bundle_specs for amount in bundle.values())
    assert group.bundle_count == 2
    assert group.is_empty is False
    assert len(group.id.binary()) == 18
    assert pg.PlacementGroup.empty().is_empty is True


@pytest.mark.row("6.13")
def test_handles_are_values() -> None:
    group, other = util.placement_group([{"CPU": 1}]), util.placement_group([{"CPU": 1}])
    again = pickle.loads(pickle.dumps(group))
    assert again == group
    assert hash(again) == hash(group)
    assert again.bundle_specs == group.bundle_specs
    assert group != other
    assert group != "group"


@pytest.mark.row("6.13")
def test_a_handle_travels() -> None:
    group = made([{"CPU": 1}])

    @ray.remote
    def inside(group: Any) -> Any:
        return group.bundle_count, group

    assert ray.get(inside.remote(group), timeout=20) == (1, group)
    assert ray.get(ray.get(ray.put([ray.put(group)]))[0]) == group


@pytest.mark.row("6.14", "6.9")
def test_the_record_of_a_group() -> None:
    group = made([{"CPU": 1}, {"slot": 2}], name="recorded", strategy="SPREAD")
    row = util.placement_group_table(group)
    node_id = ray.get_runtime_context().get_node_id()
    assert row["placement_group_id"] == group.id.hex()
    assert row["name"] == "recorded"
    assert row["bundles"] == {0: {"CPU": 1.0}, 1: {"slot": 2.0}}
    assert row["bundles_to_node_id"] == {0: node_id, 1: node_id}
    assert row["strategy"] == "SPREAD"
    assert row["state"] == "CREATED"
    stats = row["stats"]
    assert stats["end_to_end_creation_latency_ms"] >= stats["scheduling_latency_ms"] >= 0
    assert stats["scheduling_attempt"] == 1
    assert stats["highest_retry_delay_ms"] == 0
    assert stats["scheduling_state"] == "FINISHED"


@pytest.mark.row("6.14", "6.9")
def test_the_record_of_a_group_that_waits() -> None:
    never = util.placement_group(INFEASIBLE)
    made([{"CPU": 3}])
    later = util.placement_group([{"CPU": 2}])
    row = wait_for(
        lambda: (r := util.placement_group_table(never))["stats"]["scheduling_state"] == "INFEASIBLE" and r,
        what="infeasible",
    )
    assert row["state"] == "PENDING"
    assert set(row["bundles_to_node_id"].values()) <= {"", "f" * 56}
    wait_for(
        lambda: util.placement_group_table(later)["stats"]["scheduling_state"] == "NO_RESOURCES", what="no resources"
    )


@pytest.mark.row("6.14")
def test_the_table_of_all_and_of_unknown_ones() -> None:
    group = made([{"CPU": 1}])
    rows = util.placement_group_table()
    assert rows[group.id.hex()]["state"] == "CREATED"
    unknown = pg.PlacementGroup(PlacementGroupID.from_random())
    assert util.placement_group_table(unknown) == {}


# --- resources --------------------------------------------------------------------------------------------------------


@pytest.mark.row("6.10", "2.39")
def test_reserved_amounts_leave_the_plain_pool_and_get_names() -> None:
    group = made([{"CPU": 1}, {"CPU": 2, "slot": 1}])
    name = group.id.hex()
    assert (free("CPU"), free("slot")) == (1, 3)
    total = wait_for(
        lambda: (t := ray.cluster_resources()) and f"bundle_group_1_{name}" in t and t, what="names in the total"
    )
    assert total["CPU"] == CPUS
    assert total[f"CPU_group_{name}"] == 3
    assert total[f"CPU_group_0_{name}"] == 1
    assert total[f"CPU_group_1_{name}"] == 2
    assert total[f"slot_group_1_{name}"] == 1
    assert total[f"bundle_group_{name}"] == 2000
    assert total[f"bundle_group_0_{name}"] == 1000
    util.remove_placement_group(group)
    wait_for(lambda: not [each for each in ray.cluster_resources() if name in each], what="the names are gone")
    wait_for(lambda: free("CPU") == CPUS, what="the amounts are back")


@pytest.mark.row("6.10")
def test_reserved_amounts_are_not_for_others() -> None:
    made([{"CPU": CPUS}])

    @ray.remote
    def plain() -> str:
        return "ran"

    ref = plain.remote()
    assert ray.wait([ref], timeout=1)[0] == []
    for group_id in util.placement_group_table():
        util.remove_placement_group(pg.PlacementGroup(PlacementGroupID.from_hex(group_id)))
    assert ray.get(ref, timeout=20) == "ran"


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.row("6.15")
def test_found_by_name() -> None:
    group = made([{"CPU": 1}], name="named")
    found = util.get_placement_group("named")
    assert found == group
    assert found.bundle_specs == [{"CPU": 1.0}]


@pytest.mark.row("6.15")
@pytest.mark.parametrize("name", ["", "nobody", None])
def test_not_found_by_name(name: Any) -> None:
    with pytest.raises(ValueError, match=r"\w+"):
        util.get_placement_group(name)


@pytest.mark.row("6.15")
def test_a_name_is_free_again_after_removal() -> None:
    first = made([{"CPU": 1}], name="again")
    util.remove_placement_group(first)
    wait_for(lambda: state(first) == "REMOVED")
    with pytest.raises(ValueError, match="again"):
        util.get_placement_group("again")
    assert made([{"CPU": 1}], name="again") != first


@pytest.mark.row("6.15")
@better("a second group of the same name is made and silently ignored")
def test_a_taken_name() -> None:
    made([{"CPU": 1}], name="taken")
    with pytest.raises(ValueError, match="taken"):
        util.placement_group([{"CPU": 1}], name="taken")
    assert free("CPU") == 3


# --- removing ---------------------------------------------------------------------------------------------------------


@pytest.mark.row("6.17")
def test_removing_twice_is_removing_once() -> None:
    group = made([{"CPU": 1}])
    util.remove_placement_group(group)
    util.remove_placement_group(group)
    wait_for(lambda: state(group) == "REMOVED")
    assert util.placement_group_table(group)["stats"]["scheduling_state"] == "REMOVED"
    with pytest.raises(Exception, match=group.id.hex()):
        group.wait(1)


@pytest.mark.row("6.12", "6.17")
def test_removal_ends_the_wait() -> None:
    group = util.placement_group(INFEASIBLE)
    later = threading.Timer(0.5, util.remove_placement_group, (group,))
    later.start()
    began_s = time.monotonic()
    with pytest.raises(Exception, match=group.id.hex()):
        group.wait(30)
    assert time.monotonic() - began_s < 15
    later.join()


@pytest.mark.row("6.17")
def test_a_group_that_waits_can_be_removed() -> None:
    group = util.placement_group(INFEASIBLE)
    ref = group.ready()
    util.remove_placement_group(group)
    wait_for(lambda: state(group) == "REMOVED")
    with pytest.raises(exceptions.TaskPlacementGroupRemoved):
        ray.get(ref, timeout=10)
    with pytest.raises(exceptions.TaskPlacementGroupRemoved):
        ray.get(group.ready(), timeout=10)


@pytest.mark.row("6.17")
@pytest.mark.parametrize("what", [None, "group", 5])
def test_only_groups_can_be_removed(what: Any) -> None:
    with pytest.raises((AssertionError, TypeError) if IS_LINCKIA else (AssertionError, AttributeError)):
        util.remove_placement_group(what)


@pytest.mark.row("1.6", "6.1")
def test_without_a_cluster_one_is_started(fresh: Any) -> None:
    assert not ray.is_initialized()
    group = util.placement_group([{"CPU": 1}])
    assert ray.is_initialized()
    assert group.wait(20)
