"""Work sent to a node is taken out of the view until the node reports, and put back when nothing ever shows."""

from __future__ import annotations

import pytest

from linckia.core.scheduling.debits import Debits
from linckia.core.scheduling.view import ClusterView, NodeView

pytestmark = pytest.mark.row("4.14", "P18")
NODE = b"n" * 28


@pytest.fixture
def view() -> ClusterView:
    made = ClusterView()
    made.join(NodeView(NODE, {"CPU": 40_000, "disk": 10_000}, {}))
    return made


def free(view: ClusterView) -> tuple[int, int]:
    return view.nodes[NODE].available["CPU"], view.nodes[NODE].available["disk"]


def test_what_never_shows_comes_back(view: ClusterView) -> None:
    debits = Debits(view)
    debits.take(NODE, {"CPU": 10_000})
    assert free(view) == (30_000, 10_000)
    assert debits.any
    assert not debits.settle(), "it is young"
    debits.take(NODE, {"CPU": 5_000})
    assert free(view) == (25_000, 10_000)
    assert debits.settle()
    assert free(view) == (35_000, 10_000)
    assert debits.settle()
    assert free(view) == (40_000, 10_000)
    assert not debits.any


def test_a_report_is_the_truth(view: ClusterView) -> None:
    debits = Debits(view)
    debits.take(NODE, {"CPU": 10_000, "disk": 10_000})
    view.patch(NODE, {"CPU": 20_000}, {})
    debits.reported(NODE, ["CPU"])
    debits.settle()
    debits.settle()
    assert free(view) == (20_000, 10_000), "only the disk comes back"
    assert not debits.any


def test_never_more_than_there_is(view: ClusterView) -> None:
    debits = Debits(view)
    debits.take(NODE, {"CPU": 10_000})
    view.patch(NODE, {"CPU": 40_000}, {})  # by somebody who does not say so
    debits.settle()
    debits.settle()
    assert free(view) == (40_000, 10_000)


def test_a_node_that_left(view: ClusterView) -> None:
    debits = Debits(view)
    debits.take(NODE, {"CPU": 10_000})
    view.leave(NODE)
    debits.settle()
    assert not debits.settle()
    assert not debits.any


def test_bundles_that_left(view: ClusterView) -> None:
    debits = Debits(view)
    view.patch(NODE, {"CPU_group_0_ab": 10_000}, {"CPU_group_0_ab": 10_000})
    debits.take(NODE, {"CPU_group_0_ab": 10_000})
    view.patch(NODE, {"CPU_group_0_ab": -1}, {"CPU_group_0_ab": -1})
    debits.settle()
    debits.settle()
    assert "CPU_group_0_ab" not in view.nodes[NODE].available
