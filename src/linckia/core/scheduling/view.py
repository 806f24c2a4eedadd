"""What a raylet or the GCS knows of all nodes, as of some revision: amounts, labels, whether they take new work. Pure.

Fed by raylet/cluster.py and gcs/nodes.py; asked by ``policy.py`` and core/placement. It is a cache: what it says may be
late, so whoever acts on it must be able to hear "no" from the node itself.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from linckia.core.leases import vectors
from linckia.core.leases.vectors import Units
from linckia.core.placement.names import split
from linckia.core.scheduling.shapes import Shape, ShapeTable


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

    def utilisation(self, need: Units) -> float:
        """The fullest of the needed resources, from 0 to 1; of CPU, memory and GPU for work that needs nothing."""
        fullest = 0.0
        for name in need or ("CPU", "GPU"):
            total = self.total.get(name, 0)
            if total:
                fullest = max(fullest, 1 - self.available.get(name, 0) / total)
        return fullest


class ClusterView:
    """All living nodes by id, in the order in which they joined."""

    def __init__(self) -> None:
        self.nodes: dict[bytes, NodeView] = {}
        self.as_of = 0
        self.gains = 0  # counts changes after which something may fit that did not; not those inside placement groups
        self.members = 0  # counts joins, departures and marks: what was computed from labels is good while it stands
        self._shapes = ShapeTable(self._fill)

    def join(self, node: NodeView) -> None:
        """A node is there. Replaces an earlier record of it."""
        self.nodes[node.node_id] = node
        self.members += 1
        self.gains += 1
        self._update(node)

    def leave(self, node_id: bytes) -> None:
        """A node is gone; unknown ones are ignored."""
        if self.nodes.pop(node_id, None) is not None:
            self.members += 1
            for shape in self._shapes:
                shape.remove(node_id)

    def mark(self, node_id: bytes, *, takes_work: bool) -> None:
        """It became suspect or draining, or recovered."""
        node = self.nodes.get(node_id)
        if node is not None and node.takes_work is not takes_work:
            node.takes_work = takes_work
            self.members += 1
            self.gains += takes_work
            self._update(node)

    def report(self, node_id: bytes, available: Units, total: Units | None = None) -> None:
        """News of a node's amounts; ``total`` only when bundles changed it. Unknown nodes are ignored."""
        node = self.nodes.get(node_id)
        if node is None:
            return
        if available == node.available and (total is None or total == node.total):
            return
        self.gains += _gains(node.available, available) or _gains(node.total, total or {})
        changed = _differences(node.available, available)
        node.available = dict(available)
        if total is not None:
            changed += _differences(node.total, total)
            node.total = dict(total)
        self._amounts_changed(node, changed)

    def patch(self, node_id: bytes, available: Units, total: Units) -> None:
        """Single amounts that changed; -1: the name is gone. Unknown nodes are ignored."""
        node = self.nodes.get(node_id)
        if node is None or not (available or total):
            return
        self.gains += _gains(node.available, available) or _gains(node.total, total)
        for amounts, news in ((node.available, available), (node.total, total)):
            for name, count in news.items():
                if count < 0:
                    amounts.pop(name, None)
                else:
                    amounts[name] = count
        self._amounts_changed(node, (*available, *total))

    def debit(self, node_id: bytes, need: Units) -> None:
        """Work was just sent there: less is free than it last said."""
        node = self.nodes.get(node_id)
        if node is not None and need:
            vectors.subtract(node.available, need)
            self._amounts_changed(node, need)

    def shape(self, need: Units, placement: Units) -> Shape:
        """The nodes that fit ``need`` (and ``placement``, which only decides feasibility)."""
        return self._shapes.get(need, placement)

    def _fill(self, shape: Shape) -> None:
        for node in self.nodes.values():
            shape.update(node.node_id, node.total, node.available, takes_work=node.takes_work)

    def _update(self, node: NodeView) -> None:
        for shape in self._shapes:
            shape.update(node.node_id, node.total, node.available, takes_work=node.takes_work)

    def _amounts_changed(self, node: NodeView, names: Collection[str]) -> None:
        """Of these names; all that asks for others is as it was, but that a node with GPUs is not for everybody."""
        for shape in self._shapes if "GPU" in names else self._shapes.asking_for(names):
            shape.update(node.node_id, node.total, node.available, takes_work=node.takes_work)


def _gains(before: Units, after: Units) -> bool:
    """Some amount grew that is not a placement group's own."""
    for name, count in after.items():  # noqa: SIM110 - twice as quick as any(), and asked for every change
        if count > before.get(name, 0) and split(name) is None:
            return True
    return False


def _differences(before: Units, after: Units) -> list[str]:
    """Names whose amounts are not the same."""
    names = [name for name, count in after.items() if before.get(name) != count]
    return names + [name for name in before if name not in after]
