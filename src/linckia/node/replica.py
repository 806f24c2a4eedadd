"""The warm standby's copy of a part of the metadata store, and the moment when it has everything up to a revision."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Final

from linckia.base.backoff import UnitRandom
from linckia.core.mvcc.records import (
    Delete,
    EventKind,
    KeyValue,
    Put,
    Range,
    RangeResult,
    Txn,
    TxnResult,
    WatchBatch,
    prefix_end,
)
from linckia.node.following import RETRY, CallLater, SpanFollower
from linckia.store.errors import StoreError, UnknownOutcomeError
from linckia.store.interface import Store

MARK: Final = b"~replica"
"""A key ``<prefix>~replica`` is there for a moment when a replica has to find out how far it is; it is no record."""


class Replica:
    """``records`` is the span of ``prefix`` as it was at ``revision``: never a mixture of two revisions.

    ``prefix=b""`` is the whole store. After ``on_error`` it follows no more. In the reactor's thread.
    """

    def __init__(
        self,
        store: Store,
        prefix: bytes,
        on_error: Callable[[StoreError], None],
        call_later: CallLater,
        rng: UnitRandom,
    ) -> None:
        self.records: dict[bytes, bytes] = {}
        self.revision = 0
        self._store, self._mark, self._on_error = store, prefix + MARK, on_error
        self._call_later, self._rng = call_later, rng
        self._span = SpanFollower(store, prefix, prefix_end(prefix), self, call_later, rng)
        self._probe = Range(prefix, prefix_end(prefix), limit=1)
        self._waiting: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._is_asking = self._is_over = False
        self._attempts = 0

    def start(self) -> None:
        """Begin to follow."""
        self._span.start()

    def close(self) -> None:
        """Follow no more; nobody who waits is called. Idempotent."""
        self._is_over = True
        self._waiting.clear()
        self._span.stop()

    def when_at(self, revision: int, callback: Callable[[], None]) -> None:
        """Call when everything up to ``revision`` is applied: at once if it is, else later, in order of revisions.

        A watch is silent about revisions that changed nothing in the span, and no backend promises that a read is
        answered after the events of what it saw (etcd's come by another stream; SQLite answers the reads of a group
        commit before its events). So when a read shows that there is more than was heard of, a key of the span is
        written: its event comes after everything before it. That is one write, on all backends.
        """
        if self.revision >= revision:
            callback()
            return
        heapq.heappush(self._waiting, (revision, next(self._order), callback))
        self._ask()

    # --- what the store says ------------------------------------------------------------------------------------------

    def on_reset(self, kvs: list[KeyValue], revision: int) -> None:
        """See ``Follower``."""
        self.records = {kv.key: kv.value for kv in kvs if kv.key != self._mark}
        self._reached(revision)
        self._ask()

    def on_batch(self, batch: WatchBatch) -> None:
        """See ``Follower``."""
        records = self.records
        for event in batch.events:
            key = event.kv.key
            if key == self._mark:
                continue
            if event.kind is EventKind.PUT:
                records[key] = event.kv.value
            else:
                records.pop(key, None)
        self._reached(batch.revision)

    def on_error(self, error: StoreError) -> None:
        """See ``Follower``."""
        if not self._is_over:
            self.close()
            self._on_error(error)

    def _reached(self, revision: int) -> None:
        self.revision = max(self.revision, revision)
        while self._waiting and self._waiting[0][0] <= self.revision:
            heapq.heappop(self._waiting)[2]()

    # --- how far is it? -----------------------------------------------------------------------------------------------

    def _ask(self) -> None:
        if self._is_asking or not self._waiting or not self.revision:  # the first read tells by itself
            return
        self._is_asking = True
        self._store.range(self._probe, self._on_probe)

    def _on_probe(self, answer: RangeResult | StoreError) -> None:
        if isinstance(answer, StoreError):
            self._ask_later(answer)
        elif not self._waiting:  # its events came meanwhile
            self._is_asking = False
        elif answer.revision < self._waiting[0][0]:  # nobody has made that revision yet
            self._ask_later_again()
        else:
            self._store.txn(Txn(then=(Put(self._mark, b""),)), self._on_marked)

    def _on_marked(self, answer: TxnResult | StoreError) -> None:
        if isinstance(answer, StoreError):
            self._ask_later(answer)
            return
        self._is_asking, self._attempts = False, 0
        self._store.txn(Txn(then=(Delete(self._mark),)), _nothing)
        if any(revision > answer.revision for revision, _, _ in self._waiting):
            self._ask_later_again()

    def _ask_later(self, error: StoreError) -> None:
        if error.retryable or isinstance(error, UnknownOutcomeError):
            self._ask_later_again()
        else:
            self.on_error(error)

    def _ask_later_again(self) -> None:
        self._is_asking = True
        self._attempts += 1
        self._call_later(RETRY.delay_s(self._attempts, self._rng), self._ask_again)

    def _ask_again(self) -> None:
        self._is_asking = False
        self._ask()


def _nothing(_answer: object) -> None:
    """A mark that stays is overwritten by the next."""
