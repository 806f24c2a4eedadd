"""The life of an actor, as the GCS keeps it and tells its subscribers.

An actor is one identity through many processes: RESTART leads to a new process under the same id. Whether a lost
process is a RESTART or the end is decided from the restart budget and the reason, elsewhere; this table only says which
of the two may follow.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from linckia.core.machine import Table


class ActorState(Enum):
    """Where an actor is."""

    DEPENDENCIES_UNREADY = "DEPENDENCIES_UNREADY"
    PENDING_CREATION = "PENDING_CREATION"
    ALIVE = "ALIVE"
    RESTARTING = "RESTARTING"
    DEAD = "DEAD"


class ActorEvent(Enum):
    """What happens to an actor."""

    DEPENDENCIES_READY = "every constructor argument that is a ref has a value"
    CREATED = "the constructor returned"
    RESTART = "the process is gone and the budget allows another"
    DIE = "the end: killed, exited, out of scope, owner gone, constructor raised or budget spent"
    REVIVE = "out of scope, but a lost object needs one of its calls again"


class ActorDeathReason(Enum):
    """Why an actor is DEAD; part of its death record."""

    WORKER_DIED = "WORKER_DIED"
    OWNER_DIED = "OWNER_DIED"
    NODE_DIED = "NODE_DIED"
    RAY_KILL = "RAY_KILL"
    OUT_OF_SCOPE = "OUT_OF_SCOPE"
    REF_DELETED = "REF_DELETED"
    CREATION_FAILED = "CREATION_FAILED"
    INTENDED_EXIT = "INTENDED_EXIT"


S, E = ActorState, ActorEvent

ACTOR_TABLE: Final = Table(
    name="actor",
    initial=S.DEPENDENCIES_UNREADY,
    terminal=frozenset({S.DEAD}),
    reviving=frozenset({E.REVIVE}),
    moves={
        S.DEPENDENCIES_UNREADY: {E.DEPENDENCIES_READY: S.PENDING_CREATION, E.DIE: S.DEAD},
        S.PENDING_CREATION: {
            E.CREATED: S.ALIVE,
            E.RESTART: S.RESTARTING,
            E.DIE: S.DEAD,
        },
        S.ALIVE: {E.RESTART: S.RESTARTING, E.DIE: S.DEAD},
        S.RESTARTING: {
            E.CREATED: S.ALIVE,
            E.RESTART: S.RESTARTING,
            E.DIE: S.DEAD,
        },
        S.DEAD: {E.REVIVE: S.RESTARTING},
    },
)
