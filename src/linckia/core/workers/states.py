"""The life of a worker process, as its raylet keeps it.

A process serves one lease at a time, or becomes the home of one actor until it ends. How the process is started and
ended is the raylet's affair; this table only knows that DIED may come at any moment.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from linckia.core.machine import Table


class WorkerState(Enum):
    """Where a worker process is."""

    STARTING = "STARTING"
    IDLE = "IDLE"
    LEASED = "LEASED"
    BLOCKED = "BLOCKED"
    ACTOR = "ACTOR"
    EXITING = "EXITING"
    DEAD = "DEAD"


class WorkerEvent(Enum):
    """What happens to a worker process."""

    REGISTERED = "it connected and said who it is"
    LEASE_GRANTED = "an owner may push tasks to it"
    LEASE_RETURNED = "the owner has no more tasks for it"
    TASK_BLOCKED = "its task waits for others and gives back its CPU"
    TASK_UNBLOCKED = "its task resumes and has its CPU again"
    ACTOR_ASSIGNED = "it becomes the home of an actor"
    EXIT_ASKED = "it was told to finish and go"
    DIED = "the process is gone"


S, E = WorkerState, WorkerEvent

WORKER_TABLE: Final = Table(
    name="worker",
    initial=S.STARTING,
    terminal=frozenset({S.DEAD}),
    moves={
        S.STARTING: {E.REGISTERED: S.IDLE, E.EXIT_ASKED: S.EXITING, E.DIED: S.DEAD},
        S.IDLE: {
            E.LEASE_GRANTED: S.LEASED,
            E.ACTOR_ASSIGNED: S.ACTOR,
            E.EXIT_ASKED: S.EXITING,
            E.DIED: S.DEAD,
        },
        S.LEASED: {
            E.LEASE_RETURNED: S.IDLE,
            E.TASK_BLOCKED: S.BLOCKED,
            E.EXIT_ASKED: S.EXITING,
            E.DIED: S.DEAD,
        },
        S.BLOCKED: {
            E.TASK_UNBLOCKED: S.LEASED,
            E.LEASE_RETURNED: S.IDLE,
            E.EXIT_ASKED: S.EXITING,
            E.DIED: S.DEAD,
        },
        S.ACTOR: {E.EXIT_ASKED: S.EXITING, E.DIED: S.DEAD},
        S.EXITING: {E.DIED: S.DEAD},
        S.DEAD: {},
    },
)
