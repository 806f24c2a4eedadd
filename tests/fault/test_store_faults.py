"""Killed writers and killed etcd members: what was acknowledged is there, watches have no gap, failures are named."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from linckia.cli import tls_init
from linckia.core.mvcc.records import KEYSPACE_END, Put, Txn, TxnResult, WatchBatch, WatchQuery
from linckia.store.address import EtcdAddress
from linckia.store.blocking import BlockingStore, at_once
from linckia.store.errors import StoreAuthError, StoreError, StoreUnavailableError, UnknownOutcomeError
from linckia.store.etcd import EtcdStore
from linckia.store.sqlite import SqliteStore
from linckia.testing.etcd import EtcdCluster, missing

pytestmark = pytest.mark.fault
WAIT_MAX_S = 60.0
IN_FLIGHT = 64


def until(holds: Callable[[], object], what: str) -> None:
    deadline_s = time.monotonic() + WAIT_MAX_S
    while not holds():
        assert time.monotonic() < deadline_s, f"{what} did not come to hold within {WAIT_MAX_S:g} s"
        time.sleep(0.005)  # sleep: the threads of the store report


# --- SQLite -----------------------------------------------------------------------------------------------------------

STORM = """
import os, sys, threading
from linckia.core.mvcc.records import Put, Txn
from linckia.store.sqlite import SqliteStore
store = SqliteStore(sys.argv[1], lambda call: call())
room = threading.Semaphore(64)
def done(number, answer):
    os.write(1, b"%d %d\\n" % (number, answer.revision))
    room.release()
number = int(sys.argv[2])
while True:
    room.acquire()
    txn = Txn(then=(Put(b"k%d" % number, b"v" * (number % 300)),))
    store.txn(txn, lambda answer, number=number: done(number, answer))
    number += 1
"""


@pytest.mark.row("S1")
def test_a_killed_writer_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")
    acknowledged: dict[int, int] = {}
    begin = 0
    for _ in range(4):
        command = [sys.executable, "-c", STORM, path, str(begin)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            lines = []
            for _ in range(700):
                lines.append(process.stdout.readline())
            process.kill()
            lines += process.stdout.read().splitlines(keepends=True)
        told = [line.split() for line in lines if line.endswith(b"\n")]
        assert len(told) >= 700
        acknowledged.update({int(number): int(revision) for number, revision in told})
        store = BlockingStore(SqliteStore(path, at_once))
        there = {kv.key: kv for kv in store.prefix(b"k").kvs}
        for number, revision in acknowledged.items():
            kv = there[b"k%d" % number]
            assert (kv.mod_revision, kv.value) == (revision, b"v" * (number % 300))
        assert len(there) <= begin + len(told) + IN_FLIGHT
        assert sorted(kv.mod_revision for kv in there.values()) == list(range(2, len(there) + 2)), "no revision missing"
        store.close()
        begin = len(there)


# --- etcd -------------------------------------------------------------------------------------------------------------

needs_etcd = pytest.mark.skipif(bool(missing()), reason=missing())


@pytest.fixture
def three(tmp_path: Path) -> Iterator[EtcdCluster]:
    cluster = EtcdCluster(tmp_path / "etcd", 3)
    yield cluster
    cluster.close()


class Storm:
    """Keeps writes in flight, and keeps what was acknowledged and what is unknown."""

    def __init__(self, store: EtcdStore) -> None:
        self.store = store
        self.acknowledged: dict[int, int] = {}
        self.unknown: set[int] = set()
        self.refused: list[StoreError] = []
        self._number = 0
        self._room = threading.Semaphore(IN_FLIGHT)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._ending.is_set():
            self._room.acquire()
            number = self._number
            self._number += 1
            txn = Txn(then=(Put(b"k%06d" % number, b"%d" % number),))
            self.store.txn(txn, lambda answer, number=number: self._done(number, answer))  # type: ignore[misc]

    def _done(self, number: int, answer: Any) -> None:
        if isinstance(answer, TxnResult):
            self.acknowledged[number] = answer.revision
        elif isinstance(answer, UnknownOutcomeError):
            self.unknown.add(number)
        else:
            self.refused.append(answer)
        self._room.release()

    def goes_on(self) -> None:
        """Until writes are acknowledged that were not yet handed in."""
        wanted = self._number + IN_FLIGHT
        until(lambda: any(number >= wanted for number in list(self.acknowledged)[-IN_FLIGHT:]), "writing")

    def stop(self) -> None:
        self._ending.set()
        self._thread.join()
        for _ in range(IN_FLIGHT):
            assert self._room.acquire(timeout=WAIT_MAX_S), "a write was never answered"


def check_storm(storm: Storm, blocking: BlockingStore, told: list[Any]) -> None:
    """What was acknowledged is in the store and in the watch, and nothing else is but what is unknown."""
    kvs = {int(kv.value): kv for kv in blocking.prefix(b"k").kvs}
    lost = [number for number, revision in storm.acknowledged.items() if kvs[number].mod_revision != revision]
    assert not lost
    assert set(kvs) - set(storm.acknowledged) <= storm.unknown
    last = max(kv.mod_revision for kv in kvs.values())
    until(lambda: told and told[-1].revision >= last, "the watch")
    assert all(isinstance(batch, WatchBatch) for batch in told)
    events = [event for batch in told for event in batch.events]
    assert [int(event.kv.value) for event in events if event.kv.version != 1] == []
    seen = [int(event.kv.value) for event in events]
    assert len(seen) == len(set(seen)), "told twice"
    assert set(seen) == set(kvs), "a gap"
    revisions = [event.kv.mod_revision for event in events]
    assert revisions == sorted(revisions)


@needs_etcd
@pytest.mark.row("S1")
def test_killed_members_lose_no_acknowledged_write(three: EtcdCluster) -> None:
    store = EtcdStore(EtcdAddress(three.endpoints), at_once, timeout_s=40.0)
    blocking = BlockingStore(store)
    told: list[Any] = []
    first = blocking.put(b"start", b"")
    store.watch(WatchQuery(b"k", b"l", first + 1), told.append)
    storm = Storm(store)
    storm.goes_on()
    for member in three.members:  # one of them is the leader, and one the one that is talked to
        member.kill()
        storm.goes_on()
        three.start()
    for member in three.members:
        member.kill()
    three.start()
    storm.goes_on()
    storm.stop()
    assert not storm.refused
    assert len(storm.acknowledged) > 500
    check_storm(storm, blocking, told)
    blocking.close()


@needs_etcd
def test_a_frozen_member_is_left_for_another(three: EtcdCluster) -> None:
    store = EtcdStore(EtcdAddress(three.endpoints), at_once, timeout_s=30.0)
    blocking = BlockingStore(store)
    told: list[Any] = []
    first = blocking.put(b"a", b"1")
    store.watch(WatchQuery(b"", KEYSPACE_END, first), told.append)
    until(lambda: told, "the watch")
    three.members[0].send(signal.SIGSTOP)
    try:
        kv = blocking.get(b"a")  # a read is asked of the next endpoint
        assert kv is not None
        with EtcdUser(three.endpoints[1:]) as other:
            other.put(b"a", b"2")
        until(lambda: told[-1].events[-1].kv.value == b"2", "the watch of a frozen member")
        with EtcdUser(three.endpoints) as fresh:
            assert fresh.put(b"b", b"1"), "a first write is not sent to who does not answer"
        assert blocking.put(b"a", b"3")
        until(lambda: told[-1].events[-1].kv.value == b"3", "the watch")
    finally:
        three.members[0].send(signal.SIGCONT)
    blocking.close()


class EtcdUser(BlockingStore):
    """A client for a moment."""

    def __init__(self, endpoints: tuple[str, ...], **more: Any) -> None:
        super().__init__(EtcdStore(EtcdAddress(endpoints, **more), at_once, timeout_s=30.0))

    def __enter__(self) -> EtcdUser:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


@needs_etcd
def test_half_a_cluster_is_said_in_one_sentence(three: EtcdCluster) -> None:
    store = BlockingStore(EtcdStore(EtcdAddress(three.endpoints), at_once, timeout_s=40.0))
    store.put(b"a", b"1")
    store.close()
    for member in three.members[:2]:
        member.kill()
    store = BlockingStore(EtcdStore(EtcdAddress(three.endpoints), at_once, timeout_s=1.0))
    with pytest.raises(StoreUnavailableError, match=r"no etcd endpoint of .* answered in time \(.*\d: .*; try"):
        store.get(b"a")
    with pytest.raises((StoreUnavailableError, UnknownOutcomeError)):
        store.put(b"a", b"2")
    status = store.status()
    assert (status.backend, status.revision) == ("etcd", 0)
    assert "no etcd endpoint of" in status.health
    store.close()


@needs_etcd
def test_nobody_at_the_address(tmp_path: Path) -> None:
    with SingleMember(tmp_path) as cluster:
        gone, there = cluster.endpoints[0], ""
        cluster.members[0].kill()
        store = BlockingStore(EtcdStore(EtcdAddress((gone,)), at_once, timeout_s=0.4))
        for ask in (lambda: store.get(b"a"), lambda: store.put(b"a", b"1"), lambda: store.grant(5)):
            with pytest.raises(StoreUnavailableError, match=f"no etcd endpoint of {gone} answered") as caught:
                ask()
            assert caught.value.changed == "no"
        store.close()
        cluster.start()
        there = cluster.endpoints[0]
        with EtcdUser(("127.0.0.1:1", there)) as second:
            assert second.put(b"a", b"1") > 1, "the second endpoint is used for writes too"


class SingleMember:
    """A server with or without TLS, for a `with`."""

    def __init__(self, folder: Path, tls: tuple[str, str] | None = None) -> None:
        self.folder, self.tls = folder, tls

    def __enter__(self) -> EtcdCluster:
        self.cluster = EtcdCluster(self.folder / "etcd", tls=self.tls)
        return self.cluster

    def __exit__(self, *_error: object) -> None:
        self.cluster.close()


@needs_etcd
@pytest.mark.skipif(not shutil.which("etcdctl"), reason="etcdctl is not installed: apt-get install etcd-client")
def test_users_and_passwords(tmp_path: Path) -> None:
    with SingleMember(tmp_path) as cluster:
        with EtcdUser(cluster.endpoints, user="root", password="ignored") as anybody:
            assert anybody.put(b"a", b"1"), "an etcd without users takes anybody"
        for words in (
            ("user", "add", "root:secret"),
            ("user", "grant-role", "root", "root"),
            ("user", "add", "small:pw"),
            ("role", "add", "mine"),
            ("role", "grant-permission", "mine", "readwrite", "mine/", "--prefix"),
            ("user", "grant-role", "small", "mine"),
            ("auth", "enable"),
        ):
            cluster.control(*words)
        with EtcdUser(cluster.endpoints, user="root", password="secret") as root:
            assert root.put(b"a", b"2")
            watch = root.watch(WatchQuery(b"a", None, root.status().revision))
            assert watch.next().events[0].kv.value == b"2"
        password_file = tmp_path / "password"
        password_file.write_text("pw\n")
        with EtcdUser(cluster.endpoints, user="small", password_file=str(password_file), namespace=b"mine/") as small:
            assert small.put(b"a", b"1"), "its rights end at its namespace, and that is enough"
            watch = small.watch(WatchQuery(b"", KEYSPACE_END, small.status().revision))
            assert watch.next().events[0].kv.key == b"a"
        refused = [
            ({}, "a client without a user"),
            ({"user": "root", "password": "wrong"}, "user 'root'"),
            ({"user": "nobody", "password": "pw"}, "user 'nobody'"),
            ({"user": "small", "password": "pw", "namespace": b"other/"}, "user 'small'"),
        ]
        for login, told in refused:
            with EtcdUser(cluster.endpoints, **login) as wrong:
                for ask in (wrong.get, lambda key, wrong=wrong: wrong.put(key, b"")):  # type: ignore[misc]
                    with pytest.raises(StoreAuthError, match=f"refuses {told}: .*check --store"):
                        ask(b"a")
        with EtcdUser(cluster.endpoints, user="root", password="secret") as root:
            root.get(b"a")
            cluster.members[0].kill()  # simple tokens end with the server
            cluster.start()
            assert root.put(b"a", b"3"), "signed in anew"


@needs_etcd
def test_tls(tmp_path: Path) -> None:
    ours, other = str(tmp_path / "ours"), str(tmp_path / "other")
    for folder in (ours, other):
        tls_init.make(folder, ["127.0.0.1"], 2)
    with SingleMember(tmp_path, (f"{ours}/node.crt", f"{ours}/node.key")) as cluster:
        with EtcdUser(cluster.endpoints, ca=f"{ours}/ca.crt") as store:
            assert store.put(b"a", b"1")
            assert store.watch(WatchQuery(b"a", None, store.status().revision)).next().events
        for ca in ("", f"{other}/ca.crt"):
            address = EtcdAddress(cluster.endpoints, ca=ca)
            wrong = BlockingStore(EtcdStore(address, at_once, timeout_s=0.5))
            with pytest.raises(StoreUnavailableError):
                wrong.put(b"a", b"1")
            wrong.close()


@needs_etcd
def test_namespaces_do_not_see_each_other(tmp_path: Path) -> None:
    with (
        SingleMember(tmp_path) as cluster,
        EtcdUser(cluster.endpoints, namespace=b"a/") as one,
        EtcdUser(cluster.endpoints, namespace=b"b/") as two,
    ):
        one.put(b"k", b"1")
        last = two.put(b"k", b"2")
        assert [(kv.key, kv.value) for kv in one.range(b"", KEYSPACE_END).kvs] == [(b"k", b"1")]
        one.delete(b"", KEYSPACE_END)
        assert [kv.value for kv in two.range(b"", KEYSPACE_END).kvs] == [b"2"]
        watch = two.watch(WatchQuery(b"", KEYSPACE_END, 2))
        assert [event.kv.mod_revision for event in watch.next().events] == [last]


def test_a_store_that_was_killed_while_it_was_made(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.touch()
    store = BlockingStore(SqliteStore(str(path), at_once))
    assert store.get(b"a") is None
    assert store.put(b"a", b"1") == 2
    store.close()
    assert path.stat().st_size > 0
