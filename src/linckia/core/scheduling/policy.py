"""Where one task or actor should go: the policies of Ray (R 4.6-4.13), each answer with its reason. Pure.

Asked by raylets (tasks) and by the GCS (actors) over their cached views. The default policy prefers one node (the
local one, or the one with the argument bytes) until it is half full, then spreads: among ``CHOICES`` random nodes with
room it takes one of the least utilised, which is as good as looking at all of them (the power of d choices,
Mitzenmacher 2001) and does not get slower with more nodes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable
from typing import Protocol

import msgspec

from linckia.base.labels import Selector
from linckia.core.leases import vectors
from linckia.core.leases.vectors import Units
from linckia.core.placement.names import group_of
from linckia.core.scheduling.shapes import NodeSet, Shape
from linckia.core.scheduling.view import ClusterView, NodeView
from linckia.model.placement import DEFAULT, LabelRule, Strategy

SPREAD_THRESHOLD = 0.5
CHOICES = 24
TOP_SHARE = 0.2
EXPLAINED_NODES_MAX = 5


class Rng(Protocol):
    """What policies need of random.Random."""

    def random(self) -> float:
        """From 0 up to 1."""
        ...


class Ask(msgspec.Struct, frozen=True):
    """``placement`` only decides which nodes are feasible (R 2.2). ``preferred`` is a node id or empty."""

    need: Units
    placement: Units = {}
    strategy: Strategy = DEFAULT
    preferred: bytes = b""
    name: str = ""


class Decision:
    """``kind``: node (go there), busy (``node_id`` is where to wait), infeasible (until the cluster changes),
    unschedulable (never). ``reason`` is made when it is read.
    """

    __slots__ = ("_why", "kind", "node_id")

    def __init__(self, kind: str, node_id: bytes, why: Callable[[], str] | str) -> None:
        self.kind, self.node_id, self._why = kind, node_id, why

    @property
    def reason(self) -> str:
        """A sentence that says what is missing, or why this node."""
        return self._why if isinstance(self._why, str) else self._why()

    def __repr__(self) -> str:
        return f"Decision({self.kind}, {self.node_id.hex()[:8]}, {self.reason!r})"


class Scheduler:
    """The policies; keeps only where SPREAD went last, per shape."""

    def __init__(self) -> None:
        self._spread: dict[tuple[tuple[str, int], ...], int] = {}
        self._matching: dict[object, tuple[int, frozenset[bytes]]] = {}

    def decide(self, view: ClusterView, ask: Ask, rng: Rng, *, exclude: Collection[bytes] = ()) -> Decision:
        """One request against the view. Costs no more with more nodes, but where labels must be matched anew."""
        strategy = ask.strategy
        if strategy.kind == "NODE_AFFINITY":
            return self._affinity(view, ask, rng, exclude)
        shape = view.shape(ask.need, ask.placement)
        if strategy.kind == "NODE_LABEL":
            return self._labelled(view, ask, shape, rng, exclude)
        if strategy.selectors:
            return self._selected(view, ask, shape, rng, exclude)
        return self._choose(view, ask, shape, rng, exclude, None)

    # --- choosing among allowed nodes ---------------------------------------------------------------------------------

    def _choose(
        self,
        view: ClusterView,
        ask: Ask,
        shape: Shape,
        rng: Rng,
        exclude: Collection[bytes],
        allowed: frozenset[bytes] | None,
    ) -> Decision:
        """``allowed`` None: all nodes."""
        if ask.strategy.kind == "SPREAD":
            found = self._next_in_turn(shape, exclude, allowed)
        elif not ask.need:
            found = _pick(shape.available, rng, exclude, allowed)
        else:
            found = _hybrid(view, ask, shape, rng, exclude, allowed)
        if found:
            return Decision("node", found, lambda: f"node {found.hex()[:8]} has room for {vectors.describe(ask.need)}")
        waiting = ask.preferred if _may(ask.preferred, shape.feasible, exclude, allowed) else b""
        waiting = waiting or _pick(shape.feasible, rng, exclude, allowed)
        if waiting:
            return Decision("busy", waiting, lambda: _busy_text(view, ask, shape, allowed))
        return Decision("infeasible", b"", lambda: _infeasible_text(view, ask, allowed))

    def _next_in_turn(self, shape: Shape, exclude: Collection[bytes], allowed: frozenset[bytes] | None) -> bytes:
        """Round robin over the feasible nodes, skipping those without room (R 4.9)."""
        key, count = vectors.shape_of(shape.need), len(shape.feasible)
        start = self._spread.get(key, -1)
        for step in range(1, count + 1):
            index = (start + step) % count
            node_id = shape.feasible.at(index)
            if node_id in shape.available and _may(node_id, shape.feasible, exclude, allowed):
                self._spread[key] = index
                return node_id
        return b""

    # --- strategies ---------------------------------------------------------------------------------------------------

    def _affinity(self, view: ClusterView, ask: Ask, rng: Rng, exclude: Collection[bytes]) -> Decision:
        """R 4.10: a living node that could run it gets it, and it waits there; else soft goes elsewhere."""
        strategy, node = ask.strategy, view.nodes.get(ask.strategy.node_id)
        name = strategy.node_id.hex()
        elsewhere = msgspec.structs.replace(ask, strategy=Strategy(selectors=strategy.selectors))
        selector_misses = node is not None and not _matches_any(node, strategy.selectors)
        fits = node is not None and vectors.fits(ask.need, node.total) and vectors.fits(ask.placement, node.total)
        if node is None or not fits or selector_misses:
            if strategy.soft:
                return self.decide(view, elsewhere, rng, exclude=exclude)
            if node is None:
                return Decision(
                    "unschedulable",
                    b"",
                    f"node {name} is not in the cluster, and the affinity is hard",
                )
            return Decision("unschedulable", b"", f"node {name} can never run it, and the affinity is hard")
        if vectors.fits(ask.need, node.available) and node.takes_work:
            return Decision("node", node.node_id, f"affinity to node {name}")
        if strategy.spill_on_unavailable:
            decision = self.decide(view, elsewhere, rng, exclude=exclude)
            if decision.kind == "node":
                return decision
        if strategy.fail_on_unavailable:
            return Decision(
                "unschedulable",
                b"",
                f"node {name} has no room for {vectors.describe(ask.need)} now, and the affinity says to fail then",
            )
        return Decision("busy", node.node_id, f"it waits for {vectors.describe(ask.need)} on node {name} (affinity)")

    def _labelled(self, view: ClusterView, ask: Ask, shape: Shape, rng: Rng, exclude: Collection[bytes]) -> Decision:
        """R 2.12: all hard rules; among those nodes rather the ones that match the soft rules too."""
        strategy = ask.strategy
        hard = self._nodes_with(view, ("hard", _rules_key(strategy.hard_labels)), _rules(strategy.hard_labels))
        soft = self._nodes_with(view, ("hard", _rules_key(strategy.soft_labels)), _rules(strategy.soft_labels))
        plain = msgspec.structs.replace(ask, strategy=DEFAULT)
        both = hard & soft
        if strategy.soft_labels and both:
            decision = self._choose(view, plain, shape, rng, exclude, both)
            if decision.kind == "node":
                return decision
        return self._choose(view, plain, shape, rng, exclude, hard)

    def _selected(self, view: ClusterView, ask: Ask, shape: Shape, rng: Rng, exclude: Collection[bytes]) -> Decision:
        """R 4.11: the selectors in order; the first that some node could serve decides, busy ones give way to a later
        one that has room.
        """
        first_busy: Decision | None = None
        last: Decision | None = None
        for selector in ask.strategy.selectors:
            key = ("selector", tuple(selector.items()))
            allowed = self._nodes_with(view, key, _selector(selector))
            last = self._choose(view, ask, shape, rng, exclude, allowed)
            if last.kind == "node":
                return last
            if last.kind == "busy" and first_busy is None:
                first_busy = last
        assert last is not None
        return first_busy or last

    def _nodes_with(self, view: ClusterView, key: object, matches: Callable[[NodeView], bool]) -> frozenset[bytes]:
        """Nodes whose labels match; computed once per change of membership."""
        known = self._matching.get(key)
        if known is None or known[0] != view.members:
            if len(self._matching) > 256:
                self._matching.clear()
            found = frozenset(node.node_id for node in view.nodes.values() if matches(node))
            known = self._matching[key] = (view.members, found)
        return known[1]


# --- helpers ----------------------------------------------------------------------------------------------------------


def _hybrid(
    view: ClusterView,
    ask: Ask,
    shape: Shape,
    rng: Rng,
    exclude: Collection[bytes],
    allowed: frozenset[bytes] | None,
) -> bytes:
    """R 4.7: the preferred node below the threshold, else one of the best of some random nodes with room."""
    avoid_gpus = "GPU" not in ask.need and len(shape.gpu_free) > 0
    room = shape.gpu_free if avoid_gpus else shape.available
    preferred = ask.preferred
    if _may(preferred, room, exclude, allowed) and view.nodes[preferred].utilisation(ask.need) < SPREAD_THRESHOLD:
        return preferred
    candidates = _sample(room, rng, exclude, allowed)
    if not candidates and avoid_gpus:
        candidates = _sample(shape.available, rng, exclude, allowed)
    if not candidates:
        return b""
    if _may(preferred, room, exclude, allowed) and preferred not in candidates:
        candidates.append(preferred)

    def score(node_id: bytes) -> tuple[float, bool]:
        used = view.nodes[node_id].utilisation(ask.need)
        return (used if used >= SPREAD_THRESHOLD else 0.0, node_id != preferred)

    candidates.sort(key=score)
    best = score(candidates[0])
    if not best[1]:
        return candidates[0]  # the preferred node wins ties
    top = max(1, int(len(candidates) * TOP_SHARE))
    return candidates[int(rng.random() * top)]


def _sample(nodes: NodeSet, rng: Rng, exclude: Collection[bytes], allowed: frozenset[bytes] | None) -> list[bytes]:
    """Up to CHOICES of them; few enough are taken all, and a filter is looked through from a random place on."""
    count = len(nodes)
    if count <= CHOICES:
        return [node_id for node_id in nodes if _may(node_id, nodes, exclude, allowed)]
    start = int(rng.random() * count)
    if allowed is not None:
        in_turn = (nodes.at((start + step) % count) for step in range(count))
        return list(itertools.islice((n for n in in_turn if _may(n, nodes, exclude, allowed)), CHOICES))
    stride = max(1, count // CHOICES)
    found = [nodes.at((start + step * stride) % count) for step in range(CHOICES)]
    return [node_id for node_id in found if node_id not in exclude] or [n for n in nodes if n not in exclude]


def _pick(nodes: NodeSet, rng: Rng, exclude: Collection[bytes], allowed: frozenset[bytes] | None) -> bytes:
    """A random one, or empty."""
    if not len(nodes):
        return b""
    for _ in range(4):
        node_id = nodes.at(int(rng.random() * len(nodes)))
        if _may(node_id, nodes, exclude, allowed):
            return node_id
    found = [node_id for node_id in nodes if _may(node_id, nodes, exclude, allowed)]
    return found[int(rng.random() * len(found))] if found else b""


def _may(node_id: bytes, nodes: NodeSet, exclude: Collection[bytes], allowed: frozenset[bytes] | None) -> bool:
    return node_id in nodes and node_id not in exclude and (allowed is None or node_id in allowed)


def _matches_any(node: NodeView, selectors: Iterable[dict[str, str]]) -> bool:
    found = [Selector.parse(selector).matches(node.labels) for selector in selectors]
    return not found or any(found)


def _selector(selector: dict[str, str]) -> Callable[[NodeView], bool]:
    parsed = Selector.parse(selector)
    return lambda node: parsed.matches(node.labels)


def _rules_key(rules: list[LabelRule]) -> tuple[object, ...]:
    return tuple((rule.key, rule.operator, tuple(rule.values)) for rule in rules)


def _rules(rules: list[LabelRule]) -> Callable[[NodeView], bool]:
    def matches(node: NodeView) -> bool:
        for rule in rules:
            value = node.labels.get(rule.key)
            holds = {
                "in": value in rule.values,
                "not_in": value not in rule.values,
                "exists": value is not None,
                "absent": value is None,
            }[rule.operator]
            if not holds:
                return False
        return True

    return matches


def _busy_text(view: ClusterView, ask: Ask, shape: Shape, allowed: frozenset[bytes] | None) -> str:
    count = sum(1 for node_id in shape.feasible if allowed is None or node_id in allowed)
    some = [
        f"{node_id.hex()[:8]} has {_free(view.nodes[node_id], ask.need)}"
        for node_id in list(shape.feasible)[:EXPLAINED_NODES_MAX]
        if allowed is None or node_id in allowed
    ]
    return f"it needs {vectors.describe(ask.need)}; {count} nodes could run it, none has room: {', '.join(some)}"


def _free(node: NodeView, need: Units) -> str:
    return vectors.describe({name: max(0, node.available.get(name, 0)) for name in need})


def _infeasible_text(view: ClusterView, ask: Ask, allowed: frozenset[bytes] | None) -> str:
    wanted = ask.need if any(True for _ in ask.need) else ask.placement
    if allowed is not None and not allowed:
        return f"no node has the labels it asks for: {_labels_text(ask.strategy)}"
    group = group_of(ask.need)
    if group:
        return f"it waits for a bundle with room in placement group {group} (not reserved yet, or all too small)"
    absent = [
        node.node_id.hex()[:8]
        for node in view.nodes.values()
        if not node.takes_work and (allowed is None or node.node_id in allowed) and vectors.fits(wanted, node.total)
    ]
    if absent:
        return (
            f"needs {vectors.describe(wanted)}; nodes that have it get nothing new now, as they do not answer or are "
            f"about to leave: {', '.join(absent[:EXPLAINED_NODES_MAX])}"
        )
    largest = {
        name: max((node.total.get(name, 0) for node in view.nodes.values()), default=0)
        for name in {**ask.placement, **wanted}
    }
    return (
        f"needs {vectors.describe(wanted)}, no single node of {len(view.nodes)} has that; "
        f"the most that one node has is {vectors.describe(largest)}"
    )


def _labels_text(strategy: Strategy) -> str:
    if strategy.selectors:
        return " or ".join(str(selector) for selector in strategy.selectors)
    return ", ".join(f"{rule.key} {rule.operator} {rule.values}" for rule in strategy.hard_labels)
