"""What a raylet or the GCS knows of all nodes, as of some revision: amounts, labels, whether they take new work. Pure.

Fed by raylet/view.py and gcs/nodes.py; asked by ``policy.py`` and core/placement. It is a cache: what it says may be
late, so whoever acts on it must be able to hear "no" from the node itself.
"""

from __future__ import annotations

from collections.abc import Mapping

from linckia.core.leases import vectors
from linckia.core.leases.vectors import Units


class NodeView:
    """One node as last heard of. ``takes_work`` is False while it is suspect or draining."""

    __slots__ = ("available", "labels", "node_id", "node_ip", "takes_work", "total")

    def __init__(
        self, node_id: bytes, total: Units, labels: Mapping[str, str], *, node_ip: str = "", takes_work: bool = True
    ) -> None:
        self.node_id, self.node_ip = node_id, node_ip
        self.total = dict(total)
        self.available = dict(total)
        self.labels = dict(labels)
        self.takes_work = takes_work


class ClusterView:
    """All living nodes by id, in the order in which they joined."""

    def __init__(self) -> None:
        self.nodes: dict[bytes, NodeView] = {}
        self.as_of = 0

    def join(self, node: NodeView) -> None:
        """A node is there. Replaces an earlier record of it."""
        self.nodes[node.node_id] = node

    def leave(self, node_id: bytes) -> None:
        """A node is gone; unknown ones are ignored."""
        self.nodes.pop(node_id, None)

    def mark(self, node_id: bytes, *, takes_work: bool) -> None:
        """It became suspect or draining, or recovered."""
        node = self.nodes.get(node_id)
        if node is not None:
            node.takes_work = takes_work

    def report(self, node_id: bytes, available: Units, total: Units | None = None) -> None:
        """News of a node's amounts; ``total`` only when bundles changed it. Unknown nodes are ignored."""
        node = self.nodes.get(node_id)
        if node is None:
            return
        node.available = dict(available)
        if total is not None:
            node.total = dict(total)

    def debit(self, node_id: bytes, need: Units) -> None:
        """Work was just sent there: less is free than it last said."""
        node = self.nodes.get(node_id)
        if node is not None:
            vectors.subtract(node.available, need)
