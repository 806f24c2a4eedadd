"""The life of a task or actor call, as its owner and the worker that runs it record it.

State names are those that Ray's state API shows. An owner that learns of a task only by its reply goes straight from
SUBMITTED_TO_WORKER to the end: the states between are reported by the worker, for observers, and are optional. All
attempts of a task share one life: RETRIED begins the next attempt. Whether to retry is not decided here.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from linckia.core.machine import Table


class TaskState(Enum):
    """Where a task is."""

    PENDING_ARGS_AVAIL = "PENDING_ARGS_AVAIL"
    PENDING_NODE_ASSIGNMENT = "PENDING_NODE_ASSIGNMENT"
    PENDING_OBJ_STORE_MEM_AVAIL = "PENDING_OBJ_STORE_MEM_AVAIL"
    PENDING_ARGS_FETCH = "PENDING_ARGS_FETCH"
    SUBMITTED_TO_WORKER = "SUBMITTED_TO_WORKER"
    GETTING_AND_PINNING_ARGS = "GETTING_AND_PINNING_ARGS"
    PENDING_ACTOR_TASK_ARGS_FETCH = "PENDING_ACTOR_TASK_ARGS_FETCH"
    PENDING_ACTOR_TASK_ORDERING_OR_CONCURRENCY = "PENDING_ACTOR_TASK_ORDERING_OR_CONCURRENCY"
    RUNNING = "RUNNING"
    RUNNING_IN_RAY_GET = "RUNNING_IN_RAY_GET"
    RUNNING_IN_RAY_WAIT = "RUNNING_IN_RAY_WAIT"
    FINISHED = "FINISHED"
    FAILED = "FAILED"


class TaskEvent(Enum):
    """What happens to a task."""

    ARGS_READY = "every argument that is a ref has a value"
    STORE_FULL = "the chosen node has no room for the arguments yet"
    FETCH_STARTED = "the chosen node pulls the arguments"
    NODE_READY = "room and arguments are on the chosen node"
    PUSHED = "sent to a leased worker or to the actor"
    TAKEN_BACK = "returned by a worker before it started, to run elsewhere"
    PINNING_ARGS = "the worker reads and pins the arguments"
    ACTOR_ARGS_AWAITED = "the actor waits for the arguments of this call"
    TURN_AWAITED = "the actor runs earlier calls, or as many as it may"
    STARTED = "the user's code begins"
    BLOCKED_IN_GET = "the user's code waits in get"
    BLOCKED_IN_WAIT = "the user's code waits in wait"
    UNBLOCKED = "the wait is over"
    SUCCEEDED = "the result is there"
    RETRIED = "this attempt failed, another begins"
    GAVE_UP = "an error is the result: the user's, a dependency's, or the last attempt's loss"
    CANCELLED = "cancelled"
    RESULT_LOST = "every copy of the result is gone and it is needed again"


S, E = TaskState, TaskEvent
_MAY_END: Final = {E.GAVE_UP: S.FAILED, E.CANCELLED: S.FAILED}
_MAY_RETRY: Final = {E.RETRIED: S.PENDING_ARGS_AVAIL, **_MAY_END}

TASK_TABLE: Final = Table(
    name="task",
    initial=S.PENDING_ARGS_AVAIL,
    terminal=frozenset({S.FINISHED, S.FAILED}),
    reviving=frozenset({E.RESULT_LOST}),
    moves={
        S.PENDING_ARGS_AVAIL: {E.ARGS_READY: S.PENDING_NODE_ASSIGNMENT, **_MAY_END},
        S.PENDING_NODE_ASSIGNMENT: {
            E.PUSHED: S.SUBMITTED_TO_WORKER,
            E.STORE_FULL: S.PENDING_OBJ_STORE_MEM_AVAIL,
            E.FETCH_STARTED: S.PENDING_ARGS_FETCH,
            **_MAY_RETRY,
        },
        S.PENDING_OBJ_STORE_MEM_AVAIL: {E.FETCH_STARTED: S.PENDING_ARGS_FETCH, **_MAY_RETRY},
        S.PENDING_ARGS_FETCH: {
            E.NODE_READY: S.PENDING_NODE_ASSIGNMENT,
            E.STORE_FULL: S.PENDING_OBJ_STORE_MEM_AVAIL,
            **_MAY_RETRY,
        },
        S.SUBMITTED_TO_WORKER: {
            E.TAKEN_BACK: S.PENDING_NODE_ASSIGNMENT,
            E.PINNING_ARGS: S.GETTING_AND_PINNING_ARGS,
            E.ACTOR_ARGS_AWAITED: S.PENDING_ACTOR_TASK_ARGS_FETCH,
            E.TURN_AWAITED: S.PENDING_ACTOR_TASK_ORDERING_OR_CONCURRENCY,
            E.STARTED: S.RUNNING,
            E.SUCCEEDED: S.FINISHED,
            **_MAY_RETRY,
        },
        S.GETTING_AND_PINNING_ARGS: {E.STARTED: S.RUNNING, **_MAY_RETRY},
        S.PENDING_ACTOR_TASK_ARGS_FETCH: {
            E.TURN_AWAITED: S.PENDING_ACTOR_TASK_ORDERING_OR_CONCURRENCY,
            E.STARTED: S.RUNNING,
            **_MAY_RETRY,
        },
        S.PENDING_ACTOR_TASK_ORDERING_OR_CONCURRENCY: {E.STARTED: S.RUNNING, **_MAY_RETRY},
        S.RUNNING: {
            E.BLOCKED_IN_GET: S.RUNNING_IN_RAY_GET,
            E.BLOCKED_IN_WAIT: S.RUNNING_IN_RAY_WAIT,
            E.SUCCEEDED: S.FINISHED,
            **_MAY_RETRY,
        },
        S.RUNNING_IN_RAY_GET: {E.UNBLOCKED: S.RUNNING, **_MAY_RETRY},
        S.RUNNING_IN_RAY_WAIT: {E.UNBLOCKED: S.RUNNING, **_MAY_RETRY},
        S.FINISHED: {E.RESULT_LOST: S.PENDING_ARGS_AVAIL},
        S.FAILED: {},
    },
)
