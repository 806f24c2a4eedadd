"""The node's side of actors: takes a worker for each, starts it there, tells the GCS how it goes. Restart decisions are
the GCS's.

Called by raylet/service.py; resources and workers come from the lease manager like any lease, under the key (actor id,
-attempt). A worker that was found waits for the GCS's word (`BeginActor`): only then does anything of the actor run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from linckia.base.limits import ACTOR_GRACEFUL_EXIT_MAX_S
from linckia.core.leases.records import Grant, Lease, LeaseRequest, Refuse, RequestKey
from linckia.core.leases.vectors import fits, to_units
from linckia.core.workers.exits import ExitType
from linckia.model.specs import ActorSpec
from linckia.model.wire import Address
from linckia.protocol.messages import (
    ActorExiting,
    ActorStart,
    ActorStarted,
    ActorStarting,
    ActorWorkerDied,
    BeginActor,
    CancelStart,
    Message,
    Pending,
    RunningActor,
    StartActor,
    StopActor,
    TerminateActor,
    WhyNoWorker,
)
from linckia.raylet.lease_desk import LeaseDesk
from linckia.raylet.worker_pool import WorkerPool, WorkerProcess

_decode_spec = msgspec.msgpack.Decoder(ActorSpec).decode


class HostedActor:
    """An actor that is to run, or runs, on this node."""

    def __init__(self, spec_bytes: bytes, spec: ActorSpec, restarts: int, attempt: int) -> None:
        self.spec_bytes, self.spec, self.restarts, self.attempt = spec_bytes, spec, restarts, attempt
        self.worker: WorkerProcess | None = None
        self.assigned: dict[str, float] = {}  # of its lease
        self.has_begun = False  # its constructor
        self.failed = False  # its constructor raised; the GCS knows
        self.alive = False  # its constructor returned
        self.repr_name = ""

    @property
    def key(self) -> RequestKey:
        """Of its lease."""
        return (self.spec.actor_id, -self.attempt)


class Shell(Protocol):
    """What this module needs of the raylet."""

    desk: LeaseDesk
    pool: WorkerPool
    gcs: Any
    reactor: Any

    def published(self, endpoint: str) -> str: ...


class ActorHost:
    """Actors of this node by id."""

    def __init__(self, raylet: Shell) -> None:
        self.raylet = raylet
        self.actors: dict[bytes, HostedActor] = {}

    def handlers(self) -> dict[type[Message], Callable[[Any, Any], None]]:
        """Message type -> handler(peer, message)."""
        return {
            StartActor: self.on_start,
            BeginActor: self.on_begin,
            CancelStart: self.on_cancel,
            StopActor: self.on_stop,
            ActorStarted: self.on_started,
            ActorExiting: self.on_exiting,
            WhyNoWorker: self.on_why_no_worker,
        }

    # --- from the GCS -------------------------------------------------------------------------------------------------

    def on_start(self, _peer: Any, message: StartActor) -> None:
        """Ask for a worker; a repeated request changes nothing."""
        if message.actor_id in self.actors:
            return
        spec = _decode_spec(message.spec)
        need = to_units(spec.lifetime_resources)
        self.raylet.desk.say_again(need)
        manager = self.raylet.desk.manager
        may_wait = message.may_wait and (not message.wait_s or manager.could_free(need))
        if not may_wait and not fits(need, manager.available):
            self.raylet.desk.report()
            self.raylet.gcs.post(ActorStart(message.actor_id, "busy", attempt=message.attempt))
            return
        actor = self.actors[message.actor_id] = HostedActor(message.spec, spec, message.restarts, message.attempt)
        if message.wait_s:
            self.raylet.reactor.call_later(message.wait_s, lambda: self._waited(actor))
        request = LeaseRequest(
            owner=message.actor_id,
            rid=actor.key[1],
            resources=need,
            placement=to_units(spec.placement_resources),
            job_id=spec.job_id,
            nested=True,
            runtime_env=spec.runtime_env,
            actor_id=message.actor_id,
            detached=spec.detached,
            name=spec.class_name,
            strategy=spec.strategy,
            retriable=spec.max_restarts < 0 or message.restarts < spec.max_restarts,
        )
        self._ask(request)

    def _waited(self, actor: HostedActor) -> None:
        """It was to wait for so long: another node may do better."""
        if self.actors.get(actor.spec.actor_id) is actor and self.raylet.desk.manager.waits(actor.key):
            self._withdraw(actor)
            self.raylet.gcs.post(ActorStart(actor.spec.actor_id, "busy", attempt=actor.attempt))

    def _withdraw(self, actor: HostedActor) -> None:
        """It needs no worker any more."""
        del self.actors[actor.spec.actor_id]
        self.raylet.desk.carry_out(self.raylet.desk.manager.cancel(actor.key))

    def _ask(self, request: LeaseRequest) -> None:
        self.raylet.desk.carry_out(self.raylet.desk.manager.request(request))

    def on_begin(self, _peer: Any, message: BeginActor) -> None:
        """Run the constructor; nothing when it runs already, or the worker has died meanwhile."""
        actor = self.actors.get(message.actor_id)
        if actor is None or actor.attempt != message.attempt or actor.worker is None or actor.has_begun:
            return
        actor.has_begun = True
        actor.worker.peer.post(ActorStarting(actor.spec_bytes, actor.restarts, actor.assigned))

    def on_cancel(self, _peer: Any, message: CancelStart) -> None:
        """Another node runs it. Its worker, if it has one here, was told of it already: it serves nobody else."""
        actor = self.actors.get(message.actor_id)
        if actor is None or actor.attempt != message.attempt or actor.has_begun:
            return
        if actor.worker is None:
            self._withdraw(actor)
            return
        del self.actors[message.actor_id]
        actor.worker.exit_type = ExitType.INTENDED_SYSTEM_EXIT
        self.raylet.pool.kill(actor.worker, "its actor begins on another node")

    def on_stop(self, _peer: Any, message: StopActor) -> None:
        """End it: after what was submitted (graceful), or now."""
        actor = self.actors.get(message.actor_id)
        if actor is None:
            return
        worker = actor.worker
        if worker is None:
            self._withdraw(actor)
            self._report_death(actor, message.reason, intended=True)
            return
        worker.intended = message.graceful  # kill(no_restart=False) is a crash to the GCS; a kill for good it knows of
        worker.reason = message.reason
        worker.exit_type = worker.exit_type or ExitType.INTENDED_SYSTEM_EXIT
        if message.graceful and actor.has_begun:
            worker.peer.post(TerminateActor(message.actor_id))
            self.raylet.pool.kill_later(worker, ACTOR_GRACEFUL_EXIT_MAX_S)
        else:
            self.raylet.pool.kill(worker, message.reason)

    # --- from the lease manager ---------------------------------------------------------------------------------------

    def granted(self, grant: Grant, worker: WorkerProcess) -> None:
        """It has a worker, which knows its job already: may it begin there?"""
        actor = self.actors[grant.request.actor_id]
        actor.worker, actor.assigned = worker, grant.assigned
        worker.actor_id = grant.request.actor_id
        address = Address(worker.worker_id, self.raylet.published(worker.endpoint))
        self.raylet.gcs.post(ActorStart(worker.actor_id, "leased", address, worker.pid, attempt=actor.attempt))

    def refused(self, refusal: Refuse) -> None:
        """It will get none."""
        phase = "unstartable" if refusal.kind == "worker_start" else "refused"
        self._gets_none(refusal.request, phase, refusal.reason)

    def give_back(self, request: LeaseRequest) -> None:
        """Another node can run it, as ours cannot: the GCS shall place it anew."""
        self._gets_none(request, "elsewhere")

    def _gets_none(self, request: LeaseRequest, phase: str, reason: str = "") -> None:
        actor = self.actors.get(request.actor_id)
        if actor is not None and actor.key == request.key:
            del self.actors[request.actor_id]
        self.raylet.gcs.post(ActorStart(request.actor_id, phase, reason=reason, attempt=-request.rid))

    def worker_ended(self, lease: Lease, worker: WorkerProcess, reason: str) -> None:
        """Its process is gone."""
        actor = self.actors.get(lease.request.actor_id)
        if actor is None or actor.worker is not worker:  # it was cancelled here, and may be asked for again
            return
        del self.actors[actor.spec.actor_id]
        if not actor.failed:
            self._report_death(actor, reason, intended=worker.intended, oom=bool(worker.oom))

    def job_gone(self, job_id: bytes) -> None:
        """Its actors that wait for a worker will get none; those that run are the lease manager's to end."""
        of_job = [actor for actor in self.actors.values() if actor.spec.job_id == job_id and not actor.spec.detached]
        for actor in of_job:
            if actor.worker is not None:
                continue
            del self.actors[actor.spec.actor_id]
            self._report_death(actor, "its job ended", intended=True)

    def _report_death(self, actor: HostedActor, reason: str, *, intended: bool, oom: bool = False) -> None:
        died = ActorWorkerDied(actor.spec.actor_id, reason, intended, actor.restarts, oom, actor.attempt)
        self.raylet.gcs.post(died)

    def running(self) -> list[RunningActor]:
        """All of them, for a head that is new. One whose constructor raised is about to end, and was told of."""
        return [self._describe(actor) for actor in self.actors.values() if not actor.failed]

    def _describe(self, actor: HostedActor) -> RunningActor:
        actor_id, worker = actor.spec.actor_id, actor.worker
        if worker is None:
            return RunningActor(actor_id, actor.restarts, "waiting", attempt=actor.attempt)
        address = Address(worker.worker_id, self.raylet.published(worker.endpoint))
        phase = "alive" if actor.alive else "leased"
        return RunningActor(actor_id, actor.restarts, phase, address, worker.pid, actor.repr_name, actor.attempt)

    # --- questions ----------------------------------------------------------------------------------------------------

    def on_why_no_worker(self, peer: Any, message: WhyNoWorker) -> None:
        """What it waits for here."""
        actor = self.actors.get(message.actor_id)
        key = actor.key if actor is not None else (message.actor_id, 0)
        kind, text = self.raylet.desk.manager.explain(key)
        peer.post(Pending(message.rid, kind, text))

    # --- from its worker ----------------------------------------------------------------------------------------------

    def on_started(self, peer: Any, message: ActorStarted) -> None:
        """The constructor returned or raised. The worker of a failed actor ends: it may be in any state."""
        actor = self._of_peer(peer, message.actor_id)
        if actor is None or actor.worker is None:
            return
        worker = actor.worker
        actor.alive, actor.repr_name = message.error is None, message.repr_name
        phase = "alive" if message.error is None else "failed"
        address = Address(worker.worker_id, self.raylet.published(worker.endpoint))
        started = ActorStart(
            message.actor_id,
            phase,
            address,
            worker.pid,
            message.error,
            repr_name=message.repr_name,
            attempt=actor.attempt,
        )
        self.raylet.gcs.post(started)
        if message.error is not None:
            actor.failed = True
            worker.exit_type = ExitType.USER_ERROR
            self.raylet.pool.retire(worker, "its actor's constructor raised")

    def on_exiting(self, peer: Any, message: ActorExiting) -> None:
        """It ends itself: the exit that follows is what it says it is."""
        actor = self._of_peer(peer, message.actor_id)
        if actor is not None and actor.worker is not None:
            actor.worker.intended = message.intended
            actor.worker.reason = message.reason
            actor.worker.exit_type = actor.worker.exit_type or ExitType.INTENDED_USER_EXIT

    def _of_peer(self, peer: Any, actor_id: bytes) -> HostedActor | None:
        """The actor, if the sender is the worker that hosts it."""
        actor = self.actors.get(actor_id)
        if actor is None or actor.worker is None or actor.worker.peer is not peer:
            return None
        return actor
