"""Files of spilled objects: reserved before they are written, many objects to a file, deleted with their last object.

Which objects go into which file is decided by core/objects/spilling.py; ``raylet/spilling.py`` calls this, and
``write`` from threads. Files lie in a directory of this node only (0700), with a lock that shows whether the node
lives: what dead nodes left beside it is removed. Errors are OSError.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil

from linckia.core.objects.spill_records import DiskSpace

PREFIX = "linckia_spilled_objects_"
PIECE_BYTES = 8 * 1024 * 1024  # in one system call: the lock of the interpreter is free meanwhile


class SpillFiles:
    """``parent`` is the session directory or what ``object_spilling_directory`` says. Nothing is made before the first
    write.
    """

    def __init__(self, parent: str, node_name: str) -> None:
        self.parent = parent
        self.path = os.path.join(parent, PREFIX + node_name)
        self.files_bytes = 0
        self._lock_fd = -1
        self._sizes: dict[int, int] = {}
        self._shares: dict[int, int] = {}

    def space(self) -> DiskSpace:
        """Of the file system that will take the files."""
        path = self.path if self._lock_fd >= 0 else _existing(self.parent)
        found = os.statvfs(path)
        return DiskSpace(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize, self.files_bytes, self.path)

    # --- writing ------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Make the directory and lock it; idempotent."""
        if self._lock_fd >= 0:
            return
        os.makedirs(self.parent, mode=0o700, exist_ok=True)
        remove_stale(self.parent)
        os.makedirs(self.path, mode=0o700, exist_ok=True)
        os.chmod(self.path, 0o700)
        lock_fd = os.open(os.path.join(self.path, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._lock_fd = lock_fd

    def write(self, file: int, parts: list[tuple[int, memoryview]]) -> None:
        """One file of these parts, each at its position, in this order, or none at all; zeros between them. Takes no
        lock of ours: from any thread.
        """
        size = max(position + len(part) for position, part in parts)
        path = self.path_of(file)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            _reserve(fd, size)
            for position, part in parts:
                _write_all(fd, part, position)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(path)
            raise
        finally:
            os.close(fd)

    def complete(self, file: int, size: int, objects: int) -> None:
        """The file is written and holds so many objects."""
        self._sizes[file], self._shares[file] = size, objects
        self.files_bytes += size

    # --- reading and deleting -----------------------------------------------------------------------------------------

    def open_for_reading(self, file: int) -> int:
        """A descriptor, the caller's to close; it outlives the file."""
        return os.open(self.path_of(file), os.O_RDONLY | os.O_CLOEXEC)

    def drop_share(self, file: int) -> None:
        """One of its objects is garbage."""
        self._shares[file] -= 1
        if not self._shares[file]:
            del self._shares[file]
            self.files_bytes -= self._sizes.pop(file)
            with contextlib.suppress(FileNotFoundError):  # somebody cleaned up by hand
                os.unlink(self.path_of(file))

    def path_of(self, file: int) -> str:
        """Where this file is."""
        return os.path.join(self.path, f"{file:06d}.objects")

    def close(self) -> None:
        """Remove everything."""
        if self._lock_fd >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock_fd)
            self._lock_fd = -1


def remove_stale(parent: str) -> None:
    """Remove what nodes that are dead have left in this directory."""
    with contextlib.suppress(OSError):
        for name in os.listdir(parent):
            if name.startswith(PREFIX):
                _remove_if_dead(os.path.join(parent, name))


def _remove_if_dead(path: str) -> None:
    try:
        fd = os.open(os.path.join(path, "lock"), os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return  # it is just being made, or another user's
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
    except OSError:
        return  # its node lives
    finally:
        os.close(fd)


def _existing(path: str) -> str:
    while not os.path.exists(path) and path != os.path.dirname(path):
        path = os.path.dirname(path)
    return path


def _reserve(fd: int, size: int) -> None:
    """Let a full disk say so now, not after half of the bytes."""
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise


def _write_all(fd: int, part: memoryview, position: int) -> None:
    done = 0
    while done < len(part):
        done += os.pwrite(fd, part[done : done + PIECE_BYTES], position + done)
