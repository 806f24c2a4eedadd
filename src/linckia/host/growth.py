"""Tells when a file has grown, by inotify: for who follows a log. Linux only, like everything here."""

from __future__ import annotations

import ctypes
import os

IN_MODIFY = 0x2
_EVENTS_BYTES = 1 << 16


class GrowthWatch:
    """``fd`` is readable after the file was written to; ``clear`` before the file is read, so that nothing is missed.

    OSError when there is no such file, or the machine has no watch left.
    """

    def __init__(self, path: str) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self.fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0:
            _fail("inotify_init1")
        if libc.inotify_add_watch(self.fd, os.fsencode(path), IN_MODIFY) < 0:
            number = ctypes.get_errno()
            self.close()
            _fail(f"inotify_add_watch({path})", number)

    def clear(self) -> None:
        """Take what was told."""
        try:
            os.read(self.fd, _EVENTS_BYTES)
        except BlockingIOError:
            pass  # nothing was

    def close(self) -> None:
        """Idempotent."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _fail(what: str, number: int | None = None) -> None:
    number = ctypes.get_errno() if number is None else number
    raise OSError(number, f"{what}: {os.strerror(number)}")
