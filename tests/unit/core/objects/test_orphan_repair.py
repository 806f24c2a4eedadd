"""Copies of values without an owner are made anew: by one node, on one more each, as often as it takes, and by nobody
when none is lacking.
"""

from __future__ import annotations

from linckia.core.objects.orphan_repair import Look, OrphanRepair
from linckia.core.objects.replicas import RETRY_AFTER_S

A, B, C, D = b"a", b"b", b"c", b"d"
ONE, TWO, THREE = b"1", b"2", b"3"
OWNER = b"owner"
ALL = (A, B, C, D)


def keeper(node_id: bytes = A, *objects: bytes, wanted: int = 2) -> OrphanRepair:
    """A node with orphans, which looks for the first time."""
    of = OrphanRepair(node_id)
    for object_id in objects or (ONE,):
        of.orphaned(object_id, OWNER, wanted)
    assert of.take_due(0.0) == [(OWNER, list(objects or (ONE,)))]
    return of


def is_empty(of: OrphanRepair) -> bool:
    return not (of.objects or of._at or of._due or of._later or of._lacking)


def test_it_looks_when_the_owner_ends_and_does_nothing_when_all_is_there() -> None:
    of = keeper()
    assert of.looked(ONE, Look([B]), ALL, 0.0) == []
    of.orphaned(ONE, OWNER, 2)
    assert of.next_s(0.0) is None, "once is enough"


def test_what_has_one_copy_is_never_looked_for() -> None:
    of = OrphanRepair(A)
    of.orphaned(ONE, OWNER, 1)
    assert of.next_s(0.0) is None and is_empty(of)


def test_the_keeper_with_the_smallest_id_acts_alone() -> None:
    first, second = keeper(A, wanted=3), keeper(C, wanted=3)
    assert second.looked(ONE, Look([A]), ALL, 0.0) == []
    assert len(first.looked(ONE, Look([C]), ALL, 0.0)) == 1
    assert second.next_s(0.0) is None, "it has nothing to do until somebody dies"
    late = keeper(C, wanted=3)
    assert late.looked(ONE, Look([A]), (B, C, D), 0.0) == [B, D], "that one has died meanwhile"


def test_two_who_act_at_once_ask_the_same_node() -> None:
    everywhere = set()
    for number in range(100):
        object_id = b"%d" % number
        (by_a,) = keeper(A, object_id).looked(object_id, Look([]), ALL, 0.0)
        (by_b,) = keeper(B, object_id).looked(object_id, Look([]), (D, C), 0.0)
        assert by_b in (by_a, C, D) and by_a in (B, by_b)
        everywhere.add(by_a)
    assert everywhere == {B, C, D}, "and not one for all objects"


def test_when_a_node_dies_only_what_it_had_is_looked_for() -> None:
    of = keeper(A, ONE, TWO, THREE)
    for object_id, node_id in ((ONE, B), (TWO, C), (THREE, B)):
        of.looked(object_id, Look([node_id]), ALL, 0.0)
    of.node_dead(D)
    assert of.next_s(1.0) is None
    of.node_dead(B)
    assert of.next_s(1.0) == 1.0 and of.take_due(1.0) == [(OWNER, [ONE, THREE])]
    assert of.next_s(1.0) is None
    assert of.looked(ONE, Look([]), (A, C, D), 1.0) in ([C], [D])


def test_who_was_asked_counts_until_it_has_answered() -> None:
    of = keeper(wanted=3)
    asked = of.looked(ONE, Look([]), (A, B, C), 0.0)
    assert sorted(asked) == [B, C]
    assert of.looked(ONE, Look([]), ALL, 0.1) == [], "they are at work"
    of.kept(ONE, B)
    of.node_dead(C)
    of.take_due(0.2)
    assert of.looked(ONE, Look([B]), (A, B, D), 0.2) == [D]
    of.node_dead(B)
    assert of.take_due(0.3) == [(OWNER, [ONE])], "of what it has made it knows where it is"


def test_who_refuses_is_not_asked_for_a_while() -> None:
    of = keeper()
    assert of.looked(ONE, Look([]), (A, B), 0.0) == [B]
    of.refused(ONE, B, 0.0)
    of.refused(ONE, B, 0.0)
    assert of.take_due(0.0) == [(OWNER, [ONE])]
    assert of.looked(ONE, Look([]), (A, B, C), 0.0) == [C]
    of.refused(ONE, C, 1.0)
    assert of.take_due(1.0) == [(OWNER, [ONE])]
    assert of.looked(ONE, Look([]), (A, B, C), 1.0) == []
    assert of.next_s(1.0) == 1.0 + RETRY_AFTER_S and of.take_due(5.9) == []
    assert of.take_due(6.0) == [(OWNER, [ONE])]
    assert len(of.looked(ONE, Look([]), (A, B, C), 6.0)) == 1


def test_who_is_silent_may_be_at_work() -> None:
    of = keeper()
    (asked,) = of.looked(ONE, Look([]), (A, B), 0.0)
    of.silent(ONE, asked, 5.0)
    assert of.take_due(5.0) == [] and of.take_due(10.0) == [(OWNER, [ONE])]
    assert of.looked(ONE, Look([], [B]), (A, B, C), 10.0) == [], "its copy arrives"
    assert of.take_due(15.0) == [(OWNER, [ONE])], "or does not"
    of.silent(ONE, B, 14.0)
    assert of.looked(ONE, Look([]), (A, B, C), 15.0) == [C], "and it does not hear us"


def test_too_few_nodes_are_made_up_for_when_others_join() -> None:
    of = keeper(wanted=3)
    assert of.looked(ONE, Look([B]), (A, B), 0.0) == []
    assert of.next_s(0.0) is None, "nothing will change by itself"
    of.node_joined()
    assert of.take_due(1.0) == [(OWNER, [ONE])]
    assert of.looked(ONE, Look([B]), (A, B, C), 1.0) == [C]
    of.node_joined()
    assert of.next_s(2.0) is None


def test_a_machine_that_will_be_taken_away_is_not_asked_but_counts() -> None:
    of = keeper(wanted=3)
    assert of.looked(ONE, Look([B]), (A, B, C), 0.0, (B, C)) == []
    of.node_dead(B)
    of.take_due(0.0)
    assert of.looked(ONE, Look([]), (A, C, D), 0.0, (C,)) == [D]


def test_nothing_is_done_while_keepers_may_be_unknown() -> None:
    of = keeper()
    assert of.looked(ONE, Look([], is_whole=False), ALL, 0.0) == []
    assert of.take_due(RETRY_AFTER_S) == [(OWNER, [ONE])]
    assert len(of.looked(ONE, Look([]), ALL, RETRY_AFTER_S)) == 1


def test_what_a_dead_node_has_not_answered_does_not_count() -> None:
    of = keeper()
    assert of.looked(ONE, Look([], [B]), (A, C), 0.0) == [C]
    assert of.next_s(0.0) is None


def test_nothing_is_left_when_it_has_ended() -> None:
    of = keeper(A, ONE, TWO, wanted=3)
    of.looked(ONE, Look([B]), (A, B), 0.0)
    of.looked(TWO, Look([], [C]), ALL, 0.0)
    of.node_dead(C)
    for _ in range(2):
        of.ended(ONE)
        of.ended(TWO)
    assert is_empty(of)
    assert of.looked(TWO, Look([]), ALL, 1.0) == []
    for tell in (of.refused, of.silent):
        tell(TWO, B, 1.0)
    of.kept(TWO, B)
    assert is_empty(of)
