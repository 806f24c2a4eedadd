"""The actor directory by cases: who is restarted, who dies of what, who has a name."""

from __future__ import annotations

from typing import Any

import pytest

from linckia.core.actors import directory as module
from linckia.core.actors.directory import ActorDirectory, Begin, Publish, Start, Stop
from linckia.core.actors.record import Actor
from linckia.core.actors.states import ActorDeathReason, ActorState
from linckia.model.wire import Address
from tests.unit.core.actors.cases import OWNER, W1, W2, W3, A, B, alive, death, lose, spec, state

# --- birth ------------------------------------------------------------------------------------------------------------


def test_registered_ready_it_is_started_and_lives() -> None:
    directory = ActorDirectory()
    assert directory.register(spec(), ready=True) == ([Start(A, 0)], "", None)
    assert directory.attempted(A) == 1
    assert directory.leased(A, W1, 7) == [Begin(A, 1)]
    assert state(directory) is ActorState.PENDING_CREATION
    assert directory.alive(A, W1, 7, "Actor(1)") == [Publish(A)]
    actor = directory.actors[A]
    assert (actor.state, actor.worker, actor.pid, actor.repr_name) == (ActorState.ALIVE, W1, 7, "Actor(1)")


def test_a_registration_that_comes_twice_changes_nothing() -> None:
    directory = ActorDirectory()
    alive(directory, name="n")
    assert directory.register(spec(name="n"), ready=True) == ([], "", None)
    assert state(directory) is ActorState.ALIVE


def test_it_waits_for_its_arguments() -> None:
    directory = ActorDirectory()
    assert directory.register(spec(), ready=False) == ([], "", None)
    assert directory.arguments(A, spec(args=b"packed"), None) == [Start(A, 0)]
    assert directory.actors[A].spec.args == b"packed"
    assert directory.arguments(A, spec(args=b"late"), None) == []
    assert directory.actors[A].spec.args == b"packed"


def test_a_failed_argument_is_the_end() -> None:
    directory = ActorDirectory()
    directory.register(spec(max_restarts=-1), ready=False)
    assert directory.arguments(A, None, b"error") == [Publish(A)]
    assert (death(directory), directory.actors[A].error) == (ActorDeathReason.CREATION_FAILED, b"error")


@pytest.mark.row("5.16")
def test_a_constructor_that_raises_is_never_run_again() -> None:
    directory = ActorDirectory()
    directory.register(spec(max_restarts=-1), ready=True)
    directory.leased(A, W1, 1)
    assert directory.failed(A, b"error") == [Publish(A)]
    assert death(directory) is ActorDeathReason.CREATION_FAILED
    assert lose(directory, 0) == []


def test_refused_means_never_started() -> None:
    directory = ActorDirectory()
    directory.register(spec(), ready=True)
    assert directory.refused(A, "the affinity is hard") == [Publish(A)]
    assert directory.actors[A].never_started
    assert directory.actors[A].death_text == "the affinity is hard"


# --- restarts ---------------------------------------------------------------------------------------------------------


@pytest.mark.row("5.13")
@pytest.mark.parametrize("budget", [0, 1, 3])
def test_each_lost_process_costs_one_restart(budget: int) -> None:
    directory = ActorDirectory()
    alive(directory, max_restarts=budget)
    for restarts in range(budget):
        assert lose(directory, restarts) == [Publish(A), Start(A, restarts + 1)]
        assert state(directory) is ActorState.RESTARTING
        directory.leased(A, W2, 2)
        assert directory.alive(A, W2, 2, "") == [Publish(A)]
    assert lose(directory, budget) == [Publish(A)]
    assert death(directory) is ActorDeathReason.WORKER_DIED


def test_minus_one_restarts_for_ever() -> None:
    directory = ActorDirectory()
    alive(directory, max_restarts=-1)
    for restarts in range(50):
        assert Start(A, restarts + 1) in lose(directory, restarts)
        directory.leased(A, W2, 2)
        directory.alive(A, W2, 2, "")
    assert state(directory) is ActorState.ALIVE


def test_an_intended_exit_is_not_restarted() -> None:
    directory = ActorDirectory()
    alive(directory, max_restarts=-1)
    assert lose(directory, 0, intended=True) == [Publish(A)]
    assert death(directory) is ActorDeathReason.INTENDED_EXIT


def test_the_death_of_an_earlier_incarnation_is_no_news() -> None:
    directory = ActorDirectory()
    alive(directory, max_restarts=5)
    lose(directory, 0)
    assert lose(directory, 0) == []
    directory.leased(A, W2, 2)
    directory.alive(A, W2, 2, "")
    assert lose(directory, 0) == []
    assert (state(directory), directory.actors[A].restarts) == (ActorState.ALIVE, 1)


def test_a_worker_found_for_a_dead_actor_is_stopped() -> None:
    directory = ActorDirectory()
    directory.register(spec(), ready=True)
    directory.kill(A, no_restart=True)
    (stop,) = directory.leased(A, W1, 1)
    assert isinstance(stop, Stop) and not stop.graceful
    (stop,) = directory.alive(A, W1, 1, "")
    assert isinstance(stop, Stop)
    assert state(directory) is ActorState.DEAD


# --- kill -------------------------------------------------------------------------------------------------------------


def test_killed_for_good_it_is_dead_at_once() -> None:
    directory = ActorDirectory()
    alive(directory, max_restarts=-1)
    publish, stop = directory.kill(A, no_restart=True)
    assert publish == Publish(A)
    assert isinstance(stop, Stop) and not stop.graceful
    assert death(directory) is ActorDeathReason.RAY_KILL
    assert lose(directory, 0) == []
    assert directory.kill(A, no_restart=True) == []


def test_killed_to_be_restarted_it_is_as_if_it_crashed() -> None:
    directory = ActorDirectory()
    alive(directory, max_restarts=1)
    (stop,) = directory.kill(A, no_restart=False)
    assert isinstance(stop, Stop)
    assert state(directory) is ActorState.ALIVE
    assert lose(directory, 0) == [Publish(A), Start(A, 1)]
    directory.leased(A, W2, 2)
    directory.alive(A, W2, 2, "")
    directory.kill(A, no_restart=False)
    assert lose(directory, 1) == [Publish(A)]
    assert death(directory) is ActorDeathReason.WORKER_DIED


@pytest.mark.parametrize("ready", [False, True])
def test_killed_before_it_lives(ready: bool) -> None:
    directory = ActorDirectory()
    directory.register(spec(max_restarts=3), ready=ready)
    assert directory.kill(A, no_restart=True)[0] == Publish(A)
    assert directory.arguments(A, spec(), None) == []
    assert state(directory) is ActorState.DEAD


def test_nobody_knows_it() -> None:
    directory = ActorDirectory()
    assert directory.kill(A, no_restart=True) == []
    assert directory.out_of_scope(A) == []
    assert lose(directory, 0) == []
    assert directory.failed(A, b"") == directory.refused(A, "") == []


# --- end of scope -----------------------------------------------------------------------------------------------------


def test_out_of_scope_it_finishes_what_was_submitted() -> None:
    directory = ActorDirectory()
    alive(directory, max_restarts=-1)
    (stop,) = directory.out_of_scope(A)
    assert isinstance(stop, Stop) and stop.graceful
    assert lose(directory, 0) == [Publish(A)]
    assert death(directory) is ActorDeathReason.OUT_OF_SCOPE


@pytest.mark.parametrize("restarting", [False, True])
def test_out_of_scope_while_it_starts_it_is_stopped_when_it_lives(restarting: bool) -> None:
    directory = ActorDirectory()
    if restarting:
        alive(directory, max_restarts=1)
        lose(directory, 0)
    else:
        directory.register(spec(), ready=True)
    assert directory.out_of_scope(A) == []
    directory.leased(A, W2, 2)
    publish, stop = directory.alive(A, W2, 2, "")
    assert publish == Publish(A)
    assert isinstance(stop, Stop) and stop.graceful


def test_out_of_scope_before_its_arguments_are_there() -> None:
    directory = ActorDirectory()
    directory.register(spec(), ready=False)
    assert directory.out_of_scope(A) == [Publish(A)]
    assert death(directory) is ActorDeathReason.OUT_OF_SCOPE


def test_a_detached_actor_has_no_scope() -> None:
    directory = ActorDirectory()
    alive(directory, detached=True, name="n")
    assert directory.out_of_scope(A) == []
    assert state(directory) is ActorState.ALIVE


# --- the owner --------------------------------------------------------------------------------------------------------


@pytest.mark.row("4.34")
def test_actors_die_with_their_owner_detached_ones_live() -> None:
    directory = ActorDirectory()
    alive(directory, max_restarts=-1)
    alive(directory, W2, actor_id=b"actor-b", detached=True, name="n")
    alive(directory, W3, actor_id=b"actor-c", owner=Address(b"other", "unix:/o"))
    publish, stop = directory.owner_ended(b"owner")
    assert publish == Publish(A)
    assert isinstance(stop, Stop) and stop.actor_id == A and not stop.graceful
    assert death(directory) is ActorDeathReason.OWNER_DIED
    assert state(directory, b"actor-b") is state(directory, b"actor-c") is ActorState.ALIVE
    assert directory.owner_ended(b"owner") == []


# --- names ------------------------------------------------------------------------------------------------------------


def test_a_name_is_taken_once_per_namespace() -> None:
    directory = ActorDirectory()
    alive(directory, name="n")
    effects, error, existing = directory.register(spec(b"actor-b", name="n"), ready=True)
    assert effects == [] and existing is None
    assert "'n'" in error and "'ns'" in error
    assert b"actor-b" not in directory.actors
    assert directory.register(spec(b"actor-c", name="n", namespace="other"), ready=True)[1] == ""
    assert {a.spec.actor_id for a in directory.named(None)} == {A, b"actor-c"}
    assert [a.spec.actor_id for a in directory.named("ns")] == [A]


def test_get_if_exists_finds_the_living() -> None:
    directory = ActorDirectory()
    alive(directory, name="n")
    effects, error, existing = directory.register(spec(b"actor-b", name="n", get_if_exists=True), ready=True)
    assert (effects, error) == ([], "")
    assert existing is directory.actors[A]
    assert b"actor-b" not in directory.actors


@pytest.mark.parametrize("restarting", [False, True])
def test_a_name_belongs_to_its_actor_until_it_is_dead(restarting: bool) -> None:
    directory = ActorDirectory()
    alive(directory, name="n", max_restarts=1)
    if restarting:
        lose(directory, 0)
    assert directory.by_name("n", "ns") is directory.actors[A]
    directory.kill(A, no_restart=True)
    assert directory.by_name("n", "ns") is None
    assert directory.register(spec(b"actor-b", name="n"), ready=True) == ([Start(b"actor-b", 0)], "", None)
    lose(directory, int(restarting))
    assert directory.by_name("n", "ns") is directory.actors[b"actor-b"]


@pytest.mark.row("5.36")
def test_old_dead_actors_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "record_bytes", lambda _actor: 10)
    directory = ActorDirectory()
    directory.dead.budget_bytes = 30
    ids = [f"actor-{n}".encode() for n in range(5)]
    for actor_id in ids:
        alive(directory, actor_id=actor_id)
        directory.kill(actor_id, no_restart=True)
    assert list(directory.actors) == ids[2:]


# --- messages that come late or twice ---------------------------------------------------------------------------------


def test_the_word_of_a_worker_that_is_gone_is_no_news() -> None:
    directory = ActorDirectory()
    alive(directory, max_restarts=3)
    assert directory.leased(A, W1, 1) == directory.alive(A, W1, 1, "") == []  # said twice
    lose(directory, 0)
    assert directory.alive(A, W1, 1, "") == []
    assert state(directory) is ActorState.RESTARTING
    directory.leased(A, W2, 2)
    assert directory.alive(A, W1, 1, "") == []
    assert directory.actors[A].worker == W2


def test_between_two_processes_there_is_none_to_kill() -> None:
    directory = ActorDirectory()
    alive(directory, max_restarts=1)
    lose(directory, 0)
    assert directory.kill(A, no_restart=False) == []
    directory.leased(A, W2, 2)
    assert directory.alive(A, W2, 2, "") == [Publish(A)]


# --- revival ----------------------------------------------------------------------------------------------------------


def out_of_scope(directory: ActorDirectory, **changes: Any) -> None:
    """An actor that lived and ended with its last handle."""
    alive(directory, **changes)
    directory.out_of_scope(A)
    lose(directory, directory.actors[A].restarts)
    assert death(directory) is ActorDeathReason.OUT_OF_SCOPE


@pytest.mark.row("3.22")
def test_out_of_scope_it_may_come_back_and_go_again() -> None:
    directory = ActorDirectory()
    out_of_scope(directory, max_restarts=1, name="n")
    assert directory.revive(A) == [Publish(A), Start(A, 1)]
    assert (state(directory), death(directory)) == (ActorState.RESTARTING, None)
    assert directory.by_name("n", "ns") is directory.actors[A]
    assert directory.revive(A) == [], "it lives"
    directory.leased(A, W2, 2)
    assert directory.alive(A, W2, 2, "") == [Publish(A)], "nobody has let go of it yet"
    directory.out_of_scope(A)
    lose(directory, 1)
    assert directory.revive(A) == [], "its restarts are used up"
    assert list(directory.dead) == [A]


@pytest.mark.row("3.22")
@pytest.mark.parametrize("how", ["killed", "crashed", "unknown", "no restarts", "name taken"])
def test_what_does_not_come_back(how: str) -> None:
    directory = ActorDirectory()
    if how == "killed":
        alive(directory, max_restarts=-1)
        directory.kill(A, no_restart=True)
    elif how == "crashed":
        alive(directory, max_restarts=0)
        lose(directory, 0)
    elif how == "no restarts":
        out_of_scope(directory, max_restarts=0)
    elif how == "name taken":
        out_of_scope(directory, max_restarts=-1, name="n")
        alive(directory, actor_id=b"actor-b", name="n")
    assert directory.revive(A) == []
    assert A not in directory.actors or state(directory) is ActorState.DEAD


@pytest.mark.row("3.22")
def test_revived_it_goes_with_its_owner() -> None:
    directory = ActorDirectory()
    out_of_scope(directory, max_restarts=-1)
    directory.revive(A)
    directory.owner_ended(OWNER.worker_id)
    assert death(directory) is ActorDeathReason.OWNER_DIED


# --- machines that are taken away -------------------------------------------------------------------------------------


@pytest.mark.row("4.21", "7.9")
def test_a_machine_that_is_taken_away_costs_no_restart() -> None:
    directory = ActorDirectory()
    alive(directory, max_restarts=1)
    for restarts in range(3):
        effects = directory.process_ended(A, restarts, "its node went", intended=False, preempted=True)
        assert effects == [Publish(A), Start(A, restarts + 1)]
    assert lose(directory, 3) == [Publish(A), Start(A, 4)]
    assert lose(directory, 4) == [Publish(A)]
    assert not directory.actors[A].taken_away


@pytest.mark.row("4.21", "3.47")
def test_without_restarts_it_dies_with_the_machine_and_says_why() -> None:
    directory = ActorDirectory()
    alive(directory, max_restarts=0)
    assert directory.process_ended(A, 0, "its node went", intended=False, preempted=True) == [Publish(A)]
    assert directory.actors[A].taken_away


# --- whose life it depends on, and its group --------------------------------------------------------------------------

NODE = b"\x0a" * 28
FAR = Address(b"far", f"node:{NODE.hex()}:10.0.0.1:6379:/tmp/w")


def test_owners_are_known_by_node_as_long_as_an_actor_lives_by_them() -> None:
    directory = ActorDirectory()
    directory.register(spec(A, owner=FAR), ready=True)
    directory.register(spec(B, owner=FAR), ready=True)
    directory.register(spec(b"c", owner=FAR, detached=True), ready=True)
    assert directory.owners.on(NODE) == [b"far"]
    assert directory.owners.on(b"\x0b" * 28) == []
    directory.kill(A, no_restart=True)
    assert directory.owners.on(NODE) == [b"far"]
    directory.kill(B, no_restart=True)
    assert (directory.owners.on(NODE), len(directory.owners)) == ([], 0), "the detached one lives by nobody"
    directory.restore(Actor(spec(b"d", owner=FAR)))
    assert directory.owners.on(NODE) == [b"far"], "another head knows it too"
    directory.owner_ended(b"far")
    assert directory.actors[b"d"].state is ActorState.DEAD
    assert (directory.owners.on(NODE), len(directory.owners)) == ([], 0)


def test_living_actors_are_known_by_their_placement_group() -> None:
    directory = ActorDirectory()
    group, other = "ab" * 18, "cd" * 18
    for actor_id, which in ((A, group), (B, other), (b"c", group)):
        need = {f"bundle_group_{which}": 0.001, f"CPU_group_{which}": 1.0}
        directory.register(spec(actor_id, lifetime_resources=need), ready=True)
    directory.register(spec(b"d"), ready=True)
    assert directory.groups.at(group) == [A, b"c"]
    directory.kill(A, no_restart=True)
    assert directory.groups.at(group) == [b"c"]
    assert len(directory.groups) == 2
