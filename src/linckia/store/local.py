"""What the memory and SQLite backends share: watches and answers around one ``Mvcc``. No I/O, no threads.

A backend applies requests, makes the effects durable in its way, and then calls the deliveries it gets from here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from linckia.base.limits import TXN_LOCAL_MAX_BYTES
from linckia.core.mvcc.checks import check_size
from linckia.core.mvcc.errors import StoreError
from linckia.core.mvcc.records import Event, Request, Txn, WatchBatch, WatchQuery
from linckia.core.mvcc.state import Effects, Mvcc, Watcher, unseen
from linckia.store.interface import Deliver, OnBatch

Call = Callable[[], None]


class Deliveries:
    """Calls on their way to the user's thread, a whole commit at a time; one that raises does not stop the others."""

    def __init__(self, deliver: Deliver) -> None:
        self._deliver = deliver
        self._waiting: deque[Call] = deque()

    def send(self, calls: list[Call]) -> None:
        """Have them called, in order."""
        if calls:
            self._waiting.extend(calls)
            self._deliver(self._run)

    def _run(self) -> None:
        while True:
            try:
                call = self._waiting.popleft()
            except IndexError:
                return
            try:
                call()
            except BaseException:
                self._deliver(self._run)
                raise


class LocalWatch:
    """A watch of a local store."""

    def __init__(self, on_batch: OnBatch, forget: Callable[[LocalWatch], None]) -> None:
        self._on_batch: OnBatch | None = on_batch
        self._forget = forget
        self.watcher: Watcher | None = None
        self.is_new = True

    def tell(self, batch: WatchBatch | StoreError) -> None:
        """Unless it was cancelled meanwhile."""
        if self._on_batch is not None:
            self._on_batch(batch)

    def cancel(self) -> None:
        """Tell nothing any more."""
        self._on_batch = None
        self._forget(self)


class LocalState:
    """An ``Mvcc`` and who watches it."""

    def __init__(self, mvcc: Mvcc) -> None:
        self.mvcc = mvcc
        self._watches: dict[LocalWatch, None] = {}

    def apply(self, request: Request, now_s: float, effects: Effects, done: Callable[[Any], None]) -> Call:
        """Carry out a request; what to call when its effects are durable."""
        try:
            if isinstance(request, Txn):
                check_size(request, TXN_LOCAL_MAX_BYTES)
            answer: object = self.mvcc.apply(request, now_s, effects)
        except StoreError as error:
            answer = error
        return partial(done, answer)

    def begin_watch(self, watch: LocalWatch, query: WatchQuery) -> list[Call]:
        """Watch from now on; the past is told by the next ``publish``, so that it is durable by then."""
        try:
            watch.watcher = self.mvcc.watcher(query)
        except StoreError as error:
            return [partial(watch.tell, error)]
        self._watches[watch] = None
        return []

    def end_watch(self, watch: LocalWatch) -> None:
        """Idempotent."""
        self._watches.pop(watch, None)

    def publish(self, events: list[Event]) -> list[Call]:
        """What to tell the watches of changes that are durable now."""
        calls: list[Call] = []
        for watch in list(self._watches):
            batch = self._news(watch, events)
            if batch is not None:
                calls.append(partial(watch.tell, batch))
        return calls

    def _news(self, watch: LocalWatch, events: list[Event]) -> WatchBatch | StoreError | None:
        watcher = watch.watcher
        if watcher is None or not (events or watch.is_new):
            return None
        if not watch.is_new:
            return unseen(watcher, events)
        watch.is_new = False
        try:
            return self.mvcc.missed(watcher)
        except StoreError as error:
            self.end_watch(watch)
            return error

    def close_watches(self, error: StoreError) -> list[Call]:
        """All watches end with ``error``."""
        watches, self._watches = list(self._watches), {}
        return [partial(watch.tell, error) for watch in watches]
