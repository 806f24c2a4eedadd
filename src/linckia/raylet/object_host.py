"""Everything of a node that has to do with objects: the store, spilling to disk, copies of other nodes' objects.

Wires the three together and gives the raylet one thing to tell when processes and nodes come and go. Built by
raylet/service.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from linckia.base.addresses import node_of
from linckia.protocol import messages as m
from linckia.raylet.orphan_repair import Members, OrphanRepairer
from linckia.raylet.orphans import OrphanFinder
from linckia.raylet.pull_manager import PullManager
from linckia.raylet.replicas import CLIENT as REPLICAS
from linckia.raylet.replicas import ORPHANS, ReplicaHost
from linckia.raylet.spilling import SpillHost
from linckia.raylet.store_host import StoreHost
from linckia.shm import pressure
from linckia.shm.spill_files import SpillFiles

if TYPE_CHECKING:
    from linckia.raylet.service import Raylet


class ObjectHost:
    """One per raylet."""

    def __init__(self, raylet: Raylet) -> None:
        self.raylet = raylet
        options, reactor = raylet.options, raylet.reactor
        node = options.node
        self.store = StoreHost(reactor, options.segment, raylet.post_to, raylet.recent)
        files = SpillFiles(options.spill_dir, node.node_id.hex())
        self.spill = SpillHost(reactor, self.store, files, raylet.connection_of)
        here = f"node {node.node_id.hex()[:8]} ({node.node_ip})"
        self.pulls = PullManager(reactor, node.node_id, here, self.store, options.identity, self)
        self.pulls.spilled = self.spill.source
        self.pulls.links.on_unreachable = raylet.desk.cluster.avoid
        self.replicas = ReplicaHost(self.pulls, self.store.core.capacity_bytes, self)
        self.replicas.job_goes_on = raylet.job_goes_on
        self.replicas.tell_head = lambda message: raylet.gcs.post(message)
        self.pulls.block_owner = self.replicas.block_owner
        self.orphans = OrphanFinder(reactor, node.node_id, self.pulls.links, self.replicas)
        self.pulls.find_orphan = self.orphans.find
        self.repairs = OrphanRepairer(self.orphans, self._members)
        self.store.join_internal(ORPHANS, "values that outlived their owners", lambda _message: None)
        self.store.core.unspillable = frozenset({ORPHANS})
        self.pulls.handlers[m.KeepCopy] = self._on_keep
        self.pulls.handlers[m.CopiesShared] = self.replicas.on_shared
        self.pulls.handlers[m.FreeCopies] = self._on_free_copies
        self.pulls.handlers[m.PromoteCopy] = self._on_promote

    def handlers(self) -> dict[type[m.Message], Callable[[Any, Any], None]]:
        """Message type -> handler(peer, message)."""
        return {
            **self.store.handlers(),
            **self.spill.handlers(),
            **self.pulls.handlers,
            **self.orphans.handlers(),
        }

    def _on_keep(self, peer: Any, message: m.KeepCopy) -> None:
        """Its owner may have ended while it was on its way, or before this node was there."""
        owner, owners = message.item.owner, self.pulls.owners
        if message.is_orphan and not owners.why_gone(owner):
            owners.gone(owner.worker_id, "its owner has ended")
        self.replicas.on_keep(peer, message)
        if owners.why_gone(owner):
            self.replicas.owner_gone(owner.worker_id)

    def _on_free_copies(self, peer: Any, message: m.FreeCopies) -> None:
        """What was kept for its owner goes as well."""
        self.replicas.released(message.object_ids)
        self.pulls.on_free_copies(peer, message)

    def _on_promote(self, peer: Any, message: m.PromoteCopy) -> None:
        """A primary stays until it is freed, whoever reads it."""
        self.pulls.on_promote(peer, message)
        self.replicas.promoted(message.object_id)

    # --- primaries whose owners have ended ----------------------------------------------------------------------------

    def take_over(self, offset: int, object_id: bytes, owner_id: bytes) -> bool:
        """The block of an owner that has ended stays, in memory or on disk. False when it is not here."""
        return self.spill.queue.inherit(object_id, ORPHANS) or self.store.take_over(
            offset, object_id, owner_id, ORPHANS
        )

    def let_go(self, offset: int, object_id: bytes) -> None:
        """Nobody needs it any more; its memory goes with its last reader."""
        self.pulls.carry_out(self.pulls.queue.freed([object_id]))
        self.spill.let_go(object_id)
        if self.store.core.sealed_size(offset, object_id) >= 0:
            self.store.free_blocks(ORPHANS, [offset])

    def stays_at(self, offset: int, object_id: bytes) -> bool:
        """It is in memory there and is not moved to disk: it may be read in place."""
        return pressure.is_owned(self.store.core, offset, object_id, ORPHANS)

    def job_ended(self, job_id: bytes) -> None:
        """Nothing of the job is needed but what detached actors have."""
        self.replicas.job_ended(job_id)

    # --- figures ------------------------------------------------------------------------------------------------------

    def primary_bytes(self) -> int:
        """In objects that are lost with this node: neither mere copies nor what is idle memory (R 10.9, P 42)."""
        return self.store.core.primary_bytes + self.pulls.copies.promoted_bytes + self.spill.queue.stored_bytes

    # --- what pulling needs to know of the node ---------------------------------------------------------------------

    def local(self, worker_id: bytes) -> Any:
        """The connection of a process of this node, or the keeper of replicas."""
        if worker_id == REPLICAS:
            return self.replicas
        return self.raylet.clients.get(worker_id)

    def endpoint_of(self, node_id: bytes) -> str:
        """Of another node; empty when there is none (any more)."""
        node = self.raylet.desk.cluster.nodes.get(node_id)
        return node.endpoint if node is not None else ""

    def _members(self) -> Members:
        cluster = self.raylet.desk.cluster
        return Members(set(cluster.nodes), set(cluster.preempted))

    def warn(self, client: bytes, text: str) -> None:
        """Tell the user whose process waits."""
        worker = self.raylet.pool.workers.get(client)
        driver = self.raylet.drivers.get(client)
        job_id = worker.job_id if worker is not None else driver.job_id if driver is not None else b""
        self.raylet.tell_driver(job_id, m.DriverMessage("warning", f"fetch {client.hex()[:8]}", text))

    # --- comings and goings -----------------------------------------------------------------------------------------

    def process_joined(self, worker_id: bytes, name: str) -> None:
        """``name`` is what messages call it."""
        self.store.process_joined(worker_id, name)

    def process_gone(self, worker_id: bytes, reason: str) -> None:
        """A runtime process, of this node or another, has ended: as a reader and as an owner."""
        self.replicas.owner_gone(worker_id)  # before the store forgets what it owned
        self.pulls.process_gone(worker_id, reason)
        self.store.process_gone(worker_id)

    def peer_gone(self, peer: Any) -> None:
        """A connection is closed."""
        self.pulls.peer_gone(peer)

    def node_joined(self) -> None:
        """There are more nodes than before."""
        self.repairs.node_joined()

    def node_gone(self, node_id: bytes, reason: str) -> None:
        """Another node is dead: nothing is read from it any more, and its processes have ended."""
        self.pulls.links.node_gone(node_id, reason)
        self.pulls.owners.node_gone(node_id, reason)
        for worker_id, owner in self.replicas.table.owners().items():
            if node_of(owner.endpoint) == node_id:
                self.process_gone(worker_id, f"its node is dead: {reason}")
        self.repairs.node_gone(node_id)

    def close(self) -> None:
        """The node ends: threads stop, files go."""
        self.pulls.close()
        self.spill.close()
