"""The life of a supervised part (P 9): a process beside a head, or work of a raylet that nothing else depends on."""

from __future__ import annotations

from enum import Enum
from typing import Final

from linckia.core.machine import Table


class PartState(Enum):
    """Where a part is."""

    STARTING = "STARTING"
    UP = "UP"
    DOWN = "DOWN"
    ENDED = "ENDED"


class PartEvent(Enum):
    """What happens to a part."""

    HEARD = "it has done some of its work"
    FAILED = "it ended, failed, or was silent for too long"
    TRIED = "it is started again"
    CLOSED = "nobody wants it any more"


S, E = PartState, PartEvent

PART_TABLE: Final = Table(
    name="part",
    initial=S.STARTING,
    terminal=frozenset({S.ENDED}),
    moves={
        S.STARTING: {E.HEARD: S.UP, E.FAILED: S.DOWN, E.CLOSED: S.ENDED},
        S.UP: {E.HEARD: S.UP, E.FAILED: S.DOWN, E.CLOSED: S.ENDED},
        S.DOWN: {E.TRIED: S.STARTING, E.FAILED: S.DOWN, E.CLOSED: S.ENDED},
        S.ENDED: {},
    },
)
