"""What ends with whom: groups by job, by detached actor and by node."""

from __future__ import annotations

from typing import Any

from linckia.core.leases.vectors import to_units
from linckia.core.placement.directory import GroupDirectory
from linckia.core.placement.group_index import GroupIndex
from linckia.core.placement.records import Prepare
from linckia.core.scheduling.view import ClusterView, NodeView
from linckia.model.placement import GroupSpec


def spec(group_id: bytes, **more: Any) -> GroupSpec:
    return GroupSpec(group_id, [{"CPU": 1.0}, {"CPU": 1.0}], "STRICT_SPREAD", **more)


def test_who_a_group_ends_with() -> None:
    index = GroupIndex()
    plain, of_actor = spec(b"g1", job_id=b"j"), spec(b"g2", job_id=b"j", creator=b"a")
    for each in (plain, of_actor, spec(b"g3", job_id=b"j", detached=True)):
        index.add(each)
    assert index.of_job(b"j") == [b"g1"], "a detached actor may outlive the job"
    assert index.of_actor(b"a") == [b"g2"]
    index.discard(plain, [])
    index.discard(of_actor, [])
    assert index.is_empty


def test_a_node_s_groups_are_those_that_have_or_are_getting_bundles_there() -> None:
    view = ClusterView()
    for name in (b"n1", b"n2", b"n3"):
        view.join(NodeView(name, to_units({"CPU": 1.0}), {}))
    groups = GroupDirectory(view)
    effects, _ = groups.create(spec(b"g1"), 0.0)
    first, second = [each for each in effects if isinstance(each, Prepare)]
    assert groups._index.on(first.node_id) == groups._index.on(second.node_id) == [b"g1"]
    groups.prepared(b"g1", first.attempt, first.node_id, 0.0, ok=False)
    assert groups._index.on(first.node_id) == groups._index.on(second.node_id) == [], "the attempt is over"
    for name in view.nodes:
        view.report(name, to_units({"CPU": 1.0}))
    chosen = [each.node_id for each in groups.schedule(1.0) if isinstance(each, Prepare)]
    attempt = groups.groups[b"g1"].attempt
    for node_id in chosen:
        groups.prepared(b"g1", attempt, node_id, 1.0, ok=True)
    for node_id in chosen:
        groups.committed(b"g1", attempt, node_id, 1.0)
    assert groups.groups[b"g1"].state.value == "CREATED"
    spare = ({b"n1", b"n2", b"n3"} - set(chosen)).pop()
    assert groups.node_dead(spare, 2.0) == []
    view.leave(chosen[0])
    groups.node_dead(chosen[0], 2.0)
    assert groups.groups[b"g1"].state.value == "RESCHEDULING"
    assert groups._index.on(chosen[0]) == []
    groups.remove(b"g1")
    assert groups._index.is_empty
