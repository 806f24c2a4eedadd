"""Which worker process serves which granted request, how many to start and which idle ones to end. Pure; used by
manager.py.

A worker is fresh until its first lease binds it to a (job, runtime environment); from then on it serves only that.
"""

from __future__ import annotations

from linckia.base.limits import IDLE_WORKER_MAX_S
from linckia.core.leases.records import FRESH, Effect, Pending, PoolKey, RequestKey, Retire, StartWorkers, Worker

NeedsKey = tuple[PoolKey, bool]
"""Pool, and whether it is a driver's request (those come after nested ones)."""


def pool_of(pending: Pending) -> PoolKey:
    """The pool whose workers may serve it, besides fresh ones."""
    return (pending.request.job_id, pending.request.runtime_env)


def _needs_key(pending: Pending) -> NeedsKey:
    return (pool_of(pending), not pending.request.nested)


class Staffing:
    """Idle workers by pool, requests that have resources but no worker, and how many workers are on their way."""

    def __init__(self, *, soft_limit: int, max_workers: int, max_starting: int) -> None:
        self.soft_limit, self.max_workers, self.max_starting = soft_limit, max_workers, max_starting
        self.starting = 0
        self._idle: dict[PoolKey, dict[bytes, Worker]] = {}
        self._idle_order: dict[bytes, Worker] = {}  # oldest first, over all pools
        self._needs: dict[NeedsKey, dict[RequestKey, Pending]] = {}
        self._needs_count = 0
        self._by_job: dict[bytes, dict[bytes, None]] = {}

    # --- matching -----------------------------------------------------------------------------------------------------

    def take_idle_for(self, pending: Pending) -> Worker | None:
        """The most recently used idle worker that may serve it; else it is noted as needing one."""
        for pool in (pool_of(pending), FRESH):
            idle = self._idle.get(pool)
            if idle:
                worker = idle[next(reversed(idle))]
                self.remove_idle(worker)
                return worker
        self._needs.setdefault(_needs_key(pending), {})[pending.request.key] = pending
        self._needs_count += 1
        return None

    def next_for(self, worker: Worker) -> Pending | None:
        """The first request that this worker may serve: nested before drivers', then the oldest."""
        keys = list(self._needs) if worker.pool == FRESH else [(worker.pool, False), (worker.pool, True)]
        heads = [next(iter(self._needs[key].values())) for key in keys if key in self._needs]
        if not heads:
            return None
        chosen = min(heads, key=_rank)
        self.withdraw(chosen)
        return chosen

    def withdraw(self, pending: Pending) -> None:
        """It needs no worker any more."""
        key = _needs_key(pending)
        if self._needs.get(key, {}).pop(pending.request.key, None) is not None:
            self._needs_count -= 1
            if not self._needs[key]:
                del self._needs[key]

    def everybody(self) -> list[Pending]:
        """All that need a worker, oldest first."""
        return sorted((p for needs in self._needs.values() for p in needs.values()), key=_rank)

    def bind(self, worker: Worker, pool: PoolKey) -> bool:
        """The worker belongs to this pool from now on; True when it was fresh."""
        if worker.pool != FRESH:
            return False
        worker.pool = pool
        self._by_job.setdefault(pool[0], {})[worker.worker_id] = None
        return True

    def of_job(self, job_id: bytes) -> list[bytes]:
        """Workers bound to the job."""
        return list(self._by_job.get(job_id, ()))

    # --- numbers ------------------------------------------------------------------------------------------------------

    def start(self, count: int) -> list[Effect]:
        """Start so many."""
        if count <= 0:
            return []
        self.starting += count
        return [StartWorkers(count)]

    def started(self) -> None:
        """One of them registered, or ended before it could."""
        self.starting -= 1

    def start_more(self, living: int) -> list[Effect]:
        """Start what the needy lack, in bounded parallel; at the hard limit make room by retiring idle ones."""
        lacking = self._needs_count - self.starting
        if lacking <= 0:
            return []
        count = min(lacking, self.max_starting - self.starting)
        effects: list[Effect] = []
        if self.max_workers:
            room = self.max_workers - living - self.starting
            for worker in list(self._idle_order.values())[: max(0, count - room)]:
                self._leave(worker)
                effects.append(Retire(worker.worker_id, "the limit of workers is reached and another job needs one"))
            count = min(count, room)
        return [*effects, *self.start(count)]

    def make_room(self) -> list[Effect]:
        """Retire as many idle workers, of other pools, as requests lack one."""
        chosen = list(self._idle_order.values())[: self._needs_count]
        for worker in chosen:
            self._leave(worker)
        return [
            Retire(worker.worker_id, "no more processes can be started and another job needs one") for worker in chosen
        ]

    # --- idling -------------------------------------------------------------------------------------------------------

    def idle(self, worker: Worker) -> None:
        """It has nothing to do."""
        self._idle.setdefault(worker.pool, {})[worker.worker_id] = worker
        self._idle_order[worker.worker_id] = worker

    def remove_idle(self, worker: Worker) -> None:
        """It is not idle any more; harmless when it was not."""
        if self._idle_order.pop(worker.worker_id, None) is None:
            return
        idle = self._idle[worker.pool]
        del idle[worker.worker_id]
        if not idle:
            del self._idle[worker.pool]

    def forget(self, worker: Worker) -> None:
        """It has ended."""
        self.remove_idle(worker)
        if worker.pool != FRESH:
            of_job = self._by_job[worker.pool[0]]
            del of_job[worker.worker_id]
            if not of_job:
                del self._by_job[worker.pool[0]]

    def idle_workers(self) -> list[Worker]:
        """Who has nothing to do, longest first."""
        return list(self._idle_order.values())

    def surplus(self, now_s: float) -> list[Worker]:
        """Take out those that have idled too long above the soft limit, longest first."""
        over = len(self._idle_order) - self.soft_limit
        chosen = []
        for worker in list(self._idle_order.values())[: max(0, over)]:
            if now_s - worker.idle_since_s < IDLE_WORKER_MAX_S:
                break
            self._leave(worker)
            chosen.append(worker)
        return chosen

    def next_retirement_s(self) -> float | None:
        """When :meth:`surplus` has something to do."""
        if len(self._idle_order) <= self.soft_limit:
            return None
        return next(iter(self._idle_order.values())).idle_since_s + IDLE_WORKER_MAX_S

    def _leave(self, worker: Worker) -> None:
        self.remove_idle(worker)
        worker.leaving = True


def _rank(pending: Pending) -> tuple[bool, int]:
    return (not pending.request.nested, pending.order)
