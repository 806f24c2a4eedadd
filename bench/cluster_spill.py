"""Four GiB of objects through a store of one: how fast they get to the disk, and back.

Both directions count bytes that were really on the disk: what was written ends with an fsync of every spill file, what
is read back was dropped from the page cache before. The disk's own rate is taken the same way (`cluster_limits.py`).
"""

from __future__ import annotations

import importlib
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import cast

import numpy as np

from bench.cluster_nodes import GIB, MIB, ClusterApi, Clusters, scaled
from bench.measure import NothingMeasuredError, Timing, expect

FULL_BYTES = 4 * GIB
STORE_SHARE = 4
"""The store holds a quarter of what is put."""

OBJECTS = 64
PAGE_BYTES = 4096
DISK_SHARE = 4
"""Of the free disk, at most a quarter is written."""


def spill_bytes(timing: Timing) -> int:
    """Return 4 GiB, or less where the disk is small."""
    room = shutil.disk_usage(tempfile.gettempdir()).free // DISK_SHARE
    return min(scaled(FULL_BYTES, timing, 512 * MIB), room)


def spill(clusters: Clusters, timing: Timing) -> dict[str, float]:
    """Put everything, sync, drop the cache, get back what is on the disk."""
    clusters.stop()
    ray = cast("ClusterApi", importlib.import_module(clusters.engine))
    each = spill_bytes(timing) // OBJECTS
    with tempfile.TemporaryDirectory(prefix="lb-spill-") as directory:
        ray.init(
            address="local",
            num_cpus=1,
            object_store_memory=each * OBJECTS // STORE_SHARE,
            object_spilling_directory=directory,
            log_to_driver=False,
        )
        try:
            return _there_and_back(ray, Path(directory), each)
        finally:
            ray.shutdown()


def _there_and_back(ray: ClusterApi, directory: Path, each: int) -> dict[str, float]:
    array = np.frombuffer(bytearray(np.random.default_rng(0).bytes(each)), dtype=np.uint8)  # nothing to compress
    start = time.perf_counter()
    refs = []
    for number in range(OBJECTS):
        array[::PAGE_BYTES] = number
        refs.append(ray.put(array))
    _sync(directory)
    put_s = time.perf_counter() - start
    spilled = _bytes_below(directory)
    if spilled < each * OBJECTS // 2:
        message = f"{spilled} bytes are below {directory} after {each * OBJECTS} were put into a store of a quarter"
        raise NothingMeasuredError(message)
    _drop(directory)
    start = time.perf_counter()
    read = spilled // each
    for number in range(read):
        value = cast("np.ndarray[tuple[int], np.dtype[np.uint8]]", ray.get(refs[number]))
        expect(
            (len(value), int(value[0]), int(value[(each - 1) // PAGE_BYTES * PAGE_BYTES])),
            (each, number, number),
            "an object that was on the disk",
        )
        del value
    get_s = time.perf_counter() - start
    return {
        "spill_put_mib": each * OBJECTS / MIB,
        "spill_disk_mib": spilled / MIB,
        "spill": spilled / put_s / 1e9,
        "restore": read * each / get_s / 1e9,
    }


def _files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


def _sync(directory: Path) -> None:
    for path in _files(directory):
        with path.open("rb") as file:
            os.fdatasync(file.fileno())


def _drop(directory: Path) -> None:
    for path in _files(directory):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _bytes_below(directory: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in _files(directory))
