"""From the address of a store to the store. etcd's client is imported only for an etcd address."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable

from linckia.store.address import EtcdAddress, SqliteAddress, parse_address
from linckia.store.errors import StoreOpenError
from linckia.store.interface import Deliver, Store
from linckia.store.memory import Clock, MemoryStore
from linckia.store.sqlite import SqliteStore


def prepare(kind: str) -> None:
    """Import what a store whose address begins with ``kind`` needs. What is missing is told when it is opened."""
    if kind == "etcd":
        with contextlib.suppress(ImportError):
            importlib.import_module("linckia.store.etcd")


def open_store(
    text: str, deliver: Deliver, *, on_notice: Callable[[str], None] | None = None, clock: Clock | None = None
) -> Store:
    """The store at an address (``address.py``). Raises StoreOpenError with one sentence."""
    address = parse_address(text)
    if isinstance(address, SqliteAddress):
        return SqliteStore(address.path, deliver, on_notice=on_notice)
    if isinstance(address, EtcdAddress):
        try:
            from linckia.store.etcd import EtcdStore  # noqa: PLC0415  (100 ms and 15 MB that only heads with etcd need)
        except ImportError as error:
            raise StoreOpenError(
                f"store address {address!r}: etcd's client is not installed ({error}): pip install 'linckia[etcd]'"
            ) from None
        return EtcdStore(address, deliver)
    if clock is None:
        raise StoreOpenError("store address memory: the store in memory is for the simulator, which gives it a clock")
    return MemoryStore(clock)
