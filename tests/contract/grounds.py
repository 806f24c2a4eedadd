"""What several heads share: a store of each backend, one thread with timers, and a way to wait in it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from linckia.core.leadership.records import HeadFacts, HeadsView
from linckia.node.leadership import Leadership, LeadershipCalls, LeadershipOptions
from linckia.rpc.reactor import Reactor
from linckia.store.address import EtcdAddress
from linckia.store.errors import StoreError
from linckia.store.etcd import EtcdStore
from linckia.store.interface import Store
from linckia.store.memory import MemoryStore
from linckia.store.sqlite import SqliteStore
from linckia.testing.clock import VirtualClock
from linckia.testing.etcd import EtcdCluster

WAIT_MAX_S = 30.0
POLL_S = 0.05
_namespaces = itertools.count()


class Ground:
    """``open()`` is a client's way to the store. ``ttl_s`` is the shortest lease."""

    name: str
    ttl_s: float
    is_shared = True  # whether several processes may use it

    def open(self, _deliver: Callable[[Callable[[], None]], None]) -> Store:
        """A client of its own."""
        raise NotImplementedError

    def now_s(self) -> float:
        """The time of this thread."""
        raise NotImplementedError

    def call_later(self, _delay_s: float, _callback: Callable[[], None]) -> Any:
        """In this thread."""
        raise NotImplementedError

    def call_soon(self, callback: Callable[[], None]) -> None:
        """In this thread, from any."""
        raise NotImplementedError

    def step(self) -> None:
        """Let something happen."""
        raise NotImplementedError

    def until(self, holds: Callable[[], object], what: str = "it") -> float:
        """Let things happen until it holds; how long that took."""
        began_s = self.now_s()
        while not holds():
            assert self.now_s() - began_s < WAIT_MAX_S, f"{what} did not come to hold"
            self.step()
        return self.now_s() - began_s

    def pass_time(self, duration_s: float) -> None:
        """Let things happen for a while."""
        end_s = self.now_s() + duration_s
        self.call_later(duration_s, _nothing)
        self.until(lambda: self.now_s() >= end_s)

    def close(self) -> None:
        """Let go."""


class MemoryGround(Ground):
    """In virtual time; all share one object."""

    name, ttl_s = "memory", 2.0

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.store = MemoryStore(self.clock)
        self.call_later, self.call_soon, self.now_s = (  # type: ignore[method-assign]
            self.clock.call_later,
            self.clock.call_soon,
            self.clock.monotonic,
        )

    def open(self, _deliver: Callable[[Callable[[], None]], None]) -> Store:
        return self.store

    def step(self) -> None:
        assert self.clock.step(), "nothing will ever happen"


class RealGround(Ground):
    """A reactor."""

    def __init__(self) -> None:
        self.reactor = Reactor()

    def now_s(self) -> float:
        return time.monotonic()

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Any:
        return self.reactor.call_later(delay_s, callback)

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.reactor.call_soon(callback)

    def step(self) -> None:
        self.reactor.poll(POLL_S)

    def close(self) -> None:
        self.reactor.close()


class SqliteGround(RealGround):
    """One process, and its successors."""

    name, ttl_s, is_shared = "sqlite", 0.5, False

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._path = str(folder / "store.db")

    def open(self, deliver: Callable[[Callable[[], None]], None]) -> Store:
        return SqliteStore(self._path, deliver)


class EtcdGround(RealGround):
    """A namespace of a cluster."""

    name, ttl_s = "etcd", 1.0

    def __init__(self, cluster: EtcdCluster) -> None:
        super().__init__()
        self._address = EtcdAddress(cluster.endpoints, namespace=f"heads-{next(_namespaces)}/".encode())

    def open(self, deliver: Callable[[Callable[[], None]], None]) -> Store:
        return EtcdStore(self._address, deliver)


class Candidate:
    """A head of this test, as if it were a process of its own: ``kill`` ends it without a word."""

    def __init__(
        self, ground: Ground, number: int, *, store: Store | None = None, options: LeadershipOptions | None = None
    ) -> None:
        self.ground, self.is_alive = ground, True
        self.elected: list[tuple[int, int]] = []
        self.elected_s = 0.0
        self.deposed: list[str] = []
        self.views: list[HeadsView] = []
        self.troubles: list[StoreError] = []
        self.store = store if store is not None else ground.open(self.deliver)
        self.facts = HeadFacts(b"head-%d" % number, "127.0.0.1", 7000 + number, 100 + number)
        calls = LeadershipCalls(self._on_elected, self.deposed.append, self.views.append, self.troubles.append)
        options = options if options is not None else LeadershipOptions(ground.ttl_s)
        self.leadership = Leadership(
            self.store, self.facts, self.call_later, calls, options, now_s=ground.now_s, rng=Random(number)
        )
        self.leadership.start()

    def _on_elected(self, epoch: int, revision: int) -> None:
        self.elected_s = self.ground.now_s()
        self.elected.append((epoch, revision))

    def deliver(self, call: Callable[[], None]) -> None:
        """Nothing for the dead."""
        self.ground.call_soon(lambda: call() if self.is_alive else None)

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Any:
        """Nothing for the dead."""
        timer = self.ground.call_later(delay_s, callback)
        if not self.is_alive:
            timer.cancel()
        return timer

    @property
    def leads(self) -> bool:
        """And may serve."""
        return self.is_alive and self.leadership.is_serving

    def kill(self) -> None:
        """Its lease stays."""
        self.is_alive = False
        election = self.leadership
        election._carry_out = _ignore  # type: ignore[method-assign]
        for span in election._spans:
            span.stop()
        if not isinstance(self.store, MemoryStore):
            self.store.close()

    def close(self) -> None:
        """Its lease goes with it."""
        if self.is_alive:
            gone: list[bool] = []
            self.leadership.close(lambda: gone.append(True))
            self.ground.until(lambda: gone, "the lease's end")
            self.kill()


def _nothing() -> None:
    pass


def _ignore(_command: object) -> None:
    pass
