"""Groups that fit into nodes, and not into what is free: one at a time has room made for it, with pauses."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from linckia.core.leases.vectors import to_units
from linckia.core.placement.claim_turns import CLAIM_AFTER_S, CLAIM_FIRST_S, CLAIM_MAX_S, REST_PER_CLAIM
from linckia.core.placement.directory import GroupDirectory
from linckia.core.placement.records import Commit, Prepare, Return
from linckia.core.scheduling.view import ClusterView, NodeView
from linckia.model.placement import GroupSpec

DUE_S = CLAIM_AFTER_S


def busy(*names: bytes, cpus: float = 2.0) -> GroupDirectory:
    """Nodes of which nothing is free."""
    view = ClusterView()
    for name in names:
        view.join(NodeView(name, to_units({"CPU": cpus}), {}))
        view.report(name, {"CPU": 0})
    return GroupDirectory(view)


def group(name: str, *cpus: float, strategy: str = "PACK") -> GroupSpec:
    return GroupSpec(name.encode(), [{"CPU": each} for each in cpus], strategy)


def claims(effects: Sequence[object]) -> list[Prepare]:
    found = [each for each in effects if isinstance(each, Prepare)]
    assert all(each.wait_s > 0 for each in found)
    return found


def refused(groups: GroupDirectory, prepare: Prepare, now_s: float) -> list[object]:
    return list(groups.prepared(prepare.group_id, prepare.attempt, prepare.node_id, now_s, ok=False))


def test_a_group_that_fits_into_nodes_but_not_into_what_is_free_has_room_made_for_it() -> None:
    groups = busy(b"a")
    assert groups.create(group("g", 1.0), 0.0) == ([], "")
    assert groups.next_try_s() == DUE_S
    (claim,) = claims(groups.go_on(DUE_S))
    assert (claim.node_id, claim.indexes, claim.wait_s) == (b"a", [0], CLAIM_FIRST_S)
    assert groups.next_try_s() is None, "the node's answer comes in any case"
    assert groups.prepared(b"g", claim.attempt, b"a", 0.5, ok=True) == [Commit(b"a", b"g", claim.attempt)]


def test_only_one_at_a_time_and_then_the_next() -> None:
    """Two that keep half of what both need would wait for each other."""
    groups = busy(b"a")
    groups.create(group("g", 2.0), 0.0)
    groups.create(group("h", 1.5), 0.0)
    (first,) = claims(groups.go_on(DUE_S))
    assert groups.go_on(DUE_S + 0.5) == []
    groups.remove(first.group_id)
    assert [each.group_id for each in claims(groups.go_on(DUE_S + 0.5))] == [b"h"]


def test_a_claim_takes_a_quarter_of_the_time_at_most_and_lasts_longer_each_time() -> None:
    groups = busy(b"a", b"b", b"c")
    groups.create(group("g", 1.0), 0.0)
    now_s, claimed_s, waits = 0.0, 0.0, []
    while now_s < 1000.0:
        due_s = groups.next_try_s()
        assert due_s is not None, "somebody always comes to look"
        now_s = due_s
        for claim in claims(groups.go_on(now_s)):
            waits.append(claim.wait_s)
            now_s += claim.wait_s
            claimed_s += claim.wait_s
            refused(groups, claim, now_s)
    assert waits == sorted(waits)
    assert waits[-1] == CLAIM_MAX_S
    assert claimed_s <= now_s / (1 + REST_PER_CLAIM) + CLAIM_MAX_S


def test_another_node_is_asked_when_the_tasks_of_one_made_no_room() -> None:
    groups = busy(b"a", b"b")
    groups.create(group("g", 1.0), 0.0)
    asked: list[bytes] = []
    now_s = 0.0
    while len(asked) < 2:
        now_s = groups.next_try_s() or now_s
        for claim in claims(groups.go_on(now_s)):
            asked.append(claim.node_id)
            refused(groups, claim, now_s)
    assert sorted(asked) == [b"a", b"b"]


def test_what_one_node_has_kept_is_given_back_when_the_other_cannot() -> None:
    groups = busy(b"a", b"b")
    groups.create(group("g", 2.0, 2.0, strategy="STRICT_SPREAD"), 0.0)
    one, other = claims(groups.go_on(DUE_S))
    assert groups.prepared(b"g", one.attempt, one.node_id, 0.2, ok=True) == []
    assert refused(groups, other, 1.0) == [Return(one.node_id, b"g", one.indexes)]


def test_what_fits_into_no_node_claims_nothing_and_is_looked_at_ever_less() -> None:
    groups = busy(b"a")
    groups.create(group("large", 3.0), 0.0)
    assert groups.next_try_s() is None
    groups = busy(b"a", b"b")
    groups.view.mark(b"b", takes_work=False)
    groups.create(group("apart", 1.0, 1.0, strategy="STRICT_SPREAD"), 0.0)
    assert groups.go_on(DUE_S) == []


def test_the_group_that_has_room_made_for_it_is_demand_all_the_same() -> None:
    """Else an autoscaler would believe that nobody wants nodes as long as it claims."""
    groups = busy(b"a")
    groups.create(group("g", 1.0), 0.0)
    assert [each.spec.group_id for each in groups.without_nodes()] == [b"g"]
    groups.go_on(DUE_S)
    assert [each.spec.group_id for each in groups.without_nodes()] == [b"g"]


def test_a_plain_attempt_debits_the_view_and_a_claim_does_not() -> None:
    groups = busy(b"a", b"b")
    groups.create(group("g", 2.0), 0.0)
    groups.go_on(DUE_S)
    assert {node.available["CPU"] for node in groups.view.nodes.values()} == {0}


def test_a_group_with_a_topology_claims_nothing() -> None:
    """Which value of the label it gets is decided by what is free."""
    groups = busy(b"a")
    groups.view.nodes[b"a"].labels["zone"] = "z1"
    groups.create(msgspec.structs.replace(group("g", 1.0), topology={"zone": "STRICT_PACK"}), 0.0)
    assert groups.next_try_s() is None
    assert groups.go_on(DUE_S) == []
