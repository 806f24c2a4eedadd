"""Which node may run an actor's constructor: the head asks one, and says `BeginActor` when it has a worker for it.
Until then a node that nobody hears is not waited for.
"""

from __future__ import annotations

from typing import Any

import pytest

from linckia.base.limits import SUSPECT_AFTER_S
from linckia.core.actors.states import ActorState
from linckia.model.wire import Address
from linckia.protocol import messages as m
from tests.unit.gcs.services import ACTOR, Head, Peer, spec
from tests.unit.gcs.world import report

NAMES = (b"node-one", b"node-two")


class Two(Head):
    """With two nodes, of which one was asked to start an actor."""

    def __init__(self) -> None:
        super().__init__()
        self.peers = [self.join(name, CPU=1.0) for name in NAMES]
        self.register(spec({"CPU": 1.0}))
        self.first = next(peer for peer in self.peers if starts(peer))
        self.other = next(peer for peer in self.peers if peer is not self.first)

    def only_heard(self, heard: Peer) -> None:
        """Time passes, and one of the two is silent."""
        for _ in range(int(SUSPECT_AFTER_S) + 1):
            self.pass_time(1.0)
            self.tell(heard, m.Heartbeat(heard.peer_id))

    def says(self, peer: Peer, phase: str, attempt: int) -> None:
        self.tell(peer, m.ActorStart(ACTOR, phase, Address(peer.peer_id, "unix:/w"), 7, attempt=attempt))

    @property
    def state(self) -> ActorState:
        return self.actors.directory.actors[ACTOR].state


def told(peer: Peer, kind: type[Any]) -> list[Any]:
    return [each for each in peer.heard if isinstance(each, kind)]


def starts(peer: Peer) -> list[int]:
    return [each.attempt for each in told(peer, m.StartActor)]


@pytest.fixture
def head() -> Two:
    return Two()


def test_a_node_that_has_a_worker_may_begin(head: Two) -> None:
    assert told(head.first, m.BeginActor) == []
    head.says(head.first, "leased", 1)
    assert told(head.first, m.BeginActor) == [m.BeginActor(ACTOR, 1, 1)]


def test_what_a_silent_node_has_not_begun_another_one_begins(head: Two) -> None:
    head.only_heard(head.other)
    assert told(head.first, m.CancelStart) == [m.CancelStart(ACTOR, 1, 1)]
    (attempt,) = starts(head.other)
    head.says(head.first, "leased", 1)
    assert told(head.first, m.BeginActor) == [], "it is heard again, and too late"
    head.says(head.first, "busy", 1)
    head.says(head.other, "leased", attempt)
    assert told(head.other, m.BeginActor) == [m.BeginActor(ACTOR, attempt, 1)]
    head.tell(head.first, m.ActorWorkerDied(ACTOR, "it was cancelled", intended=False, restarts=0))
    head.says(head.other, "alive", attempt)
    assert head.state is ActorState.ALIVE


def test_what_a_silent_node_may_have_begun_is_waited_for(head: Two) -> None:
    head.says(head.first, "leased", 1)
    head.only_heard(head.other)
    assert told(head.first, m.CancelStart) == []
    assert starts(head.other) == []
    head.says(head.first, "alive", 1)
    assert head.state is ActorState.ALIVE


def test_without_room_elsewhere_it_waits_and_what_comes_late_means_nothing(head: Two) -> None:
    head.tell(head.other, report(head.other.peer_id, 1, CPU=0.0))
    head.only_heard(head.other)
    head.says(head.first, "leased", 1)
    assert told(head.first, m.BeginActor) == []


def test_a_node_that_dies_before_it_began_costs_no_restart(head: Two) -> None:
    head.tell(head.first, m.UnregisterNode(head.first.peer_id, "it ends"))
    (attempt,) = starts(head.other)
    head.says(head.other, "leased", attempt)
    head.says(head.other, "alive", attempt)
    assert (head.state, head.actors.directory.actors[ACTOR].restarts) == (ActorState.ALIVE, 0)


def test_the_only_node_is_waited_for() -> None:
    head = Head()
    node = head.join(b"node-one", CPU=1.0)
    head.register(spec({"CPU": 1.0}))
    head.pass_time(SUSPECT_AFTER_S + 1.0)
    assert told(node, m.CancelStart) == []
    assert starts(node) == [1]
