"""Writes per second into the metadata store, with one and with 64 writers, beside what disk, SQLite and etcd can do.

Run by `child.py`: the steps of `limits` do without our store, those of `linckia` go through it. A writer waits for its
write to be durable before the next one. Values have 200 bytes, as the record of an actor has; 1,000 keys in turn.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.measure import Timing, expect, rate
from bench.workloads import Values
from linckia.core.mvcc.records import Put, Txn, TxnResult
from linckia.store.address import EtcdAddress
from linckia.store.blocking import BlockingStore, at_once
from linckia.store.interface import Store
from linckia.store.sqlite import SqliteStore
from linckia.testing.etcd import EtcdCluster, missing

WRITERS = 64
WRITES = 20 * WRITERS
KEYS = 1000
VALUE = bytes(range(200))
BLOCK = bytes(4096)

Send = Callable[[bytes, Callable[[Any], None]], None]
"""Begin to write a key; call back when it is durable."""


class Turn:
    """Keys in turn."""

    def __init__(self) -> None:
        self._number = 0

    def key(self) -> bytes:
        """The next one."""
        self._number += 1
        return b"actors/%06d" % (self._number % KEYS)


def many(send: Send, is_good: Callable[[Any], bool]) -> None:
    """`WRITES` writes, 64 of them on their way at any time."""
    room, turn, good = threading.Semaphore(WRITERS), Turn(), []

    def done(answer: Any) -> None:
        good.append(is_good(answer))
        room.release()

    for _ in range(WRITES):
        room.acquire()
        send(turn.key(), done)
    for _ in range(WRITERS):
        room.acquire()
    expect(good, [True] * WRITES, "answers to writes")


def through_store(store: Store, name: str, timing: Timing) -> Values:
    """Both rates through our store."""
    blocking, turn = BlockingStore(store), Turn()

    def send(key: bytes, done: Callable[[Any], None]) -> None:
        store.txn(Txn(then=(Put(key, VALUE),)), done)

    one = rate(lambda: blocking.put(turn.key(), VALUE), 1, timing.seconds)
    all_ = rate(lambda: many(send, lambda answer: isinstance(answer, TxnResult)), WRITES, timing.seconds)
    expect({kv.value for kv in blocking.prefix(b"actors/").kvs}, {VALUE}, "what was written")
    return {f"store_{name}_1": one, f"store_{name}_64": all_}


def sqlite_rates(timing: Timing) -> Values:
    """Our SQLite backend."""
    with tempfile.TemporaryDirectory(prefix="lb-store-") as folder:
        store = SqliteStore(f"{folder}/store.db", at_once)
        try:
            return through_store(store, "sqlite", timing)
        finally:
            store.close()


def etcd_rates(timing: Timing) -> Values:
    """Our etcd backend, one member."""
    from linckia.store.etcd import EtcdStore  # noqa: PLC0415 (its client starts threads that disturb the other steps)

    with tempfile.TemporaryDirectory(prefix="lb-store-") as folder:
        cluster = etcd_cluster(folder)
        store = EtcdStore(EtcdAddress(cluster.endpoints), at_once, timeout_s=30.0)
        try:
            return through_store(store, "etcd", timing)
        finally:
            store.close()
            cluster.close()


def disk_rates(timing: Timing) -> Values:
    """Appending a page and syncing it; a commit of bare SQLite with one row."""
    with tempfile.TemporaryDirectory(prefix="lb-store-") as folder:
        fd = os.open(f"{folder}/file", os.O_RDWR | os.O_CREAT, 0o600)

        def sync() -> None:
            os.write(fd, BLOCK)
            os.fdatasync(fd)

        fsyncs = rate(sync, 1, timing.seconds)
        os.close(fd)
        db = sqlite3.connect(f"{folder}/bare.db", isolation_level=None)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("CREATE TABLE rows (number INTEGER PRIMARY KEY, key BLOB, value BLOB)")
        turn = Turn()
        commits = rate(
            lambda: db.execute("INSERT INTO rows VALUES (NULL, ?, ?)", (turn.key(), VALUE)), 1, timing.seconds
        )
        db.close()
    return {"store_fsyncs": fsyncs, "store_commits": commits}


def bare_etcd_rates(timing: Timing) -> Values:
    """etcd through its client's own stubs: puts one at a time, and 64 in flight without order."""
    import grpc  # noqa: PLC0415 (see etcd_rates)
    from pyetcd.etcdrpc import rpc_pb2, rpc_pb2_grpc  # noqa: PLC0415 (see etcd_rates)

    put: Any = rpc_pb2.PutRequest  # pyright: ignore[reportAttributeAccessIssue] (made at run time)
    with tempfile.TemporaryDirectory(prefix="lb-store-") as folder:
        cluster = etcd_cluster(folder)
        try:
            with grpc.insecure_channel(cluster.endpoints[0]) as channel:
                calls, turn = rpc_pb2_grpc.KVStub(channel), Turn()

                def send(key: bytes, done: Callable[[Any], None]) -> None:
                    calls.Put.future(put(key=key, value=VALUE)).add_done_callback(done)

                one = rate(lambda: calls.Put(put(key=turn.key(), value=VALUE)), 1, timing.seconds)
                is_good: Callable[[Any], bool] = lambda future: future.exception() is None  # noqa: E731
                all_ = rate(lambda: many(send, is_good), WRITES, timing.seconds)
        finally:
            cluster.close()
    return {"store_bare_etcd_1": one, "store_bare_etcd_64": all_}


def etcd_cluster(folder: str, size: int = 1) -> EtcdCluster:
    """``size`` members. RuntimeError where etcd is not installed."""
    if why := missing():
        raise RuntimeError(why)
    return EtcdCluster(Path(folder), size)


def heads(timing: Timing) -> Values:
    """What it costs those who use the head, and how fast another one follows."""
    from bench.head_rates import head_rates  # noqa: PLC0415 (it brings a whole runtime along)

    return head_rates(timing)


class StoreRates:
    """The adapter that `child.py` drives."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing

    def run(self, step: str) -> Values:
        """Measure one step."""
        return STEPS[step](self._timing)

    def shutdown(self) -> Values:
        """Nothing is left to stop."""
        return {}


STEPS: dict[str, Callable[[Timing], Values]] = {
    "store_disk": disk_rates,
    "store_bare_etcd": bare_etcd_rates,
    "store_sqlite": sqlite_rates,
    "store_etcd": etcd_rates,
    "store_heads": heads,
}
