"""The life of an instance: from the wish for a node to its end (R 10.13), with the times after which it is given up.

The head keeps each in its store, so that whoever comes next launches nothing twice and forgets nothing.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from linckia.core.machine import Table


class InstanceState(Enum):
    """Where an instance is."""

    REQUESTED = "REQUESTED"
    ALLOCATED = "ALLOCATED"
    RUNNING = "RUNNING"
    STOP_REQUESTED = "STOP_REQUESTED"
    TERMINATING = "TERMINATING"
    TERMINATED = "TERMINATED"
    FAILED = "FAILED"


class InstanceEvent(Enum):
    """What happens to an instance."""

    PROVIDER_STARTED = "the provider has it"
    JOINED = "its node is part of the cluster"
    LAUNCH_FAILED = "the provider could not start it, or it did not join in time"
    STOP = "it is to be drained and ended"
    STOP_REFUSED = "its node has work after all"
    DRAINED = "its node takes no new work: the provider may end it"
    NODE_DEAD = "its node was declared dead, and the provider still has it"
    GONE = "its node or process has ended"


S, E = InstanceState, InstanceEvent
JOIN_MAX_S: Final = 60.0
TERMINATE_MAX_S: Final = 10.0

INSTANCE_TABLE: Final = Table(
    name="instance",
    initial=S.REQUESTED,
    terminal=frozenset({S.TERMINATED, S.FAILED}),
    moves={
        S.REQUESTED: {
            E.PROVIDER_STARTED: S.ALLOCATED, E.JOINED: S.RUNNING, E.LAUNCH_FAILED: S.FAILED, E.GONE: S.FAILED,
        },
        S.ALLOCATED: {E.JOINED: S.RUNNING, E.LAUNCH_FAILED: S.FAILED, E.GONE: S.FAILED},
        S.RUNNING: {E.STOP: S.STOP_REQUESTED, E.NODE_DEAD: S.TERMINATING, E.GONE: S.TERMINATED},
        S.STOP_REQUESTED: {E.STOP_REFUSED: S.RUNNING, E.DRAINED: S.TERMINATING, E.GONE: S.TERMINATED},
        S.TERMINATING: {E.GONE: S.TERMINATED},
        S.TERMINATED: {},
        S.FAILED: {},
    },
)  # fmt: skip
