"""Several nodes on one machine for tests: names of Ray's ``cluster_utils``; they come with "Many machines"."""

from __future__ import annotations

from typing import Any

_SENTENCE = 'comes with several nodes per cluster (issue 3, "Many machines"); linckia.init() starts one node'


class Cluster:
    """A cluster of several nodes on this machine."""

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        raise NotImplementedError(f"linckia.cluster_utils.Cluster {_SENTENCE}")

    def add_node(self, **_options: Any) -> Any:
        """Start one more node."""
        raise NotImplementedError(f"Cluster.add_node {_SENTENCE}")

    def remove_node(self, _node: Any, **_options: Any) -> None:
        """Stop a node."""
        raise NotImplementedError(f"Cluster.remove_node {_SENTENCE}")

    def shutdown(self) -> None:
        """Stop all nodes."""
        raise NotImplementedError(f"Cluster.shutdown {_SENTENCE}")


class AutoscalingCluster:
    """A cluster that grows by demand, with fake nodes."""

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        raise NotImplementedError(f"linckia.cluster_utils.AutoscalingCluster {_SENTENCE}")
