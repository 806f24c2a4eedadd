"""The three backends of the metadata store behind one surface: a blocking store, and a way to wait."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from pathlib import Path

from linckia.store.address import EtcdAddress
from linckia.store.blocking import BlockingStore, at_once
from linckia.store.errors import StoreUnavailableError
from linckia.store.etcd import EtcdStore
from linckia.store.interface import Store
from linckia.store.memory import MemoryStore
from linckia.store.sqlite import SqliteStore
from linckia.testing.clock import VirtualClock
from linckia.testing.etcd import EtcdCluster

WAIT_MAX_S = 30.0
_namespaces = itertools.count()


class Kit:
    """A backend under test. ``ttl_s`` is its shortest lease."""

    name: str
    ttl_s: float

    def __init__(self, raw: Store) -> None:
        self.raw = raw
        self.store = BlockingStore(raw, self.wait)

    def wait(self, event: threading.Event) -> None:
        """Until it is set."""
        event.wait(WAIT_MAX_S)

    def pump(self) -> None:
        """Let something happen; a short while at most."""
        time.sleep(0.001)  # sleep: the store's own threads answer

    def until(self, holds: Callable[[], object]) -> None:
        """Let things happen until it holds."""
        deadline_s = time.monotonic() + WAIT_MAX_S
        while not holds():
            assert time.monotonic() < deadline_s, "it did not come to hold"
            self.pump()

    def until_gone(self, key: bytes) -> None:
        """Wait for a key's lease to end."""
        self.until(lambda: self.store.get(key) is None)

    def close(self) -> None:
        """Let go."""
        self.raw.close()


class MemoryKit(Kit):
    """In virtual time."""

    name, ttl_s = "memory", 5.0

    def __init__(self, _folder: Path) -> None:
        self.clock = VirtualClock()
        super().__init__(MemoryStore(self.clock))

    def wait(self, event: threading.Event) -> None:
        while not event.is_set():
            if not self.clock.step():
                raise StoreUnavailableError("nothing will ever happen")

    def pump(self) -> None:
        self.clock.call_later(0.1, lambda: None)  # so that time does not jump to the end of the next lease
        self.clock.step()


class SqliteKit(Kit):
    """On the disk."""

    name, ttl_s = "sqlite", 0.3

    def __init__(self, folder: Path) -> None:
        super().__init__(SqliteStore(str(folder / "store.db"), at_once))


class EtcdKit(Kit):
    """One server for all tests, each with a namespace of its own."""

    name, ttl_s = "etcd", 1.0

    def __init__(self, cluster: EtcdCluster) -> None:
        self.cluster = cluster
        namespace = f"test-{next(_namespaces)}/".encode()
        super().__init__(EtcdStore(EtcdAddress(cluster.endpoints, namespace=namespace), at_once, timeout_s=40.0))
