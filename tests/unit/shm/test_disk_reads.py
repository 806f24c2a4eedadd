"""Reading spill files: past the page cache where that is possible, always the right bytes."""

from __future__ import annotations

import ctypes
import mmap
import os
import random
from pathlib import Path

import pytest

from linckia.shm import disk_reads
from linckia.shm.disk_reads import DIRECT_BYTES, FileReader

SIZE = 5 * DIRECT_BYTES + 100
EVICTIONS_MAX = 1000
CONTENT = random.Random(1).randbytes(SIZE)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "1.objects"
    made.write_bytes(CONTENT)
    return made


def reader(path: Path, *, cached: bool, on_disk: bool = True) -> FileReader:
    fd = os.open(path, os.O_RDONLY)
    for _ in range(0 if cached else EVICTIONS_MAX):
        os.fdatasync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        if not in_memory(fd):
            break  # the kernel keeps pages that another core has just touched: it is asked again
    return FileReader(fd, on_disk=on_disk)


def in_memory(fd: int) -> bool:
    """Some of the file is in the page cache."""
    states = (ctypes.c_ubyte * -(-SIZE // DIRECT_BYTES))()
    with mmap.mmap(fd, SIZE, flags=mmap.MAP_PRIVATE) as view:
        anchor = ctypes.c_char.from_buffer(view)
        failed = ctypes.CDLL(None).mincore(ctypes.c_void_p(ctypes.addressof(anchor)), ctypes.c_size_t(SIZE), states)
        del anchor
    return bool(failed) or any(state & 1 for state in states)


def read(file: FileReader, position: int, size: int, shift: int = 0) -> bytes:
    """Into memory that begins ``shift`` bytes after a page does."""
    memory = memoryview(mmap.mmap(-1, SIZE + DIRECT_BYTES))
    file.read(position, memory[shift : shift + size])
    return bytes(memory[shift : shift + size])


def knows_direct_reads(path: Path) -> bool:
    file = reader(path, cached=True)
    try:
        return file._direct_fd >= 0
    finally:
        file.close()


@pytest.mark.row("3.15")
@pytest.mark.parametrize(
    ("position", "size", "shift", "direct"),
    [
        (0, SIZE, 0, SIZE // DIRECT_BYTES),
        (DIRECT_BYTES, 2 * DIRECT_BYTES, 0, 2),
        (0, 100, 0, 0),
        (0, SIZE, 64, 0),
        (1, SIZE - 1, 0, 0),
    ],
)
def test_whole_pages_come_from_the_disk_and_the_rest_through_the_cache(
    path: Path, position: int, size: int, shift: int, direct: int
) -> None:
    file = reader(path, cached=False)
    assert read(file, position, size, shift) == CONTENT[position : position + size]
    assert file.direct_bytes in ([direct * DIRECT_BYTES] if knows_direct_reads(path) else [0])
    file.close()


def test_what_is_in_memory_is_taken_from_there(path: Path) -> None:
    file = reader(path, cached=True)
    assert read(file, 0, SIZE) == CONTENT
    assert file.direct_bytes == 0
    file.close()


def test_where_direct_reads_are_refused_everything_goes_through_the_cache(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_reads, "_open_directly", lambda fd: os.open("/dev/full", os.O_WRONLY))  # reads fail
    file = reader(path, cached=False)
    assert read(file, 0, SIZE) == CONTENT
    assert file.direct_bytes == 0 and file._direct_fd == -1
    file.close()


def test_memory_that_looks_like_a_file_is_read_as_one() -> None:
    fd = os.memfd_create("test")
    os.write(fd, CONTENT)
    file = FileReader(fd, on_disk=False)
    assert read(file, 64, SIZE - 64) == CONTENT[64:]
    file.close()


def test_a_file_that_is_too_short_is_an_error(path: Path) -> None:
    file = reader(path, cached=False)
    with pytest.raises(OSError, match="shorter than the object"):
        read(file, DIRECT_BYTES, SIZE)
    file.close()
