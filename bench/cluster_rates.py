"""Many nodes: their memory and idle CPU, tasks and actors spread over them, placement groups made and removed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from bench.cluster_nodes import Clusters, Running, many_nodes, scaled
from bench.measure import Timing, expect
from bench.memory import session_processes, total_pss_bytes
from bench.workloads import OK

TASKS = 10_000
ACTORS = {"linckia": 1_000, "ray": 100}
"""A thousand processes of Ray's do not fit into the memory of a machine that a bench runs on."""

GROUPS = 1_000
BUNDLE_CPUS = 0.001
"""A thousand bundles fit on one CPU: what is measured is the making, not the waiting."""

IDLE_S = 10.0
RETURNED_TIMEOUT_S = 60.0


def small_function() -> Callable[[], bytes]:
    """Return a function that workers get by value: one they had to import would bring the bench's modules along."""
    return lambda: b"ok"


def small_actor() -> type:
    """Return an actor class, by value for the same reason."""

    class SmallActor:
        def small(self) -> bytes:
            return b"ok"

    return SmallActor


def idle(clusters: Clusters, timing: Timing) -> dict[str, float]:
    """Memory per node and CPU of all of them, each having run tasks and its worker being there, nothing to do now."""
    cluster = clusters.start(many_nodes(timing))
    nodes = len(cluster.node_ids)
    pinned = [cluster.at(node, small_function()) for node in range(nodes)]
    expect(cluster.ray.get([task.remote() for task in pinned]), [OK] * nodes, "a task on every node")
    time.sleep(timing.settle_s)
    watched_s = max(2.0, IDLE_S * timing.scale)
    before_s, start = _cpu_s(), time.perf_counter()
    time.sleep(watched_s)
    used_s = _cpu_s() - before_s
    share = used_s / (time.perf_counter() - start)
    return {
        "nodes": nodes + 1.0,
        "node_start_s": cluster.start_s,
        "node_pss_mb": total_pss_bytes(session_processes(os.getpid())) / (nodes + 1) / 1e6,
        "nodes_idle_cpu": share * 100,
    }


def tasks(clusters: Clusters, timing: Timing) -> dict[str, float]:
    """Tasks per second over all nodes, all submitted at once, after as many to warm up."""
    cluster = clusters.start(many_nodes(timing))
    remote = cluster.ray.remote(num_cpus=1)(small_function())
    count = scaled(TASKS, timing, 1_000)
    elapsed_s = 0.0
    for _ in range(2):
        start = time.perf_counter()
        expect(cluster.ray.get([remote.remote() for _ in range(count)]), [OK] * count, "tasks over the nodes")
        elapsed_s = time.perf_counter() - start
    return {"nodes_tasks": count / elapsed_s}


def actors(clusters: Clusters, timing: Timing) -> dict[str, float]:
    """Actors per second, from the first creation to the last one's first answer, all of them alive at once."""
    cluster = clusters.start(many_nodes(timing))
    remote = cluster.ray.remote(num_cpus=0, scheduling_strategy="SPREAD")(small_actor())
    count = scaled(ACTORS[clusters.engine], timing, 10)
    start = time.perf_counter()
    made = [remote.remote() for _ in range(count)]
    expect(cluster.ray.get([actor.small.remote() for actor in made]), [OK] * count, "actors' answers")  # type: ignore[attr-defined] # a handle, not a ref
    elapsed_s = time.perf_counter() - start
    for actor in made:
        cluster.ray.kill(actor)  # type: ignore[arg-type] # as above
    return {"nodes_actors": count / elapsed_s, "nodes_actors_count": float(count)}


def groups(clusters: Clusters, timing: Timing) -> dict[str, float]:
    """Placement groups per second: made, until all are ready; removed, until all they held is free again."""
    cluster = clusters.start(many_nodes(timing))
    api = cluster.groups()
    count = scaled(GROUPS, timing, 50)
    start = time.perf_counter()
    made = [api.placement_group([{"CPU": BUNDLE_CPUS}]) for _ in range(count)]
    cluster.ray.get([group.ready() for group in made])
    made_s = time.perf_counter() - start
    start = time.perf_counter()
    for group in made:
        api.remove_placement_group(group)
    _until_returned(cluster)
    return {"groups_made": count / made_s, "groups_removed": count / (time.perf_counter() - start)}


def _until_returned(cluster: Running) -> None:
    wanted = len(cluster.node_ids) * cluster.shape.cpus
    deadline = time.monotonic() + RETURNED_TIMEOUT_S
    while abs((free := cluster.ray.available_resources().get("CPU", 0.0)) - wanted) > BUNDLE_CPUS / 2:
        if time.monotonic() > deadline:
            message = f"{free:g} CPUs are free {RETURNED_TIMEOUT_S:g} s after all groups were removed, not {wanted}"
            raise TimeoutError(message)
        time.sleep(0.01)


def _cpu_s() -> float:
    """Return the CPU seconds that the session's live processes have used, this one left out."""
    ticks = 0
    for pid in session_processes(os.getpid()):
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        fields = stat[stat.rindex(")") + 1 :].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
