"""The head's answers to "which nodes keep copies for this owner?", asked when an owner has ended. See
docs/fault-tolerance.md, section Replication.

The table is core/objects/keepers.py's; nothing of it is in the store. A head that took over says what it knows, and the
rest when every node has come and told, or is dead. Built by node/head.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from linckia.core.objects.keepers import KeeperTable
from linckia.gcs.nodes import NodeService
from linckia.protocol import messages as m


class KeeperService:
    """``job_goes_on(job_id)``."""

    def __init__(self, nodes: NodeService, job_goes_on: Callable[[bytes], bool]) -> None:
        self.nodes, self._job_goes_on = nodes, job_goes_on
        self.table = KeeperTable()
        self._knows_all = False  # every node that the last head knew has told, or is dead
        self._waiting: list[tuple[Any, m.FindKeepers]] = []
        nodes.on_dead.append(lambda node, _text: self._node_dead(node.info.node_id))
        nodes.on_resources.append(self._settle)

    def handlers(self) -> dict[type, Callable[[Any, Any], None]]:
        """Message type -> handler(peer, message)."""
        return {
            m.KeepsFor: self.on_keeps,
            m.KeepsNothingFor: self.on_keeps_nothing,
            m.FindKeepers: self.on_find,
        }

    def on_keeps(self, peer: Any, message: m.KeepsFor) -> None:
        """A node keeps something for these."""
        for owner_id, job_id in message.owners:
            if self._job_goes_on(job_id):
                self.table.keeps(peer.peer_id, owner_id, job_id)
        if self._waiting:
            named = {owner_id for owner_id, _ in message.owners}
            for asker, question in self._waiting:
                if question.owner_id in named:
                    self._answer(asker, question, is_final=False)

    def on_keeps_nothing(self, peer: Any, message: m.KeepsNothingFor) -> None:
        """They have ended, and it has nothing of theirs."""
        for owner_id in message.owners:
            self.table.keeps_nothing(peer.peer_id, owner_id)

    def on_find(self, peer: Any, message: m.FindKeepers) -> None:
        """Where to look."""
        self._waiting.append((peer, message))
        self._settle()
        if self._waiting:
            self._answer(peer, message, is_final=False)

    def job_finished(self, job_id: bytes) -> None:
        """What it kept is let go."""
        self.table.job_ended(job_id)

    def _node_dead(self, node_id: bytes) -> None:
        self.table.node_dead(node_id)
        self._settle()

    def _settle(self) -> None:
        """Answer, if all nodes have told this head what they keep."""
        if not self._waiting:
            return
        self._knows_all = self._knows_all or all(node.has_told for node in self.nodes.living())
        if not self._knows_all:
            return
        waiting, self._waiting = self._waiting, []
        for peer, message in waiting:
            self._answer(peer, message, is_final=True)

    def _answer(self, peer: Any, message: m.FindKeepers, *, is_final: bool) -> None:
        nodes, dead = self.table.of(message.owner_id)
        peer.post(m.Keepers(message.rid, nodes, dead, is_final))
