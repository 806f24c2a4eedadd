"""The store in memory: for the simulator and for tests. Deterministic; time and turns come from an injected clock.

Several users (heads of one simulated cluster) may share one object. Nothing survives the object. Not for threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from linckia.base.limits import TXN_LOCAL_MAX_BYTES, TXN_OPS_MAX
from linckia.core.mvcc.records import Request, WatchQuery
from linckia.core.mvcc.state import Effects, Mvcc
from linckia.store.errors import StoreClosedError
from linckia.store.interface import Done, OnBatch, StoreLimits, StoreStatus
from linckia.store.local import Deliveries, LocalState, LocalWatch
from linckia.store.requests import RequestStore


class Clock(Protocol):
    """``testing.clock.VirtualClock`` has this surface."""

    def monotonic(self) -> float:
        """Seconds."""
        ...

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call after what is due already."""
        ...

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Any:
        """Call once after ``delay_s``."""
        ...


class MemoryStore(RequestStore):
    """A ``Store``. Each request is carried out when it is made and answered in a later turn of the clock."""

    limits = StoreLimits(TXN_OPS_MAX, TXN_LOCAL_MAX_BYTES)

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._state = LocalState(Mvcc())
        self._deliveries = Deliveries(clock.call_soon)
        self._alarm_s: float | None = None
        self._closed = False

    def status(self, done: Done[StoreStatus]) -> None:
        """See ``Store``."""
        space = self._state.mvcc.space
        size = space.live_bytes + space.history_bytes
        status = StoreStatus("memory", "this process", space.revision, size, "closed" if self._closed else "ok")
        self._deliveries.send([lambda: done(status)])

    def watch(self, query: WatchQuery, on_batch: OnBatch) -> LocalWatch:
        """See ``Store``."""
        watch = LocalWatch(on_batch, self._state.end_watch)
        if self._closed:
            self._deliveries.send([lambda: watch.tell(StoreClosedError("the store is closed"))])
            return watch
        effects = self._expire()
        calls = self._state.begin_watch(watch, query)
        self._deliveries.send(self._state.publish(effects.events) + calls)
        return watch

    def close(self) -> None:
        """See ``Store``."""
        self._closed = True
        self._deliveries.send(self._state.close_watches(StoreClosedError("the store is closed")))

    def submit(self, request: Request, done: Done[Any]) -> None:
        """Carry out now, answer later."""
        if self._closed:
            self._deliveries.send([lambda: done(StoreClosedError("the store is closed"))])
            return
        effects = self._expire()
        answer = self._state.apply(request, self._clock.monotonic(), effects, done)
        self._state.mvcc.trim(effects)
        self._deliveries.send([answer, *self._state.publish(effects.events)])
        self._set_alarm()

    def _expire(self) -> Effects:
        effects = Effects()
        self._state.mvcc.expire(self._clock.monotonic(), effects)
        return effects

    def _set_alarm(self) -> None:
        due_s = self._state.mvcc.leases.next_due_s()
        if due_s is not None and (self._alarm_s is None or due_s < self._alarm_s):
            self._alarm_s = due_s
            self._clock.call_later(max(0.0, due_s - self._clock.monotonic()), self._on_alarm)

    def _on_alarm(self) -> None:
        self._alarm_s = None
        if not self._closed:
            self._deliveries.send(self._state.publish(self._expire().events))
            self._set_alarm()
