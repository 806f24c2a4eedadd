"""Huge pages for fresh memory: where they fit, never where something is, and nothing is lost without them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

import pytest

from linckia.shm.mapping import HUGE_BYTES
from linckia.shm.segment import Segment

MIB = 1024 * 1024
PAGES = 8


@pytest.fixture
def segment() -> Iterator[Segment]:
    made = Segment.create(PAGES * HUGE_BYTES)
    yield made
    made.close()


class Kernel:
    """Takes the place of ``madvise``; says ``error`` when there is one."""

    def __init__(self, segment: Segment, error: int = 0) -> None:
        self.asked: list[tuple[int, int]] = []
        self.error = error
        segment._huge_pages._mapping = self  # type: ignore[assignment]

    def advise(self, start: int, size: int, _advice: int) -> None:
        if self.error:
            raise OSError(self.error, os.strerror(self.error))
        self.asked.append((start // HUGE_BYTES, size // HUGE_BYTES))


@pytest.mark.parametrize(
    ("offset", "size", "limit", "pages"),
    [
        (0, 4 * HUGE_BYTES, 0, [(0, 4)]),
        (4096, 4 * HUGE_BYTES, 0, [(1, 3)]),
        (4096, HUGE_BYTES, 0, []),
        (0, 2 * HUGE_BYTES + 1, 0, [(0, 2)]),
        (HUGE_BYTES, HUGE_BYTES + 4096, PAGES * HUGE_BYTES, [(1, 2)]),
        (HUGE_BYTES + 4096, HUGE_BYTES, PAGES * HUGE_BYTES, [(2, 1)]),
        (0, 100, HUGE_BYTES - 1, []),
    ],
)
def test_pages_that_begin_in_the_range_and_end_in_the_block(
    segment: Segment, offset: int, size: int, limit: int, pages: list[tuple[int, int]]
) -> None:
    kernel = Kernel(segment)
    segment.prepare(offset, size, limit)
    assert kernel.asked == pages


def test_the_threads_of_one_block_ask_for_each_page_once(segment: Segment) -> None:
    kernel = Kernel(segment)
    start, end, chunk = 4096, 7 * HUGE_BYTES + 4096, HUGE_BYTES + 12288
    for offset in range(start, end, chunk):
        segment.prepare(offset, min(chunk, end - offset), end)
    assert [page for first, count in kernel.asked for page in range(first, first + count)] == list(range(1, 7))


def test_what_is_used_already_is_left_alone(segment: Segment) -> None:
    kernel = Kernel(segment)
    segment.write_view(2 * HUGE_BYTES + 5, 1)[0] = 7
    segment.write_view(5 * HUGE_BYTES, 1)[0] = 8
    segment.prepare(0, PAGES * HUGE_BYTES)
    assert kernel.asked == [(0, 2), (3, 2), (6, 2)]
    assert (segment.write_view(2 * HUGE_BYTES + 5, 1)[0], segment.write_view(5 * HUGE_BYTES, 1)[0]) == (7, 8)


def test_a_kernel_that_does_not_know_them_is_asked_once(segment: Segment) -> None:
    kernel = Kernel(segment, errno.EINVAL)
    segment.prepare(0, 2 * HUGE_BYTES)
    kernel.error = 0
    segment.prepare(2 * HUGE_BYTES, 4 * HUGE_BYTES)
    assert not kernel.asked and not segment._huge_pages.is_known


def test_without_memory_for_them_nobody_tries_again_at_once(segment: Segment) -> None:
    kernel = Kernel(segment, errno.ENOMEM)
    segment.prepare(0, 2 * HUGE_BYTES)
    kernel.error = 0
    segment.prepare(2 * HUGE_BYTES, 2 * HUGE_BYTES)
    assert not kernel.asked
    segment._huge_pages._rest_until_s = 0.0
    segment.prepare(2 * HUGE_BYTES, 2 * HUGE_BYTES)
    assert kernel.asked == [(2, 2)]


def test_the_memory_is_as_it_was_with_and_without_them(segment: Segment) -> None:
    segment.prepare(0, 3 * HUGE_BYTES)
    assert bytes(segment.read_view(0, 3 * HUGE_BYTES, None)) == bytes(3 * HUGE_BYTES)
    view = segment.write_view(0, 3 * HUGE_BYTES)
    view[:] = b"x" * len(view)
    segment.release_pages(4096, 2 * HUGE_BYTES)
    assert bytes(segment.read_view(4095, 2, None)) == b"x\0"
    assert bytes(segment.read_view(2 * HUGE_BYTES + 4095, 2, None)) == b"\0x"


def test_mappings_begin_where_huge_pages_fit(segment: Segment) -> None:
    segment.read_view(0, 1, None)
    assert segment._readable is not None
    assert segment._writable.address % HUGE_BYTES == segment._readable.address % HUGE_BYTES == 0
