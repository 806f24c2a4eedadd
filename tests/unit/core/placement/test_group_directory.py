"""The directory of placement groups: who waits is looked at, all of them and not for ever."""

from __future__ import annotations

from linckia.core.leases.vectors import to_units
from linckia.core.placement.claim_turns import CLAIM_AFTER_S
from linckia.core.placement.directory import LOOKED_AT_MAX, GroupDirectory
from linckia.core.placement.records import Prepare, Return
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
    assert groups.next_try_s() == pause_ends_s + CLAIM_AFTER_S, "then room is made for it"


def test_a_group_does_not_wait_for_a_node_that_is_not_heard() -> None:
    """It began again on another one only when the silent one was declared dead, eight seconds later."""
    groups = directory(4.0)
    groups.create(spec("a", 4.0), 0.0)
    groups.view.join(NodeView(b"other", to_units({"CPU": 4.0}), {}))
    groups.view.mark(b"node", takes_work=False)
    back, again = groups.node_suspect(b"node", 3.0)
    assert back == Return(b"node", b"a", [0]), "it may have reserved it, and may be heard again"
    assert isinstance(again, Prepare)
    assert (again.node_id, again.attempt) == (b"other", 2)
    assert groups.prepared(b"a", 1, b"node", 3.1, ok=True) == [], "too late"
    assert not groups.expects(b"a", 0, b"node")


def test_bundles_of_a_node_that_is_not_heard_stay_there() -> None:
    groups = directory(4.0)
    groups.create(spec("a", 4.0), 0.0)
    groups.prepared(b"a", 1, b"node", 0.0, ok=True)
    groups.committed(b"a", 1, b"node", 0.0)
    assert groups.node_suspect(b"node", 3.0) == []
    assert groups.expects(b"a", 0, b"node")


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


def test_what_is_stuck_is_looked_at_again_when_something_was_gained_and_not_before() -> None:
    groups = directory(1.0)
    view = groups.view
    groups.create(spec("large", 2.0), 0.0)
    (known,) = groups._stuck.values()
    for _ in range(2):
        view.debit(b"node", to_units({"CPU": 0.5}))
        bundle = f"CPU_group_{'0' * 36}"
        view.patch(b"node", {bundle: 10_000}, {bundle: 10_000})
        assert groups.schedule(1.0) == []
        assert list(groups._stuck.values()) == [known], "less is free, and a bundle was committed"
    view.patch(b"node", to_units({"CPU": 2.0}), to_units({"CPU": 2.0}))
    (prepare,) = groups.schedule(2.0)
    assert isinstance(prepare, Prepare)


def test_each_way_in_which_a_view_gains_is_noticed() -> None:
    view = ClusterView()
    seen = [view.gains]

    def gained() -> bool:
        seen.append(view.gains)
        return seen[-1] > seen[-2]

    view.join(NodeView(b"node", to_units({"CPU": 1.0}), {}))
    assert gained(), "a node"
    view.mark(b"node", takes_work=False)
    assert not gained()
    view.mark(b"node", takes_work=True)
    assert gained(), "one that is heard again"
    view.report(b"node", to_units({"CPU": 0.5}))
    assert not gained()
    view.report(b"node", to_units({"CPU": 0.75}))
    assert gained(), "an amount in a full report"
    view.patch(b"node", to_units({"CPU": 1.0}), {})
    assert gained(), "an amount in a change"
    view.patch(b"node", {}, to_units({"GPU": 1.0}))
    assert gained(), "a new resource"
    view.patch(b"node", {"GPU": -1}, {"GPU": -1})
    view.leave(b"node")
    assert not gained()
