"""The node's shared memory itself: one sparse memfd, mapped once for writing and once for reading.

The node creates it, workers inherit it, drivers receive its descriptor. It hands out views; which bytes belong to whom
is decided by ``store.py`` and ``arena.py``. A memfd has no name: when the last process that maps it is gone, by
whatever death, so is the memory.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
from typing import Any

PAGE_BYTES = mmap.PAGESIZE
_F_ADD_SEALS, _F_SEAL_SHRINK, _F_SEAL_GROW = 1033, 0x2, 0x4


class Segment:
    """Views into the segment. ``fd`` may be passed to other processes; it is closed by :meth:`close`."""

    def __init__(self, fd: int, capacity_bytes: int) -> None:
        self.fd = fd
        self.capacity_bytes = capacity_bytes
        self._writable = mmap.mmap(fd, capacity_bytes, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._write = memoryview(self._writable)
        self._readable: _ReadMapping | None = None  # mapped at the first read: the node itself never reads

    @classmethod
    def create(cls, capacity_bytes: int) -> Segment:
        """A new segment that takes no memory until it is written to. It can neither shrink nor grow."""
        capacity_bytes = (capacity_bytes + PAGE_BYTES - 1) // PAGE_BYTES * PAGE_BYTES
        if capacity_bytes <= 0:
            raise ValueError("the object store needs a capacity above 0 bytes")
        fd = os.memfd_create("linckia-objects", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(fd, capacity_bytes)
        fcntl.fcntl(fd, _F_ADD_SEALS, _F_SEAL_SHRINK | _F_SEAL_GROW)  # else a peer could make our reads die by SIGBUS
        return cls(fd, capacity_bytes)

    @classmethod
    def attach(cls, fd: int, capacity_bytes: int) -> Segment:
        """Map a segment made by another process. Takes over ``fd``."""
        size = os.fstat(fd).st_size
        if size < capacity_bytes:
            raise ValueError(f"descriptor {fd} is {size} bytes long, expected a segment of {capacity_bytes}")
        return cls(fd, size)

    def write_view(self, offset: int, size: int) -> memoryview:
        """A writable view of [offset, offset+size), for the producer of a block only."""
        self._check(offset, size)
        return self._write[offset : offset + size]

    def read_view(self, offset: int, size: int, pin: object) -> memoryview:
        """A read-only view. ``pin`` lives until the last object made from the view (slice, array) is gone."""
        self._check(offset, size)
        mapping = self._readable
        if mapping is None:
            mapping = self._readable = _ReadMapping(self.fd, self.capacity_bytes)
        # A ctypes array that covers the segment is the cheapest exporter a buffer's owner can be hung on: the views
        # keep it, it keeps the pin and the mapping. It owns no memory, and one type serves all blocks.
        exporter: Any = mapping.exporter.from_address(mapping.address)
        exporter.pin = pin
        exporter.mapping = mapping
        return memoryview(exporter).cast("B")[offset : offset + size].toreadonly()

    def release_pages(self, offset: int, size: int) -> None:
        """Give the whole pages inside [offset, offset+size) back to the system; they read as zeros afterwards."""
        start = (offset + PAGE_BYTES - 1) // PAGE_BYTES * PAGE_BYTES
        end = (offset + size) // PAGE_BYTES * PAGE_BYTES
        if end > start:
            self._writable.madvise(mmap.MADV_REMOVE, start, end - start)

    def resident_bytes(self) -> int:
        """Memory the segment really takes now."""
        return os.fstat(self.fd).st_blocks * 512

    def close(self) -> None:
        """Close the descriptor and drop the mappings. Views that are still alive keep theirs."""
        self._readable = None
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        try:
            self._write.release()
            self._writable.close()
        except BufferError:
            pass  # a producer's view is alive: the mapping goes with it

    def _check(self, offset: int, size: int) -> None:
        if offset < 0 or size < 0 or offset + size > self.capacity_bytes:
            raise ValueError(f"block ({offset}, {size}) is not inside the segment of {self.capacity_bytes} bytes")


class _ReadMapping:
    """The segment mapped read-only by the kernel's word, not only by Python's; unmapped with the last view of it."""

    __slots__ = ("address", "exporter", "_munmap", "_size")

    def __init__(self, fd: int, size: int) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
        libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        address = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
        self.address: int = 0 if address in (None, ctypes.c_void_p(-1).value) else address
        self._munmap = libc.munmap
        self._size = size
        self.exporter: Any = ctypes.c_ubyte * size
        if not self.address:
            error = ctypes.get_errno()
            raise OSError(error, f"cannot map {size} bytes of shared memory: {os.strerror(error)}")

    def __del__(self) -> None:
        if self.address:
            self._munmap(self.address, self._size)
