"""Which node gets which bundle of a placement group: all of them or none, with the reason (R 6.3-6.7, 6.21). Pure.

Greedy, largest bundle first and the most constrained first where nodes must differ; the answer is a plan over a cached
view, so nodes may still say no (gcs/placement_groups.py prepares and commits).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from linckia.base.labels import Selector
from linckia.core.leases import vectors
from linckia.core.leases.vectors import Units
from linckia.core.scheduling.shapes import NodeSet
from linckia.core.scheduling.view import ClusterView, NodeView

STRATEGIES = ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")
ALL_LOOKED_AT_MAX = 128
"""So many nodes are all looked at; of more at first only SOME_NODES, and two for each bundle."""
SOME_NODES = 64
NO_ROOM = "no_resources"


class BundleAsk(msgspec.Struct, frozen=True):
    """``fixed``: bundles that stay where they are. ``selectors``: one per bundle, or none at all."""

    bundles: list[Units]
    strategy: str = "PACK"
    fixed: dict[int, bytes] = {}
    selectors: list[dict[str, str]] = []
    soft_target: bytes = b""


class Placed(msgspec.Struct, frozen=True):
    """Node per bundle that was not fixed."""

    nodes: dict[int, bytes]


class NotPlaced(msgspec.Struct, frozen=True):
    """``kind``: no_resources (wait) or infeasible (until nodes join)."""

    kind: str
    reason: str


def place_bundles(view: ClusterView, ask: BundleAsk, turn: int = 0) -> Placed | NotPlaced:
    """A node for each bundle, or why there is none. With many nodes some of those with room are tried first, others for
    each ``turn``: the best of some is nearly the best of all (Mitzenmacher 2001). "No" is said of all nodes.
    """
    found = _place_on(view, ask, turn, empty=False)
    if found is not None:
        return Placed(found)
    possible = _place_on(view, msgspec.structs.replace(ask, fixed={}), turn, empty=True)
    need = ", ".join(vectors.describe(bundle) for bundle in ask.bundles[:4])
    more = f" and {len(ask.bundles) - 4} more" if len(ask.bundles) > 4 else ""
    what = f"{len(ask.bundles)} bundles ({need}{more}) with {ask.strategy}"
    count = sum(1 for node in view.nodes.values() if node.takes_work)
    if possible is None:
        return NotPlaced("infeasible", f"{what} do not fit into the {count} nodes even when they are empty")
    return NotPlaced(NO_ROOM, f"{what} do not fit into what is free on {count} nodes")


def place_as_if_empty(
    view: ClusterView, ask: BundleAsk, turn: int = 0, without: Collection[bytes] = ()
) -> dict[int, bytes] | None:
    """A node for each bundle if nodes had nothing else to do, other nodes than ``without``; None: there are none."""
    return _place_on(view, ask, turn, empty=True, without=without)


def _place_on(
    view: ClusterView, ask: BundleAsk, turn: int, *, empty: bool, without: Collection[bytes] = ()
) -> dict[int, bytes] | None:
    """Into what is free, or into nodes as if they were ``empty``."""
    if len(view.nodes) <= ALL_LOOKED_AT_MAX:
        nodes = [node for node in view.nodes.values() if node.takes_work and node.node_id not in without]
        return _place_among(nodes, ask, empty=empty)
    sets = _with_room(view, ask, empty=empty)
    if not all(len(nodes) for nodes in sets):
        return None  # some bundle fits nowhere
    special = {*ask.fixed.values(), ask.soft_target}
    at_first = SOME_NODES + 2 * len(ask.bundles)
    some = special.union(*(_some(nodes, at_first, turn) for nodes in sets)).difference(without)
    found = _place_among(_in_order(view, some), ask, empty=empty)
    if found is None and any(len(nodes) > at_first for nodes in sets):
        found = _place_among(_in_order(view, special.union(*sets).difference(without)), ask, empty=empty)
    return found


def _with_room(view: ClusterView, ask: BundleAsk, *, empty: bool) -> list[NodeSet]:
    """For each kind of bundle that needs a node, the nodes that could take one: kept by the view, not looked for."""
    todo = [units for index, units in enumerate(ask.bundles) if index not in ask.fixed]
    if ask.strategy == "STRICT_PACK":
        todo = [vectors.together(todo)]
    kinds = {vectors.shape_of(units): units for units in todo}
    shapes = [view.shape(units, {}) for units in kinds.values()]
    return [shape.feasible if empty else shape.available for shape in shapes]


def _some(nodes: NodeSet, count: int, turn: int) -> list[bytes]:
    """So many, at equal distances, others in each turn."""
    size = len(nodes)
    if size <= count:
        return list(nodes)
    stride = size // count
    return [nodes.at((turn + step * stride) % size) for step in range(count)]


def _in_order(view: ClusterView, node_ids: Collection[bytes]) -> list[NodeView]:
    """Those that are there and take work; by id, so that equal views give equal plans."""
    found = (view.nodes.get(node_id) for node_id in sorted(node_ids))
    return [node for node in found if node is not None and node.takes_work]


def _place_among(nodes: Sequence[NodeView], ask: BundleAsk, *, empty: bool) -> dict[int, bytes] | None:
    return _place(nodes, {node.node_id: dict(node.total if empty else node.available) for node in nodes}, ask)


def _place(nodes: Sequence[NodeView], free: dict[bytes, Units], ask: BundleAsk) -> dict[int, bytes] | None:
    todo = [index for index in range(len(ask.bundles)) if index not in ask.fixed]
    allowed = {index: _allowed(nodes, ask, index) for index in todo}
    match ask.strategy:
        case "STRICT_PACK":
            return _on_one(nodes, free, ask, todo, allowed)
        case "STRICT_SPREAD":
            return _apart(free, ask, todo, allowed)
        case "SPREAD":
            return _spread(free, ask, todo, allowed)
        case _:
            return _on_one(nodes, free, ask, todo, allowed) or _on_few(free, ask, todo, allowed)


def _allowed(nodes: Sequence[NodeView], ask: BundleAsk, index: int) -> list[bytes]:
    if not ask.selectors or not ask.selectors[index]:
        return [node.node_id for node in nodes]
    selector = Selector.parse(ask.selectors[index])
    return [node.node_id for node in nodes if selector.matches(node.labels)]


def _on_one(
    nodes: Sequence[NodeView],
    free: dict[bytes, Units],
    ask: BundleAsk,
    todo: list[int],
    allowed: Mapping[int, list[bytes]],
) -> dict[int, bytes] | None:
    """All on one node: that of the fixed ones, the soft target, or the fullest that still fits."""
    together = vectors.together(ask.bundles[index] for index in todo)
    candidates = [n.node_id for n in nodes if all(n.node_id in allowed[index] for index in todo)]
    if ask.fixed:
        homes = set(ask.fixed.values())
        candidates = [node_id for node_id in candidates if homes == {node_id}]
    fitting = [node_id for node_id in candidates if vectors.fits(together, free[node_id])]
    if not fitting:
        return None
    chosen = ask.soft_target if ask.soft_target in fitting else min(fitting, key=lambda n: _left(free[n], together))
    return dict.fromkeys(todo, chosen)


def _left(free: Units, need: Units) -> tuple[int, ...]:
    return tuple(free.get(name, 0) - count for name, count in sorted(need.items()))


def _largest_first(ask: BundleAsk, todo: list[int]) -> list[int]:
    return sorted(todo, key=lambda index: (-max(ask.bundles[index].values(), default=0), index))


def _on_few(
    free: dict[bytes, Units], ask: BundleAsk, todo: list[int], allowed: Mapping[int, list[bytes]]
) -> dict[int, bytes] | None:
    """As few nodes as greedily possible: fill the node that takes most of what is left, again and again."""
    placed: dict[int, bytes] = {}
    left = _largest_first(ask, todo)
    used = list(dict.fromkeys(ask.fixed.values()))
    while left:
        best: tuple[int, bytes, list[int]] | None = None
        for node_id in free:
            taken = _fill(free[node_id], ask, [index for index in left if node_id in allowed[index]])
            rank = len(taken) * 2 + (node_id in used)
            if taken and (best is None or rank > best[0]):
                best = (rank, node_id, taken)
        if best is None:
            return None
        _, node_id, taken = best
        for index in taken:
            vectors.subtract(free[node_id], ask.bundles[index])
            placed[index] = node_id
        left = [index for index in left if index not in placed]
    return placed


def _fill(free: Units, ask: BundleAsk, todo: list[int]) -> list[int]:
    room, taken = dict(free), []
    for index in todo:
        if vectors.fits(ask.bundles[index], room):
            vectors.subtract(room, ask.bundles[index])
            taken.append(index)
    return taken


def _spread(
    free: dict[bytes, Units], ask: BundleAsk, todo: list[int], allowed: Mapping[int, list[bytes]]
) -> dict[int, bytes] | None:
    """Nodes with the fewest bundles first; they may have to share."""
    counts = dict.fromkeys(free, 0)
    for node_id in ask.fixed.values():
        counts[node_id] = counts.get(node_id, 0) + 1
    placed: dict[int, bytes] = {}
    for index in _largest_first(ask, todo):
        need = ask.bundles[index]
        fitting = [node_id for node_id in allowed[index] if vectors.fits(need, free[node_id])]
        if not fitting:
            return None
        chosen = min(fitting, key=lambda n: (counts[n], [-left for left in _left(free[n], need)]))
        counts[chosen] += 1
        vectors.subtract(free[chosen], need)
        placed[index] = chosen
    return placed


def _apart(
    free: dict[bytes, Units], ask: BundleAsk, todo: list[int], allowed: Mapping[int, list[bytes]]
) -> dict[int, bytes] | None:
    """A node of its own for each: a matching, by augmenting paths (Kuhn 1955)."""
    taken = set(ask.fixed.values())
    choices = {
        index: [n for n in allowed[index] if n not in taken and vectors.fits(ask.bundles[index], free[n])]
        for index in todo
    }
    holder: dict[bytes, int] = {}

    def assign(index: int, seen: set[bytes]) -> bool:
        for node_id in choices[index]:
            if node_id in seen:
                continue
            seen.add(node_id)
            if node_id not in holder or assign(holder[node_id], seen):
                holder[node_id] = index
                return True
        return False

    for index in sorted(todo, key=lambda each: len(choices[each])):
        if not assign(index, set()):
            return None
    return {index: node_id for node_id, index in holder.items()}
