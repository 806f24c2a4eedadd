"""One of each likeness waits at a node, at one after the other, in rounds with pauses."""

from __future__ import annotations

from linckia.core.scheduling.scouts import FACTOR, PAUSE_FIRST_S, PAUSE_MAX_S, WAIT_FIRST_S, WAIT_MAX_S, Scouts


def test_one_of_each_likeness() -> None:
    scouts = Scouts()
    assert scouts.may_go("small", 0.0)
    assert scouts.go("small", b"one", b"node") == WAIT_FIRST_S
    assert not scouts.may_go("small", 9.0)
    assert scouts.may_go("large", 0.0)
    assert len(scouts) == 1


def test_who_has_a_worker_leaves_the_next_one_a_fresh_start() -> None:
    scouts = Scouts()
    scouts.round_is_over("small", 0.0)
    scouts.go("small", b"one", b"node")
    scouts.settled(b"one")
    scouts.settled(b"one")
    assert scouts.may_go("small", 0.0)
    assert scouts.go("small", b"two", b"node") == WAIT_FIRST_S


def test_a_node_that_made_no_room_is_not_tried_again_in_this_round() -> None:
    scouts = Scouts()
    scouts.go("small", b"one", b"node")
    assert scouts.came_back(b"one")
    assert not scouts.came_back(b"one"), "it does not wait at a node any more"
    assert scouts.tried("small") == {b"node"}
    assert scouts.may_go("small", 0.0)


def test_the_next_round_begins_after_a_pause_and_lasts_longer() -> None:
    scouts = Scouts()
    scouts.go("small", b"one", b"node")
    scouts.came_back(b"one")
    until_s = scouts.round_is_over("small", 10.0)
    assert until_s == 10.0 + PAUSE_FIRST_S
    assert not scouts.may_go("small", until_s - 0.01)
    assert scouts.may_go("small", until_s)
    assert not scouts.tried("small")
    assert scouts.go("small", b"one", b"node") == WAIT_FIRST_S * FACTOR


def test_pauses_and_waits_have_an_end() -> None:
    scouts = Scouts()
    for _ in range(20):
        until_s = scouts.round_is_over("small", 0.0)
    assert until_s == PAUSE_MAX_S
    assert scouts.go("small", b"one", b"node") == WAIT_MAX_S


def test_nothing_is_remembered_when_there_is_room_again() -> None:
    scouts = Scouts()
    scouts.round_is_over("small", 0.0)
    scouts.go("large", b"one", b"node")
    for likeness in ("small", "large"):
        scouts.found_room(likeness)
    assert scouts.may_go("small", 0.0)
    assert not scouts.may_go("large", 0.0), "it still waits there"
    scouts.settled(b"one")
    assert scouts.is_idle
