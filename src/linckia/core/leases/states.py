"""The life of a lease, from an owner's request to the return of the worker.

A lease holds resources in WAITING_WORKER, GRANTED and BLOCKED (there without its CPU); in no other state. Which request
is served first is the lease manager's decision, not this table's.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from linckia.core.machine import Table


class LeaseState(Enum):
    """Where a lease is."""

    QUEUED = "QUEUED"
    INFEASIBLE = "INFEASIBLE"
    WAITING_WORKER = "WAITING_WORKER"
    GRANTED = "GRANTED"
    BLOCKED = "BLOCKED"
    RETURNED = "RETURNED"
    SPILLED = "SPILLED"
    CANCELLED = "CANCELLED"
    LOST = "LOST"


class LeaseEvent(Enum):
    """What happens to a lease."""

    NO_NODE_FITS = "no node is large enough, even empty"
    NODE_FITS = "a node that is large enough has joined"
    RESOURCES_TAKEN = "the resources are reserved; a worker process is on its way"
    WORKER_READY = "a worker is assigned, the owner is told"
    WORKER_START_FAILED = "the process on its way did not arrive; the resources are free again"
    SPILLED_BACK = "the owner is sent to another node"
    TASK_BLOCKED = "the task gives back its CPU while it waits"
    TASK_UNBLOCKED = "the task has its CPU again"
    OWNER_RETURNED = "the owner has no more tasks for it"
    OWNER_CANCELLED = "the owner no longer wants it"
    WORKER_DIED = "the worker's process is gone"
    OWNER_DIED = "the owner's process is gone"


S, E = LeaseState, LeaseEvent

HOLDS_RESOURCES: Final = frozenset({S.WAITING_WORKER, S.GRANTED, S.BLOCKED})

LEASE_TABLE: Final = Table(
    name="lease",
    initial=S.QUEUED,
    terminal=frozenset({S.RETURNED, S.SPILLED, S.CANCELLED, S.LOST}),
    moves={
        S.QUEUED: {
            E.NO_NODE_FITS: S.INFEASIBLE,
            E.RESOURCES_TAKEN: S.WAITING_WORKER,
            E.SPILLED_BACK: S.SPILLED,
            E.OWNER_CANCELLED: S.CANCELLED,
            E.OWNER_DIED: S.CANCELLED,
        },
        S.INFEASIBLE: {
            E.NODE_FITS: S.QUEUED,
            E.OWNER_CANCELLED: S.CANCELLED,
            E.OWNER_DIED: S.CANCELLED,
        },
        S.WAITING_WORKER: {
            E.WORKER_READY: S.GRANTED,
            E.WORKER_START_FAILED: S.QUEUED,
            E.OWNER_CANCELLED: S.CANCELLED,
            E.OWNER_DIED: S.CANCELLED,
        },
        S.GRANTED: {
            E.TASK_BLOCKED: S.BLOCKED,
            E.OWNER_RETURNED: S.RETURNED,
            E.WORKER_DIED: S.LOST,
            E.OWNER_DIED: S.LOST,
        },
        S.BLOCKED: {
            E.TASK_UNBLOCKED: S.GRANTED,
            E.OWNER_RETURNED: S.RETURNED,
            E.WORKER_DIED: S.LOST,
            E.OWNER_DIED: S.LOST,
        },
        S.RETURNED: {},
        S.SPILLED: {},
        S.CANCELLED: {},
        S.LOST: {},
    },
)
