"""A large array from one node to another, and to eight: seconds until tasks there have read it.

The array is made by a task on the first node; a task pinned to another node takes it as its argument. Every transfer
is of a new array: a copy that a node keeps would be measured as infinitely fast. Sizes shrink where memory is short.
"""

from __future__ import annotations

import os
import shutil
import statistics
import time

import numpy as np

from bench.cluster_nodes import GIB, MIB, Clusters, Running, Shape, scaled
from bench.measure import Timing, expect
from bench.ray_api import Ref

READERS = 8
REPEATS = 3
STORE_SHARE = 1.5
"""A node's store in sizes of the array: room for one, and for what is about to be freed of the one before."""

SMALLEST_BYTES = 64 * MIB


def make(size: int, seed: int) -> object:
    """Make an array whose bytes say which one it is."""
    return np.full(size, seed, dtype=np.uint8)


def read(array: object) -> tuple[int, int, int]:
    """Look at both ends."""
    assert isinstance(array, np.ndarray)
    return len(array), int(array[0]), int(array[-1])


def transfer_bytes(timing: Timing) -> int:
    """Return 1 GiB, or less where shared memory or memory could not hold it on every node with half as much again."""
    available = min(shutil.disk_usage("/dev/shm").free, os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    fits = int(available * 0.8 / ((READERS + 1) * STORE_SHARE)) // MIB * MIB
    return min(scaled(GIB, timing, SMALLEST_BYTES), fits)


def transfer(clusters: Clusters, timing: Timing) -> dict[str, float]:
    """Time from submitting the readers to the last one's answer, for one reader and for eight.

    First each node receives once, so that afterwards memory is recycled, as `socket_memory` has it.
    """
    size = transfer_bytes(timing)
    cluster = clusters.start(Shape(READERS + 1, store_bytes=int(size * STORE_SHARE)))
    repeats = REPEATS if timing.scale == 1 else 1
    nodes = range(1, READERS + 1)
    once(cluster, nodes, MIB, 0)  # workers, numpy and connections are there
    fresh_s = once(cluster, nodes[:1], size, 1)
    once(cluster, nodes, size, 2)
    one_s = statistics.median(once(cluster, nodes[:1], size, number + 11) for number in range(repeats))
    all_s = statistics.median(once(cluster, nodes, size, number + 101) for number in range(repeats))
    return {
        "transfer_mib": size / MIB,
        "transfer_one": size / one_s / 1e9,
        "transfer_fresh": size / fresh_s / 1e9,
        "broadcast_ratio": all_s / one_s,
        "broadcast_readers": float(READERS),
    }


def once(cluster: Running, readers: range, size: int, seed: int) -> float:
    """Seconds from submitting a task on each of ``readers`` to the last answer; a new array of node 0 each time."""
    ref: Ref = cluster.at(0, make).remote(size, seed)
    wanted = (size, seed, seed)
    expect(cluster.ray.get(cluster.at(0, read).remote(ref)), wanted, "the array where it was made")
    tasks = [cluster.at(node, read) for node in readers]
    start = time.perf_counter()
    expect(cluster.ray.get([task.remote(ref) for task in tasks]), [wanted] * len(tasks), "the array elsewhere")
    return time.perf_counter() - start
