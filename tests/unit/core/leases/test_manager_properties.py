"""Whatever happens in whatever order: resources add up, nobody is lost, and what could run is not left waiting."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

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
    RequestKey,
    RequestState,
    Retire,
    StartWorkers,
)
from linckia.core.leases.vectors import Units, to_units

TOTAL = to_units({"CPU": 4, "GPU": 2, "oil": 1})
SHAPES = [{"CPU": 1}, {"CPU": 0.5}, {"CPU": 3}, {"GPU": 0.5}, {"GPU": 1, "CPU": 1}, {"oil": 1}, {"CPU": 9}, {}]
OWNERS = [b"driver1", b"driver2"]


class LeaseMachine(RuleBasedStateMachine):
    """Plays the world: workers start, fail and die when they like; owners ask, return, block and disappear."""

    def __init__(self) -> None:
        super().__init__()
        self.manager = LeaseManager(TOTAL, soft_limit=4, max_workers=12, max_starting=3)
        self.now_s = 0.0
        self.rid = 0
        self.starting = 0
        self.living: list[bytes] = []
        self.doomed: list[bytes] = []
        self.open: set[RequestKey] = set()
        self.granted: dict[int, Grant] = {}
        self.recalled: set[int] = set()
        self.births = 0

    def absorb(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case StartWorkers(count):
                    assert count > 0
                    self.starting += count
                case Grant():
                    assert effect.request.key in self.open
                    assert effect.worker_id in self.living
                    assert effect.worker_id not in {grant.worker_id for grant in self.granted.values()}
                    self.open.remove(effect.request.key)
                    self.granted[effect.lease_id] = effect
                case Refuse(request):
                    self.open.remove(request.key)
                case Recall(owner, lease_id):
                    assert self.granted[lease_id].request.owner == owner
                    assert lease_id not in self.recalled
                    self.recalled.add(lease_id)
                case Kill(worker_id) | Retire(worker_id):
                    assert worker_id in self.living
                    if worker_id not in self.doomed:
                        self.doomed.append(worker_id)
                case Broken(lease):
                    del self.granted[lease.lease_id]
                case Infeasible():
                    pass

    @rule(
        owner=st.integers(0, 9),
        shape=st.sampled_from(SHAPES),
        job=st.sampled_from([b"j1", b"j2"]),
        nested=st.booleans(),
        actor=st.booleans(),
        detached=st.booleans(),
    )
    def request(
        self, owner: int, shape: dict[str, float], job: bytes, nested: bool, actor: bool, detached: bool
    ) -> None:
        owners = OWNERS + self.living
        self.rid += 1
        actor_id = f"actor{self.rid}".encode() if actor else b""
        request = LeaseRequest(
            owner=actor_id or owners[owner % len(owners)],
            rid=self.rid,
            resources=to_units(shape),
            job_id=job,
            nested=nested,
            actor_id=actor_id,
            detached=actor and detached,
        )
        self.open.add(request.key)
        self.absorb(self.manager.request(request))
        self.absorb(self.manager.request(request) if request.key in self.open else [])

    @rule(index=st.integers(0, 100))
    @precondition(lambda self: self.open)
    def cancel(self, index: int) -> None:
        key = sorted(self.open)[index % len(self.open)]
        self.open.remove(key)
        self.absorb(self.manager.cancel(key))

    @rule()
    @precondition(lambda self: self.starting)
    def worker_ready(self) -> None:
        self.starting -= 1
        self.births += 1
        worker_id = f"w{self.births}".encode()
        self.living.append(worker_id)
        self.absorb(self.manager.worker_ready(worker_id, self.now_s))

    @rule()
    @precondition(lambda self: self.starting)
    def worker_start_failed(self) -> None:
        self.starting -= 1
        self.absorb(self.manager.worker_start_failed("bad luck"))

    def exit_worker(self, worker_id: bytes) -> None:
        self.living.remove(worker_id)
        if worker_id in self.doomed:
            self.doomed.remove(worker_id)
        self.open = {key for key in self.open if key[0] != worker_id}
        self.absorb(self.manager.worker_exited(worker_id))

    @rule(index=st.integers(0, 100))
    @precondition(lambda self: self.living)
    def worker_dies(self, index: int) -> None:
        self.exit_worker(self.living[index % len(self.living)])

    @rule()
    @precondition(lambda self: self.doomed)
    def doomed_worker_ends(self) -> None:
        self.exit_worker(self.doomed[0])

    @rule(index=st.integers(0, 100), reusable=st.booleans())
    @precondition(lambda self: self.granted)
    def return_lease(self, index: int, reusable: bool) -> None:
        lease_id = sorted(self.granted)[index % len(self.granted)]
        grant = self.granted.pop(lease_id)
        if not reusable and grant.worker_id not in self.doomed:
            self.doomed.append(grant.worker_id)
        owner = grant.request.owner
        self.absorb(self.manager.returned(owner, lease_id, reusable=reusable, now_s=self.now_s))

    @rule(index=st.integers(0, 100))
    @precondition(lambda self: self.living)
    def block(self, index: int) -> None:
        self.absorb(self.manager.blocked(self.living[index % len(self.living)]))

    @rule(index=st.integers(0, 100))
    @precondition(lambda self: self.living)
    def unblock(self, index: int) -> None:
        self.absorb(self.manager.unblocked(self.living[index % len(self.living)]))

    @rule(owner=st.sampled_from(OWNERS))
    def owner_gone(self, owner: bytes) -> None:
        self.open = {key for key in self.open if key[0] != owner}
        self.absorb(self.manager.owner_gone(owner))

    @rule(job=st.sampled_from([b"j1", b"j2"]))
    def job_gone(self, job: bytes) -> None:
        pending = self.manager.pending
        dropped = {key for key in self.open if pending[key].request.job_id == job and not pending[key].request.detached}
        self.open -= dropped
        self.absorb(self.manager.job_gone(job))

    @rule(wait_s=st.floats(0.0, 2.0))
    def time_passes(self, wait_s: float) -> None:
        self.now_s += wait_s
        self.absorb(self.manager.retire_idle(self.now_s))

    # --- invariants ---------------------------------------------------------------------------------------------------

    @invariant()
    def resources_add_up(self) -> None:
        manager = self.manager
        expected: Units = dict(TOTAL)
        for lease in manager.leases.values():
            vectors.subtract(expected, lease.request.resources)
            vectors.add(expected, lease.given_back)
        for pending in manager.pending.values():
            if pending.state is RequestState.STAFFING:
                vectors.subtract(expected, pending.request.resources)
        assert expected == manager.available
        assert all(count >= 0 for name, count in manager.available.items() if name != "CPU")
        assert sum(manager.gpus.free.values()) == manager.available["GPU"]
        assert all(0 <= free <= vectors.UNITS_PER_ONE for free in manager.gpus.free.values())

    @invariant()
    def every_request_is_open_granted_or_over(self) -> None:
        assert set(self.manager.pending) == self.open
        assert set(self.manager.leases) == set(self.granted)

    @invariant()
    def no_worker_is_lost(self) -> None:
        assert set(self.manager.workers) == set(self.living)
        assert self.manager.staffing.starting == self.starting
        assert len(self.living) + self.starting <= 12

    @invariant()
    def nobody_waits_for_what_is_free(self) -> None:
        manager = self.manager
        for pending in manager.pending.values():
            if pending.state is RequestState.WAITING:
                need = pending.request.resources
                assert not (vectors.fits(need, manager.available) and manager.gpus.fits(need.get("GPU", 0)))
        staffing = [p for p in manager.pending.values() if p.state is RequestState.STAFFING]
        if staffing:
            at_limit = len(self.living) + self.starting >= 12
            assert self.starting or at_limit or self.doomed

    @invariant()
    def no_books_about_nobody(self) -> None:
        manager = self.manager
        owners = {key[0] for key in manager.pending} | {lease.request.owner for lease in manager.leases.values()}
        assert set(manager._by_owner) == owners
        assert set(manager.recalls._coming) <= set(manager.leases)


LeaseMachine.TestCase.settings = settings(max_examples=50, stateful_step_count=50, deadline=None)
test_lease_machine = LeaseMachine.TestCase
