"""A board of nodes on which demand is laid out: existing ones, those on their way, and those a plan would add. Pure.

First fit on what is there, then on the best new node: the one whose labels match, that has no GPU when none is asked
for, that is used most by the demand, with the highest priority (R 10.7). Used by plan.py.
"""

from __future__ import annotations

from collections.abc import Mapping

from linckia.base.labels import Selector
from linckia.core.autoscaling.records import Amounts, Gang, NodeType

EPSILON = 1e-9


class Slot:
    """One node on the board. ``added``: only in the plan."""

    def __init__(
        self,
        node_type: str,
        free: Mapping[str, float],
        labels: Mapping[str, str],
        *,
        node_id: bytes = b"",
        added: bool = False,
    ) -> None:
        self.node_type, self.free, self.labels = node_type, dict(free), dict(labels)
        self.node_id, self.added = node_id, added
        self.needed = False

    def fits(self, need: Amounts, selector: dict[str, str] | None = None) -> bool:
        """Whether there is room and the labels match."""
        if any(self.free.get(name, 0.0) + EPSILON < amount for name, amount in need.items()):
            return False
        return not selector or Selector.parse(selector).matches(self.labels)

    def take(self, need: Amounts) -> None:
        """Use it."""
        self.needed = True
        for name, amount in need.items():
            self.free[name] = self.free.get(name, 0.0) - amount


class Board:
    """The slots, and how many more of each type may be added."""

    def __init__(self, slots: list[Slot], room: dict[str, int], room_in_all: int, types: list[NodeType]) -> None:
        self.slots, self.room, self.room_in_all, self.types = slots, room, room_in_all, types

    def add(self, node_type: NodeType) -> Slot:
        """One more node of that type."""
        self.room[node_type.name] -= 1
        self.room_in_all -= 1
        slot = Slot(node_type.name, node_type.resources, node_type.labels, added=True)
        self.slots.append(slot)
        return slot

    def place(self, need: Amounts, selectors: list[dict[str, str]]) -> str:
        """One task or actor; empty when it found a place, else why not."""
        for selector in selectors or [{}]:
            for slot in self.slots:
                if slot.fits(need, selector):
                    slot.take(need)
                    return ""
        for selector in selectors or [{}]:
            best = self.best_type(need, selector)
            if best is not None:
                self.add(best).take(need)
                return ""
        return self.why_not(need, selectors)

    def best_type(self, need: Amounts, *selectors: dict[str, str]) -> NodeType | None:
        """The type to add for this need, if one is allowed; its labels match all selectors."""
        fitting = [
            each
            for each in self.types
            if self.room[each.name] > 0
            and self.room_in_all > 0
            and all(Slot("", each.resources, each.labels).fits(need, one) for one in selectors or ({},))
        ]
        return max(fitting, key=lambda each: self._score(each, need), default=None)

    def _score(self, node_type: NodeType, need: Amounts) -> tuple[bool, int, float, float]:
        wastes_gpu = bool(node_type.resources.get("GPU")) and not need.get("GPU")
        shares = [
            need.get(name, 0.0) / total for name, total in node_type.resources.items() if total and name != "memory"
        ]
        return (not wastes_gpu, node_type.priority, min(shares, default=0.0), sum(shares) / max(1, len(shares)))

    def why_not(self, need: Amounts, selectors: list[dict[str, str]]) -> str:
        """Why no node can be added for it."""
        able = [
            each.name
            for each in self.types
            if any(Slot("", each.resources, each.labels).fits(need, selector) for selector in selectors or [{}])
        ]
        if not able:
            return "no node type can hold it"
        return f"node types {able} could hold it, but max_workers is reached"

    def place_gang(self, gang: Gang) -> str:
        """All bundles or none: empty when placed, else why not. The board is unchanged when it fails."""
        before = (
            [(slot, dict(slot.free), slot.needed) for slot in self.slots], dict(self.room), self.room_in_all
        )  # fmt: skip
        why = self._try_gang(gang)
        if why:
            states, self.room, self.room_in_all = before
            self.slots = [slot for slot, _, _ in states]
            for slot, free, needed in states:
                slot.free, slot.needed = free, needed
        return why

    def _try_gang(self, gang: Gang) -> str:
        selectors = gang.selectors or [{} for _ in gang.bundles]
        if gang.strategy == "STRICT_PACK":
            return self._together(gang.bundles, selectors)
        used = set(gang.fixed)
        pairs = zip(gang.bundles, selectors, strict=True)
        for bundle, selector in sorted(pairs, key=lambda pair: -max(pair[0].values(), default=0.0)):
            slot = self._slot_for(bundle, selector, gang.strategy, used)
            if slot is None:
                return self.why_not(bundle, [selector])
            slot.take(bundle)
            used.add(slot.node_id or id_of(self.slots, slot))
        return ""

    def _together(self, bundles: list[Amounts], selectors: list[dict[str, str]]) -> str:
        """All bundles on one node that matches every selector."""
        need: Amounts = {}
        for bundle in bundles:
            for name, amount in bundle.items():
                need[name] = need.get(name, 0.0) + amount
        slot = next((each for each in self.slots if all(each.fits(need, one) for one in selectors)), None)
        if slot is None:
            best = self.best_type(need, *selectors)
            if best is None:
                return self.why_not(need, selectors[:1])
            slot = self.add(best)
        slot.take(need)
        return ""

    def _slot_for(self, bundle: Amounts, selector: dict[str, str], strategy: str, used: set[bytes]) -> Slot | None:
        fitting = [slot for slot in self.slots if slot.fits(bundle, selector)]
        fresh = [slot for slot in fitting if (slot.node_id or id_of(self.slots, slot)) not in used]
        if strategy == "STRICT_SPREAD":
            fitting = fresh
        elif strategy == "SPREAD":
            fitting = fresh or fitting
        if fitting:
            return fitting[0]
        best = self.best_type(bundle, selector)
        return self.add(best) if best is not None else None


def id_of(slots: list[Slot], slot: Slot) -> bytes:
    """A stand-in id for a node that does not exist yet."""
    return b"slot %d" % slots.index(slot)
