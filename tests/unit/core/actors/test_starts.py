"""Which node may begin an actor: what is withdrawn, what stays, and what a node's death costs."""

from __future__ import annotations

from typing import Any

from linckia.core.actors.directory import ActorDirectory, Begin, Publish, Start
from linckia.core.actors.states import ActorDeathReason
from tests.unit.core.actors.cases import W1, W2, A, death, spec


def asked(directory: ActorDirectory, **changes: Any) -> int:
    """Register an actor and ask a node for it."""
    directory.register(spec(**changes), ready=True)
    return directory.attempted(A)


def test_what_has_not_begun_is_withdrawn_and_asked_of_another_node() -> None:
    directory = ActorDirectory()
    first = asked(directory)
    assert directory.withdrawn(A) == first
    assert not directory.is_current(A, first), "what that node says comes too late"
    assert directory.withdrawn(A) != first, "withdrawn once"
    second = directory.attempted(A)
    assert directory.is_current(A, second)
    assert directory.leased(A, W2, 2) == [Begin(A, second)]
    assert directory.actors[A].restarts == 0


def test_what_may_have_begun_stays_where_it_is() -> None:
    directory = ActorDirectory()
    attempt = asked(directory)
    directory.leased(A, W1, 1)
    assert directory.withdrawn(A) == 0
    directory.alive(A, W1, 1, "")
    assert directory.withdrawn(A) == 0
    assert directory.is_current(A, attempt)


def test_a_node_that_dies_before_it_began_costs_no_restart() -> None:
    directory = ActorDirectory()
    attempt = asked(directory, max_restarts=0)
    assert directory.node_lost(A, "its node died", preempted=False) == [Start(A, 0)]
    assert not directory.is_current(A, attempt)
    directory.attempted(A)
    directory.leased(A, W1, 1)
    assert directory.node_lost(A, "its node died", preempted=False) == [Publish(A)]
    assert death(directory) is ActorDeathReason.WORKER_DIED


def test_what_nobody_holds_any_more_is_not_asked_of_another_node() -> None:
    directory = ActorDirectory()
    asked(directory)
    directory.out_of_scope(A)
    assert directory.node_lost(A, "its node died", preempted=False) == [Publish(A)]
    assert death(directory) is ActorDeathReason.OUT_OF_SCOPE


def test_what_the_last_head_asked_for_may_have_begun() -> None:
    known = ActorDirectory()
    asked(known)
    taken_over = ActorDirectory()
    taken_over.restore(known.actors[A])
    assert taken_over.withdrawn(A) == 0
    assert taken_over.attempted(A) == 2, "numbers go on"
