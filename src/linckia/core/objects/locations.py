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

    __slots__ = ("complete", "primary", "pulling", "_children", "_roomy")

    def __init__(self, primary: Block) -> None:
        self.primary: Block | None = primary
        self.complete: dict[bytes, None] = {}  # nodes with copies, oldest first
        self.pulling: dict[bytes, bytes] = {}  # node -> the node it pulls from
        self._children: dict[bytes, int] = {}  # node -> how many pull from it
        self._roomy: dict[bytes, None] = {}  # nodes that are pulling and could serve more, those nearest the root first

    def attach(self, node: bytes, source: bytes) -> None:
        """``node`` pulls from ``source`` from now on."""
        self.pulling[node] = source
        self._children[source] = self._children.get(source, 0) + 1
        if self._children[source] >= FANOUT:
            self._roomy.pop(source, None)
        if self._children.get(node, 0) < FANOUT:
            self._roomy[node] = None

    def detach(self, node: bytes) -> None:
        """``node`` does not pull (any more)."""
        self._roomy.pop(node, None)
        source = self.pulling.pop(node, None)
        if source is not None:
            self._children[source] -= 1
            if not self._children[source]:
                del self._children[source]
            if source in self.pulling:
                self._roomy[source] = None

    def forget(self, node: bytes) -> None:
        """It has nothing of this object."""
        self.detach(node)
        self.complete.pop(node, None)

    def feeds(self, node: bytes, other: bytes) -> bool:
        """``other`` gets its bytes, directly or not, from ``node``."""
        for _ in range(len(self.pulling) + 1):
            if other == node:
                return True
            if other not in self.pulling:
                return False
            other = self.pulling[other]
        return True

    def sources(self, node: bytes, exclude: list[bytes]) -> list[bytes]:
        """Whom ``node`` may ask, best first: complete copies with room, then the highest of the tree with room."""
        holders = [self.primary.node_id] if self.primary is not None else []
        holders += [other for other in self.complete if other not in holders]
        holders = [other for other in holders if other not in exclude and other != node]
        holders.sort(key=lambda other: self._children.get(other, 0))
        if holders and self._children.get(holders[0], 0) < FANOUT:
            return holders
        for other in self._roomy:
            if other not in exclude and not self.feeds(node, other):
                return [other, *holders]
        return holders or [each for each in self.pulling if each not in exclude and not self.feeds(node, each)][:1]


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
        placement.forget(node)  # it asks: it has none
        home = primary.node_id
        found = placement.sources(node, exclude)
        if home == node and home not in exclude:
            found.insert(0, home)  # on its own disk
        if not found:
            return []
        if found[0] != node:
            placement.attach(node, found[0])
        return [primary if other == home else Block(-1, primary.size, other) for other in found]

    def added(self, object_id: bytes, node: bytes) -> bool:
        """``node`` has a complete copy. False when the object is unknown here."""
        placement = self.placements.get(object_id)
        if placement is None:
            return False
        placement.detach(node)
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
            placement.forget(node)

    def node_dead(self, node: bytes) -> list[bytes]:
        """Forget the node; the objects whose primary it had."""
        lost = []
        for object_id, placement in self.placements.items():
            placement.forget(node)
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
