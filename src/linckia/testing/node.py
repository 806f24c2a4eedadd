"""A simulated head machine: the real GCS and raylet rooms on virtual time, with simulated worker processes.

What is replaced is what needs an operating system: the reactor (VirtualClock), sockets (FaultyNetwork), forks
(SimPool) and the memory behind the store. Everything that decides or dispatches is the product's own code. Built by
``cluster.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, cast

from linckia.gcs.actors import ActorService
from linckia.gcs.service import Gcs
from linckia.model.specs import NodeInfo
from linckia.protocol.messages import KillActor, Message
from linckia.raylet.service import Raylet, RayletOptions
from linckia.raylet.worker_pool import WorkerPool, WorkerProcess
from linckia.rpc.reactor import Reactor
from linckia.shm.segment import Segment
from linckia.testing.clock import VirtualClock
from linckia.testing.network import FaultyNetwork, SimConnection

NODE, HEAD = b"node", b"gcs"
SIGKILL = 9


class NoLog:
    """Stands for a worker's log files."""

    def start(self, pid: int) -> None:
        """Nothing is written."""

    def finish(self) -> None:
        """Nothing is open."""

    def last_lines(self) -> str:
        """Nothing was said."""
        return ""


class NoMemory:
    """Stands for the shared-memory segment."""

    fd = -1

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes

    def release_pages(self, offset: int, size: int) -> None:
        """There are none."""


class SimPool(WorkerPool):
    """The real pool without forks: ``launch`` starts a simulated worker, ``end`` kills one."""

    launch: Callable[[bytes, int], None]
    end: Callable[[bytes], None]

    def prepare(self, rng: Random, launch: Callable[[bytes, int], None], end: Callable[[bytes], None]) -> SimPool:
        """Set what the simulation supplies. ``fork_failures`` is the chance that a process never registers."""
        self.rng, self.launch, self.end = rng, launch, end
        self.next_pid = 100
        self.prefix = b""  # tells the workers of many machines apart
        self.fork_failures = 0.0
        return self

    def start(self) -> None:
        """Fork one worker, some time soon."""
        self.next_pid += 1
        pid = self.next_pid
        worker_id = self.prefix + b"w%d" % pid
        worker = self.workers[worker_id] = WorkerProcess(worker_id, cast(Any, NoLog()))
        worker.timer = self.reactor.call_later(60.0, lambda: self.kill(worker, "it did not register in time"))
        fails = self.rng.random() < self.fork_failures

        def fork() -> None:
            if fails:
                self.exited_soon(pid)
            else:
                self.launch(worker_id, pid)
            self.forked_as(worker, pid)  # which ends it, when that was wanted meanwhile

        self.reactor.call_later(self.rng.uniform(0.002, 0.02), fork)

    def forked_as(self, worker: WorkerProcess, pid: int) -> None:
        """The process runs."""
        worker.pid = pid
        self._by_pid[pid] = worker
        if worker.reason:
            self.kill(worker, worker.reason)

    def exited_soon(self, pid: int, status: int = SIGKILL) -> None:
        """The process is dead; the report takes a while, longer or shorter than its sockets' hang-up."""
        self.reactor.call_later(self.rng.uniform(0.0, 0.01), lambda: self.exited(pid, status))

    def kill(self, worker: WorkerProcess, reason: str) -> None:
        """SIGKILL; before it runs: as soon as it does."""
        worker.reason = worker.reason or reason
        if worker.pid:
            self.end(worker.worker_id)


class SimNode:
    """GCS and raylet behind one endpoint, with a delayed link between the two."""

    def __init__(self, clock: VirtualClock, network: FaultyNetwork, rng: Random, resources: dict[str, float]) -> None:
        self.clock, self.network, self.rng = clock, network, rng
        self.changed = self.store_changed = False  # for whoever checks: since it was last reset
        self.endpoint = network.join(NODE, "raylet", self._on_message, self._on_close)
        network.join(HEAD, "gcs", lambda link, message: self._to_gcs(link, message), lambda _c, _r: None)
        at_raylet = network.connect(self.endpoint, HEAD)
        assert at_raylet is not None
        at_raylet.other.is_local = True
        self.gcs = Gcs("session", clock.call_later)
        self.gcs.nodes.now_s = clock.monotonic
        self.actors = ActorService(self.gcs.nodes, clock.call_later, lambda _job, _key, _text: None)
        self.actors.placement.rng = rng
        self.actors.reply = self.gcs.reply
        self.gcs.handlers.update(self.actors.handlers())
        self.gcs.on_worker_failed.append(lambda message: self.actors.owner_ended(message.worker_id))
        self.raylet = Raylet(cast(Reactor, clock), self._options(resources), cast(Any, None), at_raylet)
        self.pool = SimPool(
            cast(Reactor, clock),
            cast(Any, None),
            {"sockets_dir": "/nonexistent"},
            cast(Any, None),
            self._exited,
            prestarted=0,
        )
        self.raylet.pool = self.pool
        self._store_messages = self.raylet.store.handlers().keys()

    def start(self) -> None:
        """Announce the node, start the first workers."""
        self.raylet.start()

    def kill_detached_actors(self) -> None:
        """As if somebody who knows their names did."""
        kill = self.actors.handlers()[KillActor]
        for actor_id, actor in list(self.actors.directory.actors.items()):
            if actor.spec.detached:
                kill(None, KillActor(0, actor_id, no_restart=True))

    def _options(self, resources: dict[str, float]) -> RayletOptions:
        info = NodeInfo(
            node_id=NODE, node_ip="127.0.0.1", hostname="sim", endpoint="", pid=1, resources=resources, labels={},
            is_head=True,
        )  # fmt: skip
        segment = cast(Segment, NoMemory(64 << 20))
        return RayletOptions(info, "session", "/nonexistent", segment, {"sockets_dir": "/nonexistent"}, 2, 0)

    def _exited(self, worker: WorkerProcess, reason: str) -> None:
        self.changed = self.store_changed = True
        self.raylet._on_worker_exit(worker, reason)

    def _on_message(self, connection: SimConnection, message: Message) -> None:
        self.changed = True
        self.store_changed = self.store_changed or type(message) in self._store_messages
        if type(message) in self.raylet.handlers:
            self.raylet.handlers[type(message)](connection, message)
        else:
            self._to_gcs(connection, message)

    def _to_gcs(self, connection: SimConnection, message: Message) -> None:
        self.gcs.on_message(connection, message)

    def _on_close(self, connection: SimConnection, reason: str) -> None:
        self.changed = self.store_changed = True
        self.raylet.peer_gone(connection, reason)
        self.gcs.peer_gone(connection)
