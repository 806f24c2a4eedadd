"""A million tasks queued while every CPU is taken, then drained: rates, their course over the run, driver memory.

A cost that grows with the length of the queue shows as a last tenth that is slower than the first, while submitting or
while draining.
"""

from __future__ import annotations

import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.cluster_nodes import Clusters, Running, Shape, scaled
from bench.cluster_rates import small_function
from bench.measure import Timing, expect
from bench.memory import footprint, session_processes, total_pss_bytes
from bench.ray_api import Ref
from bench.workloads import OK

QUEUED = {"linckia": 1_000_000, "ray": 100_000}
"""A million takes Ray longer than everything else together; its rate does not get better with more."""

NODES = 4
TENTHS = 10
WARM_UP_TASKS = 1_000


def queue(clusters: Clusters, timing: Timing) -> dict[str, float]:
    """Submit while nothing can start, weigh the driver, let go, collect in order."""
    cluster = clusters.start(Shape(NODES))
    tenth = scaled(QUEUED[clusters.engine], timing, 10_000) // TENTHS
    count = tenth * TENTHS
    remote = cluster.ray.remote(num_cpus=1)(small_function())
    warm = [remote.remote() for _ in range(WARM_UP_TASKS)]
    expect(cluster.ray.get(warm), [OK] * WARM_UP_TASKS, "warm-up tasks")
    with all_cpus_taken(cluster):
        driver, daemons = _driver_bytes(), _daemon_bytes()
        refs: list[Ref] = []
        submits = [time.perf_counter()]
        for _ in range(TENTHS):
            refs += [remote.remote() for _ in range(tenth)]
            submits.append(time.perf_counter())
        time.sleep(timing.settle_s)
        driver, daemons = _driver_bytes() - driver, _daemon_bytes() - daemons
    drains = [time.perf_counter()]
    for first in range(0, count, tenth):
        expect(cluster.ray.get(refs[first : first + tenth]), [OK] * tenth, "results of the queued tasks")
        drains.append(time.perf_counter())
    submit_s, drain_s = submits[-1] - submits[0], drains[-1] - drains[0]
    return {
        "queue_tasks": float(count),
        "queue_rate": count / (submit_s + drain_s),
        "queue_submit": count / submit_s,
        "queue_drain": count / drain_s,
        "queue_submit_slowdown": _last_to_first(submits),
        "queue_drain_slowdown": _last_to_first(drains),
        "queue_driver_bytes": driver / count,
        "queue_daemon_bytes": daemons / count,
    }


@contextmanager
def all_cpus_taken(cluster: Running) -> Iterator[None]:
    """Hold every CPU of the cluster by a task that reads a pipe."""

    def hold(path: str) -> str:
        with open(path, encoding="ascii") as fifo:
            return fifo.read()

    with tempfile.TemporaryDirectory() as directory:
        paths = [Path(directory) / f"hold{node}" for node in range(len(cluster.node_ids))]
        for path in paths:
            os.mkfifo(path)
        held = [cluster.at(node, hold, cluster.shape.cpus).remote(str(path)) for node, path in enumerate(paths)]
        writers = [path.open("w", encoding="ascii") for path in paths]  # opens once the task has opened its end
        try:
            yield
        finally:
            for writer in writers:
                writer.write("go")
                writer.close()
        expect(cluster.ray.get(held), ["go"] * len(paths), "tasks that held the CPUs")


def _last_to_first(stamps: list[float]) -> float:
    """Cost per task in the last tenths, divided by the first ones': of three each the median, since one may have had a
    full pass of the garbage collector in it.
    """
    tenths = [end - start for start, end in itertools.pairwise(stamps)]
    return statistics.median(tenths[-3:]) / statistics.median(tenths[:3])


def _driver_bytes() -> int:
    return footprint(os.getpid()).pss_bytes


def _daemon_bytes() -> int:
    return total_pss_bytes(session_processes(os.getpid()))
