"""Following a span of the metadata store: what is there, then every change, across lost history and absent stores.

Used by leadership (who leads, which heads are there) and by the standby's replica. In the reactor's thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from linckia.base import limits
from linckia.base.backoff import Backoff, UnitRandom
from linckia.core.mvcc.records import KeyValue, Range, RangeResult, WatchBatch, WatchQuery
from linckia.store.errors import CompactedError, StoreError
from linckia.store.interface import Store, Watch

RETRY: Final = Backoff(limits.ELECTION_RETRY_FIRST_S, limits.ELECTION_RETRY_CAP_S, jitter=0.5)
CallLater = Callable[[float, Callable[[], None]], Any]


class Follower(Protocol):
    """Who is told."""

    def on_reset(self, kvs: list[KeyValue], revision: int) -> None:
        """All that is in the span at a revision; what was known before does not count any more."""
        ...

    def on_batch(self, batch: WatchBatch) -> None:
        """What changed since, in order, each revision whole."""
        ...

    def on_error(self, error: StoreError) -> None:
        """Not again: the store is closed, refuses us, or is another one than before."""
        ...


class SpanFollower:
    """Reads in pages at one revision, then watches from the next; begins anew when that history is compacted."""

    def __init__(
        self, store: Store, start: bytes, end: bytes | None, follower: Follower, call_later: CallLater, rng: UnitRandom
    ) -> None:
        self._store, self._start, self._end, self._follower = store, start, end, follower
        self._call_later, self._rng = call_later, rng
        self._turn = 0  # answers of earlier beginnings do not count
        self._attempts = 0
        self._watch: Watch | None = None

    def start(self) -> None:
        """Begin, or begin anew."""
        self.stop()
        self._read(self._turn, self._start, None, [])

    def stop(self) -> None:
        """Tell nothing any more; idempotent."""
        self._turn += 1
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()

    def _read(self, turn: int, start: bytes, revision: int | None, before: list[KeyValue]) -> None:
        page = Range(start, self._end, revision, limits.REPLICA_PAGE_KEYS)
        self._store.range(page, lambda answer: self._on_page(turn, revision, before, answer))

    def _on_page(
        self, turn: int, revision: int | None, before: list[KeyValue], answer: RangeResult | StoreError
    ) -> None:
        if turn != self._turn:
            return
        if isinstance(answer, StoreError):
            self._on_error(turn, answer)
            return
        kvs = before + list(answer.kvs) if before else list(answer.kvs)
        revision = answer.revision if revision is None else revision
        if answer.more:
            self._read(turn, kvs[-1].key + b"\0", revision, kvs)
            return
        self._attempts = 0
        query = WatchQuery(self._start, self._end, revision + 1)
        self._follower.on_reset(kvs, revision)
        if turn == self._turn:
            self._watch = self._store.watch(query, lambda batch: self._on_batch(turn, batch))

    def _on_batch(self, turn: int, batch: WatchBatch | StoreError) -> None:
        if turn != self._turn:
            return
        if isinstance(batch, StoreError):
            self._watch = None
            self._on_error(turn, batch)
        else:
            self._follower.on_batch(batch)

    def _on_error(self, turn: int, error: StoreError) -> None:
        if not (error.retryable or isinstance(error, CompactedError)):
            self.stop()
            self._follower.on_error(error)
            return
        delay_s = RETRY.delay_s(self._attempts, self._rng)
        self._attempts += 1
        self._call_later(delay_s, lambda: self.start() if turn == self._turn else None)
