"""Clusters of several real nodes on this machine, the same way for both engines: `ENGINE.cluster_utils.Cluster`.

A head without CPUs and worker nodes beside it, all over loopback. Used by the other `cluster_` pages; `Clusters` keeps
one cluster for as long as steps ask for the same shape, because twenty nodes take longer to start than to measure.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, cast

from bench.measure import Timing
from bench.ray_api import Actor, Ref, Remote

MIB = 1024**2
GIB = 1024**3
STORE_BYTES = 128 * MIB
"""Of nodes whose objects do not matter."""

MANY_NODES = 20
"""Worker nodes beside the head. Ray starts as many on two cores and 24 GB, in half a minute."""

FEWEST_NODES = 2


class Node(Protocol):
    """One node."""

    node_id: str


class ClusterHandle(Protocol):
    """`cluster_utils.Cluster` of both engines."""

    address: str

    def add_node(self, **options: object) -> Node: ...

    def wait_for_nodes(self) -> None: ...

    def shutdown(self) -> None: ...


class ClusterApi(Protocol):
    """The names of Ray's module that the cluster benches call."""

    def init(self, **options: object) -> object: ...

    def shutdown(self) -> None: ...

    def remote(self, **options: object) -> Callable[[object], Remote]: ...

    def put(self, value: object) -> Ref: ...

    def get(self, refs: Ref) -> object: ...

    def kill(self, actor: Actor) -> None: ...

    def available_resources(self) -> dict[str, float]: ...


class Group(Protocol):
    """A placement group."""

    def ready(self) -> Ref: ...


class GroupApi(Protocol):
    """`ENGINE.util` as far as placement groups go."""

    def placement_group(self, bundles: Sequence[dict[str, float]]) -> Group: ...

    def remove_placement_group(self, group: Group) -> None: ...


@dataclass(frozen=True)
class Shape:
    """Worker nodes, and what each of them offers."""

    nodes: int
    cpus: int = 1
    store_bytes: int = STORE_BYTES


@dataclass(frozen=True)
class Running:
    """A cluster that runs, this process being connected to it as a driver."""

    engine: str
    ray: ClusterApi
    shape: Shape
    node_ids: tuple[str, ...]
    start_s: float
    """From nothing to the last node joined, per node, head included."""

    def at(self, node: int, target: Callable[..., object], cpus: int = 1) -> Remote:
        """Make a remote function that runs on this worker node only."""
        strategies = importlib.import_module(f"{self.engine}.util.scheduling_strategies")
        strategy = strategies.NodeAffinitySchedulingStrategy(self.node_ids[node], soft=False)
        return self.ray.remote(num_cpus=cpus, scheduling_strategy=strategy)(target)

    def groups(self) -> GroupApi:
        """Return the module that makes placement groups."""
        return cast("GroupApi", importlib.import_module(f"{self.engine}.util"))


ClusterWorkload: TypeAlias = "Callable[[Clusters, Timing], dict[str, float]]"


class Clusters:
    """The clusters of one measured process, one at a time."""

    def __init__(self, engine: str) -> None:
        self.engine = engine
        self._running: Running | None = None
        self._handle: ClusterHandle | None = None

    def start(self, shape: Shape) -> Running:
        """Return a cluster of this shape: the one that runs when it has it, else a new one."""
        if self._running is not None and self._running.shape == shape:
            return self._running
        self.stop()
        ray = cast("ClusterApi", importlib.import_module(self.engine))
        start = time.perf_counter()
        cluster_class = importlib.import_module(f"{self.engine}.cluster_utils").Cluster
        head = {"num_cpus": 0, "object_store_memory": shape.store_bytes}
        self._handle = handle = cast("ClusterHandle", cluster_class(initialize_head=True, head_node_args=head))
        nodes = [
            handle.add_node(num_cpus=shape.cpus, object_store_memory=shape.store_bytes) for _ in range(shape.nodes)
        ]
        handle.wait_for_nodes()
        start_s = (time.perf_counter() - start) / (shape.nodes + 1)
        if self.engine == "linckia":
            cast("LocalConnect", handle).connect()  # its token is known to the cluster object alone
        else:
            ray.init(address=handle.address, log_to_driver=False)
        self._running = Running(self.engine, ray, shape, tuple(node.node_id for node in nodes), start_s)
        return self._running

    def stop(self) -> None:
        """Disconnect and stop every node; idempotent."""
        if self._running is not None:
            self._running.ray.shutdown()
        if self._handle is not None:
            self._handle.shutdown()
        self._running = self._handle = None


class LocalConnect(Protocol):
    """The part of Linckia's `Cluster` that connects this process."""

    def connect(self) -> object: ...


def many_nodes(timing: Timing) -> Shape:
    """Return the shape for the figures about many nodes."""
    return Shape(max(FEWEST_NODES, round(MANY_NODES * timing.scale)))


def scaled(full: int, timing: Timing, least: int = 1) -> int:
    """Return the issue's size times the scale of this run."""
    return max(least, int(full * timing.scale))
