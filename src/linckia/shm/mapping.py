"""A descriptor mapped into this process so that huge pages fit: what Python's own ``mmap`` cannot be told.

A page of 2 MiB is mapped as one only where address and place in the file agree modulo 2 MiB, so the address is chosen.
The mapping lives as long as anything that was made from its ``exporter``. Used by ``segment.py``.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from typing import Any

HUGE_BYTES = 2 * 1024 * 1024
_FAILED = ctypes.c_void_p(-1).value
_PROT_NONE, _MAP_FIXED = 0, 0x10


def _library() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return libc


_libc = _library()


class Mapping:
    """The first ``size`` bytes of ``fd``, shared. OSError when they cannot be mapped."""

    __slots__ = ("_munmap", "_size", "address", "exporter")

    def __init__(self, fd: int, size: int, protection: int) -> None:
        self.address, self._munmap, self._size = 0, _libc.munmap, size
        self.address = _map_aligned(fd, size, protection)
        self.exporter: Any = ctypes.c_ubyte * size

    def memory(self, pin: object = None) -> memoryview:
        """All of it, as bytes. ``pin`` and the mapping live until the last object made from the view is gone."""
        # A ctypes array is the cheapest exporter a buffer's owner can be hung on: the views keep it, it keeps the pin
        # and the mapping. It owns no memory, and one type serves all views.
        exporter: Any = self.exporter.from_address(self.address)
        exporter.pin = pin
        exporter.mapping = self
        return memoryview(exporter).cast("B")

    def advise(self, start: int, size: int, advice: int) -> None:
        """``madvise`` without the interpreter's lock. OSError as the system says."""
        if _libc.madvise(self.address + start, size, advice):
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))

    def __del__(self) -> None:
        if self.address:
            self._munmap(self.address, self._size)


def _map_aligned(fd: int, size: int, protection: int) -> int:
    """Reserve addresses, keep those from the first multiple of HUGE_BYTES on."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    whole = (size + mmap.PAGESIZE - 1) // mmap.PAGESIZE * mmap.PAGESIZE
    reserved = _map(None, whole + HUGE_BYTES, _PROT_NONE, flags, -1)
    address = (reserved + HUGE_BYTES - 1) // HUGE_BYTES * HUGE_BYTES
    try:
        _map(address, size, protection, mmap.MAP_SHARED | _MAP_FIXED, fd)
    except OSError:
        _libc.munmap(reserved, whole + HUGE_BYTES)
        raise
    if address > reserved:
        _libc.munmap(reserved, address - reserved)
    _libc.munmap(address + whole, reserved + HUGE_BYTES - address)
    return address


def _map(address: int | None, size: int, protection: int, flags: int, fd: int) -> int:
    found = _libc.mmap(address, size, protection, flags, fd, 0)
    if found in (None, _FAILED):
        error = ctypes.get_errno()
        raise OSError(error, f"cannot map {size} bytes of shared memory: {os.strerror(error)}")
    return int(found)
