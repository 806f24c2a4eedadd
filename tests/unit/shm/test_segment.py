"""Segment: one memory seen by writers and readers, pins, pages back to the system, nothing left behind."""

from __future__ import annotations

import errno
import gc
import os
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from linckia.shm.segment import PAGE_BYTES, Segment

MIB = 1024 * 1024


@pytest.fixture
def segment() -> Iterator[Segment]:
    made = Segment.create(64 * MIB)
    yield made
    made.close()


class Pin:
    pass


def test_what_is_written_is_read(segment: Segment) -> None:
    segment.write_view(4096, 5)[:] = b"hello"
    view = segment.read_view(4096, 5, None)
    assert bytes(view) == b"hello"
    assert (view.format, view.ndim, view.nbytes) == ("B", 1, 5)


def test_it_takes_no_memory_until_written(segment: Segment) -> None:
    assert segment.resident_bytes() == 0
    segment.write_view(0, MIB)[:] = bytes(MIB)
    assert segment.resident_bytes() == MIB


@pytest.mark.row("3.9")
def test_readers_cannot_write(segment: Segment) -> None:
    view = segment.read_view(0, 800, None)
    with pytest.raises(TypeError, match="read-only"):
        view[0] = 1
    array = np.frombuffer(view, dtype=np.float64)
    assert not array.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1.0
    with pytest.raises(ValueError, match="WRITEABLE"):
        array.flags.writeable = True


def test_the_pin_lives_as_long_as_the_last_view(segment: Segment) -> None:
    pin = Pin()
    alive = weakref.ref(pin)
    view = segment.read_view(0, 800, pin)
    del pin
    array = np.frombuffer(view, dtype=np.float64)
    del view
    part = array[5:10].reshape(5, 1)
    del array
    assert alive() is not None
    half = part.data
    del part
    assert alive() is not None
    del half
    assert alive() is None, "no garbage collection needed"


def test_two_readers_pin_apart(segment: Segment) -> None:
    one, two = Pin(), Pin()
    first, second = segment.read_view(0, 10, one), segment.read_view(0, 10, two)
    alive_one, alive_two = weakref.ref(one), weakref.ref(two)
    del one, two, first
    gc.collect()
    assert (alive_one() is None, alive_two() is None) == (True, False)
    assert len(second) == 10


def test_views_outlive_the_segment() -> None:
    segment = Segment.create(MIB)
    segment.write_view(0, 3)[:] = b"abc"
    view, writer = segment.read_view(0, 3, None), segment.write_view(0, 3)
    segment.close()
    writer[0] = ord("x")
    assert bytes(view) == b"xbc"


def test_released_pages_are_given_back_and_whole_neighbours_stay(segment: Segment) -> None:
    segment.write_view(0, MIB)[:] = b"x" * MIB
    segment.release_pages(PAGE_BYTES // 2, 4 * PAGE_BYTES)  # three whole pages lie inside
    assert segment.resident_bytes() == MIB - 3 * PAGE_BYTES
    assert bytes(segment.read_view(PAGE_BYTES - 1, 2, None)) == b"x\0"
    assert bytes(segment.read_view(4 * PAGE_BYTES - 1, 2, None)) == b"\0x"


def test_a_release_of_less_than_a_page_does_nothing(segment: Segment) -> None:
    segment.write_view(0, MIB)[:] = b"x" * MIB
    segment.release_pages(10, 20)
    assert segment.resident_bytes() == MIB


@pytest.mark.parametrize(("offset", "size"), [(-1, 1), (0, 64 * MIB + 1), (64 * MIB, 1), (0, -1)])
def test_blocks_outside_are_refused(segment: Segment, offset: int, size: int) -> None:
    with pytest.raises(ValueError, match="not inside the segment"):
        segment.read_view(offset, size, None)
    with pytest.raises(ValueError, match="not inside the segment"):
        segment.write_view(offset, size)


def test_nobody_can_shrink_it_under_its_readers(segment: Segment) -> None:
    with pytest.raises(OSError, match=os.strerror(errno.EPERM)):
        os.ftruncate(segment.fd, MIB)


def test_attach_sees_the_same_memory(segment: Segment) -> None:
    other = Segment.attach(os.dup(segment.fd), segment.capacity_bytes)
    other.write_view(100, 3)[:] = b"abc"
    assert bytes(segment.read_view(100, 3, None)) == b"abc"
    other.close()


def test_attach_refuses_a_descriptor_that_is_too_short() -> None:
    fd = os.memfd_create("short")
    try:
        with pytest.raises(ValueError, match=f"descriptor {fd} is 0 bytes long, expected a segment of {MIB}"):
            Segment.attach(fd, MIB)
    finally:
        os.close(fd)


def test_a_capacity_is_needed() -> None:
    with pytest.raises(ValueError, match="capacity above 0"):
        Segment.create(0)


def test_a_forked_process_writes_into_it_and_its_death_leaves_no_name(segment: Segment) -> None:
    before = set(os.listdir("/dev/shm"))
    segment.read_view(0, 1, None)
    child = os.fork()
    if child == 0:
        segment.write_view(0, 4)[:] = b"done"
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert bytes(segment.read_view(0, 4, None)) == b"done"
    assert "memfd:linckia-objects" in os.readlink(f"/proc/self/fd/{segment.fd}")
    assert not [name for name in set(os.listdir("/dev/shm")) - before if "linckia" in name]


def mappings() -> int:
    return Path("/proc/self/maps").read_text().count("memfd:linckia-objects")


def test_close_unmaps_at_once_or_with_the_last_view() -> None:
    before = mappings()
    segment = Segment.create(8 * MIB)
    view = segment.read_view(0, 100, None)
    other = segment.read_view(200, 100, None)
    assert mappings() == before + 2
    segment.close()
    del other
    assert mappings() == before + 1
    del view
    assert mappings() == before
