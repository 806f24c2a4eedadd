"""The head's table of which nodes keep copies for which owners: where to ask for a value whose owner has ended.

Derived state: nodes say it once per owner, and again to a head that is new to them. A superset: a node stays in it
until its owner has ended and nothing of it is kept there, until it dies, or until the job ends. Bounded by a budget;
the owners that were named first go first. Called by ``gcs/keepers.py``.
"""

from __future__ import annotations

from linckia.base.limits import KEEPERS_MAX_BYTES
from linckia.core.tables.budget import Ledger, TableFacts
from linckia.core.tables.index import Index

OWNER_BYTES, NODE_BYTES = 1000, 250
"""Of an owner's entry, and of each node in it, with what the indexes take: measured (tests/unit/core/objects)."""


class _Entry:
    __slots__ = ("dead", "job_id", "nodes")

    def __init__(self, job_id: bytes) -> None:
        self.job_id = job_id
        self.nodes: dict[bytes, None] = {}
        self.dead: dict[bytes, None] = {}


class KeeperTable:
    """By owner (worker id)."""

    def __init__(self, budget_bytes: int = KEEPERS_MAX_BYTES) -> None:
        self.owners: dict[bytes, _Entry] = {}
        self._of_node: Index[bytes, bytes] = Index()
        self._of_job: Index[bytes, bytes] = Index()
        self._ledger: Ledger[bytes] = Ledger(budget_bytes, "the owners that were named first")

    def keeps(self, node_id: bytes, owner_id: bytes, job_id: bytes) -> None:
        """A node keeps copies for this owner. Idempotent."""
        entry = self.owners.get(owner_id)
        if entry is None:
            entry = self.owners[owner_id] = _Entry(job_id)
            self._of_job.add(job_id, owner_id)
        entry.nodes[node_id] = None
        entry.dead.pop(node_id, None)
        self._of_node.add(node_id, owner_id)
        for oldest in self._ledger.add(owner_id, OWNER_BYTES + NODE_BYTES * (len(entry.nodes) + len(entry.dead))):
            self._remove(oldest)

    def keeps_nothing(self, node_id: bytes, owner_id: bytes) -> None:
        """The owner has ended, and the node has nothing of it. Idempotent."""
        entry = self.owners.get(owner_id)
        if entry is None or node_id not in entry.nodes:
            return
        del entry.nodes[node_id]
        self._of_node.discard(node_id, owner_id)
        if not entry.nodes and not entry.dead:
            self._forget(owner_id)

    def node_dead(self, node_id: bytes) -> None:
        """Its copies are gone; that there were some is remembered, for who looks for them."""
        for owner_id in self._of_node.pop(node_id):
            entry = self.owners[owner_id]
            del entry.nodes[node_id]
            entry.dead[node_id] = None

    def job_ended(self, job_id: bytes) -> None:
        """Nothing of it outlives its owners."""
        for owner_id in self._of_job.of(job_id):
            self._forget(owner_id)

    def of(self, owner_id: bytes) -> tuple[list[bytes], list[bytes]]:
        """(living nodes that may keep something of this owner, dead ones that did)."""
        entry = self.owners.get(owner_id)
        return (list(entry.nodes), list(entry.dead)) if entry is not None else ([], [])

    def facts(self) -> TableFacts:
        """For `linckia status -v`."""
        return self._ledger.facts("replica_keepers", 0)

    def _forget(self, owner_id: bytes) -> None:
        self._ledger.remove(owner_id)
        self._remove(owner_id)

    def _remove(self, owner_id: bytes) -> None:
        entry = self.owners.pop(owner_id)
        self._of_job.discard(entry.job_id, owner_id)
        for node_id in entry.nodes:
            self._of_node.discard(node_id, owner_id)
