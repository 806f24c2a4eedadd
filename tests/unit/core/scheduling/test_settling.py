"""Work sent to a node is taken out of the view until the node reports, and put back when nothing ever shows."""

from __future__ import annotations

import pytest

from linckia.core.scheduling.settling import SettlingView
from linckia.core.scheduling.view import NodeView

pytestmark = pytest.mark.row("4.14", "P18")
NODE = b"n" * 28


class View(SettlingView):
    """One node; counts how often it became unsettled."""

    def __init__(self) -> None:
        self.calls = 0
        super().__init__(self.count)
        self.join(NodeView(NODE, {"CPU": 40_000, "disk": 10_000}, {}))

    def count(self) -> None:
        self.calls += 1

    @property
    def free(self) -> tuple[int, int]:
        """CPU and disk."""
        return self.nodes[NODE].available["CPU"], self.nodes[NODE].available["disk"]


def settled(view: View) -> bool:
    """Asked through a function, because mypy takes a property for something that stays as it was."""
    return view.is_settled


def test_what_never_shows_comes_back() -> None:
    view = View()
    view.debit(NODE, {"CPU": 10_000})
    assert view.free == (30_000, 10_000)
    assert not settled(view)
    assert not view.settle(), "it is young"
    view.debit(NODE, {"CPU": 5_000})
    assert view.unsettled_of(NODE) == {"CPU": 15_000}
    assert view.free == (25_000, 10_000)
    assert view.settle()
    assert view.free == (35_000, 10_000)
    assert view.settle()
    assert view.free == (40_000, 10_000)
    assert settled(view)
    assert view.unsettled_of(NODE) == {}
    assert view.calls == 1
    view.debit(NODE, {"CPU": 5_000})
    assert view.calls == 2


def test_a_report_is_the_truth() -> None:
    view = View()
    view.debit(NODE, {"CPU": 10_000, "disk": 10_000})
    view.patch(NODE, {"CPU": 20_000}, {})
    view.settle()
    view.settle()
    assert view.free == (20_000, 10_000), "only the disk comes back"
    assert settled(view)


def test_a_whole_report_is_the_truth() -> None:
    view = View()
    view.debit(NODE, {"CPU": 10_000})
    view.report(NODE, {"CPU": 20_000, "disk": 0})
    assert settled(view)
    assert view.free == (20_000, 0)


def test_never_more_than_there_is() -> None:
    view = View()
    view.debit(NODE, {"CPU": 10_000})
    view.nodes[NODE].available["CPU"] = 40_000  # by somebody who does not say so
    view.settle()
    view.settle()
    assert view.free == (40_000, 10_000)


def test_a_node_that_left() -> None:
    view = View()
    view.debit(NODE, {"CPU": 10_000})
    view.leave(NODE)
    view.settle()
    assert not view.settle()
    assert settled(view)


def test_bundles_that_left() -> None:
    view = View()
    view.patch(NODE, {"CPU_group_0_ab": 10_000}, {"CPU_group_0_ab": 10_000})
    view.debit(NODE, {"CPU_group_0_ab": 10_000})
    view.settle()
    view.nodes[NODE].total.pop("CPU_group_0_ab")
    view.nodes[NODE].available.pop("CPU_group_0_ab")
    assert not view.settle()
    assert "CPU_group_0_ab" not in view.nodes[NODE].available


def test_what_needs_nothing_leaves_nothing() -> None:
    view = View()
    view.debit(NODE, {})
    assert settled(view)
    assert not view.calls
