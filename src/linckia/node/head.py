"""The head's room: the GCS and its services, and the raylets that are connected to it. Built by node/rooms.py inside a
node process, or by node/head_process.py with a store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from linckia.gcs.actors import ActorService
from linckia.gcs.demand import DemandService
from linckia.gcs.journal import Outbox
from linckia.gcs.keepers import KeeperService
from linckia.gcs.links import NodeLinks
from linckia.gcs.listing import StateService
from linckia.gcs.placement_groups import GroupService
from linckia.gcs.relay import Relays
from linckia.gcs.restoring import reconcile
from linckia.gcs.scaling import ScalingService
from linckia.gcs.service import Gcs
from linckia.gcs.tables import state_counts, table_rows
from linckia.gcs.waits import WaitService
from linckia.gcs.why import WhyService
from linckia.host.entropy import random_bytes
from linckia.protocol import messages as m
from linckia.rpc.probe import probe
from linckia.rpc.reactor import Reactor

if TYPE_CHECKING:
    from collections.abc import Callable

INSTANCE_BYTES = 8


class HeadRoom:
    """``each(peer, batch, handle)`` runs a handler per message and answers failures. ``epoch``: the head's term;
    ``outbox``: where changes and answers go (gcs/journal.py); without one nothing outlives the process.
    """

    def __init__(
        self,
        reactor: Reactor,
        session_name: str,
        each: Callable[[Any, list[m.Message], Callable[..., None]], None],
        *,
        epoch: int = 1,
        outbox: Outbox | None = None,
        instance: bytes = b"",
    ) -> None:
        self._each = each
        self.epoch, self.outbox = epoch, outbox or Outbox()
        self.gcs = Gcs(session_name, reactor.call_later, outbox=self.outbox)
        self.nodes = self.gcs.nodes
        self.nodes.epoch = epoch
        self.nodes.probe = lambda endpoint, outcome: probe(reactor, endpoint, outcome)
        self.links = NodeLinks(
            instance or random_bytes(INSTANCE_BYTES),
            epoch,
            self.outbox,
            reactor.call_later,
            self._from_node,
            lambda: self.nodes.now_s(),
        )
        self.links.on_late, self.links.on_answer = self.nodes.late, self.nodes.answers
        self.actors = ActorService(self.nodes, reactor.call_later, self._warn, epoch, self.outbox)
        self.actors.reply = self.gcs.reply
        self.waits = WaitService(self.nodes.broadcast)
        self.keepers = KeeperService(self.nodes, self.gcs.job_goes_on)
        self.relays = Relays(lambda peer, batch: each(peer, batch, self.handle), self.gcs.peer_gone)
        self.groups = GroupService(self.nodes, reactor.call_later, self.gcs.reply, self.outbox)
        self.groups.on_removed.append(self.actors.group_removed)
        self.actors.on_process_gone.append(self.groups.actor_ended)
        self.gcs.on_job_finished += [self.groups.job_finished, self.keepers.job_finished]
        self.gcs.queries["placement_groups"] = self.groups.table
        self.gcs.queries["autoscaler"] = lambda: self.scaling.status() if self.scaling.types else {}
        self.gcs.queries["counts"] = lambda: state_counts(self.gcs, self.actors, self.groups)
        self.gcs.queries["tables"] = lambda: table_rows(
            self.gcs, self.nodes, self.actors, self.groups, self.keepers.table
        )
        self.demand = DemandService(self.nodes, self.actors, self.groups, self.gcs.reply, self.outbox)
        self.scaling = ScalingService(self.nodes, self.demand, epoch, self.outbox)
        self.states = StateService(self.gcs, self.actors, self.groups, reactor.call_later)
        self.why = WhyService(self.nodes, self.actors, self.groups, self.gcs.reply)
        services = (self.actors, self.waits, self.relays, self.groups, self.demand, self.scaling, self.states)
        for service in (*services, self.keepers, self.why):
            self.gcs.handlers.update(service.handlers())
        self.gcs.handlers[m.NodeRuns] = lambda peer, message: reconcile(self, peer, message)
        self.gcs.on_worker_failed.append(lambda failed: self.actors.owner_ended(failed.worker_id))
        self.gcs.on_worker_failed.append(lambda failed: self.waits.worker_gone(failed.worker_id))
        self.nodes.on_dead.append(lambda node, _text: self._node_dead(node.info.node_id))

    def handle(self, peer: Any, message: m.Message) -> None:
        """One message for the GCS."""
        if type(message) not in self.gcs.handlers:
            raise LookupError(f"nobody here handles {type(message).__name__}")
        self.gcs.on_message(peer, message)

    def on_batch(self, conn: Any, batch: list[m.Message]) -> None:
        """From a raylet."""
        self.links.on_batch(conn, batch)

    def _from_node(self, peer: Any, batch: list[m.Message]) -> None:
        self._each(peer, batch, self.handle)

    def peer_gone(self, conn: Any) -> None:
        """A connection to the head is closed. A node's session goes on when it is back in time."""
        if conn.peer_role != "raylet":
            self.gcs.peer_gone(conn)
            return
        link = self.links.lost(conn)
        if link is not None:
            self.nodes.peer_gone(link)

    def _node_dead(self, node_id: bytes) -> None:
        link = self.links.node_dead(node_id)
        if link is not None:
            self.relays.node_gone(link)
            self.gcs.peer_gone(link)

    def _warn(self, job_id: bytes, key: str, text: str) -> None:
        """Show a warning to the driver of a job."""
        job = self.gcs.jobs.get(job_id)
        if job is not None:
            self.nodes.send(job.node_id, m.DriverMessage("warning", key, text))
