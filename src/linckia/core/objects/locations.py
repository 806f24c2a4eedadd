"""Where copies of an owner's objects are, and from whom the next node shall pull: a tree, so that a broadcast to many
nodes takes little longer than to one.

Each node serves at most ``FANOUT`` others; one that is still pulling serves what it has already. Kept only for objects
that other nodes have asked for. Called by ``worker/locations.py``; a node is a bytes id, it sends nothing itself.
"""

from __future__ import annotations

from linckia.model.wire import Block

FANOUT = 2


class Placement:
    """The places of one object. ``primary`` is None while it is lost."""

    __slots__ = ("complete", "primary", "pulling", "size")

    def __init__(self, primary: Block) -> None:
        self.primary: Block | None = primary
        self.size = primary.size
        self.complete: dict[bytes, None] = {}  # nodes with copies, oldest first
        self.pulling: dict[bytes, bytes] = {}  # node -> the node it pulls from

    def load(self, node: bytes) -> int:
        """How many nodes pull from it."""
        return sum(source == node for source in self.pulling.values())

    def depth(self, node: bytes) -> int:
        """How far from a complete copy."""
        steps = 0
        while node in self.pulling and steps <= len(self.pulling):
            node = self.pulling[node]
            steps += 1
        return steps

    def feeds(self, node: bytes, other: bytes) -> bool:
        """``other`` gets its bytes, directly or not, from ``node``."""
        for _ in range(len(self.pulling) + 1):
            if other == node:
                return True
            if other not in self.pulling:
                return False
            other = self.pulling[other]
        return True


class LocationTable:
    """All objects of one owner that other nodes have copies of."""

    def __init__(self) -> None:
        self.placements: dict[bytes, Placement] = {}

    def locate(self, object_id: bytes, primary: Block, node: bytes, exclude: list[bytes]) -> list[Block]:
        """Sources for ``node``, which pulls from the first one from now on; empty when all are excluded."""
        placement = self.placements.get(object_id)
        if placement is None:
            placement = self.placements[object_id] = Placement(primary)
        placement.primary = primary
        placement.pulling.pop(node, None)
        placement.complete.pop(node, None)  # it asks: it has none
        home = primary.node_id
        found = [other for other in (home, *placement.complete) if other not in exclude and other != node]
        found += [
            other
            for other in placement.pulling
            if other not in exclude and other not in found and not placement.feeds(node, other)
        ]
        found.sort(key=lambda other: (placement.load(other) >= FANOUT, placement.depth(other), placement.load(other)))
        if home == node and home not in exclude:
            found.insert(0, home)  # on its own disk
        if not found:
            return []
        placement.pulling[node] = found[0]
        return [primary if other == home else Block(-1, primary.size, other) for other in found]

    def added(self, object_id: bytes, node: bytes) -> bool:
        """``node`` has a complete copy. False when the object is unknown here."""
        placement = self.placements.get(object_id)
        if placement is None:
            return False
        placement.pulling.pop(node, None)
        placement.complete[node] = None
        return True

    def begin(self, object_id: bytes, primary: Block) -> None:
        """Keep places of this object from now on."""
        if object_id not in self.placements:
            self.placements[object_id] = Placement(primary)

    def removed(self, object_id: bytes, node: bytes) -> None:
        """``node`` has evicted its copy, or gave up pulling."""
        placement = self.placements.get(object_id)
        if placement is not None:
            placement.complete.pop(node, None)
            placement.pulling.pop(node, None)

    def node_dead(self, node: bytes) -> list[bytes]:
        """Forget the node; the objects whose primary it had."""
        lost = []
        for object_id, placement in self.placements.items():
            placement.complete.pop(node, None)
            placement.pulling.pop(node, None)
            if placement.primary is not None and placement.primary.node_id == node:
                placement.primary = None
                lost.append(object_id)
        return lost

    def heirs(self, object_id: bytes) -> list[bytes]:
        """Nodes whose copy could become the primary."""
        placement = self.placements.get(object_id)
        return list(placement.complete) if placement is not None else []

    def promoted(self, object_id: bytes, primary: Block) -> None:
        """A copy became the primary."""
        placement = self.placements[object_id]
        placement.primary = primary
        placement.complete.pop(primary.node_id, None)

    def freed(self, object_id: bytes) -> list[bytes]:
        """Nobody refers to the object: nodes to tell."""
        placement = self.placements.pop(object_id, None)
        return [*placement.complete, *placement.pulling] if placement is not None else []

    def nodes_of(self, object_id: bytes, primary: Block) -> list[bytes]:
        """Every node with a complete copy, the primary's first."""
        return list(dict.fromkeys([primary.node_id, *self.heirs(object_id)]))
