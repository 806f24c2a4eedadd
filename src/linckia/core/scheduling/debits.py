"""What was sent to nodes and is not yet in what they report: taken out of the view, and put back when it never shows.

A node reports changes only. Work that came and ended between two of its reports changed nothing, so nobody would ever
say that the amount is free again; neither does a node that refused it. Pure; the shell calls `settle` now and then.
"""

from __future__ import annotations

from collections.abc import Iterable

from linckia.core.leases.vectors import Units, add
from linckia.core.scheduling.view import ClusterView


class Debits:
    """Over one view. Every debit lasts for one to two calls of `settle`, unless the node reports before."""

    def __init__(self, view: ClusterView) -> None:
        self._view = view
        self._young: dict[bytes, Units] = {}
        self._old: dict[bytes, Units] = {}

    @property
    def any(self) -> bool:
        """`settle` has something to do."""
        return bool(self._young or self._old)

    def take(self, node_id: bytes, need: Units) -> None:
        """Work was sent there."""
        if need:
            self._view.debit(node_id, need)
            add(self._young.setdefault(node_id, {}), need)

    def reported(self, node_id: bytes, names: Iterable[str]) -> None:
        """The node told these amounts: they are what it has now."""
        for kept in (self._young, self._old):
            amounts = kept.get(node_id)
            if amounts is not None:
                for name in names:
                    amounts.pop(name, None)
                if not amounts:
                    del kept[node_id]

    def settle(self) -> bool:
        """Put back what was old already at the last call; True when the view changed."""
        overdue, self._old, self._young = self._old, self._young, {}
        changed = False
        for node_id, amounts in overdue.items():
            node = self._view.nodes.get(node_id)
            if node is None:
                continue
            back = {
                name: min(node.total[name], node.available.get(name, 0) + count)
                for name, count in amounts.items()
                if name in node.total
            }
            self._view.patch(node_id, back, {})
            changed = changed or bool(back)
        return changed
