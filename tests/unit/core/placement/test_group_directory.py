"""The directory of placement groups: who waits is looked at, all of them and not for ever."""

from __future__ import annotations

from linckia.core.leases.vectors import to_units
from linckia.core.placement.directory import LOOKED_AT_MAX, GroupDirectory, Prepare
from linckia.core.scheduling.view import ClusterView, NodeView
from linckia.model.placement import GroupSpec


def directory(cpus: float) -> GroupDirectory:
    view = ClusterView()
    view.join(NodeView(b"node", to_units({"CPU": cpus}), {}))
    return GroupDirectory(view)


def spec(name: str, cpus: float) -> GroupSpec:
    return GroupSpec(name.encode(), [{"CPU": cpus}], "PACK")


def test_after_its_pause_a_group_that_does_not_fit_waits_for_news_and_not_for_time() -> None:
    groups = directory(4.0)
    ((prepare,), _) = groups.create(spec("a", 4.0), 0.0)
    assert isinstance(prepare, Prepare)
    groups.prepared(b"a", prepare.attempt, b"node", 0.0, ok=False)
    pause_ends_s = groups.next_try_s()
    assert pause_ends_s is not None
    groups.view.report(b"node", to_units({"CPU": 1.0}))
    assert groups.go_on(pause_ends_s) == []
    assert groups.next_try_s() is None


def test_those_behind_many_that_do_not_fit_are_looked_at_without_further_news() -> None:
    groups = directory(4.0)
    groups.view.report(b"node", {})
    for number in range(LOOKED_AT_MAX + 10):
        groups.create(spec(f"large {number}", 5.0 + number), 0.0)
    groups.create(spec("small", 1.0), 0.0)
    groups.view.report(b"node", to_units({"CPU": 4.0}))
    assert groups.schedule(1.0) == []
    assert groups.next_try_s() == 0.0
    (prepare,) = groups.go_on(1.0)
    assert isinstance(prepare, Prepare)
    assert prepare.group_id == b"small"
    assert groups.next_try_s() is None


def test_groups_that_are_alike_are_decided_once_per_change_of_the_view() -> None:
    groups = directory(1.0)
    for number in range(5):
        groups.create(spec(f"g{number}", 2.0), 0.0)
    assert len(groups._stuck) == 1
    groups.view.join(NodeView(b"other", to_units({"CPU": 2.0}), {}))
    assert len(groups.schedule(1.0)) == 1
    assert len(groups.pending) == 4
