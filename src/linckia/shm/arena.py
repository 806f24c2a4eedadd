"""A runtime process's own part of the segment: extents leased from the node's store, blocks cut from them without a
round trip.

One per process, used by ``worker/`` under its mutex (thread safety is the caller's). ``allocate`` blocks only inside
``request_extent``. Small blocks share extents, large ones have their own; empty extents are kept up to a bound, because
recycled memory is twenty times faster than fresh. It does not know objects, owners or readers: the caller frees a block
when nobody reads it any more.
"""

from __future__ import annotations

from collections.abc import Callable

from linckia.model.wire import Block
from linckia.shm.allocator import RangeAllocator
from linckia.shm.segment import Segment

KEEP_BYTES = 64 * 1024 * 1024


class Arena:
    """Blocks of one process.

    ``request_extent(size)`` returns (offset, size) of at least ``size`` bytes, or raises ObjectStoreFullError with the
    store's reason. ``return_extents(extents)`` tells the store that these are empty; it must not block.
    """

    def __init__(
        self,
        segment: Segment,
        request_extent: Callable[[int], tuple[int, int]],
        return_extents: Callable[[list[tuple[int, int]]], None],
        keep_bytes: int = KEEP_BYTES,
    ) -> None:
        self.segment = segment
        self._request = request_extent
        self._return = return_extents
        self._keep_bytes = min(keep_bytes, segment.capacity_bytes // 16)
        self._ranges = RangeAllocator()
        self._unused: dict[int, int] = {}  # start -> size of extents with nothing in them, longest unused first
        self._unused_bytes = 0
        self._extents: dict[int, int] = {}
        self._fresh: set[int] = set()  # granted and not used yet

    @property
    def used_bytes(self) -> int:
        """Bytes in blocks."""
        return self._ranges.used_bytes

    @property
    def leased_bytes(self) -> int:
        """Bytes in extents, used or not."""
        return self._ranges.used_bytes + self._ranges.free_bytes

    def allocate(self, size: int) -> Block:
        """A block of ``size`` bytes with arbitrary content. ObjectStoreFullError when the store has no room."""
        while (start := self.try_allocate(size)) is None:
            self.add_extent(*self._request(self.extent_sizes(size)[0]))
        return Block(start, size)

    def try_allocate(self, size: int) -> int | None:
        """Offset of a block in the extents this process has, or None: lease ``extent_sizes``, then ``add_extent``.

        For callers that must not wait while they hold a lock.
        """
        start = self._ranges.allocate(size)
        if start is None:
            # What is unused here is too small for this block; given back and merged in the store it may be enough.
            self._give_back([start for start in self._unused if start not in self._fresh])
        elif self._unused:
            self._mark_used(start)
        return start

    def extent_sizes(self, size: int) -> tuple[int, int]:
        """What to ask the store for when there is no room for ``size`` bytes: preferred, and the least that does.

        The same, because the store itself rounds small requests up as long as it has plenty.
        """
        rounded = self._ranges.rounded(size)
        return rounded, rounded

    def add_extent(self, offset: int, size: int) -> None:
        """The store has granted this range."""
        self._ranges.add_region(offset, size)
        self._extents[offset] = size
        self._unused[offset] = size
        self._unused_bytes += size
        self._fresh.add(offset)  # somebody has just asked for it: another thread's failure must not give it back

    def free(self, offset: int) -> None:
        """Nobody reads the block at ``offset`` any more. KeyError when there is none."""
        emptied = self._ranges.free(offset)
        if emptied is None:
            return
        size = self._extents[emptied]
        self._unused[emptied] = size
        self._unused_bytes += size
        if size > self._keep_bytes:
            self._give_back([emptied])
        while self._unused_bytes > self._keep_bytes:
            self._give_back([next(iter(self._unused))])

    def holds(self, offset: int) -> bool:
        """True when a block of this process starts at ``offset``."""
        return offset in self._ranges.used

    def trim(self) -> int:
        """Give back every extent with nothing in it (the store has asked); the number of bytes."""
        before = self._unused_bytes
        self._give_back(list(self._unused))
        return before

    def _mark_used(self, start: int) -> None:
        size = self._unused.pop(start, None)
        if size is not None:  # the first block of an extent is always at its start
            self._unused_bytes -= size
            self._fresh.discard(start)

    def _give_back(self, starts: list[int]) -> None:
        returned = []
        for start in starts:
            size = self._unused.pop(start)
            self._unused_bytes -= size
            self._ranges.remove_region(start)
            del self._extents[start]
            self._fresh.discard(start)
            returned.append((start, size))
        if returned:
            self._return(returned)
