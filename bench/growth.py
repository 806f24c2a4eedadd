"""Does anything grow? Cost per task after a million tasks, bytes per pending task, memory after a million put/get/free.

A part of the workloads; each runs in a session of its own, so that nothing else has used the memory before. A million
takes a minute or more on a fast engine and half an hour on a slow one: `Timing.growth_tasks` says how many.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import cast

from bench.measure import NothingMeasuredError, Timing, expect
from bench.memory import session_processes, total_pss_bytes
from bench.ray_api import Api, Ref, Remote, function
from bench.workloads import ALL_OK, BATCH, OK, Values, Workload, small_task

FEWEST_BATCHES, MOST_BATCHES = 20, 100
PENDING_SHARE = 10
"""One pending task is weighed for so many submitted ones: 100,000 for a million."""

SMALLEST_REF_BYTES = 32
"""A list entry and the smallest object there is: what no engine can go below."""

SHARED_SHARE = 50
SETTLED_SHARE = 10
"""Memory counts as settled after a tenth of the work; growth is what comes after."""


def growth_tasks(ray: Api, timing: Timing) -> Values:
    """Cost per task with a thousand submitted, with a million at once, and with a thousand again after that."""
    small = small_task(ray)
    batches = min(MOST_BATCHES, max(FEWEST_BATCHES, timing.growth_tasks // BATCH // 10))
    _small_batches(ray, small, batches)
    before_s = _small_batches(ray, small, batches)
    start = time.perf_counter()
    refs = [small.remote() for _ in range(timing.growth_tasks)]
    done = 0
    for first in range(0, len(refs), BATCH):
        answers = cast("list[bytes]", ray.get(refs[first : first + BATCH]))
        expect(answers, [OK] * len(answers), "results of the growth tasks")
        done += len(answers)
    large_s = (time.perf_counter() - start) / timing.growth_tasks
    expect(done, timing.growth_tasks, "results")
    del refs
    after_s = _small_batches(ray, small, batches)
    return {"growth_submitted": large_s / before_s, "growth_history": after_s / before_s}


def growth_pending(ray: Api, timing: Timing) -> Values:
    """Bytes that the whole session holds per task that cannot start yet, the caller's ref included."""
    small = small_task(ray)
    expect(ray.get([small.remote() for _ in range(BATCH)]), ALL_OK, "warm-up tasks")
    count = max(BATCH, timing.growth_tasks // PENDING_SHARE)

    def hold(path: str) -> str:
        with open(path) as fifo:
            return fifo.read()

    with tempfile.TemporaryDirectory() as directory:
        paths = [Path(directory) / f"hold{i}" for i in range(2)]
        for path in paths:
            os.mkfifo(path)
        remote_hold = function(ray, hold)
        held = [remote_hold.remote(str(path)) for path in paths]
        writers = [
            path.open("w") for path in paths
        ]  # opens once the task has opened the other end: both CPUs are taken
        before = _session_bytes()
        refs: list[Ref] = [small.remote() for _ in range(count)]
        time.sleep(timing.settle_s)
        grown = _session_bytes() - before
        for writer in writers:
            writer.write("go")
            writer.close()
        expect(ray.get(held), ["go", "go"], "tasks that held the CPUs")
    expect(ray.get(refs), [OK] * count, "results of the pending tasks")
    if grown < count * SMALLEST_REF_BYTES:
        message = f"{count} pending tasks and their refs grew the session by {grown} bytes: not a measurement"
        raise NothingMeasuredError(message)
    return {"pending_bytes": grown / count}


def growth_objects(ray: Api, timing: Timing) -> Values:
    """Memory of the whole session that a million put/get/free leave behind, for small objects and for shared memory."""
    payload = b"x" * 1024**2

    def small_cycle(number: int) -> None:
        expect(ray.get(ray.put(number)), number, "small object")

    def shared_cycle(number: int) -> None:
        value = cast("bytes", ray.get(ray.put(payload)))
        expect(len(value), len(payload), f"shared object {number}")

    def grown_mb(cycles: int, large: bool) -> float:
        cycle = shared_cycle if large else small_cycle
        settled = cycles // SETTLED_SHARE
        for number in range(settled):
            cycle(number)
        before = _session_bytes()
        for number in range(settled, cycles):
            cycle(number)
        return (_session_bytes() - before) / 1e6

    return {
        "growth_objects_mb": grown_mb(timing.growth_tasks, large=False),
        "growth_shared_mb": grown_mb(max(BATCH, timing.growth_tasks // SHARED_SHARE), large=True),
    }


def _small_batches(ray: Api, small: Remote, batches: int) -> float:
    costs = []
    for _ in range(batches):
        start = time.perf_counter()
        expect(ray.get([small.remote() for _ in range(BATCH)]), ALL_OK, "1,000 tasks")
        costs.append((time.perf_counter() - start) / BATCH)
    return statistics.median(costs)


def _session_bytes() -> int:
    return total_pss_bytes(session_processes(os.getpid()) | {os.getpid()})


GROWTH_WORKLOADS: dict[str, Workload] = {
    "growth_tasks": growth_tasks,
    "growth_pending": growth_pending,
    "growth_objects": growth_objects,
}
"""Every step of this page by name."""
