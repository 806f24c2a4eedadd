"""Which nodes shall hold the further copies of an object: as many as were asked for, each on a node of its own.

Nodes that hold fewer replicas of this owner come first. With too few nodes all of them get one; the rest follows when
nodes join. Called by worker/replicas.py, which asks the nodes.
"""

from __future__ import annotations

from collections.abc import Iterable

RETRY_AFTER_S = 5.0
"""A node that has refused a copy (no room) is asked again after so long."""


class Replicated:
    """One object: how many copies it shall have in all, and which nodes were asked for one. True: it has it.
    ``shared``: another process may hold a reference, so that copies are of use when the owner has ended.
    """

    __slots__ = ("nodes", "shared", "wanted")

    def __init__(self, wanted: int, *, shared: bool) -> None:
        self.wanted, self.shared = wanted, shared
        self.nodes: dict[bytes, bool] = {}


class ReplicaTable:
    """All replicated objects of one owner."""

    def __init__(self) -> None:
        self.objects: dict[bytes, Replicated] = {}
        self._load: dict[bytes, int] = {}  # node -> replicas it has or was asked for
        self._refused: dict[bytes, float] = {}  # node -> until when nothing is asked of it

    def want(self, object_id: bytes, copies: int, *, shared: bool = True) -> None:
        """It shall have so many copies, the primary included."""
        entry = self.objects.get(object_id)
        if entry is None:
            self.objects[object_id] = Replicated(copies, shared=shared)
        else:
            entry.wanted, entry.shared = copies, entry.shared or shared

    def share(self, object_id: bytes) -> list[bytes]:
        """A reference leaves its owner: nodes to tell, for the first of them; besides the primary's."""
        entry = self.objects.get(object_id)
        if entry is None or entry.shared:
            return []
        entry.shared = True
        return list(entry.nodes)

    def choose(self, object_id: bytes, primary: bytes, nodes: Iterable[bytes], now_s: float) -> list[bytes]:
        """Nodes to ask now; they count as asked from now on. ``nodes``: all that live, the primary's among them."""
        entry = self.objects.get(object_id)
        if entry is None:
            return []
        self._give_up(entry, primary)
        free = [
            node for node in nodes if node != primary and node not in entry.nodes and not self._refuses(node, now_s)
        ]
        free.sort(key=lambda node: (self._load.get(node, 0), node))
        chosen = free[: max(0, entry.wanted - 1 - len(entry.nodes))]
        for node in chosen:
            entry.nodes[node] = False
            self._load[node] = self._load.get(node, 0) + 1
        return chosen

    def kept(self, object_id: bytes, node: bytes) -> None:
        """The node has its copy, and keeps it."""
        entry = self.objects.get(object_id)
        if entry is not None and node in entry.nodes:
            entry.nodes[node] = True

    def refused(self, object_id: bytes, node: bytes, now_s: float) -> None:
        """The node cannot have one."""
        self._refused[node] = now_s + RETRY_AFTER_S
        entry = self.objects.get(object_id)
        if entry is not None:
            self._give_up(entry, node)

    def is_refused(self, now_s: float) -> bool:
        """Some node refuses copies at present: what lacks them has to be looked at again."""
        return any(self._refuses(node, now_s) for node in list(self._refused))

    def lacking(self) -> list[bytes]:
        """Objects for which too few nodes were found."""
        return [object_id for object_id, entry in self.objects.items() if len(entry.nodes) < entry.wanted - 1]

    def node_dead(self, node: bytes) -> list[bytes]:
        """Objects that have lost a replica with the node."""
        self._refused.pop(node, None)
        lost = [object_id for object_id, entry in self.objects.items() if self._give_up(entry, node)]
        self._load.pop(node, None)
        return lost

    def freed(self, object_id: bytes) -> None:
        """Nobody refers to it any more."""
        entry = self.objects.pop(object_id, None)
        for node in list(entry.nodes) if entry is not None else ():
            self._unload(node)

    def _give_up(self, entry: Replicated, node: bytes) -> bool:
        """The node has none, or its copy became the primary."""
        if entry.nodes.pop(node, None) is None:
            return False
        self._unload(node)
        return True

    def _unload(self, node: bytes) -> None:
        left = self._load.get(node, 0) - 1
        if left > 0:
            self._load[node] = left
        else:
            self._load.pop(node, None)

    def _refuses(self, node: bytes, now_s: float) -> bool:
        until_s = self._refused.get(node)
        if until_s is not None and now_s >= until_s:
            del self._refused[node]
            return False
        return until_s is not None
