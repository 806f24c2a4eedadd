"""The metadata store as its users see it, whatever is behind it. docs/store.md has the guarantees.

No call blocks: each returns at once and is answered later by one call of ``done`` with the answer or a ``StoreError``,
by way of the store's ``deliver`` (``Reactor.call_soon`` in a daemon), so that answers arrive in the thread of the
store's user. Calls may come from any thread.

Order: writes handed in one after the other through one store object are carried out in that order; their answers come
in that order. A read that was handed in after the answer to a write sees it, whoever wrote.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import msgspec

from linckia.core.mvcc.errors import StoreError
from linckia.core.mvcc.records import (
    Lease,
    LeaseInfo,
    Range,
    RangeResult,
    Revision,
    Txn,
    TxnResult,
    WatchBatch,
    WatchQuery,
)

T = TypeVar("T")
Done = Callable[[T | StoreError], None]
Deliver = Callable[[Callable[[], None]], None]
OnBatch = Callable[[WatchBatch | StoreError], None]


class StoreLimits(msgspec.Struct, frozen=True):
    """What one transaction may carry here."""

    txn_ops: int
    txn_bytes: int


class StoreStatus(msgspec.Struct, frozen=True):
    """How the store is. ``health`` is ``ok`` or a sentence; ``size_bytes`` what it takes where it keeps things."""

    backend: str
    where: str
    revision: int
    size_bytes: int
    health: str = "ok"


class Watch(Protocol):
    """A running watch."""

    def cancel(self) -> None:
        """No batch is delivered after this, seen from the thread that gets them; idempotent."""
        ...


class Store(Protocol):
    """One of ``MemoryStore``, ``SqliteStore``, ``EtcdStore``."""

    limits: StoreLimits

    def range(self, query: Range, done: Done[RangeResult]) -> None:
        """Read a span. CompactedError and FutureRevisionError for a revision that is not there."""
        ...

    def txn(self, txn: Txn, done: Done[TxnResult]) -> None:
        """Compare, then write and read, atomically. When ``done`` gets a result, what was written is durable."""
        ...

    def watch(self, query: WatchQuery, on_batch: OnBatch) -> Watch:
        """Call ``on_batch`` for all changes, without gap or repetition, whatever happens to connections meanwhile.

        A StoreError (CompactedError, credentials, closed) is the last call.
        """
        ...

    def grant(self, ttl_s: float, done: Done[Lease]) -> None:
        """Make a lease."""
        ...

    def keep_alive(self, lease_id: int, done: Done[Lease]) -> None:
        """Renew a lease. LeaseNotFoundError when it is over."""
        ...

    def revoke(self, lease_id: int, done: Done[Revision]) -> None:
        """End a lease and delete its keys now."""
        ...

    def time_to_live(self, lease_id: int, done: Done[LeaseInfo]) -> None:
        """Ask about a lease."""
        ...

    def compact(self, revision: int, done: Done[Revision]) -> None:
        """Forget the history before ``revision``."""
        ...

    def status(self, done: Done[StoreStatus]) -> None:
        """Ask how the store is; answered also when it is not well."""
        ...

    def close(self) -> None:
        """Answer what is unanswered with StoreClosedError and let go of everything. Blocks shortly; idempotent."""
        ...
