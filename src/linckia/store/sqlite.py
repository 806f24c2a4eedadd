"""The store in one SQLite file: the embedded default. One thread of its own reads and writes; nobody else waits.

*Group commit*: the thread takes everything that was handed in while the last commit was on its way to the disk,
carries it out on the ``Mvcc`` in memory, writes it in one transaction, and answers all of it after that one fsync.
Reads are answered from memory, behind the writes that were handed in before them, so nobody sees what is not durable.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from linckia.base.limits import GROUP_COMMIT_MAX_REQUESTS, TXN_LOCAL_MAX_BYTES, TXN_OPS_MAX
from linckia.core.mvcc.errors import StoreError
from linckia.core.mvcc.records import Request, WatchQuery
from linckia.core.mvcc.state import Effects, Mvcc
from linckia.store.errors import StoreClosedError, StoreFailedError, StoreFullError
from linckia.store.interface import Deliver, Done, OnBatch, StoreLimits, StoreStatus
from linckia.store.local import Call, Deliveries, LocalState, LocalWatch
from linckia.store.requests import RequestStore
from linckia.store.sqlite_file import DamagedError, SqliteFile

CLOSE_MAX_S = 10.0


class _Status:
    """Asks for the status, in line with the rest."""


class _Watch:
    """Begins a watch, in line with the rest."""

    def __init__(self, watch: LocalWatch, query: WatchQuery) -> None:
        self.watch, self.query = watch, query


class _EndWatch:
    """Ends one."""

    def __init__(self, watch: LocalWatch) -> None:
        self.watch = watch


_Item = tuple[Request | _Status | _Watch | _EndWatch, Callable[[Any], None]]


class SqliteStore(RequestStore):
    """A ``Store``. Raises StoreOpenError when the file is in use, newer than this program, or not ours."""

    limits = StoreLimits(TXN_OPS_MAX, TXN_LOCAL_MAX_BYTES)

    def __init__(
        self,
        path: str,
        deliver: Deliver,
        *,
        on_notice: Callable[[str], None] | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open or make the file. ``on_notice`` is told at once when a damaged file was set aside."""
        self._now = now
        self._file = SqliteFile(path)
        self._state = LocalState(self._load())
        if self._file.notice and on_notice is not None:
            on_notice(self._file.notice)
        self._deliveries = Deliveries(deliver)
        self._changed = threading.Condition()
        self._queue: list[_Item] = []
        self._closing = False
        self._failure: StoreError | None = None
        self._thread = threading.Thread(target=self._run, name="store-sqlite", daemon=True)
        self._thread.start()

    def _load(self) -> Mvcc:
        try:
            try:
                return self._file.load(self._now())
            except DamagedError as damage:
                self._file.set_aside_damaged(damage)
                return self._file.load(self._now())
        except BaseException:
            self._file.close()
            raise

    # --- for any thread -----------------------------------------------------------------------------------------------

    def submit(self, request: Request, done: Done[Any]) -> None:
        """Queue a request."""
        self._put(request, done)

    def status(self, done: Done[StoreStatus]) -> None:
        """See ``Store``."""
        self._put(_Status(), done)

    def watch(self, query: WatchQuery, on_batch: OnBatch) -> LocalWatch:
        """See ``Store``."""
        watch = LocalWatch(on_batch, lambda ended: self._put(_EndWatch(ended), _nothing))
        self._put(_Watch(watch, query), watch.tell)
        return watch

    def close(self) -> None:
        """See ``Store``. What was handed in before is still carried out."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not threading.current_thread():
            self._thread.join(CLOSE_MAX_S)

    def _put(self, what: Request | _Status | _Watch | _EndWatch, done: Callable[[Any], None]) -> None:
        with self._changed:
            if not self._closing:
                self._queue.append((what, done))
                if len(self._queue) == 1:
                    self._changed.notify()
                return
        if not isinstance(what, _EndWatch):
            self._deliveries.send([partial(done, StoreClosedError("the store is closed"))])

    # --- the store's thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while (items := self._take()) is not None:
            self._deliveries.send(self._refused(items) if self._failure else self._commit(items))
        self._file.close()
        self._deliveries.send(self._state.close_watches(StoreClosedError("the store is closed")))

    def _take(self) -> list[_Item] | None:
        """What is waiting; nothing when a lease is due; None when the store is to close."""
        with self._changed:
            while not self._queue:
                if self._closing:
                    return None
                due_s = self._state.mvcc.leases.next_due_s()
                timeout_s = None if due_s is None or self._failure else due_s - self._now()
                if timeout_s is not None and timeout_s <= 0:
                    break
                self._changed.wait(timeout_s)
            items = self._queue[:GROUP_COMMIT_MAX_REQUESTS]
            del self._queue[:GROUP_COMMIT_MAX_REQUESTS]
            return items

    def _commit(self, items: list[_Item]) -> list[Call]:
        """Carry out, make durable, and say what to tell."""
        effects, now_s, mvcc = Effects(), self._now(), self._state.mvcc
        mvcc.expire(now_s, effects)
        calls: list[Call] = []
        for what, done in items:
            match what:
                case _Status():
                    calls.append(partial(done, self._status_now("ok")))
                case _Watch():
                    calls += self._state.begin_watch(what.watch, what.query)
                case _EndWatch():
                    self._state.end_watch(what.watch)
                case _:
                    calls.append(self._state.apply(what, now_s, effects, done))
        mvcc.trim(effects)
        if effects.any:
            try:
                self._file.write(effects, mvcc.leases.last_id)
            except sqlite3.Error as error:
                return self._not_written(items, error)
        return calls + self._state.publish(effects.events)

    def _not_written(self, items: list[_Item], error: sqlite3.Error) -> list[Call]:
        """A full disk refuses these requests and the store goes on; after anything else it cannot be trusted."""
        if (error.sqlite_errorcode & 0xFF) == sqlite3.SQLITE_FULL:
            refusal: StoreError = StoreFullError(
                f"the disk of {self._file.path} is full: nothing was written; make space and try again"
            )
            try:
                self._file.roll_back()
                self._state.mvcc = self._file.load(self._now())
            except (sqlite3.Error, StoreError, DamagedError) as worse:
                return self._fail(items, worse)
            return self._refusals(items, refusal)
        return self._fail(items, error)

    def _fail(self, items: list[_Item], error: Exception) -> list[Call]:
        self._failure = StoreFailedError(
            f"writing {self._file.path} failed ({error}): what it holds is uncertain until the head is started again; "
            "look at the disk first"
        )
        return self._refused(items) + self._state.close_watches(self._failure)

    def _refused(self, items: list[_Item]) -> list[Call]:
        failure = self._failure
        if failure is None:
            return []
        calls = self._refusals([item for item in items if not isinstance(item[0], _Status)], failure)
        told = self._status_now(str(failure))
        return calls + [partial(done, told) for what, done in items if isinstance(what, _Status)]

    def _refusals(self, items: list[_Item], refusal: StoreError) -> list[Call]:
        calls: list[Call] = []
        for what, done in items:
            if isinstance(what, _Watch | _EndWatch):
                self._state.end_watch(what.watch)
            calls.append(partial(done, refusal))
        return calls

    def _status_now(self, health: str) -> StoreStatus:
        return StoreStatus("sqlite", self._file.path, self._state.mvcc.revision, self._file.size_bytes(), health)


def _nothing(_answer: object) -> None:
    pass
