"""The life of a placement group, as the GCS keeps it (R 6.9)."""

from __future__ import annotations

from enum import Enum
from typing import Final

from linckia.core.machine import Table


class GroupState(Enum):
    """Where a group is."""

    PENDING = "PENDING"
    PREPARED = "PREPARED"
    CREATED = "CREATED"
    RESCHEDULING = "RESCHEDULING"
    REMOVED = "REMOVED"


class GroupEvent(Enum):
    """What happens to a group."""

    ALL_PREPARED = "every node has reserved its bundles"
    ALL_COMMITTED = "every node offers its bundles"
    FAILED = "a node said no or is gone: everything is given back"
    NODE_LOST = "a node with some of its bundles is gone"
    REMOVE = "somebody removed it, or its creator ended"


S, E = GroupState, GroupEvent

GROUP_TABLE: Final = Table(
    name="placement group",
    initial=S.PENDING,
    terminal=frozenset({S.REMOVED}),
    moves={
        S.PENDING: {E.ALL_PREPARED: S.PREPARED, E.FAILED: S.PENDING, E.REMOVE: S.REMOVED},
        S.PREPARED: {
            E.ALL_COMMITTED: S.CREATED,
            E.FAILED: S.PENDING,
            E.NODE_LOST: S.RESCHEDULING,
            E.REMOVE: S.REMOVED,
        },
        S.CREATED: {E.NODE_LOST: S.RESCHEDULING, E.REMOVE: S.REMOVED},
        S.RESCHEDULING: {
            E.ALL_PREPARED: S.PREPARED,
            E.FAILED: S.RESCHEDULING,
            E.NODE_LOST: S.RESCHEDULING,
            E.REMOVE: S.REMOVED,
        },
        S.REMOVED: {},
    },
)
