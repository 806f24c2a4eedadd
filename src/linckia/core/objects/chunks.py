"""Which chunk of an object to fetch next, and how much of it is there already; pure bookkeeping.

Several streams take chunks in order; what a broken stream did not finish is taken again, by whoever asks next. Readers
further down the tree are served up to the *watermark*, below which nothing is missing. Used by
``raylet/transfer/receiver.py`` under its lock.
"""

from __future__ import annotations

import heapq

CHUNK_BYTES = 8 * 1024 * 1024


class ChunkPlan:
    """The chunks of one object of ``size`` bytes. A small rest (less than an eighth) is part of the last chunk."""

    __slots__ = ("chunk_bytes", "size", "watermark", "_done", "_last", "_next", "_returned")

    def __init__(self, size: int, chunk_bytes: int = CHUNK_BYTES) -> None:
        self.size, self.chunk_bytes = size, chunk_bytes
        self.watermark = 0
        self._next = 0
        self._last = max(0, (size - chunk_bytes // 8) // chunk_bytes) * chunk_bytes  # where the last chunk begins
        self._returned: list[int] = []  # starts of chunks that somebody took and gave back
        self._done: set[int] = set()  # starts of complete chunks above the watermark

    @property
    def finished(self) -> bool:
        """Every byte is there."""
        return self.watermark >= self.size

    def take(self) -> tuple[int, int] | None:
        """(start, length) of the next chunk to fetch; None when all are taken."""
        if self._returned:
            start = heapq.heappop(self._returned)
        elif self._next < self.size and self._next <= self._last:
            start = self._next
            self._next += self.chunk_bytes
        else:
            return None
        return start, self._length(start)

    def give_back(self, start: int) -> None:
        """The chunk at ``start`` was taken and will not be finished by who took it."""
        heapq.heappush(self._returned, start)

    def complete(self, start: int) -> bool:
        """The chunk at ``start`` is there. True when the watermark has moved."""
        self._done.add(start)
        before = self.watermark
        while self.watermark in self._done:
            self._done.remove(self.watermark)
            self.watermark += self._length(self.watermark)
        return self.watermark > before

    def _length(self, start: int) -> int:
        return self.size - start if start == self._last else self.chunk_bytes
