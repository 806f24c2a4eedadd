"""The life of an object, as its owner keeps it: is there a value, where, and is anybody interested.

How many references there are is counted elsewhere; here their end is one event, RELEASED. An error is a value too: it
makes the object ready. Borrowers keep no such record, they ask the owner.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from linckia.core.machine import Table


class ObjectState(Enum):
    """Where an object's value is."""

    PENDING = "PENDING"
    IN_MEMORY = "IN_MEMORY"
    IN_STORE = "IN_STORE"
    SPILLED = "SPILLED"
    FAILED = "FAILED"
    LOST = "LOST"
    FREED = "FREED"


class ObjectEvent(Enum):
    """What happens to an object."""

    INLINED = "a small value arrived in the owner's memory"
    SEALED = "the value is in some node's shared memory"
    FAILED = "an error is the value"
    MOVED_TO_DISK = "the last copy in memory was written to disk"
    RESTORED = "the copy on disk is in shared memory again"
    COPIES_LOST = "no node has a copy any more"
    REBUILDING = "the task that makes it runs again"
    UNRECOVERABLE = "it cannot be made again; the loss is the value"
    RELEASED = "nothing refers to it any more"


S, E = ObjectState, ObjectEvent

READY: Final = frozenset({S.IN_MEMORY, S.IN_STORE, S.SPILLED, S.FAILED})

OBJECT_TABLE: Final = Table(
    name="object",
    initial=S.PENDING,
    terminal=frozenset({S.FREED}),
    moves={
        S.PENDING: {E.INLINED: S.IN_MEMORY, E.SEALED: S.IN_STORE, E.FAILED: S.FAILED, E.RELEASED: S.FREED},
        S.IN_MEMORY: {E.SEALED: S.IN_STORE, E.RELEASED: S.FREED},
        S.IN_STORE: {E.MOVED_TO_DISK: S.SPILLED, E.COPIES_LOST: S.LOST, E.RELEASED: S.FREED},
        S.SPILLED: {E.RESTORED: S.IN_STORE, E.COPIES_LOST: S.LOST, E.RELEASED: S.FREED},
        S.FAILED: {E.RELEASED: S.FREED},
        S.LOST: {E.REBUILDING: S.PENDING, E.UNRECOVERABLE: S.FAILED, E.RELEASED: S.FREED},
        S.FREED: {},
    },
)
