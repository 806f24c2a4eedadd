"""The life cycles: each table as a whole, and the paths that a reader would look for."""

from __future__ import annotations

from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linckia.core.actors.states import ACTOR_TABLE, ActorEvent
from linckia.core.autoscaling.instances import INSTANCE_TABLE, InstanceEvent
from linckia.core.jobs.states import JOB_TABLE, JobEvent
from linckia.core.leadership.states import HEAD_TABLE, HeadEvent
from linckia.core.leases.states import HOLDS_RESOURCES, LEASE_TABLE, LeaseEvent, LeaseState
from linckia.core.machine import IllegalTransition, Table
from linckia.core.objects.states import OBJECT_TABLE, READY, ObjectEvent, ObjectState
from linckia.core.supervision.states import PART_TABLE, PartEvent
from linckia.core.tasks.states import TASK_TABLE, TaskEvent, TaskState
from linckia.core.workers.states import WORKER_TABLE, WorkerEvent

TABLES: list[tuple[Table[Any, Any], type[Enum]]] = [
    (TASK_TABLE, TaskEvent),
    (ACTOR_TABLE, ActorEvent),
    (WORKER_TABLE, WorkerEvent),
    (JOB_TABLE, JobEvent),
    (LEASE_TABLE, LeaseEvent),
    (HEAD_TABLE, HeadEvent),
    (OBJECT_TABLE, ObjectEvent),
    (INSTANCE_TABLE, InstanceEvent),
    (PART_TABLE, PartEvent),
]


def path(table: Table[Any, Any], *events: str) -> list[str]:
    """Names of the states that `events` lead through, from the initial one."""
    state, seen = table.initial, []
    for event in events:
        kind = type(next(iter(table.legal(state))))
        state = table.next(state, kind[event], "subject")
        seen.append(state.name)
    return seen


@pytest.mark.parametrize(("table", "events"), TABLES, ids=lambda item: getattr(item, "name", ""))
def test_every_event_is_used(table: Table[Any, Any], events: type[Enum]) -> None:
    used = {event for state in table.states() for event in table.legal(state)}
    assert used == set(events)


@pytest.mark.parametrize(("table", "events"), TABLES, ids=lambda item: getattr(item, "name", ""))
def test_every_pair_is_a_move_or_an_error_that_lists_the_moves(table: Table[Any, Any], events: type[Enum]) -> None:
    for state in table.states():
        for event in events:
            if table.allows(state, event):
                assert table.next(state, event, "x") in set(table.states())
                continue
            with pytest.raises(IllegalTransition) as caught:
                table.next(state, event, "x")
            assert caught.value.legal == tuple(legal.name for legal in table.legal(state))


@pytest.mark.parametrize(("table", "_events"), TABLES, ids=lambda item: getattr(item, "name", ""))
def test_every_state_can_still_end(table: Table[Any, Any], _events: type[Enum]) -> None:
    ends = set(table.terminal)
    while True:
        more = {state for state in table.states() if set(table.moves[state].values()) & ends} - ends
        if not more:
            break
        ends |= more
    assert ends == set(table.states())


@given(st.data())
def test_a_random_life_stays_within_the_table(data: st.DataObject) -> None:
    table, _ = data.draw(st.sampled_from(TABLES))
    state = table.initial
    for _step in range(30):
        if not table.legal(state):
            assert table.is_terminal(state)
            return
        state = table.next(state, data.draw(st.sampled_from(table.legal(state))), "x")


@pytest.mark.row("4.1")
def test_task_states_are_rays() -> None:
    assert [state.value for state in TaskState] == [
        "PENDING_ARGS_AVAIL",
        "PENDING_NODE_ASSIGNMENT",
        "PENDING_OBJ_STORE_MEM_AVAIL",
        "PENDING_ARGS_FETCH",
        "SUBMITTED_TO_WORKER",
        "GETTING_AND_PINNING_ARGS",
        "PENDING_ACTOR_TASK_ARGS_FETCH",
        "PENDING_ACTOR_TASK_ORDERING_OR_CONCURRENCY",
        "RUNNING",
        "RUNNING_IN_RAY_GET",
        "RUNNING_IN_RAY_WAIT",
        "FINISHED",
        "FAILED",
    ]


@pytest.mark.row("4.1")
def test_a_task_observed_closely() -> None:
    events = ["ARGS_READY", "PUSHED", "PINNING_ARGS", "STARTED", "BLOCKED_IN_GET", "UNBLOCKED", "SUCCEEDED"]
    assert path(TASK_TABLE, *events) == [
        "PENDING_NODE_ASSIGNMENT",
        "SUBMITTED_TO_WORKER",
        "GETTING_AND_PINNING_ARGS",
        "RUNNING",
        "RUNNING_IN_RAY_GET",
        "RUNNING",
        "FINISHED",
    ]


@pytest.mark.row("4.18")
def test_a_task_whose_worker_died_is_retried_and_may_give_up() -> None:
    events = ["ARGS_READY", "PUSHED", "RETRIED", "ARGS_READY", "PUSHED", "GAVE_UP"]
    assert path(TASK_TABLE, *events)[-4:] == [
        "PENDING_ARGS_AVAIL",
        "PENDING_NODE_ASSIGNMENT",
        "SUBMITTED_TO_WORKER",
        "FAILED",
    ]


@pytest.mark.row("4.5")
def test_a_failed_dependency_fails_the_task_without_running_it() -> None:
    assert path(TASK_TABLE, "GAVE_UP") == ["FAILED"]
    assert not TASK_TABLE.allows(TaskState.PENDING_ARGS_AVAIL, TaskEvent.RETRIED)


@pytest.mark.row("4.23")
def test_any_unfinished_task_can_be_cancelled() -> None:
    open_states = [state for state in TaskState if not TASK_TABLE.is_terminal(state)]
    assert {TASK_TABLE.next(state, TaskEvent.CANCELLED, "t") for state in open_states} == {TaskState.FAILED}


def test_a_pushed_task_can_be_taken_back_but_not_once_it_runs() -> None:
    assert path(TASK_TABLE, "ARGS_READY", "PUSHED", "TAKEN_BACK")[-1] == "PENDING_NODE_ASSIGNMENT"
    assert not TASK_TABLE.allows(TaskState.RUNNING, TaskEvent.TAKEN_BACK)


@pytest.mark.row("5.1")
def test_an_actor_restarts_and_dies() -> None:
    events = ["DEPENDENCIES_READY", "CREATED", "RESTART", "RESTART", "CREATED", "DIE", "REVIVE"]
    assert path(ACTOR_TABLE, *events) == [
        "PENDING_CREATION",
        "ALIVE",
        "RESTARTING",
        "RESTARTING",
        "ALIVE",
        "DEAD",
        "RESTARTING",
    ]


@pytest.mark.row("5.1")
def test_an_actor_may_die_in_any_state() -> None:
    for state in ACTOR_TABLE.states():
        assert ACTOR_TABLE.allows(state, ActorEvent.DIE) is not ACTOR_TABLE.is_terminal(state)


def test_a_worker_process_may_die_in_any_state() -> None:
    for state in WORKER_TABLE.states():
        assert WORKER_TABLE.allows(state, WorkerEvent.DIED) is not WORKER_TABLE.is_terminal(state)


def test_an_actors_process_never_returns_to_the_pool() -> None:
    assert path(WORKER_TABLE, "REGISTERED", "ACTOR_ASSIGNED", "EXIT_ASKED", "DIED") == [
        "IDLE",
        "ACTOR",
        "EXITING",
        "DEAD",
    ]


@pytest.mark.row("4.16")
def test_a_lease_blocks_and_resumes() -> None:
    events = ["RESOURCES_TAKEN", "WORKER_READY", "TASK_BLOCKED", "TASK_UNBLOCKED", "OWNER_RETURNED"]
    assert path(LEASE_TABLE, *events)[1:] == ["GRANTED", "BLOCKED", "GRANTED", "RETURNED"]


def test_a_finished_lease_holds_nothing() -> None:
    assert not HOLDS_RESOURCES & LEASE_TABLE.terminal
    assert LeaseState.QUEUED not in HOLDS_RESOURCES


def test_a_lost_object_is_rebuilt_or_its_loss_is_its_value() -> None:
    assert path(OBJECT_TABLE, "SEALED", "COPIES_LOST", "REBUILDING", "INLINED") == [
        "IN_STORE",
        "LOST",
        "PENDING",
        "IN_MEMORY",
    ]
    assert path(OBJECT_TABLE, "SEALED", "COPIES_LOST", "UNRECOVERABLE")[-1] == "FAILED"


@pytest.mark.row("1.31")
def test_an_object_that_holds_an_error_is_ready() -> None:
    assert ObjectState.FAILED in READY
    assert ObjectState.LOST not in READY
