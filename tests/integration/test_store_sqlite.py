"""The SQLite file of a store: what survives, who may open it, and what is never overwritten."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from linckia.core.mvcc.records import KEYSPACE_END, Delete, Put, Txn, WatchQuery, prefix_end
from linckia.store.blocking import BlockingStore, at_once
from linckia.store.errors import (
    CompactedError,
    LeaseNotFoundError,
    StoreFailedError,
    StoreFullError,
    StoreOpenError,
)
from linckia.store.sqlite import SqliteStore


class Time:
    """The store's clock."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def opened(path: Path, notices: list[str] | None = None, now: Time | None = None) -> BlockingStore:
    told = notices if notices is not None else []
    store = SqliteStore(str(path), at_once, on_notice=told.append, now=now if now is not None else Time())
    assert notices is not None or not told, told
    return BlockingStore(store)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "store.db"


def test_everything_is_there_again(path: Path) -> None:
    store = opened(path)
    first = store.put(b"a", b"1")
    store.put(b"a", b"2")
    at = store.put(b"b", b"1")
    store.txn(Txn(then=(Put(b"z", b"1"), Put(b"c", b"1"), Put(b"d", bytes(100_000)))))
    store.delete(b"b")
    last = store.put(b"e", b"\x00\xff")
    lease = store.grant(60)
    store.put(b"leased", b"", lease=lease.lease_id)
    store.compact(at)
    before = [store.prefix(b"", revision=revision).kvs for revision in range(at, last + 2)]
    store.close()
    store = opened(path)
    assert store.status().revision == last + 1
    assert [store.prefix(b"", revision=revision).kvs for revision in range(at, last + 2)] == before
    with pytest.raises(CompactedError):
        store.get(b"a", revision=first)
    assert store.time_to_live(lease.lease_id).keys == (b"leased",)
    watch = store.watch(WatchQuery(b"", KEYSPACE_END, at + 1, with_previous=True))
    events = watch.next().events
    assert [event.kv.mod_revision - at for event in events] == [1, 1, 1, 2, 3, 4]
    assert events[3].prev is not None
    assert events[3].prev.value == b"1"
    assert store.put(b"f", b"1") == last + 2
    store.close()


def test_revisions_never_go_back(path: Path) -> None:
    store = opened(path)
    store.put(b"a", b"1")
    last = store.delete(b"a")
    store.compact(last)
    store.close()
    store = opened(path)
    assert store.status().revision == last, "although no row has it"
    assert store.put(b"a", b"1") == last + 1
    store.close()


def test_leases_begin_their_time_anew_and_are_not_used_twice(path: Path) -> None:
    now = Time()
    store = opened(path, now=now)
    lease, other = store.grant(10), store.grant(20)
    store.put(b"a", b"1", lease=lease.lease_id)
    store.revoke(other.lease_id)
    now.now_s += 8
    store.close()
    store = opened(path, now=now)
    assert store.time_to_live(lease.lease_id).left_s == 10
    now.now_s += 9
    assert store.get(b"a") is not None
    assert store.grant(5).lease_id == other.lease_id + 1
    now.now_s += 2
    assert store.get(b"a") is None
    store.close()
    store = opened(path)
    with pytest.raises(LeaseNotFoundError):
        store.keep_alive(lease.lease_id)
    store.close()


def test_compacted_rows_leave_the_file(path: Path) -> None:
    store = opened(path)
    for n in range(200):
        store.put(b"k%d" % (n % 3), bytes(1000))
    revision = store.delete(b"k", prefix_end(b"k"))
    store.compact(revision)
    store.close()
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM versions").fetchone() == (0,)
    db.close()


def test_the_file_is_for_its_owner_only(path: Path) -> None:
    old = os.umask(0)
    try:
        store = opened(path)
        store.put(b"a", b"1")
    finally:
        os.umask(old)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert set(modes) >= {"store.db", "store.db-wal", "store.db.lock"}
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    store.close()


def test_every_commit_is_synced(path: Path) -> None:
    store = opened(path)
    raw: Any = store.store
    pragmas = {name: raw._file._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("synchronous", "journal_mode")}
    assert pragmas == {"synchronous": 2, "journal_mode": "wal"}
    store.close()


def test_many_writers_share_a_commit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(path)
    raw: Any = store.store
    commits: list[int] = []
    gate, real = threading.Event(), raw._file.write

    def write(effects: Any, last_lease: int) -> None:
        gate.wait()
        commits.append(len(effects.events))
        real(effects, last_lease)

    monkeypatch.setattr(raw._file, "write", write)
    answers: list[Any] = []
    for n in range(500):
        raw.txn(Txn(then=(Put(b"k%d" % n, b""),)), answers.append)
    assert not answers, "nothing is acknowledged before it is written"
    gate.set()
    store.put(b"last", b"")
    assert len(answers) == 500
    assert sum(commits) == 501
    assert len(commits) <= 4
    assert [answer.revision for answer in answers] == list(range(2, 502)), "each has its own revision"
    store.close()


OPEN = "import sys; from linckia.store.sqlite import SqliteStore; SqliteStore(sys.argv[1], lambda call: call())"


def test_a_second_process_is_told_who_has_it(path: Path) -> None:
    store = opened(path)
    store.put(b"a", b"1")
    second = subprocess.run([sys.executable, "-c", OPEN, str(path)], capture_output=True, text=True, timeout=60)
    assert second.returncode != 0
    assert f"is in use by process {os.getpid()}: one head uses it at a time" in second.stderr
    with pytest.raises(StoreOpenError, match="open elsewhere"):
        SqliteStore(str(path), at_once)
    assert store.put(b"a", b"2"), "the first one goes on"
    store.close()
    opened(path).close()


def files(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.parent.iterdir() if not file.name.endswith(".lock")}


def changed_by_sql(path: Path, sql: str) -> dict[str, bytes]:
    with sqlite3.connect(path) as db:
        db.execute(sql)
    db.close()
    return files(path)


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("PRAGMA user_version = 2", "was written by a newer Linckia .store version 2; this one reads up to 1"),
        ("PRAGMA application_id = 7", "is a SQLite file, but not a store of Linckia"),
    ],
)
def test_what_is_not_for_us_is_refused_and_left_as_it_is(path: Path, sql: str, told: str) -> None:
    store = opened(path)
    store.put(b"a", b"1")
    store.close()
    before = changed_by_sql(path, sql)
    for _ in range(2):
        with pytest.raises(StoreOpenError, match=told):
            opened(path)
    assert files(path) == before


def overwrite(path: Path, at: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)


def flip_in_value(path: Path) -> None:
    overwrite(path, path.read_bytes().index(b"precious"), b"PRECIOUS")


def wrong_value(path: Path) -> None:
    changed_by_sql(path, "UPDATE versions SET value = 'text' WHERE revision = 2")


DAMAGES = {
    "no SQLite file": lambda path: path.write_bytes(b"this is no database at all" * 100),
    "header": lambda path: overwrite(path, 0, b"\x00" * 64),
    "pages": lambda path: overwrite(path, 4096, b"\xa5" * 8192),
    "cut short": lambda path: os.truncate(path, 4096 + 100),
    "a bit of a value": flip_in_value,
    "another type": wrong_value,
    "a missing table": lambda path: changed_by_sql(path, "DROP TABLE leases"),
    "missing numbers": lambda path: changed_by_sql(path, "DELETE FROM numbers WHERE name = 'compacted'"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_kept_aside_and_said(path: Path, damage: str) -> None:
    for number in (1, 2):
        store = opened(path)
        store.txn(Txn(then=tuple(Put(b"k%d" % n, b"precious" * 50) for n in range(100))))
        store.close()
        DAMAGES[damage](path)
        damaged = path.read_bytes()
        notices: list[str] = []
        store = opened(path, notices)
        kept = path.with_name(f"store.db.corrupt-{number}")
        assert len(notices) == 1
        assert f"the store file {path} is damaged" in notices[0]
        assert f"it is kept as {kept}" in notices[0]
        assert kept.read_bytes() == damaged
        assert store.prefix(b"").kvs == ()
        assert store.put(b"new", b"1")
        store.close()
        opened(path).close()


def test_a_full_disk_refuses_and_the_store_goes_on(path: Path) -> None:
    store = opened(path)
    store.put(b"a", b"1")
    lease = store.grant(60)
    raw: Any = store.store
    pages = raw._file._db.execute("PRAGMA page_count").fetchone()[0]
    raw._file._db.execute(f"PRAGMA max_page_count = {pages}")
    watch = store.watch(WatchQuery(b"", KEYSPACE_END, 1))
    assert [event.kv.value for event in watch.next().events] == [b"1"]
    for _ in range(3):
        with pytest.raises(StoreFullError, match="is full: nothing was written; make space"):
            store.txn(Txn(then=(Put(b"large", bytes(1_000_000)), Put(b"a", b"never"), Delete(b"b"))))
    kv = store.get(b"a")
    assert kv is not None
    assert (kv.value, kv.mod_revision) == (b"1", 2)
    assert store.status().revision == 2
    assert store.keep_alive(lease.lease_id)
    raw._file._db.execute("PRAGMA max_page_count = 100000")
    assert store.put(b"a", b"2") == 3
    assert [event.kv.value for event in watch.next().events] == [b"2"], "the watch was told nothing that is not so"
    store.close()


def test_after_a_write_error_nothing_is_trusted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(path)
    store.put(b"a", b"1")
    raw: Any = store.store
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR

    def fail(*_arguments: object) -> None:
        raise error

    watch = store.watch(WatchQuery(b"x", None, 5))
    monkeypatch.setattr(raw._file, "write", fail)
    with pytest.raises(StoreFailedError, match="disk I/O error.*until the head is started again") as caught:
        store.put(b"a", b"2")
    assert caught.value.changed == "unknown"
    with pytest.raises(StoreFailedError):
        store.get(b"a")
    with pytest.raises(StoreFailedError):
        watch.next()
    assert "disk I/O error" in store.status().health
    store.close()
    store = opened(path)
    assert store.get(b"a") is not None
    store.close()
