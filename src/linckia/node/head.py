"""The head's room: the GCS and its services, and the raylets that are connected to it. Built by node/rooms.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from linckia.gcs.actors import ActorService
from linckia.gcs.demand import DemandService
from linckia.gcs.listing import StateService
from linckia.gcs.placement_groups import GroupService
from linckia.gcs.relay import Relays
from linckia.gcs.service import Gcs
from linckia.gcs.waits import WaitService
from linckia.protocol import messages as m
from linckia.rpc.probe import probe
from linckia.rpc.reactor import Reactor

if TYPE_CHECKING:
    from collections.abc import Callable


class HeadRoom:
    """``each(peer, batch, handle)`` runs a handler per message and answers failures."""

    def __init__(
        self, reactor: Reactor, session_name: str, each: Callable[[Any, list[m.Message], Callable[..., None]], None]
    ) -> None:
        self._each = each
        self.gcs = Gcs(session_name, reactor.call_later)
        self.nodes = self.gcs.nodes
        self.nodes.probe = lambda endpoint, outcome: probe(reactor, endpoint, outcome)
        self.actors = ActorService(self.nodes, reactor.call_later, self._warn)
        self.actors.reply = self.gcs.reply
        self.waits = WaitService(self.nodes.broadcast)
        self.relays = Relays(lambda peer, batch: each(peer, batch, self.handle), self.gcs.peer_gone)
        self.groups = GroupService(self.nodes, reactor.call_later, self.gcs.reply)
        self.groups.on_removed.append(self.actors.group_removed)
        self.actors.on_process_gone.append(self.groups.actor_ended)
        self.gcs.on_job_finished.append(self.groups.job_finished)
        self.gcs.queries["placement_groups"] = self.groups.table
        self.demand = DemandService(self.nodes, self.actors, self.groups, self.gcs.reply)
        self.states = StateService(self.gcs, self.actors, self.groups, reactor.call_later)
        for service in (self.actors, self.waits, self.relays, self.groups, self.demand, self.states):
            self.gcs.handlers.update(service.handlers())
        self.gcs.on_worker_failed.append(lambda failed: self.actors.owner_ended(failed.worker_id))
        self.gcs.on_worker_failed.append(lambda failed: self.waits.worker_gone(failed.worker_id))

    def handle(self, peer: Any, message: m.Message) -> None:
        """One message for the GCS."""
        if type(message) not in self.gcs.handlers:
            raise LookupError(f"nobody here handles {type(message).__name__}")
        self.gcs.on_message(peer, message)

    def on_batch(self, peer: Any, batch: list[m.Message]) -> None:
        """From a raylet."""
        self._each(peer, batch, self.handle)

    def peer_gone(self, peer: Any) -> None:
        """A connection to the head is closed."""
        if peer.peer_role == "raylet":
            self.relays.node_gone(peer)
            self.nodes.peer_gone(peer)
        self.gcs.peer_gone(peer)

    def _warn(self, job_id: bytes, key: str, text: str) -> None:
        """Show a warning to the driver of a job."""
        job = self.gcs.jobs.get(job_id)
        if job is not None:
            self.nodes.send(job.node_id, m.DriverMessage("warning", key, text))
