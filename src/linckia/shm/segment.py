"""The node's shared memory itself: one sparse memfd, mapped once for writing and once for reading.

The node creates it, workers inherit it, drivers receive its descriptor. It hands out views; which bytes belong to whom
is decided by ``store.py`` and ``arena.py``. A memfd has no name: when the last process that maps it is gone, by
whatever death, so is the memory.
"""

from __future__ import annotations

import fcntl
import mmap
import os

from linckia.shm.huge_pages import HugePages
from linckia.shm.mapping import Mapping

PAGE_BYTES = mmap.PAGESIZE
_F_ADD_SEALS, _F_SEAL_SHRINK, _F_SEAL_GROW = 1033, 0x2, 0x4


class Segment:
    """Views into the segment. ``fd`` may be passed to other processes; it is closed by :meth:`close`."""

    def __init__(self, fd: int, capacity_bytes: int) -> None:
        self.fd = fd
        self.capacity_bytes = capacity_bytes
        self._writable = Mapping(fd, capacity_bytes, mmap.PROT_READ | mmap.PROT_WRITE)
        self._write = self._writable.memory()
        self._huge_pages = HugePages(fd, self._writable, self._write)
        self._readable: Mapping | None = None  # mapped at the first read: the node itself never reads

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
        if mapping is None:  # read-only by the kernel's word, not only by Python's
            mapping = self._readable = Mapping(self.fd, self.capacity_bytes, mmap.PROT_READ)
        return mapping.memory(pin)[offset : offset + size].toreadonly()

    def prepare(self, offset: int, size: int, limit: int = 0) -> None:
        """[offset, offset+size), of a block that ends at ``limit`` (0: there), is about to be filled by the caller, who
        has written nothing to it yet. For large blocks: where it was never used, memory comes in huge pages.
        """
        self._check(offset, size)
        self._huge_pages.provide(offset, offset + size, limit or offset + size)

    def release_pages(self, offset: int, size: int) -> None:
        """Give the whole pages inside [offset, offset+size) back to the system; they read as zeros afterwards."""
        start = (offset + PAGE_BYTES - 1) // PAGE_BYTES * PAGE_BYTES
        end = (offset + size) // PAGE_BYTES * PAGE_BYTES
        if end > start:
            self._writable.advise(start, end - start, mmap.MADV_REMOVE)

    def resident_bytes(self) -> int:
        """Memory the segment really takes now."""
        return os.fstat(self.fd).st_blocks * 512

    def close(self) -> None:
        """Close the descriptor and drop the mappings. Views that are still alive keep theirs."""
        if self.fd < 0:
            return
        os.close(self.fd)
        self.fd, self._readable = -1, None
        del self._huge_pages, self._write, self._writable

    def _check(self, offset: int, size: int) -> None:
        if offset < 0 or size < 0 or offset + size > self.capacity_bytes:
            raise ValueError(f"block ({offset}, {size}) is not inside the segment of {self.capacity_bytes} bytes")
