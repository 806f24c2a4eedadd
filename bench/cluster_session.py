"""The cluster steps of an engine, by name. Run by `child.py`, one process per part of the plan."""

from __future__ import annotations

from bench.cluster_join import join
from bench.cluster_links import links
from bench.cluster_nodes import Clusters, ClusterWorkload
from bench.cluster_queue import queue
from bench.cluster_rates import actors, groups, idle, tasks
from bench.cluster_spill import spill
from bench.cluster_transfer import transfer
from bench.decisions import decisions
from bench.measure import Timing
from bench.workloads import Values

WORKLOADS: dict[str, ClusterWorkload] = {
    "cluster_join": join,
    "cluster_idle": idle,
    "cluster_tasks": tasks,
    "cluster_actors": actors,
    "cluster_groups": groups,
    "cluster_queue": queue,
    "cluster_transfer": transfer,
    "cluster_links": links,
    "cluster_spill": spill,
    "cluster_decision": decisions,
}
"""Every step of an engine with Ray's API."""


class ClusterSession:
    """The engine in this process, with as many nodes as a step asks for."""

    def __init__(self, engine: str, timing: Timing) -> None:
        self._clusters = Clusters(engine)
        self._timing = timing

    def run(self, step: str) -> Values:
        """Run one step."""
        return WORKLOADS[step](self._clusters, self._timing)

    def shutdown(self) -> Values:
        """Stop the cluster that still runs; its shutdown is nobody's figure."""
        self._clusters.stop()
        return {}
