"""A simulated driver of a cluster of many machines: tasks by leases that raylets spill, actors, placement groups.

The shell of ``worker/submitter.py`` and the API's clients without values and pipelining: a task is a lease that is held
for its duration. What it wants and what it got is counted; whatever it began must end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from linckia.core.leases.vectors import to_amounts, to_units
from linckia.core.placement.names import asked
from linckia.model.placement import GroupSpec
from linckia.model.specs import JobConfig, encode
from linckia.model.wire import Address
from linckia.protocol import messages as m
from linckia.testing.checks import require
from linckia.testing.network import SimConnection
from linckia.testing.peer import SimPeer
from linckia.testing.scripts import ActorScript, actor_spec

if TYPE_CHECKING:
    from linckia.testing.fleet.machine import SimMachine
    from linckia.testing.fleet.world import Fleet

REQUESTS_MAX = 10
LEASE_IDLE_S = 0.05
Need = tuple[tuple[str, float], ...]


@dataclass(eq=False)
class Key:
    """Tasks that can use each other's leases."""

    need: Need
    strategy: bytes
    queue: deque[float] = field(default_factory=deque)  # durations of tasks that wait
    requests: dict[int, bytes] = field(default_factory=dict)  # rid -> node that was asked


@dataclass(eq=False)
class Held:
    """A lease; ``running`` is the duration of its task."""

    lease_id: int
    raylet: SimConnection
    key: Key
    running: float | None = None
    recalled: bool = False


@dataclass(eq=False)
class Gang:
    """A placement group as its creator sees it."""

    spec: GroupSpec
    hold_s: float
    then: Callable[[Gang], None] | None = None
    state: str = "PENDING"
    was_created: bool = False
    is_unwanted: bool = False


@dataclass(eq=False)
class Servant:
    """An actor as its creator sees it."""

    actor_id: bytes
    hold_s: float
    state: str = "PENDING_CREATION"
    was_alive: bool = False


class FleetDriver(SimPeer):
    """One job. ``done`` when nothing that it began is under way."""

    def __init__(self, fleet: Fleet, machine: SimMachine, name: bytes, ready: Callable[[FleetDriver], None]) -> None:
        super().__init__(fleet, name, "driver")
        self.fleet, self.machine, self._ready = fleet, machine, ready
        self.address = Address(name, f"node:{machine.node_id.hex()}:sim:1:{name.decode()}")
        self.job_id = b""
        self.keys: dict[tuple[Need, bytes], Key] = {}
        self.held: dict[tuple[bytes, int], Held] = {}
        self.gangs: dict[bytes, Gang] = {}
        self.servants: dict[bytes, Servant] = {}
        self.submitted = self.finished = self.failed = self.broken = self.spilled = 0
        self.gone: dict[bytes, None] = {}  # nodes that were declared dead
        connection = self.network.connect(self.endpoint, machine.node_id)
        assert connection is not None
        self.raylet = connection
        self.handlers = {
            m.RecallLease: self._on_recall,
            m.LeaseBroken: lambda c, msg: self._break(c.peer_id, msg.lease_id),
            m.NodesChanged: self._on_nodes,
            m.GroupUpdate: self._on_group,
            m.ActorUpdate: self._on_actor,
            m.DriverMessage: lambda _c, _msg: None,
            m.WorkerFailed: lambda _c, _msg: None,
        }
        config = msgspec.msgpack.encode(JobConfig("sim", [], "", "", log_to_driver=False))
        self.ask(self.raylet, m.RegisterDriver(self.next_rid(), name, 1, f"sim:{name.hex()}", config), self._registered)

    def _registered(self, reply: Any) -> None:
        self.job_id = reply.job_id
        self._ready(self)

    def waits(self, gang: Gang) -> bool:
        """Tasks for this group have not begun."""
        mark = gang.spec.group_id.hex()
        return any(key.queue for key in self.keys.values() if any(mark in name for name, _ in key.need))

    @property
    def done(self) -> bool:
        """Everything that it began has ended."""
        tasks = self.submitted == self.finished + self.failed
        gangs = all(gang.state == "REMOVED" for gang in self.gangs.values())
        return tasks and gangs and all(each.state == "DEAD" for each in self.servants.values())

    def unfinished(self) -> str:
        """For messages."""
        gangs = [(gang.spec.group_id, gang.state) for gang in self.gangs.values() if gang.state != "REMOVED"]
        servants = [(each.actor_id, each.state) for each in self.servants.values() if each.state != "DEAD"]
        waiting = {key.need: (len(key.queue), key.requests) for key in self.keys.values() if key.queue or key.requests}
        tasks = f"{self.submitted - self.finished - self.failed} tasks (queues {waiting}, {len(self.held)} leases)"
        return f"{self.name!r}: {tasks}, groups {gangs[:5]}, actors {servants[:5]}"

    def die(self, _why: str) -> None:
        """The process ends."""
        self.network.crash(self.name, "the program has ended")

    # --- tasks --------------------------------------------------------------------------------------------------------

    def submit(self, need: dict[str, float], durations_s: list[float], strategy: bytes = b"") -> None:
        """One task per duration."""
        shape = tuple(sorted(need.items()))
        key = self.keys.setdefault((shape, strategy), Key(shape, strategy))
        key.queue.extend(durations_s)
        self.submitted += len(durations_s)
        self._want(key)

    def _want(self, key: Key) -> None:
        if not self.alive:
            return
        for _ in range(min(REQUESTS_MAX, len(key.queue)) - len(key.requests)):
            self._ask_for(key, self.raylet, 0)
        if not key.queue:
            for rid in key.requests:
                request = self.requests.get(rid)
                if request is not None and not isinstance(request.message, m.CancelLease):
                    request.message = m.CancelLease(rid)
                    request.connection.post(request.message)

    def _ask_for(self, key: Key, raylet: SimConnection, hops: int) -> None:
        rid = self.next_rid()
        key.requests[rid] = raylet.peer_id
        message = m.RequestLease(
            rid, dict(key.need), len(key.queue), self.job_id, nested=False, strategy=key.strategy, hops=hops
        )
        self.ask(raylet, message, lambda reply: self._answered(key, raylet, reply))

    def _answered(self, key: Key, raylet: SimConnection, reply: Any) -> None:
        key.requests.pop(reply.rid, None)
        if isinstance(reply, m.LeaseGranted):
            self._granted(key, raylet, reply)
        elif isinstance(reply, m.LeaseSpilled):
            self.spilled += 1
            elsewhere = self._connection_to(reply.node_id) if key.queue else None
            if elsewhere is not None:
                self._ask_for(key, elsewhere, reply.hops)
            else:
                self._want(key)
        elif reply.kind == "cancelled":
            self._want(key)
        else:
            self.fleet.refused(self, reply)
            self.failed += len(key.queue)
            key.queue.clear()

    def _connection_to(self, node_id: bytes) -> SimConnection | None:
        if node_id in self.gone:
            return None
        if self.network.blocked_until_s(self.name, node_id) > self.clock.now_s:
            return None  # the connect would hang: begin again
        return self.network.connect(self.endpoint, node_id)

    def _granted(self, key: Key, raylet: SimConnection, reply: m.LeaseGranted) -> None:
        lease = self.held[raylet.peer_id, reply.lease_id] = Held(reply.lease_id, raylet, key)
        self._use(lease)
        self._want(key)

    def _use(self, lease: Held) -> None:
        """The next task, or none: then it goes back after a while."""
        key, place = lease.key, (lease.raylet.peer_id, lease.lease_id)
        if lease.recalled or not key.queue:
            delay_s = 0.0 if lease.recalled else LEASE_IDLE_S
            self.later(delay_s, lambda: self._return(place, lease) if lease.running is None else None)
            return
        duration_s = lease.running = key.queue.popleft()

        def end() -> None:
            if self.held.get(place) is lease:
                lease.running = None
                self.finished += 1
                self._use(lease)

        self.later(duration_s, end)

    def _return(self, place: tuple[bytes, int], lease: Held) -> None:
        if self.held.get(place) is lease:
            del self.held[place]
            lease.raylet.post(m.ReturnLease(lease.lease_id))
            self._want(lease.key)

    def _on_recall(self, connection: SimConnection, message: m.RecallLease) -> None:
        place = (connection.peer_id, message.lease_id)
        lease = self.held.get(place)
        if lease is not None:
            lease.recalled = True
            if lease.running is None:
                self._return(place, lease)

    def _break(self, node_id: bytes, lease_id: int) -> None:
        """Its worker, or its node, is gone: the task runs again."""
        lease = self.held.pop((node_id, lease_id), None)
        if lease is not None:
            if lease.running is not None:
                self.broken += 1
                lease.key.queue.appendleft(lease.running)
            self._want(lease.key)

    # --- nodes --------------------------------------------------------------------------------------------------------

    def on_close(self, connection: SimConnection, reason: str) -> None:
        """A raylet hung up, or the way to it is gone."""
        node_id = connection.peer_id
        if connection is self.raylet:
            self.die(reason)
            return
        for rid in [rid for rid, request in self.requests.items() if request.connection is connection]:
            del self.requests[rid]
        for place in [place for place in self.held if place[0] == node_id]:
            self._break(*place)
        for key in self.keys.values():
            for rid in [rid for rid, asked_there in key.requests.items() if asked_there == node_id]:
                del key.requests[rid]
            self._want(key)

    def _on_nodes(self, _connection: SimConnection, message: m.NodesChanged) -> None:
        for node_id, _reason, text in message.dead:
            self.gone[node_id] = None
            connection = self.endpoint.connections.get(node_id)
            if connection is not None and connection is not self.raylet:
                connection.close(text)

    # --- placement groups ---------------------------------------------------------------------------------------------

    def create_group(
        self,
        bundles: list[dict[str, float]],
        strategy: str,
        hold_s: float,
        then: Callable[[Gang], None] | None = None,
    ) -> Gang:
        """It is removed ``hold_s`` after it was created; negative: never. ``then`` is called when it is created."""
        group_id = b"%s-g%05d" % (self.name, len(self.gangs))
        group_id = group_id.rjust(18, b"_")[-18:]
        spec = GroupSpec(group_id, bundles, strategy, job_id=self.job_id)
        gang = self.gangs[group_id] = Gang(spec, hold_s, then)
        self.ask(self.raylet, m.CreateGroup(self.next_rid(), spec), lambda _reply: None)
        return gang

    def _on_group(self, _connection: SimConnection, message: m.GroupUpdate) -> None:
        gang = self.gangs.get(message.group_id)
        if gang is None or gang.state == "REMOVED":
            return
        known = message.state != "REMOVED" or gang.is_unwanted
        require(known or not self.alive, f"the head has lost the group {message.group_id!r}, which it had acknowledged")
        gang.state = message.state
        if message.state == "CREATED" and not gang.was_created:
            gang.was_created = True
            if gang.then is not None:
                gang.then(gang)
            if gang.hold_s >= 0:
                self.later(gang.hold_s, lambda: self.remove_group(gang))

    def remove_group(self, gang: Gang) -> None:
        """Whatever runs in it is killed."""
        gang.is_unwanted = True
        self.raylet.post(m.RemoveGroup(gang.spec.group_id))

    @staticmethod
    def inside(gang: Gang, need: dict[str, float], index: int = -1) -> dict[str, float]:
        """What work asks for to run in the group."""
        return to_amounts(asked(gang.spec.group_id.hex(), index, to_units(need)))

    # --- actors -------------------------------------------------------------------------------------------------------

    def create_actor(
        self, need: dict[str, float], hold_s: float, *, name: str = "", max_restarts: int = -1, strategy: bytes = b""
    ) -> Servant:
        """It is killed ``hold_s`` after it is alive; negative: never."""
        actor_id = b"%s-a%05d" % (self.name, len(self.servants))
        servant = self.servants[actor_id] = Servant(actor_id, hold_s)
        script = ActorScript(name=name, max_restarts=max_restarts)
        spec = msgspec.structs.replace(
            actor_spec(actor_id, self.job_id, self.address, script),
            lifetime_resources=need,
            placement_resources={},
            strategy=strategy,
        )

        def registered(reply: Any) -> None:
            if reply.error or reply.existing:
                servant.state = "DEAD"

        self.ask(self.raylet, m.RegisterActor(self.next_rid(), encode(spec), True), registered)
        return servant

    def _on_actor(self, _connection: SimConnection, update: m.ActorUpdate) -> None:
        servant = self.servants.get(update.actor_id)
        if servant is None or servant.state == "DEAD":
            return
        is_lost = update.error is not None and b"does not know this actor" in update.error
        require(not is_lost, f"the head has lost the actor {update.actor_id!r}, which it had acknowledged")
        servant.state = update.state
        if update.state == "ALIVE" and not servant.was_alive:
            servant.was_alive = True
            if servant.hold_s >= 0:
                self.later(servant.hold_s, lambda: self.kill_actor(servant))

    def kill_actor(self, servant: Servant) -> None:
        """For good."""
        self.raylet.post(m.KillActor(self.next_rid(), servant.actor_id, no_restart=True))
