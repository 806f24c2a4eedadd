"""Which nodes fit a shape, and which have room for it now: kept up to date by changes, so that a decision does not look
at every node. Pure; owned by ``view.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from linckia.core.leases.vectors import Units, fits

ShapeKey = tuple[tuple[tuple[str, int], ...], tuple[tuple[str, int], ...]]


class NodeSet:
    """Node ids in insertion order until one is discarded; add, discard, contains and a random pick cost the same for
    any size.
    """

    __slots__ = ("_items", "_place")

    def __init__(self) -> None:
        self._items: list[bytes] = []
        self._place: dict[bytes, int] = {}

    def add(self, node_id: bytes) -> None:
        """Idempotent."""
        if node_id not in self._place:
            self._place[node_id] = len(self._items)
            self._items.append(node_id)

    def discard(self, node_id: bytes) -> None:
        """Idempotent; the last one takes its place."""
        place = self._place.pop(node_id, None)
        if place is None:
            return
        last = self._items.pop()
        if last != node_id:
            self._items[place] = last
            self._place[last] = place

    def __contains__(self, node_id: object) -> bool:
        return node_id in self._place

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._items)

    def at(self, index: int) -> bytes:
        """The id at a place, counted from 0."""
        return self._items[index]


class Shape:
    """One resource shape: ``feasible`` nodes could run it when empty, ``available`` ones can now. Nodes that take no
    new work are in neither.
    """

    __slots__ = ("available", "feasible", "gpu_free", "need", "placement")

    def __init__(self, need: Units, placement: Units) -> None:
        self.need, self.placement = dict(need), dict(placement)
        self.feasible, self.available = NodeSet(), NodeSet()
        self.gpu_free = NodeSet()  # available and without GPUs: where work that needs none goes first

    def update(self, node_id: bytes, total: Units, available: Units, *, takes_work: bool) -> None:
        """A node changed."""
        feasible = takes_work and fits(self.need, total) and fits(self.placement, total)
        room = feasible and fits(self.need, available)
        _put(self.feasible, node_id, feasible)
        _put(self.available, node_id, room)
        _put(self.gpu_free, node_id, room and not total.get("GPU"))

    def remove(self, node_id: bytes) -> None:
        """A node left."""
        self.feasible.discard(node_id)
        self.available.discard(node_id)
        self.gpu_free.discard(node_id)


def _put(nodes: NodeSet, node_id: bytes, inside: bool) -> None:
    if inside:
        nodes.add(node_id)
    else:
        nodes.discard(node_id)


class ShapeTable:
    """The shapes asked for most recently; ``fill`` feeds a new one with all nodes. They are found by the names they
    ask for too: news of an amount concerns no others.
    """

    KEPT = 64

    def __init__(self, fill: Callable[[Shape], None]) -> None:
        self._fill = fill
        self._shapes: dict[ShapeKey, Shape] = {}
        self._by_name: dict[str, dict[ShapeKey, Shape]] = {}

    def get(self, need: Units, placement: Units) -> Shape:
        """The index of a shape; made at first use, forgotten when unused for long."""
        key = (tuple(sorted(need.items())), tuple(sorted(placement.items())))
        shape = self._shapes.pop(key, None)
        if shape is None:
            shape = Shape(need, placement)
            self._fill(shape)
            if len(self._shapes) >= self.KEPT:
                self._forget(next(iter(self._shapes)))
            for name in (*need, *placement):
                self._by_name.setdefault(name, {})[key] = shape
        self._shapes[key] = shape
        return shape

    def _forget(self, key: ShapeKey) -> None:
        shape = self._shapes.pop(key)
        for name in {**shape.need, **shape.placement}:
            named = self._by_name[name]
            del named[key]
            if not named:
                del self._by_name[name]

    def asking_for(self, names: Iterable[str]) -> Iterable[Shape]:
        """Those to which the amounts of these names matter, each once."""
        by_name = self._by_name
        found = [by_name[name] for name in names if name in by_name]
        if len(found) == 1:
            return found[0].values()
        return {key: shape for named in found for key, shape in named.items()}.values()

    def __iter__(self) -> Iterator[Shape]:
        return iter(self._shapes.values())
