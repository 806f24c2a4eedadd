"""A view that takes out what was sent to nodes and is not yet in their reports, and puts it back when it never shows.

A node reports changes only. Work that came and ended between two of its reports changed nothing, so nobody would ever
say that the amount is free again; neither does a node that refused it. Pure; the shell calls `settle` while it is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from linckia.core.leases.vectors import Units, add
from linckia.core.scheduling.view import ClusterView

SETTLE_EVERY_S = 0.25


class SettlingView(ClusterView):
    """Every debit lasts for one to two calls of `settle`, unless the node reports before. ``unsettled`` is called when
    there is something to settle: then `settle` wants to be called every ``SETTLE_EVERY_S`` until `is_settled`.
    """

    def __init__(self, unsettled: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self._unsettled = unsettled
        self._young: dict[bytes, Units] = {}
        self._old: dict[bytes, Units] = {}

    @property
    def is_settled(self) -> bool:
        """`settle` has nothing to do."""
        return not self._young and not self._old

    def unsettled_of(self, node_id: bytes) -> Units:
        """What was sent to a node and is not in its reports."""
        found = dict(self._young.get(node_id, {}))
        add(found, self._old.get(node_id, {}))
        return found

    def debit(self, node_id: bytes, need: Units) -> None:
        """Work was sent there."""
        super().debit(node_id, need)
        if need:
            was_settled = self.is_settled
            add(self._young.setdefault(node_id, {}), need)
            if was_settled:
                self._unsettled()

    def patch(self, node_id: bytes, available: Units, total: Units) -> None:
        """What the node tells is what it has now."""
        self._told(node_id, available)
        super().patch(node_id, available, total)

    def report(self, node_id: bytes, available: Units, total: Units | None = None) -> None:
        """Everything it has."""
        self._young.pop(node_id, None)
        self._old.pop(node_id, None)
        super().report(node_id, available, total)

    def _told(self, node_id: bytes, names: Iterable[str]) -> None:
        for kept in (self._young, self._old):
            amounts = kept.get(node_id)
            if amounts is not None:
                for name in names:
                    amounts.pop(name, None)
                if not amounts:
                    del kept[node_id]

    def settle(self) -> bool:
        """Put back what was old already at the last call; True when that made room."""
        overdue, self._old, self._young = self._old, self._young, {}
        changed = False
        for node_id, amounts in overdue.items():
            node = self.nodes.get(node_id)
            if node is None:
                continue
            back = {
                name: min(node.total[name], node.available.get(name, 0) + count)
                for name, count in amounts.items()
                if name in node.total
            }
            super().patch(node_id, back, {})
            changed = changed or bool(back)
        return changed
