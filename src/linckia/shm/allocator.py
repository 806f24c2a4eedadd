"""Which range of a region a block gets: good fit, recently freed first, neighbours merged; pure bookkeeping.

Used by ``arena.py`` (blocks inside a process's extents) and ``store.py`` (extents inside the segment). Free ranges are
kept in size classes (eight per doubling), a bitmap names the non-empty ones: allocation, freeing and merging cost the
same for ten ranges and for a million. Blocks are cut from the low end of a range, so that memory which was used before
is used again before untouched memory is (fresh pages cost twenty times more than recycled ones). It touches no memory
and takes no lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

ALIGNMENT = 64


class RangeAllocator:
    """Ranges of one or more regions. Offsets are absolute; regions never merge with each other."""

    __slots__ = (
        "alignment",
        "free_bytes",
        "used",
        "used_bytes",
        "_bitmap",
        "_buckets",
        "_regions",
        "_sizes",
        "_starts",
    )

    def __init__(self, alignment: int = ALIGNMENT) -> None:
        self.alignment = alignment  # a power of two; all sizes are rounded up to it
        self.used: dict[int, int] = {}  # start -> size of allocated ranges
        self.used_bytes = 0
        self.free_bytes = 0
        self._regions: dict[int, int] = {}  # start -> size
        self._sizes: dict[int, int] = {}  # start -> size of free ranges
        self._starts: dict[int, int] = {}  # end -> start of free ranges
        self._buckets: dict[int, dict[int, None]] = {}  # size class -> starts, most recently freed last
        self._bitmap = 0  # bit c: class c has a free range

    # --- regions ------------------------------------------------------------------------------------------------------

    def add_region(self, start: int, size: int) -> None:
        """Manage [start, start+size) from now on, all free."""
        if start % self.alignment or size % self.alignment or size <= 0:
            raise ValueError(f"region ({start}, {size}) is not made of {self.alignment}-byte units")
        self._regions[start] = size
        self._insert(start, size)

    def remove_region(self, start: int) -> int:
        """Stop managing a region nothing is allocated in; its size."""
        size = self._regions[start]
        if self._sizes.get(start) != size:
            raise ValueError(f"region at {start} is in use: not all of its {size} bytes are free")
        del self._regions[start]
        self._take(start, size)
        return size

    def unused_regions(self) -> list[tuple[int, int]]:
        """Regions nothing is allocated in, as (start, size), oldest first."""
        return [(start, size) for start, size in self._regions.items() if self._sizes.get(start) == size]

    # --- blocks -------------------------------------------------------------------------------------------------------

    def rounded(self, size: int) -> int:
        """What an allocation of ``size`` takes."""
        return (size + self.alignment - 1 & -self.alignment) or self.alignment

    def allocate(self, size: int) -> int | None:
        """The start of a free range of ``size`` bytes, now used; None when no free range is large enough."""
        size = (size + self.alignment - 1 & -self.alignment) or self.alignment
        start = self._find(size)
        if start is None:
            return None
        found = self._sizes[start]
        self._take(start, found)
        if found > size:
            self._insert(start + size, found - size)
        self.used[start] = size
        self.used_bytes += size
        return start

    def free(self, start: int) -> int | None:
        """Give back a used range. Returns the start of its region if that is now entirely free, else None."""
        size = self.used.pop(start, None)
        if size is None:
            raise KeyError(f"offset {start} is not allocated here (freed twice?)")
        self.used_bytes -= size
        start, size = self._merged(start, size)
        self._insert(start, size)
        return start if self._regions.get(start) == size else None

    def carve(self, start: int, keep: Iterable[tuple[int, int]]) -> list[int]:
        """Replace a used range by the (start, size) ranges of ``keep`` inside it, free the rest; the starts in use."""
        size = self.used.pop(start)
        self.used_bytes -= size
        end, position, kept = start + size, start, []
        for offset, length in sorted(keep):
            low, high = offset & -self.alignment, offset + self.rounded(length)
            low = max(low, position)
            if low > position:
                self._insert(*self._merged(position, low - position))
            self.used[low] = high - low
            self.used_bytes += high - low
            kept.append(low)
            position = high
        if position > end:
            raise ValueError(f"ranges to keep reach {position}, beyond the end {end} of the range at {start}")
        if position < end:
            self._insert(*self._merged(position, end - position))
        return kept

    def largest_free(self) -> int:
        """Size of the largest free range, 0 when there is none."""
        if not self._bitmap:
            return 0
        return max(self._sizes[start] for start in self._buckets[self._bitmap.bit_length() - 1])

    def free_ranges(self) -> Iterator[tuple[int, int]]:
        """Free (start, size), in no particular order."""
        yield from self._sizes.items()

    # --- free lists ---------------------------------------------------------------------------------------------------

    def _find(self, size: int) -> int | None:
        own = size_class(size // self.alignment)
        bucket = self._buckets.get(own)
        if bucket:
            start = next(reversed(bucket))
            if self._sizes[start] >= size:
                return start
        above = self._bitmap >> (own + 1)
        if above:
            lowest = own + (above & -above).bit_length()
            return next(reversed(self._buckets[lowest]))
        for start in reversed(bucket or {}):  # last resort: ranges of this class differ by up to an eighth
            if self._sizes[start] >= size:
                return start
        return None

    def _merged(self, start: int, size: int) -> tuple[int, int]:
        end = start + size
        after = self._sizes.get(end)
        if after is not None and end not in self._regions:
            self._take(end, after)
            end += after
        before = self._starts.get(start)
        if before is not None and start not in self._regions:
            self._take(before, start - before)
            start = before
        return start, end - start

    def _insert(self, start: int, size: int) -> None:
        own = size_class(size // self.alignment)
        self._sizes[start] = size
        self._starts[start + size] = start
        bucket = self._buckets.get(own)
        if bucket is None:
            bucket = self._buckets[own] = {}
        bucket[start] = None
        self._bitmap |= 1 << own
        self.free_bytes += size

    def _take(self, start: int, size: int) -> None:
        own = size_class(size // self.alignment)
        del self._sizes[start]
        del self._starts[start + size]
        bucket = self._buckets[own]
        del bucket[start]
        if not bucket:
            self._bitmap &= ~(1 << own)
        self.free_bytes -= size

    # --- invariants ---------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise AssertionError unless used and free ranges tile the regions and all indexes agree."""
        seen = 0
        for start, size in self._regions.items():
            position, free_before = start, False
            while position < start + size:
                is_used = position in self.used
                _require(is_used != (position in self._sizes), f"no range or two at {position}")
                _require(is_used or not free_before, f"unmerged free ranges at {position}")
                position += self.used[position] if is_used else self._sizes[position]
                free_before = not is_used
                seen += 1
            _require(position == start + size, f"a range leaves the region at {start}")
        _require(seen == len(self.used) + len(self._sizes), "ranges outside of all regions")
        _require(self.used_bytes == sum(self.used.values()), "used_bytes is wrong")
        _require(self.free_bytes == sum(self._sizes.values()), "free_bytes is wrong")
        _require(self._starts == {s + n: s for s, n in self._sizes.items()}, "the index of ends is wrong")
        listed = {start: own for own, bucket in self._buckets.items() for start in bucket}
        classes = {start: size_class(size // self.alignment) for start, size in self._sizes.items()}
        _require(listed == classes, "the buckets are wrong")
        bits = {own for own, bucket in self._buckets.items() if bucket}
        _require(self._bitmap == sum(1 << own for own in bits), "the bitmap is wrong")


def size_class(units: int) -> int:
    """Monotonic; exact below 16 units, then eight classes per doubling."""
    shift = units.bit_length() - 4
    return units if shift <= 0 else (shift << 3) + (units >> shift)


def _require(holds: bool, text: str) -> None:
    if not holds:
        raise AssertionError(text)
