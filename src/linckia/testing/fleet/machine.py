"""A simulated machine of many: a real raylet with its real link to the head, on virtual time.

What is replaced is what needs an operating system (see ``testing/node.py``). A machine *sleeps* until something comes
that depends on its view of the cluster: what is told to all nodes waits unread till then, because a raylet where nobody
waits does nothing with it that others could see (owners that it serves hang up when they die). A lease for which
there is room is such a case, one that has to wait is not. So 2,000 machines fit into one process; the work says which
ones wake.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any, cast

from linckia.core.leases.vectors import fits, to_units
from linckia.model.specs import NodeInfo
from linckia.protocol import messages as m
from linckia.raylet.gcs_link import GcsLink
from linckia.raylet.relaying import Relaying
from linckia.raylet.service import Raylet, RayletOptions
from linckia.raylet.worker_pool import WorkerProcess
from linckia.rpc.handshake import Identity
from linckia.rpc.reactor import Reactor
from linckia.shm.segment import Segment
from linckia.testing.checks import require
from linckia.testing.fleet.host import Host
from linckia.testing.fleet.worker import FleetWorker
from linckia.testing.network import SimConnection
from linckia.testing.node import HEAD, NoMemory, SimPool

if TYPE_CHECKING:
    from linckia.testing.fleet.world import Fleet

STORE_BYTES = 64 << 20
NEWS = frozenset({m.Announced, m.NodesChanged, m.ViewDelta})
NO_VIEW_NEEDED = frozenset(
    {
        m.JobStarted,
        m.JobEnded,
        m.NodeRegistered,
        m.PrepareBundles,
        m.CommitBundles,
        m.ReturnBundles,
        m.RegisterWorker,
        m.ActorStarted,
        m.StopActor,
        m.NodeFenced,
        m.SetDraining,
        m.CancelLease,
        m.ReturnLease,
    }
)


class SimMachine:
    """One life of a machine: a node id, a raylet, its workers and drivers."""

    def __init__(
        self, fleet: Fleet, node_id: bytes, resources: dict[str, float], labels: dict[str, str], *, is_head: bool
    ) -> None:
        self.fleet, self.node_id, self.is_head = fleet, node_id, is_head
        self.host = Host(fleet.clock, fleet.network)
        self.host.endpoint = fleet.network.join(node_id, "raylet", self._on_message, self._on_close)
        self.asleep = not is_head
        self.unread: list[m.Message] = []
        self.workers: dict[bytes, FleetWorker] = {}
        self.changed = False
        self.epoch = 0  # highest that it acted on
        self.rng = Random(f"machine {fleet.seed} {node_id!r}")
        reactor = cast(Reactor, self.host)
        self.gcs: Any = fleet.network.connect(self.host.endpoint, HEAD) if is_head else self._link(reactor)
        self.relaying = Relaying(self.gcs)
        self.raylet = Raylet(reactor, self._options(resources, labels), cast(Any, None), self.gcs)
        self.raylet.on_fence = lambda reason: fleet.fenced(self, reason)
        self.raylet.desk.cluster.rng = self.rng
        config = {"sockets_dir": "/nonexistent"}
        self.pool = SimPool(reactor, cast(Any, None), config, cast(Any, None), self._exited, prestarted=0)
        self.pool.prepare(self.rng, self._launch, lambda name: self.end_worker(name, "SIGKILL"))
        self.pool.prefix = node_id + b"."
        self.pool.on_start_failed = self.raylet.pool.on_start_failed
        self.raylet.pool = self.pool

    def _link(self, reactor: Reactor) -> GcsLink:
        link = GcsLink(
            reactor,
            [f"sim:{HEAD.hex()}"],
            self.node_id,
            cast(Identity, None),
            self._from_head,
            self._on_new_head,
            self._refused,
        )
        link.rng = self.rng
        return link

    def _options(self, resources: dict[str, float], labels: dict[str, str]) -> RayletOptions:
        amounts = {**resources, "object_store_memory": float(STORE_BYTES)}
        name = self.node_id.decode()
        info = NodeInfo(
            node_id=self.node_id, node_ip=name, hostname=name, endpoint=f"sim:{self.node_id.hex()}", pid=1,
            resources=amounts, labels=labels, is_head=self.is_head,
        )  # fmt: skip
        segment = cast(Segment, NoMemory(STORE_BYTES))
        prefix = f"node:{self.node_id.hex()}:sim:1:"
        config = {"sockets_dir": "/nonexistent"}
        return RayletOptions(info, "sim", "/nonexistent", segment, config, 0, 0, self.is_head, prefix)

    # --- life ---------------------------------------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        """Running."""
        return self.host.alive

    @property
    def registered(self) -> bool:
        """The head knows it."""
        return self.node_id in self.fleet.head.nodes.nodes

    def start(self) -> None:
        """Boot."""
        if isinstance(self.gcs, GcsLink):
            self.gcs.open()
        self.raylet.start()

    def stop(self, reason: str) -> None:
        """End it on purpose: it says good-bye."""
        if isinstance(self.gcs, GcsLink):
            self.gcs.post(m.UnregisterNode(self.node_id, reason))
        self.crash(reason)

    def crash(self, why: str) -> None:
        """Every process of it ends at this moment."""
        if not self.alive:
            return
        self.host.alive = False
        self.fleet.note(f"{self.node_id.decode()} ends: {why}")
        for driver in self.fleet.drivers_of(self):
            driver.die(why)
        for worker in list(self.workers.values()):
            self.end_worker(worker.name, why)
        self.fleet.network.crash(self.node_id, why)

    # --- processes ----------------------------------------------------------------------------------------------------

    def _launch(self, name: bytes, pid: int) -> None:
        self.workers[name] = FleetWorker(self.fleet, self, name, pid)

    def end_worker(self, name: bytes, why: str) -> None:
        """A worker process is dead; the machine hears of it soon."""
        worker = self.workers.pop(name, None)
        if worker is not None:
            self.fleet.note(f"{name.decode()} ends: {why}")
            self.fleet.network.crash(name, why)
            self.pool.exited_soon(worker.pid)

    def _exited(self, worker: WorkerProcess, reason: str) -> None:
        self.changed = True
        self.raylet._on_worker_exit(worker, reason)

    # --- messages -----------------------------------------------------------------------------------------------------

    def _from_head(self, link: Any, batch: list[m.Message]) -> None:
        for message in batch:
            if type(message) is m.RelayedBack:
                self.relaying.from_head(message)
            else:
                self._to_raylet(link, message)

    def _on_new_head(self, unacked: list[m.Message]) -> None:
        self.raylet.heads.begin(unacked, self.relaying)

    def _refused(self, reason: str) -> None:
        raise AssertionError(f"the head refuses {self.node_id!r}: {reason}")

    def _on_message(self, connection: SimConnection, message: m.Message) -> None:
        wire = self.host.wire_of(connection)
        if wire is not None:
            wire.on_messages(wire, [message])
        elif connection is self.gcs or type(message) in self.raylet.handlers:
            self._to_raylet(connection, message)
        elif self.is_head:
            self.fleet.head.handle(connection, message)
        else:
            self.relaying.to_head(connection, message)

    def _to_raylet(self, peer: Any, message: m.Message) -> None:
        kind = type(message)
        epoch = getattr(message, "epoch", self.epoch)
        require(epoch >= self.epoch, f"{self.node_id!r} obeys a head of epoch {epoch} after one of {self.epoch}")
        self.epoch = epoch
        if self.asleep:
            if kind in NEWS:
                self.unread.append(message)
                return
            if kind not in NO_VIEW_NEEDED and not self._has_room(message):
                self.wake()
        self.changed = True
        self.raylet.handlers[kind](peer, message)
        leases = self.raylet.leases
        if self.asleep and (leases.infeasible or len(leases.waiting)):
            self.wake()

    def _has_room(self, message: m.Message) -> bool:
        """It asks for a worker, and gets it here and now, or an answer that does not depend on others."""
        if isinstance(message, m.StartActor):
            return not message.may_wait
        if not isinstance(message, m.RequestLease) or not message.hops or message.strategy:
            return False
        leases, takes_work = self.raylet.leases, self.raylet.desk.cluster.takes_work
        return takes_work and not leases.pending and fits(to_units(message.resources), leases.available)

    def wake(self) -> None:
        """Something depends on the view now: read what came of it."""
        self.asleep = False
        for message in self.unread:
            self.raylet.handlers[type(message)](self.gcs, message)
        self.unread.clear()

    def _on_close(self, connection: SimConnection, reason: str) -> None:
        if self.host.hung_up(connection, reason):
            return
        self.changed = True
        if self.is_head:
            self.fleet.head.peer_gone(connection)
        else:
            self.relaying.ended(connection)
        self.raylet.peer_gone(connection, reason)
