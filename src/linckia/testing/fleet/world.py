"""A fleet of simulated machines with one head, a scenario and a seed: one history.

``Fleet(scenario, seed, nodes).run()`` forms the cluster, plays the scenario, stops the faults, and sees that all work
ends and nothing is left behind. A failure says how to replay it. Built on ``machine.py`` and ``driver.py``.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, cast

from linckia.base.limits import PROBE_MAX_S, SUSPECT_AFTER_S
from linckia.gcs import nodes as gcs_nodes
from linckia.gcs import placement_groups
from linckia.model.specs import NodeInfo
from linckia.node.head import HeadRoom
from linckia.protocol import messages as m
from linckia.protocol.batch import decode_batch
from linckia.raylet import cluster, lease_desk, pull_manager, service, spilling, store_host
from linckia.rpc.faults import FaultPlan, Faults
from linckia.rpc.reactor import Reactor
from linckia.store.memory import MemoryStore
from linckia.testing.checks import BrokenPromise, require
from linckia.testing.clock import VirtualClock
from linckia.testing.fleet import checks
from linckia.testing.fleet.driver import FleetDriver
from linckia.testing.fleet.heads import SimHead, store_faults
from linckia.testing.fleet.machine import SimMachine
from linckia.testing.fleet.scenario import Scenario
from linckia.testing.fleet.worker import FleetWorker
from linckia.testing.network import FaultyNetwork, SimConnection
from linckia.testing.node import HEAD

TRACE_KEPT = 300
CONSTRUCTOR_S = 0.01
SETTLE_MAX_S = 180.0
QUIET_S = 8.0
JOIN_EVERY_S = 0.002
NOTICED_S = 1.0
HEAD_NODE = b"n-head"
QUIET_MESSAGES = frozenset({m.Heartbeat})


class FleetFailure(AssertionError):
    """A promise was broken; the message says how to see it again."""


class Fleet:
    """One history."""

    def __init__(self, scenario: Scenario, seed: int, nodes: int) -> None:
        self.scenario, self.seed, self.nodes = scenario, seed, nodes
        self.rng = Random(f"fleet {scenario.name} {nodes} {seed}")
        self.begun: set[tuple[bytes, int]] = set()  # (actor id, restarts) of constructors
        self.constructor_s: Callable[[], float] = lambda: CONSTRUCTOR_S
        self.clock = VirtualClock()
        self.began_s = self.clock.now_s
        self.network = FaultyNetwork(self.clock, Random(f"fleet network {seed}"))
        self.network.on_delivery = self._record
        self.machines: dict[bytes, SimMachine] = {}  # all that ever lived
        self._living: dict[bytes, SimMachine] = {}
        self.drivers: list[FleetDriver] = []
        self.delivered: Counter[type] = Counter()
        self.steps = 0
        self.trace: deque[tuple[float, str]] = deque(maxlen=TRACE_KEPT)
        self.digest = 0
        self.deaths: list[tuple[bytes, str]] = []
        self.notes: dict[str, Any] = {}  # figures of the scenario
        self.on_head: list[Callable[[], None]] = []  # called when another head leads
        self._moved: dict[SimMachine, None] = {}
        self._moved_groups: dict[bytes, None] = {}
        self._hosts: dict[bytes | str, dict[FleetWorker, None]] = {}  # who hosted an actor, or one of that name
        self._lives: Counter[int] = Counter()
        self.network.join(HEAD, "gcs", self._to_head, self._lost_by_head)
        self.store = MemoryStore(self.clock) if scenario.has_store else None
        self.store_faults = store_faults(Random(f"store {seed}"))
        self.heads = 0  # that were there so far
        self.head_process: SimHead | None = None
        if self.store is not None:
            self.start_head()
        else:
            self.head = HeadRoom(cast(Reactor, self.clock), "sim", self._each)
            self.dress(self.head)

    # --- heads --------------------------------------------------------------------------------------------------------

    def dress(self, head: HeadRoom) -> None:
        """Virtual time, simulated probes and seeded choices for a head."""
        head.nodes.now_s = self.clock.monotonic
        head.nodes.probe = self._probe
        head.nodes.on_dead.append(self._on_dead)
        head.actors.placement.rng = Random(f"fleet placement {self.seed} {self.heads}")
        directory = head.groups.directory
        noted = directory.on_change

        def changed(group_id: bytes) -> None:
            noted(group_id)
            self._moved_groups[group_id] = None

        directory.on_change = changed

    def start_head(self) -> None:
        """A head takes over, with the store."""
        assert self.store is not None
        self.heads += 1
        self.note(f"head {self.heads} starts")
        self.head_process = SimHead(self, self.store, self.heads)
        self.head = self.head_process.room
        for listener in self.on_head:
            listener()

    def kill_head(self) -> None:
        """SIGKILL: what it has not written is lost."""
        assert self.head_process is not None
        self.note(f"head {self.heads} is killed")
        self.head_process.alive = False
        self.network.crash(HEAD, "the head was killed")

    def cut_store(self, for_s: float) -> None:
        """The head that leads, if there is one, does not reach its store for a while."""
        assert self.head_process is not None
        self.note(f"head {self.heads} is without its store for {for_s:.2f} s")
        self.head_process.cut(for_s)

    def next_head(self) -> None:
        """Another one listens."""
        self.network.join(HEAD, "gcs", self._to_head, self._lost_by_head)
        self.start_head()

    # --- machines -----------------------------------------------------------------------------------------------------

    def living(self) -> list[SimMachine]:
        """Machines that run."""
        return list(self._living.values())

    def workers_of_fleet(self) -> list[SimMachine]:
        """Machines that run, without the head."""
        return [machine for machine in self._living.values() if machine.node_id != HEAD_NODE]

    def boot(self, slot: int, labels: dict[str, str] | None = None) -> SimMachine:
        """A machine starts, as a new node."""
        self._lives[slot] += 1
        node_id = b"n%05d.%d" % (slot, self._lives[slot])
        resources, given = self.scenario.machine(slot)
        return self._add(SimMachine(self, node_id, resources, {**given, **(labels or {})}, is_head=False))

    def _add(self, machine: SimMachine) -> SimMachine:
        self.machines[machine.node_id] = self._living[machine.node_id] = machine
        self.note(f"{machine.node_id.decode()} starts")
        machine.start()
        return machine

    def end(self, machine: SimMachine, why: str, *, on_purpose: bool = False) -> None:
        """It crashes, or says good-bye first."""
        self._living.pop(machine.node_id, None)
        if on_purpose:
            machine.stop(why)
        else:
            machine.crash(why)

    def again(self, machine: SimMachine, after_s: float) -> None:
        """The same machine starts again, as another node."""
        slot = int(machine.node_id[1:6])
        labels = machine.raylet.options.node.labels
        self._boot_later(after_s, slot, labels)

    def _boot_later(self, after_s: float, slot: int, labels: dict[str, str] | None = None) -> None:
        def boot() -> None:
            self.boot(slot, labels)

        self.clock.call_later(after_s, boot)

    def fenced(self, machine: SimMachine, reason: str) -> None:
        """It was declared dead: it ends what it runs and joins as a new one."""
        self.clock.call_later(0.0, lambda: self._fence(machine, reason))

    def _fence(self, machine: SimMachine, reason: str) -> None:
        if machine.alive:
            self.end(machine, f"fenced: {reason}")
            self.again(machine, 0.2)

    def driver(self, machine: SimMachine, ready: Callable[[FleetDriver], None]) -> FleetDriver:
        """A program starts on a machine."""
        made = FleetDriver(self, machine, b"d%03d" % len(self.drivers), ready)
        self.drivers.append(made)
        return made

    def drivers_of(self, machine: SimMachine) -> list[FleetDriver]:
        """Programs on a machine."""
        return [driver for driver in self.drivers if driver.machine is machine and driver.alive]

    def refused(self, driver: FleetDriver, reply: Any) -> None:
        """A lease request was refused for good: nothing in a scenario asks for what cannot be."""
        if reply.kind not in self.scenario.refusals:
            raise BrokenPromise(f"{driver.name!r} is refused: {reply.kind} {reply.reason}")

    # --- the head -----------------------------------------------------------------------------------------------------

    def _to_head(self, connection: SimConnection, message: m.Message) -> None:
        if self.head_process is not None:
            self.head_process.run(lambda: self.head.on_batch(connection, [message]))
            return
        if connection.peer_id == HEAD_NODE:
            connection.is_local = True
        self.head.on_batch(connection, [message])

    @staticmethod
    def _each(peer: Any, batch: list[m.Message], handle: Callable[..., None]) -> None:
        for message in batch:
            handle(peer, message)

    def _lost_by_head(self, connection: SimConnection, _reason: str) -> None:
        if self.head_process is not None:
            self.head_process.run(lambda: self.head.peer_gone(connection))
            return
        self.head.peer_gone(connection)

    def _probe(self, endpoint: str, outcome: Callable[[str, str], None]) -> None:
        name = bytes.fromhex(endpoint.rpartition(":")[2])
        asked_s = self.clock.now_s

        def look() -> None:
            blocked_s = max(self.network.blocked_until_s(HEAD, name), self.network.blocked_until_s(name, HEAD))
            if blocked_s > asked_s + PROBE_MAX_S:
                self.clock.call_later(PROBE_MAX_S, lambda: outcome("silent", "no answer"))
            elif blocked_s > self.clock.now_s:
                self.clock.call_later(blocked_s - self.clock.now_s, look)
            elif self.network.endpoints[name].alive:
                outcome("answered", "it answers")
            else:
                outcome("refused", "nobody listens")

        self.clock.call_later(self.network.mean_delay_s, look)

    def _on_dead(self, node: Any, text: str) -> None:
        node_id = node.info.node_id
        self.deaths.append((node_id, text))
        self.note(f"{node_id.decode()} is declared dead: {text}")
        checks.check_groups_without(self, node_id)
        if self.machines[node_id].alive:
            require(not self.mostly_cut_off, f"{node_id!r} is declared dead while most nodes are cut off: {text}")
            healed_s = max(self.network.blocked_until_s(node_id, HEAD), self.network.blocked_until_s(HEAD, node_id))
            was_away = node.drain or healed_s > self.clock.now_s - PROBE_MAX_S
            require(was_away, f"{node_id!r} lives, could be heard, and is declared dead: {text}")

    @property
    def mostly_cut_off(self) -> bool:
        """More than half of the machines are cut off from the head now."""
        cut = self.network.island_until_s > self.clock.now_s
        return cut and len(self.network.island) * 2 > len(self._living)

    @property
    def known_cut_off(self) -> bool:
        """They are for so long that the head must have noticed."""
        return self.mostly_cut_off and self.clock.now_s > self.network.island_since_s + SUSPECT_AFTER_S + NOTICED_S

    @property
    def has_head(self) -> bool:
        """One runs now."""
        return self.head_process is None or self.head_process.alive

    def hosts_actor(self, worker: FleetWorker, restarts: int) -> None:
        """An incarnation begins, for the first time: neither the actor nor its name may live elsewhere."""
        incarnation = (worker.actor_id, restarts)
        require(incarnation not in self.begun, f"{worker.actor_id!r} begins twice without a restart ({restarts})")
        self.begun.add(incarnation)
        keys: list[bytes | str] = [worker.actor_id, worker.actor_name] if worker.actor_name else [worker.actor_id]
        for key in keys:
            hosts = self._hosts.setdefault(key, {})
            for other in [other for other in hosts if not other.alive]:
                del hosts[other]
            hosts[worker] = None
            if self.has_head:
                checks.check_hosts(self, hosts)

    # --- history ------------------------------------------------------------------------------------------------------

    def note(self, line: str) -> None:
        """Part of the history, which two runs of one seed have in common."""
        self.trace.append((self.clock.now_s, line))
        self.digest = zlib.crc32(f"{self.clock.now_s!r} {line}".encode(), self.digest)

    def _record(self, connection: SimConnection, message: m.Message) -> None:
        kind = type(message)
        self.delivered[kind] += 1
        machine = self._living.get(connection.there.name)
        if machine is not None:
            self._moved[machine] = None
        if kind not in QUIET_MESSAGES:
            rid = getattr(message, "rid", "")
            self.note(f"{connection.here.name!r}>{connection.there.name!r} {kind.__name__} {rid}")

    def without_heartbeats(self) -> int:
        """Messages delivered so far that were about something."""
        return self.delivered.total() - self.delivered[m.Heartbeat]

    # --- a run --------------------------------------------------------------------------------------------------------

    def run(self) -> Fleet:
        """Live it. FleetFailure names the seed and the last of what happened."""
        try:
            with self._real_parts(), open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
                self._form()
                self.scenario.play(self)
                self.stop_faults()
                self.settle("all work ends", self._all_done)
                self._leave()
        except (AssertionError, LookupError, TypeError, AttributeError, ValueError) as error:
            last = "\n".join(f"{at_s:.6f} {line}" for at_s, line in self.trace)
            raise FleetFailure(f"{last}\n{type(error).__name__}: {error}\nreplay: {self.replay}") from error
        return self

    @property
    def replay(self) -> str:
        """The command that runs this history again."""
        return f"make sim SCENARIO={self.scenario.name} NODES={self.nodes} SEED={self.seed}"

    @contextlib.contextmanager
    def _real_parts(self) -> Iterator[None]:
        """Modules see virtual time, and what all machines decode alike is decoded once; infos are frozen."""
        known: dict[bytes, NodeInfo] = {}
        decode = gcs_nodes._decode_node

        def decode_once(encoded: bytes) -> NodeInfo:
            return known.get(encoded) or known.setdefault(encoded, decode(encoded))

        batches: dict[bytes, list[m.Message]] = {}

        def read_once(batch: bytes) -> list[m.Message]:
            return batches.get(batch) or batches.setdefault(batch, decode_batch(batch))

        def quiet(_nodes: Any, _severity: str, _text: str) -> None:
            """Thousands of lines about nodes."""

        replaced: list[tuple[Any, str, Any]] = [
            (gcs_nodes, "_decode_node", decode_once),
            (cluster, "_decode_node", decode_once),
        ]
        replaced += [(gcs_nodes.NodeService, "note", quiet), (service, "decode_batch", read_once)]
        before = [(module, name, module.__dict__[name]) for module, name, _ in replaced]
        for module, name, value in replaced:
            setattr(module, name, value)
        try:
            with self.clock.installed_in(service, lease_desk, store_host, placement_groups, spilling, pull_manager):
                yield
        finally:
            for module, name, value in before:
                setattr(module, name, value)

    def _form(self) -> None:
        self._add(SimMachine(self, HEAD_NODE, {}, {}, is_head=self.store is None))
        for slot in range(self.nodes):
            self._boot_later(slot * JOIN_EVERY_S, slot)
        self.settle("all machines join", lambda: len(self.head.nodes.living()) == self.nodes + 1)
        if self.scenario.faults is not None:
            self.network.faults = Faults(FaultPlan(self.seed, *self.scenario.faults))

    def stop_faults(self) -> None:
        """From now on the network is perfect."""
        self.network.faults = None
        self.network.cut_until_s.clear()
        self.network.island_until_s = 0.0

    def _all_done(self) -> bool:
        return all(driver.done for driver in self.drivers if driver.alive)

    def _leave(self) -> None:
        """Programs end; nothing of them is left."""
        self.advance(QUIET_S)
        checks.check_no_tasks(self)
        for driver in self.drivers:
            if driver.alive:
                require(driver.finished + driver.failed == driver.submitted, driver.unfinished())
                driver.die("the program has ended")
        self.advance(QUIET_S)
        checks.check_actors(self)
        checks.check_store(self)
        checks.check_rest(self)

    # --- time ---------------------------------------------------------------------------------------------------------

    def _step(self) -> None:
        self.steps += 1
        self.clock.step()
        for machine in self._moved:
            if machine.changed:
                machine.changed = False
                checks.check_machine(machine)
        self._moved.clear()
        for group_id in self._moved_groups:
            checks.check_group(self, group_id)
        self._moved_groups.clear()
        if self.steps % 4096 == 0 and self.has_head:
            checks.check_actors(self)
            checks.check_store(self)

    def advance(self, for_s: float) -> None:
        """Let time pass."""
        until_s = self.clock.now_s + for_s
        while (due_s := self.clock.next_due_s) is not None and due_s <= until_s:
            self._step()
        self.clock.now_s = max(self.clock.now_s, until_s)

    def settle(self, what: str, done: Callable[[], bool], within_s: float = SETTLE_MAX_S) -> None:
        """Let time pass until something holds, which must be before ``within_s``."""
        limit_s, look = self.clock.now_s + within_s, 0
        while True:
            if look % 64 == 0 and done():
                return
            look += 1
            if self.clock.now_s > limit_s:
                stuck = [driver.unfinished() for driver in self.drivers if driver.alive and not driver.done]
                raise BrokenPromise(f"not within {within_s:g} s: {what}; {stuck[:3]}")
            self._step()
