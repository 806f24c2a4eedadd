"""Numbered files that are whole or not there: written aside, synced, renamed, checked by a digest when they are read.

A directory belongs to one actor or task. Files are ordered by the *life* that wrote them (how often the actor was
restarted, which attempt of the task), then by number: what a life that was replaced still writes is never the newest.
A damaged file is named and passed over, never deleted. Used by worker/checkpoints.py; what is inside is the caller's.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import re
import shutil
import struct
from typing import NamedTuple

from linckia.host import environment

_HEAD = struct.Struct(">8sQQdQ")  # magic, number, calls, saved_s, size of the payload
_MAGIC = b"LKCKPT\x00\x01"
_DIGEST_BYTES = 32
_NAME = re.compile(r"checkpoint-(\d{6})-(\d{12})\.lkc")
_ASIDE = re.compile(r"checkpoint-(\d{6})-\d{12}\.lkc\.\d+\.tmp")
_COUNTER = re.compile(r"calls-(\d{6})")


class Saved(NamedTuple):
    """A file that was read and is whole."""

    path: str
    number: int
    calls: int
    saved_s: float
    payload: bytes


class DamagedError(Exception):
    """A file is not what was written. The text says what is wrong."""


class CheckpointFiles:
    """``keep``: how many files stay. Not for two threads at a time."""

    def __init__(self, folder: str, life: int, keep: int) -> None:
        self.folder, self.life, self.keep = folder, life, keep
        self._last = 0
        self._counter: mmap.mmap | None = None

    def paths(self) -> list[str]:
        """Newest first."""
        try:
            found = [match for name in os.listdir(self.folder) if (match := _NAME.fullmatch(name))]
        except FileNotFoundError:
            return []
        found.sort(key=lambda match: (int(match[1]), int(match[2])), reverse=True)
        return [os.path.join(self.folder, match[0]) for match in found]

    def save(self, payload: bytes, calls: int) -> Saved:
        """Durable when it returns. OSError when it cannot be; then nothing has changed."""
        os.makedirs(self.folder, 0o700, exist_ok=True)
        if not self._last:
            self._clear_halves()
        known = self.paths()
        number = max([self._last, *(int(path[-16:-4]) for path in known)]) + 1
        head = _HEAD.pack(_MAGIC, number, calls, saved_s := environment.wall_time_s(), len(payload))
        path = os.path.join(self.folder, f"checkpoint-{self.life:06d}-{number:012d}.lkc")
        aside = f"{path}.{os.getpid()}.tmp"
        try:
            with open(aside, "xb", buffering=0, opener=_private) as file:
                for part in (head, payload, _digest(head, payload)):
                    _write_all(file.fileno(), part)
                os.fsync(file.fileno())
            os.rename(aside, path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(aside)
            raise
        _sync_folder(self.folder)
        self._last = number
        for old in self.paths()[self.keep :]:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(old)
        return Saved(path, number, calls, saved_s, payload)

    def _clear_halves(self) -> None:
        """What lives before this one were writing when they were killed."""
        for name in os.listdir(self.folder):
            half = _ASIDE.fullmatch(name)
            if half is not None and int(half[1]) < self.life:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(self.folder, name))

    def read(self, path: str) -> Saved:
        """DamagedError when it is not whole; OSError when it cannot be read at all."""
        with open(path, "rb") as file:
            data = file.read()
        if len(data) < _HEAD.size + _DIGEST_BYTES:
            raise DamagedError(f"it has {len(data)} bytes, fewer than an empty checkpoint")
        magic, number, calls, saved_s, size = _HEAD.unpack_from(data)
        if magic != _MAGIC:
            raise DamagedError("it does not begin like a checkpoint")
        if len(data) != _HEAD.size + size + _DIGEST_BYTES:
            raise DamagedError(f"it has {len(data)} bytes instead of {_HEAD.size + size + _DIGEST_BYTES}")
        head, payload = data[: _HEAD.size], data[_HEAD.size : -_DIGEST_BYTES]
        if _digest(head, payload) != data[-_DIGEST_BYTES:]:
            raise DamagedError("its checksum does not fit its content")
        return Saved(path, number, calls, saved_s, payload)

    # --- how many calls were begun ------------------------------------------------------------------------------------

    def calls(self) -> int | None:
        """As counted by all lives so far; None when nobody has counted."""
        found: list[int] = []
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self.folder):
                if _COUNTER.fullmatch(name):
                    with open(os.path.join(self.folder, name), "rb") as file:
                        found.append(int.from_bytes(file.read(8), "little"))
        return max(found, default=None)

    def count(self, calls: int) -> None:
        """Note how many calls were begun, in memory that outlives this process but not its machine (no system call)."""
        counter = self._counter
        if counter is None:
            os.makedirs(self.folder, 0o700, exist_ok=True)
            with open(os.path.join(self.folder, f"calls-{self.life:06d}"), "w+b", opener=_private) as file:
                file.write(bytes(8))
                file.flush()
                counter = self._counter = mmap.mmap(file.fileno(), 8)
        counter[:8] = calls.to_bytes(8, "little")

    def forget(self, *, parent: bool = False) -> None:
        """Remove everything; ``parent``: the directory around it too, if that is empty then."""
        counter, self._counter = self._counter, None
        if counter is not None:
            counter.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        if parent:
            with contextlib.suppress(OSError):
                os.rmdir(os.path.dirname(self.folder))


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _digest(head: bytes, payload: bytes) -> bytes:
    digest = hashlib.blake2b(head, digest_size=_DIGEST_BYTES)
    digest.update(payload)
    return digest.digest()


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _sync_folder(folder: str) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
