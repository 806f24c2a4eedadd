"""One client's way to a store that others share, on virtual time: slow, cut off, and with answers that get lost.

It breaks nothing that ``docs/store.md`` promises: writes are carried out in order, one at a time; a lost answer to a
write is ``UnknownOutcomeError`` and the write was done, was not, or is done *later*; everything else that fails was not
done or may be done again; watches have no gap. Closed with the client's process: nothing is answered any more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec

from linckia.core.mvcc.records import Range, Request, Revoke, Txn, WatchBatch, WatchQuery
from linckia.store.errors import CompactedError, StoreError, StoreUnavailableError, UnknownOutcomeError
from linckia.store.interface import Done, OnBatch, StoreLimits, StoreStatus
from linckia.store.memory import MemoryStore
from linckia.store.requests import RequestStore
from linckia.testing.clock import VirtualClock

Run = Callable[[Callable[[], None]], None]
SLOW_FRACTION = 0.05


class StoreFaults(msgspec.Struct):
    """What goes wrong, and how slow it is otherwise."""

    delay_s: float = 0.005
    slow_s: float = 0.0  # a few requests are that slow
    lost: float = 0.0  # share of answers
    timeout_s: float = 2.0
    compacted: float = 0.0  # share of watch batches whose watch has to begin anew


class FlakyWatch:
    """A ``Watch``: batches arrive in order, late, and not while the client is cut off."""

    def __init__(self, owner: FlakyStore, query: WatchQuery, on_batch: OnBatch) -> None:
        self._owner, self._on_batch = owner, on_batch
        self._is_over = False
        self._queue: deque[WatchBatch | StoreError] = deque()
        self._real = owner.store.watch(query, self._on_real)

    def cancel(self) -> None:
        """See ``Watch``."""
        self._is_over = True
        self._real.cancel()

    def _on_real(self, batch: WatchBatch | StoreError) -> None:
        self._queue.append(batch)
        self._owner.clock.call_later(self._owner.one_way_s(), self._arrive)

    def _arrive(self) -> None:
        """The oldest, whichever it was that was on its way: a later batch never overtakes."""
        owner = self._owner
        if owner.is_cut:
            owner.held.append(self._arrive)
            return
        batch = self._queue.popleft()
        if isinstance(batch, WatchBatch) and owner.rng.random() < owner.faults.compacted:
            self._real.cancel()
            batch = CompactedError(1, batch.revision)
        owner.run(lambda: None if self._is_over else self._tell(batch))

    def _tell(self, batch: WatchBatch | StoreError) -> None:
        self._is_over = isinstance(batch, StoreError)
        self._on_batch(batch)


class FlakyStore(RequestStore):
    """A ``Store`` for one process; ``run`` has something called in that process, when it runs."""

    def __init__(self, store: MemoryStore, clock: VirtualClock, rng: Random, faults: StoreFaults, run: Run) -> None:
        self.store, self.clock, self.rng, self.faults, self.run = store, clock, rng, faults, run
        self.limits: StoreLimits = store.limits
        self.is_cut = False
        self.held: list[Callable[[], None]] = []
        self._writes: deque[tuple[Request, Done[Any]]] = deque()
        self._is_writing = False

    def cut(self, *, is_cut: bool) -> None:
        """Cut the client off, or heal; what was held back arrives then."""
        self.is_cut = is_cut
        held, self.held = self.held, []
        for each in held:
            self.clock.call_later(self.one_way_s(), each)

    def one_way_s(self) -> float:
        """How long something is on its way."""
        slow = self.faults.slow_s if self.rng.random() < SLOW_FRACTION else 0.0
        return self.rng.uniform(0.1, 1.0) * (self.faults.delay_s + slow)

    def watch(self, query: WatchQuery, on_batch: OnBatch) -> FlakyWatch:
        """See ``Store``."""
        return FlakyWatch(self, query, on_batch)

    def submit(self, request: Request, done: Done[Any]) -> None:
        """Send it, or line it up behind the writes before it."""
        if isinstance(request, Revoke) or (isinstance(request, Txn) and _writes(request)):
            self._writes.append((request, done))
            self._write_next()
        else:
            self._send(request, lambda answer: self.run(lambda: done(answer)), is_write=False)

    def status(self, done: Done[StoreStatus]) -> None:
        """See ``Store``."""
        self.store.status(done)

    def close(self) -> None:
        """The shared store stays."""

    def _write_next(self) -> None:
        if self._is_writing or not self._writes:
            return
        self._is_writing = True
        request, done = self._writes.popleft()

        def answered(answer: object) -> None:
            self._is_writing = False
            self.run(lambda: done(answer))
            self._write_next()

        self._send(request, answered, is_write=True)

    def _send(self, request: Request, answered: Callable[[object], None], *, is_write: bool) -> None:
        faults, clock = self.faults, self.clock
        is_txn = is_write and isinstance(request, Txn)
        sent_s = clock.now_s
        if self.is_cut or self.rng.random() < faults.lost:
            gets_there = not self.is_cut and self.rng.random() < 0.5
            timeout_s = self.rng.uniform(0.1, 1.0) * faults.timeout_s
            if gets_there and is_txn:  # in time, or after its client gave it up
                clock.call_later(self.rng.uniform(0.0, 2.0) * timeout_s, lambda: self.store.submit(request, _ignore))
            elif gets_there:
                clock.call_later(self.one_way_s(), lambda: self.store.submit(request, _ignore))
            error = UnknownOutcomeError("its answer was lost") if is_txn else StoreUnavailableError("no answer")
            clock.call_later(timeout_s, lambda: answered(error))
            return

        def come_back(answer: object) -> None:
            if not self.is_cut:
                answered(answer)
                return
            answers = [answered]  # the one or the other: it arrives when the way is free, or too late
            error = UnknownOutcomeError("cut off") if is_txn else StoreUnavailableError("cut off")
            left_s = max(0.0, sent_s + faults.timeout_s - clock.now_s)
            clock.call_later(left_s, lambda: answers.pop()(error) if answers else None)
            self.held.append(lambda: answers.pop()(answer) if answers else None)

        def arrive() -> None:
            self.store.submit(request, lambda answer: _later(clock, self.one_way_s(), come_back, answer))

        clock.call_later(self.one_way_s(), arrive)


def _later(clock: VirtualClock, delay_s: float, call: Callable[[object], None], answer: object) -> None:
    clock.call_later(delay_s, lambda: call(answer))


def _writes(txn: Txn) -> bool:
    return any(not isinstance(op, Range) for op in (*txn.then, *txn.otherwise))


def _ignore(_answer: object) -> None:
    pass
