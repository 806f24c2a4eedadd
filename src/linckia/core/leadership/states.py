"""The life of a head as a candidate for leadership (docs/leadership.md)."""

from __future__ import annotations

from enum import Enum
from typing import Final

from linckia.core.machine import Table


class HeadState(Enum):
    """Where a head is. Only a LEADING head serves, and only before its deadline."""

    STARTING = "STARTING"  # it has no lease
    STANDBY = "STANDBY"
    CAMPAIGNING = "CAMPAIGNING"  # it asked for the leader key
    LEADING = "LEADING"
    PAUSED = "PAUSED"  # it leads as far as it knows, but could not renew in time
    STEPPING_DOWN = "STEPPING_DOWN"
    CLOSED = "CLOSED"


class HeadEvent(Enum):
    """What a head does or learns."""

    GRANTED = "it has a lease"
    VACANT = "nobody leads, as far as it knows: it asks for the leader key"
    WON = "the leader key has its lease"
    OUTRUN = "another head has the leader key"
    UNCLEAR = "the store did not say who has the leader key: look first"
    LATE = "its deadline has passed without a renewal: it does not serve"
    RENEWED = "a renewal sent in time was granted, late"
    LOST = "its lease or the leader key is gone: it begins anew"
    STEP_DOWN = "it is to hand over"
    RELEASED = "it gave up its lease"
    CLOSE = "the head ends"


S, E = HeadState, HeadEvent

HEAD_TABLE: Final = Table(
    name="head",
    initial=S.STARTING,
    terminal=frozenset({S.CLOSED}),
    moves={
        S.STARTING: {E.GRANTED: S.STANDBY, E.CLOSE: S.CLOSED},
        S.STANDBY: {E.VACANT: S.CAMPAIGNING, E.WON: S.LEADING, E.LOST: S.STARTING, E.CLOSE: S.CLOSED},
        S.CAMPAIGNING: {
            E.WON: S.LEADING,
            E.OUTRUN: S.STANDBY,
            E.UNCLEAR: S.STANDBY,
            E.LOST: S.STARTING,
            E.CLOSE: S.CLOSED,
        },
        S.LEADING: {E.LATE: S.PAUSED, E.STEP_DOWN: S.STEPPING_DOWN, E.LOST: S.STARTING, E.CLOSE: S.CLOSED},
        S.PAUSED: {E.RENEWED: S.LEADING, E.STEP_DOWN: S.STEPPING_DOWN, E.LOST: S.STARTING, E.CLOSE: S.CLOSED},
        S.STEPPING_DOWN: {E.RELEASED: S.STARTING, E.CLOSE: S.CLOSED},
        S.CLOSED: {},
    },
)
