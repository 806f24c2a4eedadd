"""The shell around the lease manager: lease messages in, its effects out as grants, forks, kills and reports.

One per raylet, called by raylet/service.py and raylet/actors.py. It decides nothing (core/leases does).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from linckia.base.limits import LEASE_HOPS_MAX, REPORT_EVERY_S
from linckia.core.leases import vectors
from linckia.core.leases.fairness import REQUESTS_LOOKED_AT_PER_SHAPE
from linckia.core.leases.manager import LeaseManager
from linckia.core.leases.parked import Parked
from linckia.core.leases.records import (
    Broken,
    Claimed,
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
from linckia.core.placement.names import group_of
from linckia.core.scheduling.policy import Decision
from linckia.core.workers.exits import ExitType
from linckia.model.wire import Address
from linckia.protocol import messages as m
from linckia.raylet.cluster import ClusterSide
from linckia.raylet.worker_pool import WorkerProcess
from linckia.rpc.idempotence import RecentReplies
from linckia.rpc.reactor import Timer

if TYPE_CHECKING:
    from linckia.raylet.service import Raylet

Handler = Callable[[Any, Any], None]
REMOVED_GROUPS_KEPT = 10_000
OBJECT_STORE = "object_store_memory"


class LeaseDesk:
    """Owners' lease messages and the lease manager's effects."""

    def __init__(self, raylet: Raylet, manager: LeaseManager, recent: RecentReplies) -> None:
        self.raylet, self.manager, self.recent = raylet, manager, recent
        self.cluster = ClusterSide(raylet, manager, self.look_again)
        self.parked = Parked()
        self._reported_s = 0.0
        self.reported_idle = False
        self._reported: dict[str, int] = {}
        self.removed_groups: dict[str, str] = {}  # group (hex) -> what to say of it
        self._reported_total: dict[str, int] = {}
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
            **self.cluster.handlers(),
        }

    # --- from owners --------------------------------------------------------------------------------------------------

    def on_request_lease(self, peer: Any, message: m.RequestLease) -> None:
        """An owner wants a worker. A retry is answered from memory, or while the first one waits, not at all."""
        first, reply = self.recent.begin(peer.peer_id, message.rid)
        if not first:
            if reply is not None:
                peer.post(reply)
            return
        self.raylet.note_owner(peer)
        request = LeaseRequest(
            owner=peer.peer_id,
            rid=message.rid,
            resources=vectors.to_units(message.resources),
            job_id=message.job_id,
            nested=message.nested,
            runtime_env=message.runtime_env,
            backlog=message.backlog,
            name=message.name,
            strategy=message.strategy,
            preferred=message.preferred,
            hops=message.hops,
            retriable=message.retriable,
        )
        if message.job_id in self.raylet.jobs:
            self.admit(request)
        else:  # asked by a node that heard of the job before we did
            self.parked.add(request)

    def job_known(self, job_id: bytes) -> None:
        """Requests of a job that this node had not heard of can go on."""
        for request in self.parked.pop(job_id):
            self.admit(request)

    def admit(self, request: LeaseRequest) -> None:
        """Serve it here, now or later, send its owner to another node, or refuse it for good."""
        cluster = self.cluster
        removed = self.removed_groups.get(group_of(request.resources)) if self.removed_groups else None
        if removed:
            self._refuse(Refuse(request, "placement_group_removed", removed))
            return
        if cluster.alone and not request.strategy:
            self.carry_out(self.manager.request(request))
            return
        decision = cluster.decide(request)
        if decision.kind == "unschedulable":
            self._answer(request.owner, m.LeaseRefused(request.rid, "unschedulable", decision.reason))
        elif decision.kind == "infeasible":
            self.carry_out(self.manager.request(msgspec.structs.replace(request, hold=decision.reason)))
        elif self._stays(request, decision) or not self._spill(request, decision.node_id):
            self.carry_out(self.manager.request(request))

    def _stays(self, request: LeaseRequest, decision: Decision) -> bool:
        """Here is right, or as good as anywhere else: all are busy, or it has been passed on too often."""
        if decision.node_id == self.cluster.node_id:
            return True
        fits_here = not request.strategy and vectors.fits(request.resources, self.manager.total)
        fits_here = fits_here and self.cluster.takes_work
        return (fits_here and (decision.kind == "busy" or request.hops >= 2)) or request.hops >= LEASE_HOPS_MAX

    def _spill(self, request: LeaseRequest, node_id: bytes) -> bool:
        if request.actor_id:  # the GCS places actors
            self.raylet.actors.give_back(request)
            return True
        answer = self.cluster.sent(node_id, request)
        if answer is None:
            return False
        self._answer(request.owner, answer)
        return True

    def group_removed(self, group: str) -> None:
        """A placement group (hex) is gone: nothing may wait for it."""
        if not group:
            return  # sent by nobody who knows the protocol; it would stand for all work outside of groups
        self.removed_groups[group] = text = f"placement group {group} was removed"
        if len(self.removed_groups) > REMOVED_GROUPS_KEPT:
            del self.removed_groups[next(iter(self.removed_groups))]
        for request in self.manager.of_group(group):
            self.carry_out(self.manager.cancel(request.key))
            self._refuse(Refuse(request, "placement_group_removed", text))

    def look_again(self) -> None:
        """The cluster has changed: what waits here may go elsewhere, what nothing could run may run."""
        held = self.manager.held()
        for request in held:
            self.manager.cancel(request.key)
            self.admit(
                msgspec.structs.replace(request, hold="", hops=0)
            )  # it has waited: no more one that is passed on
        if held:
            self.schedule_report()  # what was sent away is no demand of this node any more
        if self.cluster.alone:
            return
        for request in self.manager.movable(REQUESTS_LOOKED_AT_PER_SHAPE):
            decision = self.cluster.decide(request)
            if decision.kind == "node" and decision.node_id != self.cluster.node_id:
                self._move(request, decision.node_id)

    def _move(self, request: LeaseRequest, node_id: bytes) -> None:
        """It waits here, and there is room."""
        moved = self.cluster.sent(node_id, msgspec.structs.replace(request, hops=0))
        if moved is None:
            return
        self.carry_out(self.manager.cancel(request.key))
        if request.actor_id:  # the GCS places actors
            self.raylet.actors.give_back(request)
        else:
            self._answer(request.owner, moved)

    def on_cancel_lease(self, peer: Any, message: m.CancelLease) -> None:
        """An owner's request is obsolete. Answered with what became of it: a grant that was lost must be returned."""
        first, reply = self.recent.begin(peer.peer_id, message.rid)
        if reply is not None:
            peer.post(reply)
            return
        self._answer(peer.peer_id, m.LeaseRefused(message.rid, "cancelled", "its owner cancelled it"))
        if not first:  # else the cancel has overtaken the request, which is refused when it comes
            self.parked.cancel((peer.peer_id, message.rid))
            self.carry_out(self.manager.cancel((peer.peer_id, message.rid)))

    def on_return_lease(self, peer: Any, message: m.ReturnLease) -> None:
        """An owner is done with a worker."""
        lease = self.manager.leases.get(message.lease_id)
        if lease is not None and not message.reusable and lease.request.owner == peer.peer_id:
            worker = self.raylet.pool.workers.get(lease.worker_id)
            if worker is not None:
                worker.intended = True
                worker.exit_type = worker.exit_type or ExitType.INTENDED_USER_EXIT
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
                case Claimed():
                    self.raylet.bundles.claimed(effect)
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
        self.schedule_report()

    def _grant(self, effect: Grant) -> None:
        worker, request = self.raylet.pool.workers[effect.worker_id], effect.request
        has_gpu = any(name.startswith("GPU/") for name in effect.assigned)
        if effect.bind or has_gpu:
            self._assign_job(worker, request, effect.assigned)
        if request.actor_id:
            self.raylet.actors.granted(effect, worker)
            return
        address = Address(worker.worker_id, self.raylet.published(worker.endpoint))
        self._answer(request.owner, m.LeaseGranted(request.rid, effect.lease_id, address, worker.pid, effect.assigned))

    def _answer(self, owner: bytes, reply: m.LeaseGranted | m.LeaseRefused | m.LeaseSpilled) -> None:
        self.recent.finish(owner, reply.rid, reply)
        self.raylet.post_to(owner, reply)

    def _assign_job(self, worker: WorkerProcess, request: LeaseRequest, assigned: dict[str, float]) -> None:
        worker.job_id = request.job_id
        job = self.raylet.jobs.get(request.job_id)
        node = self.raylet.options.node
        worker.peer.send(
            m.AssignJob(
                request.job_id,
                job.config if job is not None else b"",
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
        if group_of(effect.request.resources):
            return  # a group that is not there yet is no surprise to who made it
        what = f"{effect.request.name or 'A task'} cannot run now: {effect.text}. It waits until such a node joins."
        self.raylet.tell_driver(effect.request.job_id, m.DriverMessage("warning", f"infeasible {effect.text}", what))

    # --- timers and reports -------------------------------------------------------------------------------------------

    def _schedule_retirement(self) -> None:
        due_s = self.manager.next_retirement_s()
        if due_s is None or self._retire_timer is not None:
            return
        self._retire_timer = self.raylet.reactor.call_later(max(0.0, due_s - time.monotonic()) + 0.01, self._retire)

    def _retire(self) -> None:
        self._retire_timer = None
        self.carry_out(self.manager.retire_idle(time.monotonic()))

    def schedule_report(self) -> None:
        """At most one report per turn of the reactor, and to a remote head one per REPORT_EVERY_S."""
        self.cluster.want_news(waiting=len(self.manager.waiting) > 0 or bool(self.manager.infeasible))
        if self._report_scheduled:
            return
        self._report_scheduled = True
        pause_s = 0.0 if self.raylet.is_head else self._reported_s + REPORT_EVERY_S - time.monotonic()
        if pause_s > 0:
            self.raylet.reactor.call_later(pause_s, self.report)
        else:
            self.raylet.reactor.call_soon(self.report)

    @property
    def store_has_changed(self) -> bool:
        """The object store holds more or less than the head was told; nobody decides by that, so it may wait."""
        now = self.raylet.with_free_store(self.manager.available).get(OBJECT_STORE, 0)
        return now != self._reported.get(OBJECT_STORE, now)

    def say_again(self, amounts: Iterable[str]) -> None:
        """The head took these names off its view when it sent work here: tell it how they are, changed or not."""
        for name in amounts:
            if name in self._reported:
                self._reported[name] = -1
        self.schedule_report()

    def report(self, *, everything: bool = False) -> None:
        """Tell the GCS what changed; all of it when the head does not know us yet."""
        self._report_scheduled = False
        self._revision += 1
        self._reported_s = time.monotonic()
        manager = self.manager
        available = self.raylet.with_free_store({name: max(0, count) for name, count in manager.available.items()})
        old_available, self._reported = ({} if everything else self._reported), available
        old_total, self._reported_total = ({} if everything else self._reported_total), dict(manager.total)
        self.reported_idle = self.raylet.is_idle()
        news = m.ResourceReport(
            self.raylet.options.node.node_id,
            self._revision,
            {name: count for name, count in available.items() if old_available.get(name) != count},
            [name for name in old_available if name not in available],
            {name: count for name, count in manager.total.items() if old_total.get(name) != count},
            [name for name in old_total if name not in manager.total],
            manager.demand(),
            idle=self.reported_idle,
            everything=everything,
        )
        self.raylet.gcs.post(news)
