"""Scheduling strategies: Ray's names and arguments, checked where they are made, equal by value."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from linckia.api.scheduling_strategies import (
    DoesNotExist,
    Exists,
    In,
    LabelMatchExpression,
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
    NotIn,
    PlacementGroupSchedulingStrategy,
)

NODE = "ab" * 28


class NodeID:
    def hex(self) -> str:
        return NODE


@pytest.mark.row("2.11")
@pytest.mark.parametrize(
    "given", [NODE, NODE.upper(), bytes.fromhex(NODE), NodeID()], ids=["hex", "HEX", "bytes", "id"]
)
def test_a_node_may_be_named_in_several_ways(given: Any) -> None:
    strategy = NodeAffinitySchedulingStrategy(given, soft=False)
    assert (strategy.node_id, strategy.soft) == (NODE, False)
    assert (strategy._spill_on_unavailable, strategy._fail_on_unavailable) == (False, False)
    assert NodeAffinitySchedulingStrategy("00" * 28, True).soft is True


@pytest.mark.row("2.11")
@pytest.mark.parametrize("given", ["ff" * 28, "FF" * 28, "ab", "zz" * 28, "", None, 5, b"ab", " " * 56])
def test_a_wrong_node_id_is_named(given: Any) -> None:
    with pytest.raises(ValueError, match="node_id must be the 56 hex digits") as caught:
        NodeAffinitySchedulingStrategy(given, soft=False)
    assert repr(given) in str(caught.value)


@pytest.mark.row("2.11")
def test_private_flags_must_fit_softness() -> None:
    assert NodeAffinitySchedulingStrategy(NODE, True, _spill_on_unavailable=True)._spill_on_unavailable
    assert NodeAffinitySchedulingStrategy(NODE, False, _fail_on_unavailable=True)._fail_on_unavailable
    with pytest.raises(ValueError, match="_spill_on_unavailable needs soft=True"):
        NodeAffinitySchedulingStrategy(NODE, False, _spill_on_unavailable=True)
    with pytest.raises(ValueError, match="_fail_on_unavailable needs soft=False"):
        NodeAffinitySchedulingStrategy(NODE, True, _fail_on_unavailable=True)
    with pytest.raises(TypeError, match="soft must be True or False, got 'no'"):
        NodeAffinitySchedulingStrategy(NODE, "no")  # type: ignore[arg-type]


@pytest.mark.row("2.12")
@pytest.mark.parametrize("operator", [In, NotIn])
def test_label_operators_need_text_values(operator: type[In] | type[NotIn]) -> None:
    assert operator("a", "b").values == ["a", "b"]
    with pytest.raises(ValueError, match="at least one value"):
        operator()
    with pytest.raises(ValueError, match="value 1 must be a str, got 2"):
        operator("a", 2)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Exists(1)  # type: ignore[call-arg]


@pytest.mark.row("2.12")
def test_node_labels() -> None:
    strategy = NodeLabelSchedulingStrategy({"region": In("us"), "gpu": Exists()}, soft={"spot": DoesNotExist()})
    assert strategy.hard == [LabelMatchExpression("region", In("us")), LabelMatchExpression("gpu", Exists())]
    assert [(one.key, type(one.operator)) for one in strategy.soft] == [("spot", DoesNotExist)]
    assert NodeLabelSchedulingStrategy(None, soft={"a": Exists()}).hard == []


@pytest.mark.row("2.12")
@pytest.mark.parametrize(
    ("hard", "soft", "told"),
    [
        ({}, None, "give hard or soft"),
        (None, {}, "give hard or soft"),
        ([1], None, "hard must be a dict"),
        ({"a": Exists()}, [1], "soft must be a dict"),
        ({1: In("a")}, None, "hard: a label key must be a str"),
        ({"a": "b"}, None, r"hard\['a'\] must be In"),
        (None, {"a": In}, r"soft\['a'\] must be In"),
    ],
)
def test_wrong_node_labels_are_named(hard: Any, soft: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        NodeLabelSchedulingStrategy(hard, soft=soft)


@pytest.mark.row("2.13")
def test_placement_group_strategy() -> None:
    strategy = PlacementGroupSchedulingStrategy("pg", 2, True)
    assert (strategy.placement_group, strategy.placement_group_bundle_index) == ("pg", 2)
    assert strategy.placement_group_capture_child_tasks is True
    default = PlacementGroupSchedulingStrategy(placement_group=None)
    assert (default.placement_group_bundle_index, default.placement_group_capture_child_tasks) == (-1, None)


@pytest.mark.row("2.13")
@pytest.mark.parametrize(("index", "error"), [(-2, ValueError), ("a", TypeError), (True, TypeError), (None, TypeError)])
def test_a_wrong_bundle_index_is_named(index: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="placement_group_bundle_index"):
        PlacementGroupSchedulingStrategy("pg", index)
    with pytest.raises(TypeError, match="capture_child_tasks"):
        PlacementGroupSchedulingStrategy("pg", 0, "yes")  # type: ignore[arg-type]


@pytest.mark.row("4.4")
def test_strategies_are_equal_by_value_so_that_they_share_leases() -> None:
    def make() -> list[Any]:
        return [
            NodeAffinitySchedulingStrategy(NODE, False),
            NodeAffinitySchedulingStrategy(NODE, True),
            NodeLabelSchedulingStrategy({"a": In("x")}),
            NodeLabelSchedulingStrategy({"a": NotIn("x")}),
            PlacementGroupSchedulingStrategy("pg", 1),
            PlacementGroupSchedulingStrategy("pg", 2),
        ]

    once, again = make(), make()
    assert once == again
    assert len(set(once + again)) == len(once)
    assert [pickle.loads(pickle.dumps(one)) for one in once] == once
    assert repr(once[0]) == (
        "NodeAffinitySchedulingStrategy(_fail_on_unavailable=False, _spill_on_unavailable=False, "
        f"node_id='{NODE}', soft=False)"
    )
    assert once[2] != once[0]
    assert once[0] != "x"
