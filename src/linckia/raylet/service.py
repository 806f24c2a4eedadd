"""The raylet room: the shell around the lease manager, the worker pool, the store and hosted actors of one node.

It turns messages into events of the pure cores and their effects into messages, forks and kills. It never sees task
payloads and decides nothing about placement between nodes. Built by node/; talks to the GCS over ``gcs``, a connection
or in-process link.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from linckia.base.limits import HEARTBEAT_EVERY_S
from linckia.base.pulse import until_pulse_s
from linckia.core.leases import vectors
from linckia.core.leases.manager import LeaseManager
from linckia.core.leases.records import Broken
from linckia.core.memory.thresholds import MemorySettings
from linckia.host import environment
from linckia.model.parts import DashboardFacts, PartFacts
from linckia.model.specs import JobConfig, NodeInfo
from linckia.model.wire import Address
from linckia.protocol import messages as m
from linckia.protocol.batch import decode_batch
from linckia.raylet.actors import ActorHost
from linckia.raylet.bundles import BundleHost
from linckia.raylet.head_side import HeadSide
from linckia.raylet.lease_desk import LeaseDesk
from linckia.raylet.listing import StateDesk
from linckia.raylet.logs import LogRouter
from linckia.raylet.memory_monitor import MemoryMonitor
from linckia.raylet.object_host import ObjectHost
from linckia.raylet.remote_drivers import RemoteDrivers
from linckia.raylet.worker_pool import Spawner, WorkerPool, WorkerProcess
from linckia.rpc.endpoints import published
from linckia.rpc.handshake import Identity
from linckia.rpc.idempotence import RecentReplies
from linckia.rpc.reactor import Reactor
from linckia.shm.segment import Segment

_decode_job = msgspec.msgpack.Decoder(JobConfig).decode
_encode = msgspec.msgpack.encode
Handler = Callable[[Any, Any], None]


class RayletOptions(NamedTuple):
    """Fixed facts of this node. ``worker_config`` is handed to every worker as it is."""

    node: NodeInfo
    session_name: str
    logs_dir: str
    segment: Segment
    worker_config: dict[str, Any]
    prestart_workers: int
    max_workers: int
    is_head: bool = True
    public_prefix: str = ""  # goes before the paths of this node's processes (rpc/endpoints.py)
    identity: Identity | None = None
    spill_dir: str = "/tmp"
    tls: list[str] = []  # noqa: RUF012 - never changed; files of connections between nodes (host/tls_files.py)
    memory: MemorySettings = MemorySettings(refresh_s=0)
    max_idle_workers: int = -1  # -1: one per CPU


class Driver:
    """A registered driver."""

    def __init__(self, peer: Any, message: m.RegisterDriver) -> None:
        self.peer, self.worker_id, self.pid = peer, message.worker_id, message.pid
        self.endpoint, self.config, self.register_rid = message.endpoint, message.config, message.rid
        self.log_to_driver = _decode_job(message.config).log_to_driver
        self.job_id = b""
        self.started_s = environment.wall_time_s()


class Job:
    """A job that this node has heard of. ``driver`` is set when its driver is on this node."""

    def __init__(self, config: bytes, address: Address, driver: Driver | None = None) -> None:
        self.config, self.address, self.driver = config, address, driver
        self.log_to_driver = _decode_job(config).log_to_driver
        self.ended = False


class Raylet:
    """One per node process. ``handlers`` is the message table that node/ merges into its dispatcher."""

    def __init__(self, reactor: Reactor, options: RayletOptions, spawner: Spawner, gcs: Any) -> None:
        self.reactor, self.options, self.gcs = reactor, options, gcs
        cpus = int(options.node.resources.get("CPU", 0))
        idle = max(1, cpus) if options.max_idle_workers < 0 else options.max_idle_workers
        self.leases = LeaseManager(
            vectors.to_units(options.node.resources), soft_limit=idle, max_workers=options.max_workers
        )
        self.recent = RecentReplies()
        self.desk = LeaseDesk(self, self.leases, self.recent)
        self.logs = LogRouter(reactor, options.logs_dir, self._driver_of)
        self.pool = WorkerPool(
            reactor,
            spawner,
            options.worker_config,
            self.logs,
            self._on_worker_exit,
            prestarted=options.prestart_workers,
        )
        self.pool.on_start_failed = lambda why: self.desk.carry_out(self.leases.cannot_start(why))
        self.objects = ObjectHost(self)
        self.store = self.objects.store
        self.actors = ActorHost(self)
        self.bundles = BundleHost(self)
        self.memory = MemoryMonitor(self, options.memory)
        self.states = StateDesk(self)
        self.drivers: dict[bytes, Driver] = {}  # by worker id
        self.jobs: dict[bytes, Job] = {}
        self.clients: dict[bytes, Any] = {}  # worker id -> connection of a driver or registered worker of this node
        self.owners: dict[bytes, Any] = {}  # worker id -> connection of a process of another node that asked for leases
        self.remote_drivers = RemoteDrivers(reactor, options.identity)
        self.on_stop: Callable[[str], None] = lambda _reason: None
        self.on_fence: Callable[[str], None] = lambda _reason: None
        self.dashboard: Callable[[], DashboardFacts | None] = lambda: None  # node/dashboard_child.py sets it
        self.handlers: dict[type[m.Message], Handler] = {
            m.RegisterWorker: self.on_register_worker,
            m.RegisterDriver: self.on_register_driver,
            m.JobRegistered: self.on_job_registered,
            m.KillWorker: self.on_kill_worker,
            m.ProfileEvents: self.on_forward_to_gcs,
            m.Ping: self.on_ping,
            m.Stop: self.on_stop_request,
            m.NodeRegistered: self.on_node_registered,
            m.Announced: self.on_announced,
            m.JobStarted: self.on_job_started,
            m.JobEnded: self.on_job_ended,
            m.WorkerFailed: self.on_remote_failure,
            m.NodeFenced: self.on_fenced,
            m.DriverMessage: self.on_driver_message,
            **self.desk.handlers(),
            **self.objects.handlers(),
            **self.actors.handlers(),
            **self.bundles.handlers(),
            **self.states.handlers(),
        }
        self._rids = itertools.count(1)
        self.heads = HeadSide(self)
        self.is_head = options.is_head

    def published(self, endpoint: str) -> str:
        """The public form of the endpoint of one of this node's processes."""
        return published(self.options.public_prefix, endpoint)

    def announce(self, *, tells: bool = False) -> None:
        """Tell the head who we are and what we have; at the beginning of each session with one. ``tells``: what runs
        here follows.
        """
        node = self.options.node
        self.gcs.post(m.RegisterNode(next(self._rids), node.node_id, _encode(node), tells))
        self.bundles.head_is_back()
        self.desk.cluster.head_is_back()
        self.desk.report(everything=True)

    def start(self) -> None:
        """Announce the node and start the first workers."""
        self.memory.start()
        if self.is_head:
            self.announce()
        else:
            self._heartbeat()
        self.desk.carry_out(self.leases.prestart(self.options.prestart_workers))

    def is_idle(self) -> bool:
        """No lease, request, bundle, nor object whose primary copy is here (R 10.9): nothing is lost when it goes."""
        works = self.leases.leases or self.leases.pending or self.bundles.bundles
        return not works and not self.objects.primary_bytes()

    def parts_down(self) -> list[PartFacts]:
        """Of its supervised parts."""
        parts = (self.memory.guard.part, self.logs.guard.part)
        return [part.facts() for part in parts if not part.is_up]

    def _heartbeat(self) -> None:
        if self.is_idle() is not self.desk.reported_idle or self.desk.store_has_changed:
            self.desk.schedule_report()
        if self.gcs.up:
            told = (*self.memory.facts(), self.parts_down(), self.dashboard())
            self.gcs.post(m.Heartbeat(self.options.node.node_id, *told))
        self.reactor.call_later(until_pulse_s(time.monotonic(), HEARTBEAT_EVERY_S / 2), self._heartbeat)

    # --- drivers and workers ------------------------------------------------------------------------------------------

    def on_register_worker(self, peer: Any, message: m.RegisterWorker) -> None:
        """A forked worker is ready for its first lease."""
        worker = self.pool.registered(peer, message) if peer.peer_id == message.worker_id else None
        if worker is None:
            peer.close("refused: this node did not start that worker")
            return
        self.clients[message.worker_id] = peer
        self.desk.cluster.introduce(peer)
        self.objects.process_joined(message.worker_id, f"worker pid {worker.pid}")
        self.desk.carry_out(self.leases.worker_ready(message.worker_id, time.monotonic()))

    def on_register_driver(self, peer: Any, message: m.RegisterDriver) -> None:
        """A driver begins a job; the GCS numbers it."""
        driver = self.drivers.get(message.worker_id)
        if driver is None:
            driver = self.drivers[message.worker_id] = Driver(peer, message)
            self.clients[message.worker_id] = peer
            self.objects.process_joined(message.worker_id, f"driver pid {message.pid}")
            address = Address(message.worker_id, self.published(message.endpoint))
            self.gcs.post(m.RegisterJob(next(self._rids), address, message.pid, message.config))
        elif driver.job_id:
            self._confirm_driver(driver)

    def on_job_registered(self, _peer: Any, message: m.JobRegistered) -> None:
        """The job has its number: the driver may go on."""
        driver = self.drivers.get(message.driver_id)
        if driver is None:  # it hung up meanwhile
            self.gcs.post(m.JobFinished(message.job_id))
            return
        driver.job_id = message.job_id
        address = Address(driver.worker_id, self.published(driver.endpoint))
        self.jobs[message.job_id] = Job(driver.config, address, driver)
        self._confirm_driver(driver)
        self.desk.cluster.introduce(driver.peer)
        self.desk.job_known(message.job_id)

    def on_announced(self, peer: Any, message: m.Announced) -> None:
        """What the GCS tells all nodes."""
        for news in decode_batch(message.batch):
            self.handlers[type(news)](peer, news)

    def on_job_started(self, _peer: Any, message: m.JobStarted) -> None:
        """A driver of another node began a job."""
        if message.job_id not in self.jobs:
            self.jobs[message.job_id] = Job(message.config, message.driver)
            self.desk.job_known(message.job_id)

    def on_job_ended(self, _peer: Any, message: m.JobEnded) -> None:
        """Nothing of the job goes on but detached actors."""
        self.desk.parked.pop(message.job_id)
        job = self.jobs.get(message.job_id)
        if job is not None and not job.ended:
            job.ended = True
            job.driver = None
            self.actors.job_gone(message.job_id)
            self.desk.carry_out(self.leases.job_gone(message.job_id))
            self.objects.job_ended(message.job_id)
            self.remote_drivers.forget(job.address.worker_id)

    def job_goes_on(self, job_id: bytes) -> bool:
        """As far as this node knows."""
        job = self.jobs.get(job_id)
        return job is not None and not job.ended

    def on_remote_failure(self, _peer: Any, message: m.WorkerFailed) -> None:
        """A runtime process of another node is gone: what it leased and owned here too."""
        self._owner_gone(message.worker_id)
        self.objects.process_gone(message.worker_id, message.reason)

    def _owner_gone(self, worker_id: bytes) -> None:
        self.recent.forget(worker_id)
        self.owners.pop(worker_id, None)
        self.desk.parked.owner_gone(worker_id)
        if self.leases.knows_owner(worker_id):  # most of a cluster's processes never were here
            self.desk.carry_out(self.leases.owner_gone(worker_id))

    def note_owner(self, peer: Any) -> None:
        """A process asks for leases: remember where to answer."""
        if self.clients.get(peer.peer_id) is not peer:
            self.owners[peer.peer_id] = peer

    def _confirm_driver(self, driver: Driver) -> None:
        node = self.options.node
        driver.peer.post(
            m.DriverRegistered(
                driver.register_rid,
                driver.job_id,
                node.node_id,
                node.node_ip,
                self.options.session_name,
                self.options.segment.capacity_bytes,
                node.resources,
                self.options.public_prefix,
                self.options.tls,
            )
        )

    def _driver_of(self, worker_id: bytes) -> Any:
        """Connection of the driver that reads this worker's output."""
        worker = self.pool.workers.get(worker_id)
        job = self.jobs.get(worker.job_id) if worker is not None else None
        return self._driver_peer(job) if job is not None and job.log_to_driver else None

    def _driver_peer(self, job: Job) -> Any:
        if job.ended:
            return None
        return job.driver.peer if job.driver is not None else self.remote_drivers.connection(job.address)

    def tell_driver(self, job_id: bytes, message: m.DriverMessage) -> None:
        """Show a message on the terminal of the job's driver, wherever that is."""
        job = self.jobs.get(job_id)
        peer = self._driver_peer(job) if job is not None else None
        if peer is not None:
            peer.post(message)

    def on_driver_message(self, peer: Any, message: m.DriverMessage) -> None:
        """From a worker: for its job's driver. From the GCS: for all drivers of this node."""
        worker = self.pool.workers.get(peer.peer_id)
        if worker is not None:
            self.tell_driver(worker.job_id, message)
            return
        for driver in self.drivers.values():
            driver.peer.post(message)

    def peer_gone(self, peer: Any, reason: str) -> None:
        """A connection is closed. A worker's end is reported by its process; a driver's is the end of its job."""
        worker_id = peer.peer_id
        self.objects.peer_gone(peer)
        if self.owners.get(worker_id) is peer:
            self._owner_gone(worker_id)
            return
        if self.clients.get(worker_id) is not peer:
            return
        del self.clients[worker_id]
        self.states.process_gone(worker_id)
        driver = self.drivers.pop(worker_id, None)
        if driver is not None:
            self._end_job(driver, reason)
            return
        worker = self.pool.workers.get(worker_id)
        if worker is not None:  # alive without us, or dying
            self.pool.kill_later(worker, 1.0)

    def _end_job(self, driver: Driver, reason: str) -> None:
        self.recent.forget(driver.worker_id)
        self.actors.job_gone(driver.job_id)
        self.desk.carry_out([*self.leases.owner_gone(driver.worker_id), *self.leases.job_gone(driver.job_id)])
        self.objects.process_gone(driver.worker_id, reason)
        if driver.job_id:
            job = self.jobs[driver.job_id]
            job.driver, job.ended = None, True
            self.objects.job_ended(driver.job_id)
            self.gcs.post(m.JobFinished(driver.job_id))
        failed = m.WorkerFailed(driver.worker_id, f"the driver {driver.pid} ended: {reason}", True)
        self._broadcast(failed, driver.job_id)

    def _broadcast(self, message: m.Message, job_id: bytes) -> None:
        """To the GCS and to every runtime process of the job."""
        self.gcs.post(message)
        self.heads.failures.add(message, time.monotonic())
        for worker_id, peer in self.clients.items():
            worker = self.pool.workers.get(worker_id)
            if worker is None or worker.job_id == job_id or worker.actor_id:
                peer.post(message)

    def _on_worker_exit(self, worker: WorkerProcess, reason: str) -> None:
        """The process is dead and reaped. Its last words may be unread: they count, and nothing may come after this."""
        if worker.peer is not None:
            worker.peer.drain()
            worker.peer.close("its process is dead")
        self.clients.pop(worker.worker_id, None)
        self.states.process_gone(worker.worker_id)
        self.recent.forget(worker.worker_id)
        if not worker.registered:
            why = f"{reason} before it registered; its last lines:\n{worker.log.last_lines()}"
            self.desk.carry_out(self.leases.worker_start_failed(why))
            return
        reason = worker.oom or f"{reason} on node {self.options.node.node_ip}"
        self.memory.exited(worker.worker_id)
        self.states.worker_ended(worker, reason)
        for effect in self.leases.worker_exited(worker.worker_id):
            if isinstance(effect, Broken) and effect.lease.worker_id == worker.worker_id:
                self._on_broken(effect, worker, reason)
            else:
                self.desk.carry_out([effect])
        self.desk.carry_out([])  # its resources are free: the GCS wants to know
        self.objects.process_gone(worker.worker_id, reason)
        if worker.job_id:
            self._broadcast(m.WorkerFailed(worker.worker_id, reason), worker.job_id)

    def _on_broken(self, effect: Broken, worker: WorkerProcess, reason: str) -> None:
        lease = effect.lease
        if lease.request.actor_id:
            self.actors.worker_ended(lease, worker, reason)
            return
        broken = m.LeaseBroken(lease.lease_id, worker.worker_id, reason, worker.intended)
        broken.oom, broken.is_final = bool(worker.oom), worker.oom_is_final
        self.post_to(lease.request.owner, broken)

    def connection_of(self, worker_id: bytes) -> Any:
        """How a runtime process is reached now; None when it has no connection to us."""
        return self.clients.get(worker_id) or self.owners.get(worker_id)

    def post_to(self, worker_id: bytes, message: m.Message) -> None:
        """To a driver or worker, if it is still connected."""
        peer = self.connection_of(worker_id)
        if peer is not None:
            peer.post(message)

    def on_kill_worker(self, _peer: Any, message: m.KillWorker) -> None:
        """Somebody of this cluster wants a worker dead."""
        worker = self.pool.workers.get(message.worker_id)
        if worker is not None:
            self.pool.kill(worker, message.reason)

    # --- the rest -----------------------------------------------------------------------------------------------------

    def on_forward_to_gcs(self, _peer: Any, message: m.Message) -> None:
        """Passed on as it is."""
        self.gcs.post(message)

    def on_ping(self, peer: Any, message: m.Ping) -> None:
        """Alive."""
        peer.post(m.Pong(message.rid))

    def on_stop_request(self, peer: Any, message: m.Stop) -> None:
        """Answer, then shut the node down."""
        peer.send(m.Stopped(message.rid))
        self.on_stop(message.reason)

    def on_node_registered(self, _peer: Any, message: m.NodeRegistered) -> None:
        """The head knows us, or will not have us."""
        if message.refused:
            self.on_fence(message.refused)

    def on_fenced(self, _peer: Any, message: m.NodeFenced) -> None:
        """This node was declared dead: others do its work now."""
        self.on_fence(message.reason)

    def with_free_store(self, available: vectors.Units) -> vectors.Units:
        """``available`` with what of the object store no object fills."""
        used = self.store.core.usage().sealed_bytes * vectors.UNITS_PER_ONE
        return {**available, "object_store_memory": max(0, available.get("object_store_memory", 0) - used)}
