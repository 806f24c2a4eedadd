"""The lease manager of one node: events in, effects out; it decides who gets which worker and what must be started or
ended.

A request first gets its resources (state WAITING until then), then a worker (STAFFING); a grant is final until the
lease is returned, its worker exits, or its owner is gone. Pure: no clock (``now_s`` is an argument), no I/O; the shell
in raylet/ feeds it and carries the effects out. It refuses nothing that could ever run here: infeasible requests wait
and are reported once per shape.
"""

from __future__ import annotations

import itertools

from linckia.core.leases import vectors
from linckia.core.leases.claims import Claims
from linckia.core.leases.fairness import RecallBook
from linckia.core.leases.gpus import Assignment, GpuLedger
from linckia.core.leases.groups import GroupPool
from linckia.core.leases.queues import WaitingQueues
from linckia.core.leases.records import (
    Broken,
    Claimed,
    Effect,
    Grant,
    Infeasible,
    Kill,
    Lease,
    LeaseRequest,
    Pending,
    Refuse,
    RequestKey,
    RequestState,
    Retire,
    Worker,
)
from linckia.core.leases.staffing import Staffing, pool_of
from linckia.core.leases.vectors import Units
from linckia.core.placement.names import group_of, split_index

START_FAILURES_BEFORE_REFUSAL = 3
CPU, GPU = "CPU", "GPU"


class LeaseManager:
    """Requests, leases and workers of one node. Each event method returns the effects to carry out, in order."""

    def __init__(self, total: Units, *, soft_limit: int, max_workers: int = 0, max_starting: int = 8) -> None:
        self.total = dict(total)
        self.available = dict(total)
        self.gpus = GpuLedger(total.get(GPU, 0))
        self.groups = GroupPool(self.total, self.available)
        self.pending: dict[RequestKey, Pending] = {}
        self.leases: dict[int, Lease] = {}
        self.workers: dict[bytes, Worker] = {}
        self.waiting = WaitingQueues()
        self.infeasible: dict[RequestKey, Pending] = {}
        self.staffing = Staffing(soft_limit=soft_limit, max_workers=max_workers, max_starting=max_starting)
        self.recalls = RecallBook()
        self.claims = Claims()
        self._by_owner: dict[bytes, tuple[set[RequestKey], set[int]]] = {}
        self._warned: set[tuple[tuple[str, int], ...]] = set()
        self._order = itertools.count()
        self._lease_ids = itertools.count(1)
        self._start_failures = 0

    # --- requests -----------------------------------------------------------------------------------------------------

    def request(self, request: LeaseRequest) -> list[Effect]:
        """Somebody wants a worker. A repeated key is ignored."""
        if request.key in self.pending:
            return []
        pending = Pending(request, next(self._order))
        self.pending[request.key] = pending
        self._owned(request.owner)[0].add(request.key)
        obstacle = self._infeasibility(request)
        if obstacle:
            pending.state = RequestState.INFEASIBLE
            self.infeasible[request.key] = pending
            shape = vectors.shape_of(request.resources or request.placement)
            if shape in self._warned:
                return []
            self._warned.add(shape)
            return [Infeasible(request, obstacle)]
        is_head = self.waiting.add(pending)
        if is_head and self._take_resources(pending):
            self.waiting.remove(pending)
            return self._staff([pending])
        return self._recall_for_waiting()

    def _infeasibility(self, request: LeaseRequest) -> str:
        """Why this node can never run it; empty when it can."""
        if request.hold:
            return request.hold
        for need in (request.resources, request.placement):
            missing = [name for name, count in sorted(need.items()) if count > self.total.get(name, 0)]
            if missing:
                here = {name: self.total.get(name, 0) for name in missing}
                return f"needs {vectors.describe(need)}, the node has {vectors.describe(here)}"
        return ""

    def movable(self, limit_per_shape: int) -> list[LeaseRequest]:
        """Requests that wait for resources: the first few of each shape."""
        return [
            pending.request for queue in self.waiting for pending in itertools.islice(queue.values(), limit_per_shape)
        ]

    def waits(self, key: RequestKey) -> bool:
        """The request waits for resources."""
        pending = self.pending.get(key)
        return pending is not None and pending.state is RequestState.WAITING

    def held(self) -> list[LeaseRequest]:
        """Requests that nothing can run as things are."""
        return [pending.request for pending in self.infeasible.values()]

    def cancel(self, key: RequestKey) -> list[Effect]:
        """The request is no longer needed. Unknown keys (granted already) are ignored: the owner returns the lease."""
        pending = self._forget_pending(key)
        return self._after_release() if pending is not None and pending.state is RequestState.STAFFING else []

    def _forget_pending(self, key: RequestKey) -> Pending | None:
        pending = self.pending.pop(key, None)
        if pending is None:
            return None
        self._disown(key[0], request=key)
        match pending.state:
            case RequestState.WAITING:
                self.waiting.remove(pending)
            case RequestState.INFEASIBLE:
                self.infeasible.pop(key, None)
            case RequestState.STAFFING:
                self.staffing.withdraw(pending)
                self._give_back(pending.request.resources, pending)
        return pending

    # --- resources ----------------------------------------------------------------------------------------------------

    def _take_resources(self, pending: Pending) -> bool:
        need = pending.request.resources
        gpu_units = need.get(GPU, 0)
        if not vectors.fits(need, self.available) or (gpu_units and not self.gpus.fits(gpu_units)):
            return False
        if self.claims.bar(need):
            return False
        pinned = self.groups.pin(need)
        if pinned is None:
            return False
        vectors.subtract(self.available, need)
        vectors.subtract(self.available, pinned)
        pending.pinned = pinned
        pending.gpus = self.gpus.take(gpu_units) if gpu_units else self.groups.take_gpus(need, pinned)
        return True

    def _give_back(self, units: Units, holder: Pending | Lease) -> None:
        """``units`` without what is pinned; names of bundles that are gone meanwhile come back to nobody."""
        for held in (units, holder.pinned):
            for name, count in held.items():
                if name in self.total:
                    self.available[name] = self.available.get(name, 0) + count
        if holder.gpus:
            if not self.groups.give_back_gpus({**units, **holder.pinned}, holder.gpus):
                self.gpus.give_back(holder.gpus)
            holder.gpus = {}
        holder.pinned = {}

    def _after_release(self) -> list[Effect]:
        """Resources became free: serve who waits."""
        claimed = self._serve_claims() if self.claims.bundles else []
        taken = self.waiting.take_fitting(self._take_resources)
        return [*claimed, *self._staff(taken), *self._recall_for_waiting()]

    def _recall_for_waiting(self) -> list[Effect]:
        claims = self.claims.as_requests() if self.claims.bundles else ()
        return list(self.recalls.choose(self.waiting, self.available, claims))

    def _staff(self, ready: list[Pending]) -> list[Effect]:
        """These have their resources: give each an idle worker, or start some."""
        effects: list[Effect] = []
        for pending in ready:
            pending.state = RequestState.STAFFING
            worker = self.staffing.take_idle_for(pending)
            if worker is not None:
                effects.append(self._grant(pending, worker))
        return [*effects, *self.staffing.start_more(len(self.workers))]

    def _grant(self, pending: Pending, worker: Worker) -> Grant:
        request = pending.request
        del self.pending[request.key]
        self._disown(request.owner, request=request.key)
        lease = Lease(next(self._lease_ids), request, worker.worker_id, pending.gpus, pinned=pending.pinned)
        self.leases[lease.lease_id] = lease
        self._owned(request.owner)[1].add(lease.lease_id)
        self.recalls.granted(lease)
        bind = self.staffing.bind(worker, (request.job_id, request.runtime_env))
        worker.lease = lease
        return Grant(request, lease.lease_id, worker.worker_id, self._assigned(lease), bind)

    def _assigned(self, lease: Lease) -> dict[str, float]:
        """What the lease holds; GPUs by id, as ``GPU/3``."""
        assigned = vectors.to_amounts(lease.request.resources)
        for gpu, units in sorted(lease.gpus.items()):
            assigned[f"{GPU}/{gpu}"] = units / vectors.UNITS_PER_ONE
        return assigned

    # --- workers ------------------------------------------------------------------------------------------------------

    def prestart(self, count: int) -> list[Effect]:
        """Start so many workers before anybody asks."""
        return list(self.staffing.start(count))

    def worker_ready(self, worker_id: bytes, now_s: float) -> list[Effect]:
        """A started worker has registered."""
        self._start_failures = 0
        self.staffing.started()
        worker = self.workers[worker_id] = Worker(worker_id)
        return [*self._offer(worker, now_s), *self.staffing.start_more(len(self.workers))]

    def worker_start_failed(self, reason: str) -> list[Effect]:
        """A worker ended before it registered. After some in a row, whoever waits for one is refused."""
        self.staffing.started()
        self._start_failures += 1
        if self._start_failures < START_FAILURES_BEFORE_REFUSAL:
            return list(self.staffing.start_more(len(self.workers)))
        self._start_failures = 0
        effects: list[Effect] = []
        for pending in self.staffing.everybody():
            self._forget_pending(pending.request.key)
            effects.append(Refuse(pending.request, "worker_start", reason))
        return [*effects, *self._after_release()]

    def cannot_start(self, reason: str) -> list[Effect]:
        """The machine has no room for another process. Idle workers of others make room; who waits for a worker that
        a running task will leave goes on waiting, everybody else is refused. What exists is kept.
        """
        self.staffing.started()
        made_room = self.staffing.make_room()
        effects: list[Effect] = [*made_room]
        awaited = {w.pool for w in self.workers.values() if w.lease is not None and w.lease.will_end}
        for pending in self.staffing.everybody():
            if made_room or (not pending.request.actor_id and pool_of(pending) in awaited):
                continue
            self._forget_pending(pending.request.key)
            effects.append(Refuse(pending.request, "worker_start", reason))
        return [*effects, *self._after_release(), *self.staffing.start_more(len(self.workers))]

    def worker_exited(self, worker_id: bytes) -> list[Effect]:
        """A registered worker has ended: its lease is broken, and what it owned as a submitter is dropped."""
        worker = self.workers.pop(worker_id, None)
        if worker is None:
            return self.owner_gone(worker_id)
        self.staffing.forget(worker)
        effects: list[Effect] = []
        if worker.lease is not None:
            lease = worker.lease
            self._end_lease(lease)
            effects.append(Broken(lease))
        effects += self.owner_gone(worker_id)
        return [*effects, *self._after_release(), *self.staffing.start_more(len(self.workers))]

    def _offer(self, worker: Worker, now_s: float) -> list[Effect]:
        """A worker without a lease: to whom it may serve first, else it idles."""
        worker.lease = None
        pending = self.staffing.next_for(worker)
        if pending is not None:
            return [self._grant(pending, worker)]
        worker.idle_since_s = now_s
        self.staffing.idle(worker)
        return []

    def doom(self, worker_id: bytes) -> None:
        """It is being ended: it gets no more work. What it leases is broken when it has exited."""
        worker = self.workers.get(worker_id)
        if worker is not None:
            worker.leaving = True
            self.staffing.remove_idle(worker)

    def retire_idle(self, now_s: float) -> list[Effect]:
        """Idle workers above the soft limit end after a second."""
        return [Retire(worker.worker_id, "idle") for worker in self.staffing.surplus(now_s)]

    def next_retirement_s(self) -> float | None:
        """When :meth:`retire_idle` has something to do; None: not before another event."""
        return self.staffing.next_retirement_s()

    # --- leases -------------------------------------------------------------------------------------------------------

    def returned(self, owner: bytes, lease_id: int, *, reusable: bool, now_s: float) -> list[Effect]:
        """The owner is done with the worker. A lease that is not the sender's is ignored."""
        lease = self.leases.get(lease_id)
        if lease is None or lease.request.owner != owner:
            return []
        worker = self.workers[lease.worker_id]
        self._end_lease(lease)
        worker.lease = None
        if reusable and not worker.leaving:
            offered = self._offer(worker, now_s)
            return [*offered, *self._after_release()]
        worker.leaving = True
        return self._after_release()

    def _end_lease(self, lease: Lease) -> None:
        del self.leases[lease.lease_id]
        self._disown(lease.request.owner, lease_id=lease.lease_id)
        self.recalls.ended(lease)
        held = dict(lease.request.resources)
        pinned = dict(lease.pinned)
        for name, count in lease.given_back.items():
            (held if name in held else pinned)[name] -= count
        lease.pinned = pinned
        self._give_back(held, lease)

    def blocked(self, worker_id: bytes) -> list[Effect]:
        """The worker's normal task waits: its CPU (nothing else) is free meanwhile. Actors keep theirs."""
        worker = self.workers.get(worker_id)
        lease = worker.lease if worker else None
        if lease is None or lease.given_back or lease.request.actor_id:
            return []
        lease.blocked = True
        held = {**lease.request.resources, **lease.pinned}
        cpus = {n: c for n, c in held.items() if (n == CPU or n.startswith("CPU_group_")) and n in self.total}
        if not cpus:
            return []
        lease.given_back = cpus
        vectors.add(self.available, lease.given_back)
        return self._after_release()

    def unblocked(self, worker_id: bytes) -> list[Effect]:
        """It goes on, at once, oversubscribed if need be (R 4.16)."""
        worker = self.workers.get(worker_id)
        lease = worker.lease if worker else None
        if lease is not None:
            lease.blocked = False
        if lease is not None and lease.given_back:
            for name, count in lease.given_back.items():
                if name in self.total:
                    self.available[name] -= count
            lease.given_back = {}
        return []

    # --- placement groups ---------------------------------------------------------------------------------------------

    def reserve(self, bundles: list[Units]) -> list[Assignment] | None:
        """Take the amounts of bundles out of the plain pool, all or none: the GPUs of each, or None."""
        together = vectors.together(bundles)
        if not vectors.fits(together, self.available):
            return None
        taken: list[Assignment] = []
        for units in bundles:
            gpus = units.get(GPU, 0)
            if gpus and not self.gpus.fits(gpus):
                for assignment in taken:
                    self.gpus.give_back(assignment)
                return None
            taken.append(self.gpus.take(gpus) if gpus else {})
        vectors.subtract(self.available, together)
        return taken

    def claim(self, owner: bytes, bundles: list[Units]) -> list[Effect] | None:
        """What `reserve` has refused waits until workers are given back, and asks for that: then `Claimed`. None: not
        even all that tasks hold would make room.
        """
        if not self.could_free(vectors.together(bundles)):
            return None
        self.claims.add(owner, bundles)
        return self._recall_for_waiting()

    def could_free(self, need: Units) -> bool:
        """It would fit if all tasks were over: actors and bundles stay."""
        return vectors.fits(need, vectors.together([self.available, self.recalls.amounts()]))

    def drop_claim(self, owner: bytes) -> list[Effect]:
        """It does not wait any more. Idempotent."""
        return self._after_release() if self.claims.drop(owner) else []

    def _serve_claims(self) -> list[Effect]:
        served: list[Effect] = []
        for owner, bundles in list(self.claims.bundles.items()):
            gpus = self.reserve(bundles)
            if gpus is not None:
                self.claims.drop(owner)
                served.append(Claimed(owner, gpus))
        return served

    def unreserve(self, units: Units, gpus: Assignment) -> list[Effect]:
        """Undo :meth:`reserve` for one bundle."""
        vectors.add(self.available, units)
        if gpus:
            self.gpus.give_back(gpus)
        return self._after_release()

    def offer(self, named: Units, gpus: Assignment) -> list[Effect]:
        """A bundle may be used from now on, under its group's names."""
        self.groups.offer(named, gpus)
        return self._after_release()

    def withdraw(self, named: Units) -> list[bytes]:
        """A bundle may not be used any more: the workers whose leases are in it."""
        self.groups.withdraw(named)
        return [
            lease.worker_id
            for lease in self.leases.values()
            if any(name in named for name in (*lease.request.resources, *lease.pinned) if split_index(name) >= 0)
        ]

    def awaited_groups(self) -> set[str]:
        """Groups (hex) for whose bundles requests wait."""
        return {group for group in (group_of(p.request.resources) for p in self.pending.values()) if group}

    def of_group(self, group: str) -> list[LeaseRequest]:
        """Requests that wait for bundles of a group (hex)."""
        return [p.request for p in self.pending.values() if group_of(p.request.resources) == group]

    # --- ends ---------------------------------------------------------------------------------------------------------

    def knows_owner(self, owner: bytes) -> bool:
        """It has requests or leases here."""
        return owner in self._by_owner

    def owner_gone(self, owner: bytes) -> list[Effect]:
        """A submitter is dead: its requests are dropped, its leased workers end (they may hold its state)."""
        requests, lease_ids = self._by_owner.get(owner, (set(), set()))
        dropped = sorted(requests)
        for key in dropped:
            self._forget_pending(key)
        effects: list[Effect] = []
        for lease_id in sorted(lease_ids):
            worker_id = self.leases[lease_id].worker_id
            self.workers[worker_id].leaving = True
            effects.append(Kill(worker_id, "its owner died"))
        return [*effects, *self._after_release()] if dropped else effects

    def job_gone(self, job_id: bytes) -> list[Effect]:
        """A job has ended: nothing of it goes on but detached actors."""
        for pending in [p for p in self.pending.values() if p.request.job_id == job_id and not p.request.detached]:
            self._forget_pending(pending.request.key)
        effects: list[Effect] = []
        for worker_id in self.staffing.of_job(job_id):
            worker = self.workers[worker_id]
            if worker.lease is not None and worker.lease.request.detached:
                continue
            worker.leaving = True
            self.staffing.remove_idle(worker)
            effects.append(Kill(worker_id, "its job ended"))
        return [*effects, *self._after_release()]

    # --- questions ----------------------------------------------------------------------------------------------------

    def explain(self, key: RequestKey) -> tuple[str, str]:
        """(kind, sentence): what holds up this request."""
        pending = self.pending.get(key)
        if pending is None:
            return "unknown", "no such request waits here: it was granted, refused or cancelled"
        need = vectors.describe(pending.request.resources)
        match pending.state:
            case RequestState.INFEASIBLE:
                return "infeasible", f"no node can run it: {self._infeasibility(pending.request)}"
            case RequestState.STAFFING:
                return "worker_start", f"it has its resources {need} and waits for a worker process to start"
            case RequestState.WAITING:
                free = {name: max(0, self.available.get(name, 0)) for name in pending.request.resources}
                ahead = sum(1 for p in self.pending.values() if p.state is pending.state and p.order < pending.order)
                return "resources", f"it needs {need}, free are {vectors.describe(free)}; {ahead} older requests wait"

    def demand(self) -> list[tuple[dict[str, float], int, bytes]]:
        """Shapes that wait, with counts and strategies; infeasible ones by what makes them so. All requests of an owner
        tell the same backlog.
        """
        owners: dict[tuple[tuple[tuple[str, int], ...], bytes], dict[bytes, tuple[int, int]]] = {}
        waiting = [pending for queue in self.waiting for pending in queue.values()]
        for pending in (*waiting, *self.infeasible.values()):
            request = pending.request
            infeasible = pending.state is RequestState.INFEASIBLE
            amounts = (request.placement if infeasible else {}) or request.resources
            counts = owners.setdefault((vectors.shape_of(amounts), request.strategy), {})
            requests, backlog = counts.get(request.owner, (0, 0))
            counts[request.owner] = (requests + 1, max(backlog, request.backlog))
        return [
            (vectors.to_amounts(dict(shape)), sum(max(both) for both in counts.values()), strategy)
            for (shape, strategy), counts in sorted(owners.items())
        ]

    def available_amounts(self) -> dict[str, float]:
        """What is free now; never shown below zero."""
        return {name: max(0, count) / vectors.UNITS_PER_ONE for name, count in self.available.items()}

    # --- who owns what ------------------------------------------------------------------------------------------------

    def _owned(self, owner: bytes) -> tuple[set[RequestKey], set[int]]:
        return self._by_owner.setdefault(owner, (set(), set()))

    def _disown(self, owner: bytes, *, request: RequestKey | None = None, lease_id: int | None = None) -> None:
        requests, lease_ids = self._by_owner[owner]
        if request is not None:
            requests.discard(request)
        if lease_id is not None:
            lease_ids.discard(lease_id)
        if not requests and not lease_ids:
            del self._by_owner[owner]
