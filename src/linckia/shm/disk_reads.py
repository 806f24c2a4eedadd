"""Reading spilled objects: what the page cache has from there, the rest from the disk itself, past the cache.

Reading through the cache copies everything once more and fills memory with what is about to be in the object store
anyway; past it a disk gives a quarter to a half more. Direct reads need whole pages: memory, position and length of
``DIRECT_BYTES``; the store and core/objects/spilling.py see to it for large objects. What is not aligned, the rest of a
page, and file systems that do not know direct reads go through the cache. Called by raylet/transfer/receiver.py, in
threads.
"""

from __future__ import annotations

import ctypes
import os

DIRECT_BYTES = 4096
CACHED_STEP_BYTES = 1 << 20


class FileReader:
    """Owns ``fd``. One thread at a time. ``on_disk`` is False for memory that looks like a file."""

    def __init__(self, fd: int, *, on_disk: bool) -> None:
        self.fd = fd
        self._direct_fd = _open_directly(fd) if on_disk else -1
        self.direct_bytes = 0  # read past the cache, so far

    def read(self, position: int, view: memoryview) -> None:
        """Fill ``view`` from ``position`` on. OSError when the file is shorter, or what the system says."""
        done = 0
        if self._direct_fd >= 0 and not position % DIRECT_BYTES and not _address(view) % DIRECT_BYTES:
            done = self._cached(position, view)
            done = self._direct(position, view, done & -DIRECT_BYTES) if done < len(view) else done
        while done < len(view):
            count = os.preadv(self.fd, [view[done:]], position + done)
            if not count:
                raise OSError("the file is shorter than the object")
            done += count

    def _cached(self, position: int, view: memoryview) -> int:
        """How much of it was in memory and is in ``view`` now. The first look is at one page: the kernel begins to read
        what is asked for and not there, all of it once more beside the direct read, which halves the rate.
        """
        done, step = 0, DIRECT_BYTES
        try:
            while done < len(view):
                count = os.preadv(self.fd, [view[done : done + step]], position + done, os.RWF_NOWAIT)
                if not count:
                    break
                done, step = done + count, CACHED_STEP_BYTES
        except BlockingIOError:
            pass  # the next byte is on the disk
        except OSError:
            self._give_up_directly()  # a file system that cannot tell
        return done

    def _direct(self, position: int, view: memoryview, done: int) -> int:
        """From ``done`` on, whole pages; how far it came."""
        whole = len(view) & -DIRECT_BYTES
        try:
            while done < whole and self._direct_fd >= 0:
                count = os.preadv(self._direct_fd, [view[done:whole]], position + done) & -DIRECT_BYTES
                if not count:
                    break
                done += count
                self.direct_bytes += count
        except OSError:
            self._give_up_directly()  # larger blocks than pages, or no memory to pin: through the cache then
        return done

    def _give_up_directly(self) -> None:
        if self._direct_fd >= 0:
            os.close(self._direct_fd)
            self._direct_fd = -1

    def close(self) -> None:
        """Let go of the file."""
        self._give_up_directly()
        os.close(self.fd)


def _open_directly(fd: int) -> int:
    """The same file once more, past the cache; -1 where that is not known."""
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
    except OSError:
        return -1


def _address(view: memoryview) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(view))
