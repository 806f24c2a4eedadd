"""The SQLite file of a store: opened by one process, read back whole, written a commit at a time.

A row is one version of a key, with a checksum of its own, because SQLite notices a damaged page only where it parses
it. WAL with ``synchronous=FULL``: one fsync of the log per commit. A damaged file is renamed, never deleted or
written to. Called by ``sqlite.py`` only, in one thread after the opening.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from linckia.core.mvcc.records import KeyValue
from linckia.core.mvcc.state import Effects, Mvcc
from linckia.store.errors import StoreOpenError

APPLICATION_ID = 0x4C4E434B  # "LNCK"
SCHEMA_VERSION = 1
WAL_KEPT_BYTES = 64 * 1024 * 1024
SIDE_FILES = ("", "-wal", "-shm")

VERSIONS = """CREATE TABLE versions (
    revision INTEGER, key BLOB, sub INTEGER, value BLOB, create_revision INTEGER, version INTEGER, lease INTEGER,
    crc INTEGER, PRIMARY KEY (revision, key)) WITHOUT ROWID"""
SCHEMA = (
    VERSIONS,
    "CREATE TABLE leases (lease_id INTEGER PRIMARY KEY, ttl_s REAL)",
    "CREATE TABLE numbers (name TEXT PRIMARY KEY, number INTEGER) WITHOUT ROWID",
    "INSERT INTO numbers VALUES ('compacted', 0), ('last_lease', 0)",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)
READ_VERSIONS = (
    "SELECT revision, key, sub, value, create_revision, version, lease, crc FROM versions ORDER BY revision, sub"
)


class DamagedError(Exception):
    """The file is not what was written."""


class SqliteFile:
    """An open file. ``notice`` is a sentence about what was found when it was opened, or empty."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.notice = ""
        self._lock_fd = _lock(path)
        try:
            try:
                self._db = self._open()
            except DamagedError as damage:
                self._begin_anew(damage)
        except BaseException:
            os.close(self._lock_fd)
            raise

    def _open(self) -> sqlite3.Connection:
        _make_private(self.path)
        db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=0, cached_statements=64)
        try:
            with _damage_named():
                self._prepare(db)
        except BaseException:
            db.close()
            raise
        return db

    def _prepare(self, db: sqlite3.Connection) -> None:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        application_id, version, tables = (
            db.execute(sql).fetchone()[0]
            for sql in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
        )
        if tables and application_id != APPLICATION_ID:
            raise StoreOpenError(f"{self.path} is a SQLite file, but not a store of Linckia: give another path")
        if version > SCHEMA_VERSION:
            raise StoreOpenError(
                f"{self.path} was written by a newer Linckia (store version {version}; this one reads up to "
                f"{SCHEMA_VERSION}): use that version, or another path"
            )
        if db.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            raise StoreOpenError(
                f"{self.path}: this file system cannot hold SQLite's write-ahead log: use a local disk"
            )
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA journal_size_limit = {WAL_KEPT_BYTES}")
        if not tables:
            db.execute("BEGIN IMMEDIATE")
            for sql in SCHEMA:
                db.execute(sql)
            db.execute("COMMIT")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            _sync_directory(self.path)

    def load(self, now_s: float) -> Mvcc:
        """The state as it was committed last; leases begin their full time anew. DamagedError."""
        mvcc = Mvcc()
        with _damage_named():
            numbers = dict(self._db.execute("SELECT name, number FROM numbers"))
            if not {"compacted", "last_lease"} <= set(numbers):
                raise DamagedError("its table of numbers is incomplete")
            mvcc.space.compacted = numbers["compacted"]
            mvcc.space.revision = max(mvcc.space.revision, numbers["compacted"])
            for lease_id, ttl_s in self._db.execute("SELECT lease_id, ttl_s FROM leases ORDER BY lease_id"):
                mvcc.leases.add(lease_id, ttl_s, now_s)
            mvcc.leases.last_id = numbers["last_lease"]
            for row in self._db.execute(READ_VERSIONS):
                mvcc.restore(_checked(row))
        return mvcc

    def set_aside_damaged(self, damage: DamagedError) -> None:
        """After ``load`` failed: rename and begin an empty file."""
        self._db.close()
        self._begin_anew(damage)

    def _begin_anew(self, damage: DamagedError) -> None:
        kept = _set_aside(self.path)
        self.notice = (
            f"the store file {self.path} is damaged ({damage}); it is kept as {kept} and an empty store is begun: "
            "what it held is lost to the cluster unless you restore a copy"
        )
        self._db = self._open()

    def write(self, effects: Effects, last_lease: int) -> None:
        """Make effects durable: all or nothing. Raises sqlite3.Error; then call ``roll_back``."""
        execute, many = self._db.execute, self._db.executemany
        execute("BEGIN IMMEDIATE")
        many("INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?, ?, ?)", _rows(event.kv for event in effects.events))
        if effects.granted:
            many("INSERT INTO leases VALUES (?, ?)", [(lease.lease_id, lease.ttl_s) for lease in effects.granted])
            execute("UPDATE numbers SET number = ? WHERE name = 'last_lease'", (last_lease,))
        if effects.ended:
            many("DELETE FROM leases WHERE lease_id = ?", [(lease_id,) for lease_id in effects.ended])
        if effects.compacted:
            gone = [(kv.mod_revision, kv.key) for kv in effects.dropped]
            many("DELETE FROM versions WHERE revision = ? AND key = ?", gone)
            execute("UPDATE numbers SET number = ? WHERE name = 'compacted'", (effects.compacted,))
        execute("COMMIT")

    def roll_back(self) -> None:
        """Forget an unfinished ``write``."""
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def size_bytes(self) -> int:
        """What the file and its log take on the disk."""
        total = 0
        for side in SIDE_FILES:
            with contextlib.suppress(OSError):
                total += os.stat(self.path + side).st_size
        return total

    def close(self) -> None:
        """Idempotent."""
        self._db.close()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1


def _rows(kvs: Iterable[KeyValue]) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    for sub, kv in enumerate(kvs):
        crc = _crc(kv)
        rows.append((kv.mod_revision, kv.key, sub, kv.value, kv.create_revision, kv.version, kv.lease, crc))
    return rows


def _checked(row: tuple[Any, ...]) -> KeyValue:
    revision, key, _sub, value, created, version, lease, crc = row
    try:
        kv = KeyValue(bytes(key), bytes(value), created, revision, version, lease)
        if _crc(kv) == crc:
            return kv
    except (TypeError, ValueError, struct.error):  # other types than were written
        pass
    raise DamagedError(f"key {key!r} at revision {revision} has another content than was written")


def _crc(kv: KeyValue) -> int:
    numbers = struct.pack("<qqqqq", kv.create_revision, kv.mod_revision, kv.version, kv.lease, len(kv.key))
    return zlib.crc32(kv.value, zlib.crc32(kv.key, zlib.crc32(numbers)))


@contextlib.contextmanager
def _damage_named() -> Iterator[None]:
    """SQLite's words for a file that is not what it wrote become DamagedError; a locked one is in use."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise DamagedError(str(error)) from error
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise StoreOpenError(f"the store file is open elsewhere ({error}): one process uses it at a time") from None
        if code == sqlite3.SQLITE_ERROR:  # a table or column that is not there
            raise DamagedError(str(error)) from error
        raise StoreOpenError(f"the store file cannot be used: {error}") from error


def _lock(path: str) -> int:
    """A record lock on ``<path>.lock``: ends with this process, and no forked child inherits it."""
    try:
        os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
        fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreOpenError(f"the store {path} cannot be opened: {error.strerror}: {error.filename}") from None
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(fd, 20, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(fd)
        raise StoreOpenError(
            f"the store {path} is in use by process {holder}: one head uses it at a time; stop that one, or give "
            "another path"
        ) from None
    os.ftruncate(fd, 0)
    os.pwrite(fd, str(os.getpid()).encode(), 0)
    return fd


def _make_private(path: str) -> None:
    """The file exists and only its owner reads it; SQLite gives its log the same rights."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:  # not opened: closing it again would end the locks that this process may have on it
        os.chmod(path, 0o600)
    except OSError as error:
        raise StoreOpenError(f"the store {path} cannot be opened: {error.strerror}") from None


def _set_aside(path: str) -> str:
    number = 1
    while os.path.exists(f"{path}.corrupt-{number}"):
        number += 1
    kept = f"{path}.corrupt-{number}"
    for side in SIDE_FILES:
        with contextlib.suppress(FileNotFoundError):
            os.rename(path + side, kept + side)
    _sync_directory(path)
    return kept


def _sync_directory(path: str) -> None:
    fd = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
