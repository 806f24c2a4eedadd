"""The shell around the lease manager: lease messages in, its effects out as grants, forks, kills and reports.

One per raylet, called by raylet/service.py and raylet/actors.py. It decides nothing (core/leases does).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from linckia.core.leases import vectors
from linckia.core.leases.manager import LeaseManager
from linckia.core.leases.records import (
    Broken,
    Effect,
    Grant,
    Infeasible,
    Kill,
    LeaseRequest,
    Recall,
    Refuse,
    Retire,
    StartWorkers,
)
from linckia.model.placement import decode_strategy
from linckia.model.wire import Address
from linckia.protocol import messages as m
from linckia.raylet.worker_pool import WorkerProcess
from linckia.rpc.idempotence import RecentReplies
from linckia.rpc.reactor import Timer

if TYPE_CHECKING:
    from linckia.raylet.service import Raylet

Handler = Callable[[Any, Any], None]


class LeaseDesk:
    """Owners' lease messages and the lease manager's effects."""

    def __init__(self, raylet: Raylet, manager: LeaseManager, recent: RecentReplies) -> None:
        self.raylet, self.manager, self.recent = raylet, manager, recent
        self._retire_timer: Timer | None = None
        self._report_scheduled = False
        self._revision = 0

    def handlers(self) -> dict[type[m.Message], Handler]:
        """Message type -> handler(peer, message)."""
        return {
            m.RequestLease: self.on_request_lease,
            m.CancelLease: self.on_cancel_lease,
            m.ReturnLease: self.on_return_lease,
            m.Blocked: self.on_blocked,
            m.Unblocked: self.on_unblocked,
            m.WhyPending: self.on_why_pending,
        }

    # --- from owners --------------------------------------------------------------------------------------------------

    def on_request_lease(self, peer: Any, message: m.RequestLease) -> None:
        """An owner wants a worker. A retry is answered from memory, or while the first one waits, not at all."""
        first, reply = self.recent.begin(peer.peer_id, message.rid)
        if not first:
            if reply is not None:
                peer.post(reply)
            return
        obstacle = self.wrong_node(message.strategy)
        if obstacle:
            self._answer(peer.peer_id, m.LeaseRefused(message.rid, "unschedulable", obstacle))
            return
        request = LeaseRequest(
            owner=peer.peer_id,
            rid=message.rid,
            resources=vectors.to_units(message.resources),
            job_id=message.job_id,
            nested=message.nested,
            runtime_env=message.runtime_env,
            backlog=message.backlog,
            name=message.name,
        )
        self.carry_out(self.manager.request(request))

    def wrong_node(self, strategy: bytes) -> str:
        """Why this node, the only one, may not serve a request with that strategy; empty when it may."""
        if not strategy:
            return ""
        chosen = decode_strategy(strategy)
        if chosen.kind != "NODE_AFFINITY" or chosen.soft or chosen.node_id == self.raylet.options.node.node_id:
            return ""
        return f"node {chosen.node_id.hex()} is not in the cluster, and the affinity is hard"

    def on_cancel_lease(self, peer: Any, message: m.CancelLease) -> None:
        """An owner's request is obsolete. Answered with what became of it: a grant that was lost must be returned."""
        first, reply = self.recent.begin(peer.peer_id, message.rid)
        if reply is not None:
            peer.post(reply)
            return
        self._answer(peer.peer_id, m.LeaseRefused(message.rid, "cancelled", "its owner cancelled it"))
        if not first:  # else the cancel has overtaken the request, which is refused when it comes
            self.carry_out(self.manager.cancel((peer.peer_id, message.rid)))

    def on_return_lease(self, peer: Any, message: m.ReturnLease) -> None:
        """An owner is done with a worker."""
        lease = self.manager.leases.get(message.lease_id)
        if lease is not None and not message.reusable and lease.request.owner == peer.peer_id:
            worker = self.raylet.pool.workers.get(lease.worker_id)
            if worker is not None:
                worker.intended = True
        effects = self.manager.returned(
            peer.peer_id, message.lease_id, reusable=message.reusable, now_s=time.monotonic()
        )
        self.carry_out(effects)

    def on_blocked(self, peer: Any, _message: m.Blocked) -> None:
        """A worker's task waits."""
        self.carry_out(self.manager.blocked(peer.peer_id))

    def on_unblocked(self, peer: Any, _message: m.Unblocked) -> None:
        """It goes on."""
        self.carry_out(self.manager.unblocked(peer.peer_id))

    def on_why_pending(self, peer: Any, message: m.WhyPending) -> None:
        """Explain a request."""
        kind, text = self.manager.explain((peer.peer_id, message.lease_rid))
        peer.post(m.Pending(message.rid, kind, text))

    # --- effects ------------------------------------------------------------------------------------------------------

    def carry_out(self, effects: list[Effect]) -> None:
        """Do what the lease manager asks for."""
        for effect in effects:
            match effect:
                case Grant():
                    self._grant(effect)
                case StartWorkers():
                    for _ in range(effect.count):
                        self.raylet.pool.start()
                case Recall():
                    self.raylet.post_to(effect.owner, m.RecallLease(effect.lease_id))
                case Kill():
                    self._end_worker(effect.worker_id, effect.reason, self.raylet.pool.kill)
                case Retire():
                    self._end_worker(effect.worker_id, effect.reason, self.raylet.pool.retire)
                case Refuse():
                    self._refuse(effect)
                case Infeasible():
                    self._warn_infeasible(effect)
                case Broken():
                    pass  # only worker_exited emits it, and _on_worker_exit takes it
        self._schedule_retirement()
        self._schedule_report()

    def _grant(self, effect: Grant) -> None:
        worker, request = self.raylet.pool.workers[effect.worker_id], effect.request
        has_gpu = any(name.startswith("GPU/") for name in effect.assigned)
        if effect.bind or has_gpu:
            self._assign_job(worker, request, effect.assigned)
        if request.actor_id:
            self.raylet.actors.granted(effect, worker)
            return
        address = Address(worker.worker_id, worker.endpoint)
        self._answer(request.owner, m.LeaseGranted(request.rid, effect.lease_id, address, worker.pid, effect.assigned))

    def _answer(self, owner: bytes, reply: m.LeaseGranted | m.LeaseRefused) -> None:
        self.recent.finish(owner, reply.rid, reply)
        self.raylet.post_to(owner, reply)

    def _assign_job(self, worker: WorkerProcess, request: LeaseRequest, assigned: dict[str, float]) -> None:
        worker.job_id = request.job_id
        config, _ = self.raylet.jobs.get(request.job_id, (b"", None))
        node = self.raylet.options.node
        worker.peer.send(
            m.AssignJob(
                request.job_id,
                config,
                node.node_id,
                node.node_ip,
                self.raylet.options.session_name,
                self.raylet.options.segment.capacity_bytes,
                request.runtime_env,
                assigned,
            )
        )

    def _end_worker(self, worker_id: bytes, reason: str, how: Callable[[WorkerProcess, str], None]) -> None:
        worker = self.raylet.pool.workers.get(worker_id)
        if worker is not None:
            worker.intended = True
            how(worker, reason)

    def _refuse(self, effect: Refuse) -> None:
        if effect.request.actor_id:
            self.raylet.actors.refused(effect)
        else:
            self._answer(effect.request.owner, m.LeaseRefused(effect.request.rid, effect.kind, effect.reason))

    def _warn_infeasible(self, effect: Infeasible) -> None:
        what = f"{effect.request.name or 'A task'} cannot run now: {effect.text}. It waits until such a node joins."
        _, driver = self.raylet.jobs.get(effect.request.job_id, (b"", None))
        if driver is not None:
            driver.peer.post(m.DriverMessage("warning", f"infeasible {effect.text}", what))

    # --- timers and reports -------------------------------------------------------------------------------------------

    def _schedule_retirement(self) -> None:
        due_s = self.manager.next_retirement_s()
        if due_s is None or self._retire_timer is not None:
            return
        self._retire_timer = self.raylet.reactor.call_later(max(0.0, due_s - time.monotonic()) + 0.01, self._retire)

    def _retire(self) -> None:
        self._retire_timer = None
        self.carry_out(self.manager.retire_idle(time.monotonic()))

    def _schedule_report(self) -> None:
        """At most one report per turn of the reactor."""
        if not self._report_scheduled:
            self._report_scheduled = True
            self.raylet.reactor.call_soon(self._report)

    def _report(self) -> None:
        self._report_scheduled = False
        self._revision += 1
        node_id = self.raylet.options.node.node_id
        demand = self.manager.demand()
        self.raylet.gcs.post(m.ResourceReport(node_id, self.manager.available_amounts(), demand, self._revision))
