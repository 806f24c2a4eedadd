"""When the submitter looks again: soon while work is queued behind running work, rarely while leases are idle."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from linckia.worker.submitter import LEASE_IDLE_S, TAKE_BACK_AFTER_S, Submitter
from linckia.worker.tasks import Lease


class FakeTimer:
    def __init__(self, delay_s: float, callback: Callable[[], None]) -> None:
        self.delay_s, self.callback, self.cancelled = delay_s, callback, False

    def cancel(self) -> None:
        self.cancelled = True


class FakeReactor:
    """Keeps the timers; the test fires them."""

    def __init__(self) -> None:
        self.timers: list[FakeTimer] = []

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> FakeTimer:
        self.timers.append(FakeTimer(delay_s, callback))
        return self.timers[-1]

    def pending(self) -> list[float]:
        return [timer.delay_s for timer in self.timers if not timer.cancelled]

    def fire(self) -> None:
        due, self.timers = self.timers, []
        for timer in due:
            if not timer.cancelled:
                timer.callback()


class FakeConnection:
    def __init__(self) -> None:
        self.outbox: list[Any] = []
        self.sent: list[Any] = []

    def flush(self) -> None: ...

    def mark_dirty(self) -> None: ...

    def send(self, message: Any) -> None:
        self.sent.append(message)


def make() -> tuple[Submitter, FakeReactor, Lease]:
    """A driver's submitter with one idle lease whose tick comes after the idle time."""
    reactor = FakeReactor()
    runtime: Any = SimpleNamespace(executor=None, reactor=reactor, mutex=threading.RLock())
    submitter = Submitter(runtime)
    key = submitter.key_for({"CPU": 1.0})
    key.depth = 8
    peer: Any = SimpleNamespace(
        conn=FakeConnection(), tasks={}, known={0}, lease=None, closed=False, address=SimpleNamespace(worker_id=b"w")
    )
    raylet: Any = SimpleNamespace(address=SimpleNamespace(worker_id=b"n"), closed=False)
    lease = Lease(1, peer, key, raylet)
    peer.lease = lease
    submitter.leases[b"n", 1] = lease
    key.leases.append(lease)
    submitter.after_answers(peer)
    reactor.fire()
    assert reactor.pending() == [LEASE_IDLE_S]
    return submitter, reactor, lease


def record(submitter: Submitter, number: int) -> Any:
    template = SimpleNamespace(key=submitter.key_for({"CPU": 1.0}), index=0, name="f")
    return SimpleNamespace(
        template=template, task_id=bytes([number]), args=b"", extras=None, peer=None, queue=None, cancelled=False
    )


def test_a_task_behind_another_brings_the_look_forward() -> None:
    submitter, reactor, lease = make()
    submitter.requests = {}
    lease.key.requests.update({9: lease.raylet})  # no more leases to ask for
    submitter.enqueue(record(submitter, 1))
    assert reactor.pending() == [LEASE_IDLE_S], "nothing waits behind it"
    submitter.enqueue(record(submitter, 2))
    assert reactor.pending() == [TAKE_BACK_AFTER_S]
    submitter.enqueue(record(submitter, 3))
    assert reactor.pending() == [TAKE_BACK_AFTER_S], "one timer, however many tasks"
    lease.oldest_push_s -= 1
    reactor.fire()
    assert [type(message).__name__ for message in lease.peer.conn.sent] == ["TakeBack"]


def test_idle_leases_are_looked_at_rarely() -> None:
    submitter, reactor, lease = make()
    submitter.after_answers(lease.peer)
    assert reactor.pending() == [LEASE_IDLE_S]
