"""The life of a node, as the GCS keeps it (R 7.8)."""

from __future__ import annotations

from enum import Enum
from typing import Final

from linckia.core.machine import Table


class NodeState(Enum):
    """Where a node is. A SUSPECT node gets nothing new; a DRAINING one neither, and goes soon."""

    ALIVE = "ALIVE"
    SUSPECT = "SUSPECT"
    DRAINING = "DRAINING"
    DEAD = "DEAD"


class NodeEvent(Enum):
    """What is learned about a node."""

    SILENT = "its heartbeats are missing"
    HEARD = "it is heard again"
    DRAIN = "it is to take no new work"
    LEASE_ENDED = "it was silent for a whole lease"
    GONE = "its process has certainly ended, or it said good-bye"


class DeathReason(Enum):
    """Why a node is dead, by Ray's names."""

    EXPECTED_TERMINATION = "EXPECTED_TERMINATION"
    UNEXPECTED_TERMINATION = "UNEXPECTED_TERMINATION"
    AUTOSCALER_DRAIN_PREEMPTED = "AUTOSCALER_DRAIN_PREEMPTED"
    AUTOSCALER_DRAIN_IDLE = "AUTOSCALER_DRAIN_IDLE"


S, E = NodeState, NodeEvent

NODE_TABLE: Final = Table(
    name="node",
    initial=S.ALIVE,
    terminal=frozenset({S.DEAD}),
    moves={
        S.ALIVE: {E.HEARD: S.ALIVE, E.SILENT: S.SUSPECT, E.DRAIN: S.DRAINING, E.GONE: S.DEAD},
        S.SUSPECT: {E.HEARD: S.ALIVE, E.DRAIN: S.DRAINING, E.LEASE_ENDED: S.DEAD, E.GONE: S.DEAD},
        S.DRAINING: {E.HEARD: S.DRAINING, E.DRAIN: S.DRAINING, E.LEASE_ENDED: S.DEAD, E.GONE: S.DEAD},
        S.DEAD: {},
    },
)
