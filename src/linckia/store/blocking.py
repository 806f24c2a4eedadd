"""A store whose calls return their answers: for tests, tools and commands. Never in a reactor's thread.

``wait`` makes things happen while an answer is awaited; the default sleeps, a simulation steps its clock.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TypeVar

from linckia.core.mvcc.records import (
    Delete,
    KeyValue,
    Lease,
    LeaseInfo,
    Put,
    Range,
    RangeResult,
    Txn,
    TxnResult,
    WatchBatch,
    WatchQuery,
    prefix_end,
)
from linckia.store.errors import StoreError, StoreUnavailableError
from linckia.store.interface import Done, Store, StoreStatus, Watch

A = TypeVar("A")
T = TypeVar("T")
ANSWER_MAX_S = 30.0


def at_once(callback: Callable[[], None]) -> None:
    """A ``deliver`` for stores that are used blockingly: call in the store's own thread."""
    callback()


class BlockingStore:
    """Around a ``Store`` whose ``deliver`` is ``at_once`` (or steps with ``wait``). Errors are raised."""

    def __init__(self, store: Store, wait: Callable[[threading.Event], None] | None = None) -> None:
        self.store = store
        self._wait = wait if wait is not None else _sleep

    def range(
        self, start: bytes, end: bytes | None = None, *, revision: int | None = None, limit: int | None = None
    ) -> RangeResult:
        """Read a span."""
        return self._ask(self.store.range, Range(start, end, revision, limit))

    def prefix(self, prefix: bytes, *, revision: int | None = None, limit: int | None = None) -> RangeResult:
        """Read all keys that begin with ``prefix``."""
        return self.range(prefix, prefix_end(prefix), revision=revision, limit=limit)

    def get(self, key: bytes, *, revision: int | None = None) -> KeyValue | None:
        """Read one key."""
        kvs = self.range(key, revision=revision).kvs
        return kvs[0] if kvs else None

    def txn(self, txn: Txn) -> TxnResult:
        """Compare and write."""
        return self._ask(self.store.txn, txn)

    def put(self, key: bytes, value: bytes, *, lease: int = 0) -> int:
        """Set one key; the revision."""
        return self.txn(Txn(then=(Put(key, value, lease),))).revision

    def delete(self, start: bytes, end: bytes | None = None) -> int:
        """Delete a span; the revision."""
        return self.txn(Txn(then=(Delete(start, end),))).revision

    def grant(self, ttl_s: float) -> Lease:
        """Make a lease."""
        return self._ask(self.store.grant, ttl_s)

    def keep_alive(self, lease_id: int) -> Lease:
        """Renew a lease."""
        return self._ask(self.store.keep_alive, lease_id)

    def revoke(self, lease_id: int) -> int:
        """End a lease; the revision."""
        return self._ask(self.store.revoke, lease_id).revision

    def time_to_live(self, lease_id: int) -> LeaseInfo:
        """Ask about a lease."""
        return self._ask(self.store.time_to_live, lease_id)

    def compact(self, revision: int) -> int:
        """Forget the history before ``revision``; the revision."""
        return self._ask(self.store.compact, revision).revision

    def status(self) -> StoreStatus:
        """Ask how the store is."""
        return self._ask(self._status, None)

    def watch(self, query: WatchQuery) -> BlockingWatch:
        """Watch a span."""
        return BlockingWatch(self.store, query, self._wait)

    def close(self) -> None:
        """Close the store."""
        self.store.close()

    def _status(self, _nothing: None, done: Done[StoreStatus]) -> None:
        self.store.status(done)

    def _ask(self, verb: Callable[[A, Done[T]], None], argument: A) -> T:
        answers: list[T | StoreError] = []
        answered = threading.Event()

        def done(answer: T | StoreError) -> None:
            answers.append(answer)
            answered.set()

        verb(argument, done)
        self._wait(answered)
        if not answers:
            raise StoreUnavailableError(f"the store did not answer within {ANSWER_MAX_S:g} s")
        answer = answers[0]
        if isinstance(answer, StoreError):
            raise answer
        return answer


class BlockingWatch:
    """What a watch told, to be taken batch by batch."""

    def __init__(self, store: Store, query: WatchQuery, wait: Callable[[threading.Event], None]) -> None:
        self._wait = wait
        self._batches: queue.SimpleQueue[WatchBatch | StoreError] = queue.SimpleQueue()
        self._told = threading.Event()
        self._watch: Watch = store.watch(query, self._on_batch)

    def _on_batch(self, batch: WatchBatch | StoreError) -> None:
        self._batches.put(batch)
        self._told.set()

    def next(self) -> WatchBatch:
        """The next batch; waits for it. Raises the error that ended the watch, StoreUnavailableError when none came."""
        while True:
            try:
                batch = self._batches.get_nowait()
            except queue.Empty:
                self._told.clear()
                if self._batches.empty():
                    self._wait(self._told)
                    if not self._told.is_set():
                        raise StoreUnavailableError(f"the watch told nothing for {ANSWER_MAX_S:g} s") from None
                continue
            if isinstance(batch, StoreError):
                raise batch
            return batch

    def cancel(self) -> None:
        """End the watch."""
        self._watch.cancel()


def _sleep(event: threading.Event) -> None:
    event.wait(ANSWER_MAX_S)
