"""What of the cluster's view has changed since when, and who wants to hear of it: raylets with work that they cannot do
themselves. Each hears what is new to it, so that costs grow with changes, not with nodes (P 18). Used by gcs/nodes.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from linckia.base.limits import VIEW_BATCH_S
from linckia.core.scheduling.view import ClusterView
from linckia.gcs.news import pause_between_s
from linckia.gcs.node_record import NodeRecord
from linckia.protocol import messages as m


class ViewChanges:
    """``send(node_id, message)`` reaches a raylet, or not. ``revision`` counts changes."""

    def __init__(
        self,
        view: ClusterView,
        send: Callable[[bytes, m.Message], object],
        call_later: Callable[[float, Callable[[], None]], Any],
    ) -> None:
        self.revision = 0
        self.told: dict[bytes, int] = {}  # who listens: node id -> revision
        self._view, self._send, self._call_later = view, send, call_later
        self._by_change: dict[bytes, NodeRecord] = {}  # living nodes, the one that changed last at the end
        self._flush_scheduled = False

    def changed(self, node: NodeRecord, names: Iterable[str] = ()) -> None:
        """It is new, or has other amounts of these resources than before."""
        self.revision += 1
        node.changed_at = self._view.as_of = self.revision
        self._by_change.pop(node.info.node_id, None)
        self._by_change[node.info.node_id] = node
        for name in names:
            node.changes.pop(name, None)
            node.changes[name] = self.revision
        if self.told and not self._flush_scheduled:
            self._flush_scheduled = True
            self._call_later(pause_between_s(VIEW_BATCH_S, len(self.told)), self._flush)

    def gone(self, node_id: bytes) -> None:
        """It is dead: it neither changes nor listens."""
        self._by_change.pop(node_id, None)
        self.told.pop(node_id, None)

    def on_interest(self, peer: Any, message: m.ViewInterest) -> None:
        """A raylet has work that it cannot do itself, or has no longer."""
        if message.on:
            self._send(peer.peer_id, self._since(message.as_of))
            self.told[peer.peer_id] = self.revision
        else:
            self.told.pop(peer.peer_id, None)

    def _flush(self) -> None:
        """Most were told at the same time, and hear the same."""
        self._flush_scheduled = False
        known: dict[int, m.ViewDelta] = {}
        for node_id, told in self.told.items():
            self._send(node_id, known.get(told) or known.setdefault(told, self._since(told)))
        self.told = dict.fromkeys(self.told, self.revision)

    def _since(self, told: int) -> m.ViewDelta:
        """Of all nodes; who knows better about itself leaves that out."""
        changes = []
        for node in reversed(self._by_change.values()):
            if node.changed_at <= told:
                break
            delta = node.since(told)
            if delta.available or delta.total:
                changes.append(delta)
        return m.ViewDelta(self.revision, changes)
