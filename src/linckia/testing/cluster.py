"""A whole cluster in one thread on virtual time, with a seeded workload and seeded faults; one seed, one history.

``SimCluster(seed).run()`` lives one life: drivers submit tasks, create actors, pass references and die, the network and
the processes misbehave; then the faults stop, and all work must reach exactly one terminal state and leave nothing
behind. Which kinds of faults a seed has is itself drawn (swarm). A failure says how to replay it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random

import msgspec

from linckia.model.specs import ActorSpec
from linckia.protocol.messages import Message
from linckia.raylet import lease_desk, pull_manager, service, spilling, store_host
from linckia.rpc.faults import FaultPlan
from linckia.testing import checks
from linckia.testing.clock import VirtualClock
from linckia.testing.driver import SimDriver
from linckia.testing.network import FaultyNetwork, SimConnection
from linckia.testing.node import NODE, SIGKILL, SimNode
from linckia.testing.owner import SimOwner
from linckia.testing.scripts import ActorScript, Script
from linckia.testing.worker import SimWorker

TRACE_KEPT = 200
STEPS_MAX = 400_000
QUIET_S = 15.0


@dataclass(frozen=True)
class Swarm:
    """Which faults this seed has."""

    drop: float
    duplicate: float
    delay: float
    worker_crashes: int
    driver_crashes: int
    partitions: int
    fork_failures: float
    slow_network: bool

    @classmethod
    def draw(cls, rng: Random) -> Swarm:
        """Each kind is on or off by itself."""

        def maybe(value: float) -> float:
            return value if rng.random() < 0.5 else 0.0

        return cls(
            drop=maybe(rng.uniform(0.01, 0.3)),
            duplicate=maybe(rng.uniform(0.01, 0.3)),
            delay=maybe(rng.uniform(0.01, 0.3)),
            worker_crashes=int(maybe(rng.randint(1, 12))),
            driver_crashes=int(maybe(1) if rng.random() < 0.5 else 0),
            partitions=int(maybe(rng.randint(1, 4))),
            fork_failures=maybe(0.2),
            slow_network=rng.random() < 0.3,
        )


class SimFailure(AssertionError):
    """A promise was broken; the message says how to see it again."""


class SimCluster:
    """One simulated life."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = Random(f"world {seed}")
        self.swarm = Swarm.draw(self.rng)
        self.clock = VirtualClock()
        swarm = self.swarm
        plan = FaultPlan(seed, swarm.drop, swarm.duplicate, swarm.delay, delay_max_s=0.2)
        self.network = FaultyNetwork(self.clock, Random(f"network {seed}"), plan)
        self.network.mean_delay_s = 0.01 if swarm.slow_network else 0.001
        self.network.on_delivery = self._record
        self.node = SimNode(self.clock, self.network, self.rng, {"CPU": 6.0, "GPU": 2.0, "oil": 1.0})
        self.node.pool.prepare(Random(f"forks {seed}"), self._launch, lambda name: self.crash(name, "SIGKILL"))
        self.node.pool.fork_failures = swarm.fork_failures
        self.workers: dict[bytes, SimWorker] = {}  # that ever lived
        self._living: dict[bytes, SimWorker] = {}
        self.drivers: dict[bytes, SimDriver] = {}
        self.scripts: dict[bytes, Script] = {}
        self.actor_scripts: dict[bytes, ActorScript] = {}
        self.unfinished: dict[bytes, SimOwner] = {}  # task -> its owner
        self.outcomes: dict[bytes, str] = {}
        self.attempts: dict[bytes, int] = {}
        self.contents: dict[bytes, tuple[bytes, ...]] = {}  # references inside results, as they were made
        self.exits = 0
        self.steps = 0
        self.trace: deque[str] = deque(maxlen=TRACE_KEPT)
        self.digest = 0
        self.decode_spec = msgspec.msgpack.Decoder(ActorSpec).decode

    # --- what processes tell ------------------------------------------------------------------------------------------

    def submitted(self, owner: SimOwner, task_id: bytes, script: Script) -> None:
        """A task exists."""
        self.scripts[task_id] = script
        self.unfinished[task_id] = owner

    def attempt(self, worker: SimWorker, task_id: bytes) -> None:
        """User code begins: not more often than its retries allow."""
        count = self.attempts[task_id] = self.attempts.get(task_id, 0) + 1
        allowed = 1 + self.scripts[task_id].max_retries
        checks.require(count <= allowed, f"{task_id!r} runs for the {count}. time, {allowed} are allowed")
        self.note(f"{worker.name.decode()} runs {task_id.decode()}")

    def finished(self, task_id: bytes, outcome: str) -> None:
        """A task is over, once."""
        checks.require(task_id not in self.outcomes, f"{task_id!r} ends twice: {self.outcomes.get(task_id)}, {outcome}")
        self.outcomes[task_id] = outcome
        del self.unfinished[task_id]
        self.note(f"{task_id.decode()}: {outcome}")

    def freed(self, object_id: bytes) -> None:
        """An owner let an object go. While nobody has died, nobody may hold it."""
        if self.exits:
            return  # who was to keep it for a borrower may have died: tests/unit/core/objects follows each of them
        for process in [*self.drivers.values(), *self.workers.values()]:
            entry = process.refs.entries.get(object_id)
            checks.require(entry is None or not entry.held, f"{object_id!r} is freed, {process.name!r} holds it")

    def note(self, line: str) -> None:
        """Part of the history, which two runs of one seed have in common."""
        line = f"{self.clock.now_s:.6f} {line}"
        self.trace.append(line)
        for byte in line.encode():
            self.digest = (self.digest * 1_099_511_628_211 + byte) & 0xFFFF_FFFF_FFFF_FFFF

    def _record(self, connection: SimConnection, message: Message) -> None:
        rid = getattr(message, "rid", "")
        self.note(f"{connection.here.name.decode()}>{connection.there.name.decode()} {type(message).__name__} {rid}")

    # --- processes ----------------------------------------------------------------------------------------------------

    def _launch(self, name: bytes, pid: int) -> None:
        self.workers[name] = self._living[name] = SimWorker(self, name, pid)

    def living_workers(self) -> Iterable[SimWorker]:
        """Those whose process has not ended."""
        return self._living.values()

    def crash(self, name: bytes, why: str, status: int = SIGKILL) -> None:
        """A process ends at this moment; what it has written still arrives."""
        if not self.network.endpoints[name].alive:
            return
        self.exits += 1
        self.note(f"{name.decode()} ends: {why}")
        self.network.crash(name, why)
        self.unfinished = {task: owner for task, owner in self.unfinished.items() if owner.alive}
        worker = self._living.pop(name, None)
        if worker is not None:
            self.node.pool.exited_soon(worker.pid, status)

    # --- one life -----------------------------------------------------------------------------------------------------

    def run(self) -> SimCluster:
        """Live it. SimFailure names the seed and the last of what happened."""
        try:
            with self.clock.installed_in(service, lease_desk, store_host, spilling, pull_manager):
                self._live()
        except (AssertionError, LookupError, TypeError, AttributeError, ValueError) as error:
            last = "\n".join(self.trace)
            raise SimFailure(
                f"{last}\n{self.swarm}\n{type(error).__name__}: {error}\nreplay: make sim SEED={self.seed}"
            ) from error
        return self

    def _live(self) -> None:
        self.node.start()
        for number in range(self.rng.randint(1, 3)):
            name = f"d{number}".encode()
            self.drivers[name] = SimDriver(self, name)
        self._plan_faults()
        self._advance(self.clock.now_s + 3.0)
        self.network.faults = None
        self.network.cut_until_s.clear()
        self.node.pool.fork_failures = 0.0
        self._settle("all work ends", self._all_work_ended)
        for driver in self.drivers.values():
            driver.let_go()
        self._advance(self.clock.now_s + QUIET_S)
        checks.check_quiet(self.node)
        self._check_references()
        self.node.kill_detached_actors()
        for driver in self.drivers.values():
            driver.leave()
        self._advance(self.clock.now_s + QUIET_S)
        checks.check_left_behind(self)

    def _plan_faults(self) -> None:
        rng = self.rng
        for _ in range(self.swarm.worker_crashes):
            self.clock.call_later(rng.uniform(0.0, 3.0), self._crash_worker)
        for _ in range(self.swarm.driver_crashes):
            self.clock.call_later(rng.uniform(0.5, 3.0), self._crash_driver)
        for _ in range(self.swarm.partitions):
            self.clock.call_later(rng.uniform(0.0, 3.0), self._partition)

    def _crash_worker(self) -> None:
        if self._living:
            self.crash(self.rng.choice(list(self._living)), "a random death")

    def _crash_driver(self) -> None:
        self.crash(self.rng.choice(list(self.drivers)), "a random death of a driver")

    def _partition(self) -> None:
        names = [name for name, endpoint in self.network.endpoints.items() if endpoint.alive]
        one = self.rng.choice(names)
        for other in self.rng.sample(names, k=min(3, len(names))):
            if other != one and {one, other} != {NODE, b"gcs"}:
                self.network.cut(one, other, self.rng.uniform(0.05, 1.0))

    def _step(self) -> bool:
        self.steps += 1
        checks.require(self.steps < STEPS_MAX, f"{STEPS_MAX} steps and no rest: something goes round in circles")
        moved = self.clock.step()
        checks.check_step(self)
        return moved

    def _advance(self, until_s: float) -> None:
        while (due_s := self.clock.next_due_s) is not None and due_s <= until_s:
            self._step()
        self.clock.now_s = max(self.clock.now_s, until_s)

    def _all_work_ended(self) -> bool:
        return not self.unfinished and all(d.actions <= 0 for d in self.drivers.values() if d.alive)

    def _settle(self, what: str, done: Callable[[], bool]) -> None:
        limit_s = self.clock.now_s + 120.0
        while not done():
            due_s = self.clock.next_due_s
            idle = due_s is None or due_s > limit_s
            checks.require(not idle, f"not reached: {what}; without an end: {list(self.unfinished)[:10]}")
            self._step()

    def _check_references(self) -> None:
        """Nobody holds anything any more: every owner has freed all, unless deaths left registrations behind."""
        for process in [*self.drivers.values(), *self.workers.values()]:
            if process.alive and not self.exits:
                checks.require(not process.refs.entries, f"{process.name!r} keeps {sorted(process.refs.entries)}")
                checks.require(not process.blocks, f"{process.name!r} keeps blocks {sorted(process.blocks)}")
            if process.alive:
                checks.require(not process.requests, f"{process.name!r} still asks {process.requests}")
