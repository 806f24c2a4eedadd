"""Actors that no node has room for: the first of each likeness waits at a node, where room is asked for."""

from __future__ import annotations

import msgspec
import pytest

from linckia.core.scheduling.scouts import PAUSE_FIRST_S, WAIT_FIRST_S
from linckia.model.placement import Strategy
from linckia.model.specs import ActorSpec
from linckia.protocol import messages as m
from tests.unit.gcs.world import Head, Peer, report, spec


def full() -> tuple[Head, list[Peer]]:
    """Two nodes whose CPUs are all taken."""
    head = Head()
    peers = [head.join(b"a", CPU=1.0), head.join(b"b", CPU=1.0)]
    for peer in peers:
        head.gcs.on_message(peer, report(peer.peer_id, 1, CPU=0.0))
    head.pass_time(1.0)
    return head, peers


def started(peers: list[Peer]) -> list[m.StartActor]:
    return [each for peer in peers for each in peer.heard if isinstance(each, m.StartActor)]


def at_a_node(peers: list[Peer]) -> list[bytes]:
    return [each.actor_id for each in started(peers)]


def place(head: Head, *specs: ActorSpec) -> None:
    for each in specs:
        head.placement.start(each, 0)


def test_the_first_of_each_likeness_waits_at_a_node() -> None:
    """There its raylet asks for room: owners give workers back only when somebody waits at the node for them."""
    head, peers = full()
    place(head, spec(1, CPU=1.0), spec(2, CPU=1.0), spec(3, CPU=0.5))
    assert sorted(at_a_node(peers)) == [b"actor1", b"actor3"]
    assert all(each.may_wait for each in started(peers))
    assert list(head.placement.waiting) == [b"actor2"]


def test_where_there_is_room_nobody_waits_at_a_node() -> None:
    head, peers = full()
    head.gcs.on_message(peers[0], report(b"a", 2, CPU=1.0))
    place(head, spec(1, CPU=1.0))
    assert [each.may_wait for each in started(peers)] == [False]


def test_a_waiting_actor_takes_nothing_from_what_the_head_believes_is_free() -> None:
    head, peers = full()
    place(head, spec(1, CPU=1.0))
    head.gcs.on_message(peers[0], report(b"a", 2, CPU=1.0))
    head.gcs.on_message(peers[1], report(b"b", 2, CPU=1.0))
    place(head, spec(2, CPU=1.0), spec(3, CPU=1.0))
    assert len(at_a_node(peers)) == 3


@pytest.mark.parametrize("how", ["it has a worker", "it is dead", "it begins anew"])
def test_the_next_one_waits_at_a_node_when_the_first_does_not_any_more(how: str) -> None:
    head, peers = full()
    first = spec(1, CPU=1.0)
    place(head, first, spec(2, CPU=1.0))
    match how:
        case "it has a worker":
            head.placement.scouts.settled(b"actor1")
        case "it is dead":
            head.placement.forget(b"actor1")
        case _:
            head.gcs.on_message(peers[0], report(b"a", 2, CPU=1.0))
            head.placement.start(first, 1)
    head.gcs.on_message(peers[0], report(b"a", 3, CPU=0.0))
    head.pass_time(1.0)
    assert b"actor2" in at_a_node(peers)
    assert not head.placement.waiting


def test_where_no_room_can_be_made_it_waits_at_another_node() -> None:
    """Actors hold all that there is at the first; tasks hold the second, and nobody would ask for it."""
    head, peers = full()
    first = spec(1, CPU=1.0)
    place(head, first)
    (begun,) = started(peers)
    assert begun.wait_s == WAIT_FIRST_S
    head.placement.busy(first, 0)
    assert len({node.peer_id for node in peers if started([node])}) == 2


def test_when_all_nodes_were_tried_the_next_round_begins_after_a_pause_and_waits_longer() -> None:
    head, peers = full()
    first = spec(1, CPU=1.0)
    place(head, first)
    for _ in range(2):
        head.placement.busy(first, 0)
    assert len(started(peers)) == 2
    assert list(head.placement.waiting) == [b"actor1"]
    head.gcs.on_message(peers[0], report(b"a", 2, CPU=0.5))
    head.pass_time(PAUSE_FIRST_S / 2)
    assert len(started(peers)) == 2, "news do not shorten the pause"
    head.pass_time(PAUSE_FIRST_S)
    assert len(started(peers)) == 3
    assert started(peers)[-1].wait_s > WAIT_FIRST_S or started(peers[:1])[-1].wait_s > WAIT_FIRST_S


def test_nobody_waits_at_a_node_that_takes_no_work() -> None:
    """A hard affinity to a node that drains, or is not heard."""
    head, peers = full()
    head.gcs.nodes.view.mark(b"a", takes_work=False)
    strategy = msgspec.msgpack.encode(Strategy(kind="NODE_AFFINITY", node_id=b"a"))
    place(head, msgspec.structs.replace(spec(1, CPU=1.0), strategy=strategy))
    assert not started(peers)
    assert list(head.placement.waiting) == [b"actor1"]
