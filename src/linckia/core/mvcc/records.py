"""What is said to the metadata store and what it answers, as frozen structs; the same for every backend.

A *span* is ``[start, end)`` in byte order: ``end=None`` means the single key ``start``, ``KEYSPACE_END`` everything
from ``start`` on. Keys are never empty. Revision 1 is the empty store; each transaction that writes makes the next one.
"""

from __future__ import annotations

import enum
from typing import Final, Literal

import msgspec

KEYSPACE_END: Final = b""
FIRST_REVISION: Final = 1


class KeyValue(msgspec.Struct, frozen=True, gc=False):
    """One version of a key. ``version`` counts from 1 since the key was made; 0 marks a deletion in the history."""

    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: int = 0


class EventKind(enum.Enum):
    """What happened to a key."""

    PUT = "put"
    DELETE = "delete"


class Event(msgspec.Struct, frozen=True):
    """One change. For DELETE ``kv`` has the key and ``mod_revision`` only; ``prev`` is what was there before."""

    kind: EventKind
    kv: KeyValue
    prev: KeyValue | None = None


class Range(msgspec.Struct, frozen=True):
    """Read a span, at ``revision`` or (None) as it is now; at most ``limit`` keys in byte order."""

    start: bytes
    end: bytes | None = None
    revision: int | None = None
    limit: int | None = None


class RangeResult(msgspec.Struct, frozen=True):
    """``revision`` is the store's when it was read, not the one that was asked for. ``more``: cut by the limit."""

    revision: int
    kvs: tuple[KeyValue, ...]
    more: bool = False


class Put(msgspec.Struct, frozen=True):
    """Set a key; it vanishes with its lease. A put without lease takes the key off the lease it had."""

    key: bytes
    value: bytes
    lease: int = 0


class Delete(msgspec.Struct, frozen=True):
    """Remove what is in the span; nothing there is no error."""

    start: bytes
    end: bytes | None = None


Op = Put | Delete | Range
Target = Literal["value", "version", "create_revision", "mod_revision"]
Relation = Literal["=", "!=", "<", ">"]


class Compare(msgspec.Struct, frozen=True):
    """``key``'s target stands in the relation to ``operand``. An absent key has numbers 0; its value never compares."""

    key: bytes
    target: Target
    relation: Relation
    operand: bytes | int


class Txn(msgspec.Struct, frozen=True):
    """If all comparisons hold do ``then``, else ``otherwise``; atomically, in order, at one revision."""

    compare: tuple[Compare, ...] = ()
    then: tuple[Op, ...] = ()
    otherwise: tuple[Op, ...] = ()


class Written(msgspec.Struct, frozen=True):
    """Answer to a Put (1) or Delete: how many keys it changed."""

    count: int


class TxnResult(msgspec.Struct, frozen=True):
    """``results`` answers the operations of the branch that ran, in order."""

    revision: int
    succeeded: bool
    results: tuple[Written | RangeResult, ...] = ()


class Grant(msgspec.Struct, frozen=True):
    """Make a lease that ends ``ttl_s`` after its grant or last renewal."""

    ttl_s: float


class KeepAlive(msgspec.Struct, frozen=True):
    """Renew a lease to its full time."""

    lease_id: int


class Revoke(msgspec.Struct, frozen=True):
    """End a lease now: its keys are deleted, in one revision."""

    lease_id: int


class TimeToLive(msgspec.Struct, frozen=True):
    """Ask about a lease without renewing it."""

    lease_id: int


class Compact(msgspec.Struct, frozen=True):
    """Forget the history up to ``revision``; what is there stays. Doing it again is no error."""

    revision: int


Request = Range | Txn | Grant | KeepAlive | Revoke | TimeToLive | Compact


class Lease(msgspec.Struct, frozen=True):
    """A granted or renewed lease. ``ttl_s`` may be more than was asked for, never less."""

    lease_id: int
    ttl_s: float


class LeaseInfo(msgspec.Struct, frozen=True):
    """A lease, its remaining time and its keys in byte order."""

    lease_id: int
    ttl_s: float
    left_s: float
    keys: tuple[bytes, ...]


class Revision(msgspec.Struct, frozen=True):
    """Answer to a request that has no other: the store's revision after it."""

    revision: int


Answer = RangeResult | TxnResult | Lease | LeaseInfo | Revision


class WatchQuery(msgspec.Struct, frozen=True):
    """All changes in a span from ``from_revision`` on, that one included; None: what comes from now on."""

    start: bytes
    end: bytes | None = None
    from_revision: int | None = None
    with_previous: bool = False


class WatchBatch(msgspec.Struct, frozen=True):
    """Changes in order of revision, a revision never divided between batches; ``revision`` is the last one's."""

    revision: int
    events: tuple[Event, ...]


def prefix_end(prefix: bytes) -> bytes:
    """The end of the span of all keys that begin with ``prefix``."""
    trimmed = prefix.rstrip(b"\xff")
    return trimmed[:-1] + bytes((trimmed[-1] + 1,)) if trimmed else KEYSPACE_END


def in_span(key: bytes, start: bytes, end: bytes | None) -> bool:
    """Whether the span has the key."""
    if end is None:
        return key == start
    return key >= start and (end == KEYSPACE_END or key < end)
