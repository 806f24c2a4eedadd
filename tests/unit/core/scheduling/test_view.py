"""The view's index of shapes says what looking at every node would say, whatever was told of the nodes."""

from __future__ import annotations

from random import Random

import pytest

from linckia.core.leases.vectors import Units, to_units
from linckia.core.scheduling.shapes import ShapeTable
from linckia.core.scheduling.view import ClusterView, NodeView

NAMES = ("CPU", "GPU", "oil", "CPU_group_" + "a" * 36)
NEEDS: list[tuple[Units, Units]] = [
    ({}, {}),
    (to_units({"CPU": 1.0}), {}),
    (to_units({"CPU": 1.0, "oil": 2.0}), {}),
    (to_units({"GPU": 0.5}), {}),
    ({}, to_units({"oil": 1.0})),
    (to_units({NAMES[3]: 1.0}), to_units({"CPU": 2.0})),
]


def disturb(view: ClusterView, rng: Random) -> None:
    """Some news of some node."""
    node_id = b"n%d" % rng.randrange(8)
    some = {name: rng.choice([-1, 0, 5_000, 10_000, 20_000]) for name in NAMES if rng.random() < 0.4}
    amounts = {name: count for name, count in some.items() if count >= 0}
    match rng.randrange(7):
        case 0:
            view.join(NodeView(node_id, amounts, {}))
        case 1:
            view.leave(node_id)
        case 2:
            view.mark(node_id, takes_work=rng.random() < 0.7)
        case 3:
            view.report(node_id, amounts, amounts if rng.random() < 0.5 else None)
        case 4:
            view.debit(node_id, {name: min(count, 5_000) for name, count in amounts.items()})
        case _:
            view.patch(node_id, some, some if rng.random() < 0.3 else {})


@pytest.mark.row("P18")
@pytest.mark.parametrize("seed", range(8))
def test_shapes_follow_the_news(seed: int) -> None:
    rng, view = Random(seed), ClusterView()
    for _ in range(250):
        disturb(view, rng)
        for need, placement in NEEDS:
            kept, fresh = view.shape(need, placement), _copy(view).shape(need, placement)
            for name in ("feasible", "available", "gpu_free"):
                assert sorted(getattr(kept, name)) == sorted(getattr(fresh, name)), (name, need, placement)


def _copy(view: ClusterView) -> ClusterView:
    """The same nodes, and no shapes yet."""
    copy = ClusterView()
    copy.nodes = view.nodes
    return copy


def test_a_shape_that_is_forgotten_is_found_under_no_name() -> None:
    table = ShapeTable(lambda _shape: None)
    for number in range(ShapeTable.KEPT + 3):
        table.get({"CPU": number + 1, "GPU": 1}, {"CPU": number + 1})
    assert len(list(table.asking_for(["CPU"]))) == len(list(table.asking_for(["GPU"]))) == ShapeTable.KEPT
    assert len(list(table.asking_for(["CPU", "GPU", "oil"]))) == ShapeTable.KEPT
    assert not list(table.asking_for(["oil"]))
