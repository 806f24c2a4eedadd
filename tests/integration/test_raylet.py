"""The raylet room with stand-in connections, spawner and GCS: actors, retried requests, the end of jobs."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from linckia.model.placement import Strategy
from linckia.model.specs import ActorSpec, JobConfig, NodeInfo
from linckia.model.wire import Address
from linckia.protocol import messages as m
from linckia.raylet.service import Raylet, RayletOptions
from linckia.shm.segment import Segment

NODE = NodeInfo(b"n" * 28, "127.0.0.1", "here", "unix:/x", 1, {"CPU": 2.0}, {}, is_head=True)


class FakeTimer:
    """A timer that the test fires."""

    due_s = 0.0
    cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeReactor:
    """No descriptors; later never comes; soon is when the test says."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], None]] = []

    def register(self, *_arguments: Any) -> None: ...
    def unregister(self, _fd: int) -> None: ...

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.soon.append(callback)

    def call_later(self, _delay_s: float, _callback: Callable[[], None]) -> FakeTimer:
        return FakeTimer()


class FakePeer:
    """A connection that remembers what was posted."""

    closed = False

    def __init__(self, peer_id: bytes) -> None:
        self.peer_id, self.peer_role = peer_id, "worker"
        self.outbox: list[m.Message] = []
        self.unsent_bytes = 0
        self.drain: Callable[[], None] = lambda: None  # what was written before the end

    def post(self, message: m.Message) -> None:
        self.outbox.append(message)

    send = post

    def close(self, _reason: str) -> None:
        self.closed = True

    def take(self, kind: type[Any]) -> list[Any]:
        """Messages of that type, removed."""
        found = [message for message in self.outbox if isinstance(message, kind)]
        self.outbox = [message for message in self.outbox if not isinstance(message, kind)]
        return found


class FakeSpawner:
    """Collects fork requests."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def fork(self, config: dict[str, Any], fds: tuple[int, int]) -> None:
        self.asked.append(config)
        for fd in fds:
            os.close(fd)


class World:
    """A raylet and what surrounds it."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.spawner, self.gcs = FakeSpawner(), FakePeer(b"gcs")
        self.segment = Segment.create(1 << 20)
        config = {"sockets_dir": str(folder)}
        options = RayletOptions(NODE, "session", str(folder), self.segment, config, 0, 0)
        self.raylet = Raylet(FakeReactor(), options, self.spawner, self.gcs)  # type: ignore[arg-type]
        self.pids = iter(range(2_000_000_000, 2_000_000_100))  # above any real pid
        self.driver = FakePeer(b"d" * 28)
        self.job = b"\1\0\0\0"
        job_config = msgspec.msgpack.encode(JobConfig("ns", [], "", "test"))
        self.say(self.driver, m.RegisterDriver(1, self.driver.peer_id, 1, "unix:/d", job_config))
        (asked,) = self.gcs.take(m.RegisterJob)
        self.say(self.gcs, m.JobRegistered(asked.rid, self.job, self.driver.peer_id))

    def say(self, peer: FakePeer, message: m.Message) -> None:
        self.raylet.handlers[type(message)](peer, message)

    def start_workers(self) -> list[FakePeer]:
        """All that were asked for come up."""
        started = []
        for config in self.spawner.asked:
            peer = FakePeer(config["worker_id"])
            self.raylet.pool.forked(peer.peer_id, next(self.pids))
            self.say(peer, m.RegisterWorker(peer.peer_id, 1, "unix:/w"))
            started.append(peer)
        self.spawner.asked.clear()
        return started

    def end(self, peer: FakePeer, status: int = 9) -> None:
        """The worker's process ends."""
        self.raylet.pool.exited(self.raylet.pool.workers[peer.peer_id].pid, status)

    def start_actor(self, name: str = "A", *, detached: bool = False) -> FakePeer:
        """The worker of a new actor."""
        actor_id = name.encode().ljust(16)
        self.say(self.gcs, m.StartActor(actor_id, self.spec(actor_id, detached=detached), 0, 1))
        (worker,) = self.start_workers()
        self.say(self.gcs, m.BeginActor(actor_id, 1, 1))
        return worker

    def spec(self, actor_id: bytes, *, detached: bool = False, cpus: float = 0.0, affinity: bytes = b"") -> bytes:
        return msgspec.msgpack.encode(
            ActorSpec(
                actor_id=actor_id,
                job_id=self.job,
                class_id=b"c",
                class_blob=b"",
                class_name="A",
                class_module="m",
                args=b"",
                extras=None,
                owner=Address(self.driver.peer_id, "unix:/d"),
                name="",
                namespace="ns",
                detached=detached,
                get_if_exists=False,
                max_restarts=0,
                max_task_retries=0,
                max_concurrency=1,
                is_async=False,
                concurrency_groups={},
                max_pending_calls=-1,
                lifetime_resources={"CPU": cpus} if cpus else {},
                placement_resources={"CPU": 1.0},
                methods=[],
                strategy=_bound_to(affinity) if affinity else b"",
            )
        )


def _bound_to(node_id: bytes) -> bytes:
    return msgspec.msgpack.encode(Strategy("NODE_AFFINITY", node_id, soft=False))


@pytest.fixture
def world(tmp_path: pathlib.Path) -> Iterator[World]:
    """A raylet with two CPUs, a driver and no workers."""
    world = World(tmp_path)
    yield world
    for worker in list(world.raylet.pool.workers.values()):
        worker.log.finish()
    world.segment.close()


def test_an_actor_is_started_on_a_worker_of_its_job(world: World) -> None:
    worker = world.start_actor()
    (assigned, starting) = worker.outbox
    assert isinstance(assigned, m.AssignJob)
    assert assigned.job_id == world.job
    assert isinstance(starting, m.ActorStarting)
    assert starting.restarts == 0
    (leased,) = world.gcs.take(m.ActorStart)
    assert (leased.phase, leased.worker.worker_id) == ("leased", worker.peer_id)
    world.say(worker, m.ActorStarted(b"A".ljust(16), None, "A()"))
    (alive,) = world.gcs.take(m.ActorStart)
    assert (alive.phase, alive.repr_name) == ("alive", "A()")


def test_nothing_of_an_actor_runs_before_the_head_says_so(world: World) -> None:
    actor_id = b"A".ljust(16)
    world.say(world.gcs, m.StartActor(actor_id, world.spec(actor_id), 0, 1, attempt=4))
    (worker,) = world.start_workers()
    (leased,) = world.gcs.take(m.ActorStart)
    assert (leased.phase, leased.attempt) == ("leased", 4)
    world.say(world.gcs, m.BeginActor(actor_id, 3, 1))
    assert worker.take(m.ActorStarting) == [], "that attempt is over"
    world.say(world.gcs, m.BeginActor(actor_id, 4, 1))
    world.say(world.gcs, m.BeginActor(actor_id, 4, 1))
    assert len(worker.take(m.ActorStarting)) == 1, "said twice, begun once"
    world.say(world.gcs, m.CancelStart(actor_id, 4, 1))
    assert actor_id in world.raylet.actors.actors, "it has begun: too late"


def test_a_start_that_is_cancelled_leaves_its_worker_and_can_be_asked_for_again(world: World) -> None:
    actor_id = b"A".ljust(16)
    world.say(world.gcs, m.StartActor(actor_id, world.spec(actor_id, cpus=2.0), 0, 1))
    (first,) = world.start_workers()
    world.gcs.take(m.ActorStart)
    world.say(world.gcs, m.CancelStart(actor_id, 1, 1))
    world.say(world.gcs, m.StartActor(actor_id, world.spec(actor_id, cpus=2.0), 0, 1, attempt=2))
    assert world.start_workers() == [], "the first one still holds both CPUs"
    world.end(first)
    (second,) = world.start_workers()
    (leased,) = world.gcs.take(m.ActorStart)
    assert (leased.attempt, leased.worker.worker_id) == (2, second.peer_id)
    assert world.gcs.take(m.ActorWorkerDied) == [], "of the first one nobody wants to know"
    world.say(world.gcs, m.BeginActor(actor_id, 2, 1))
    assert second.take(m.ActorStarting)
    assert first.take(m.ActorStarting) == []


def test_a_start_that_is_cancelled_while_it_waits(world: World) -> None:
    actor_id = b"A".ljust(16)
    world.say(world.gcs, m.StartActor(actor_id, world.spec(actor_id, cpus=2.0), 0, 1))
    world.say(world.gcs, m.CancelStart(actor_id, 1, 1))
    assert world.raylet.leases.pending == {}
    assert world.raylet.actors.actors == {}
    assert world.gcs.take(m.ActorWorkerDied) == []


def test_an_actor_whose_constructor_raised_loses_its_worker(world: World) -> None:
    worker = world.start_actor()
    world.gcs.take(m.ActorStart)
    world.say(worker, m.ActorStarted(b"A".ljust(16), b"error"))
    (failed,) = world.gcs.take(m.ActorStart)
    assert (failed.phase, failed.error) == ("failed", b"error")
    assert worker.take(m.ExitWorker)
    world.end(worker, 0)
    assert world.gcs.take(m.ActorWorkerDied) == []


@pytest.mark.row("7.21")
def test_the_death_of_an_actors_worker_is_reported(world: World) -> None:
    worker = world.start_actor()
    world.end(worker)
    (died,) = world.gcs.take(m.ActorWorkerDied)
    assert not died.intended
    assert "was killed by SIGKILL" in died.reason
    assert world.driver.take(m.WorkerFailed)


def test_an_actor_that_ends_itself_is_no_failure(world: World) -> None:
    worker = world.start_actor()
    world.say(worker, m.ActorExiting(b"A".ljust(16), True, "exit_actor"))
    world.end(worker, 0)
    (died,) = world.gcs.take(m.ActorWorkerDied)
    assert died.intended
    assert "exit_actor" in died.reason


def test_only_the_host_speaks_for_an_actor(world: World) -> None:
    world.start_actor()
    world.gcs.take(m.ActorStart)
    world.say(FakePeer(b"stranger"), m.ActorStarted(b"A".ljust(16), None))
    assert world.gcs.take(m.ActorStart) == []


def test_stopping_an_actor_gracefully_lets_it_finish(world: World) -> None:
    worker = world.start_actor()
    world.say(world.gcs, m.StopActor(b"A".ljust(16), True, "out of scope", 1))
    assert worker.take(m.TerminateActor)
    world.end(worker, 0)
    (died,) = world.gcs.take(m.ActorWorkerDied)
    assert died.intended


def test_stopping_an_actor_that_waits(world: World) -> None:
    actor_id = b"A".ljust(16)
    world.say(world.gcs, m.StartActor(actor_id, world.spec(actor_id, cpus=2.0), 0, 1))
    world.say(world.gcs, m.StopActor(actor_id, False, "killed", 1))
    (died,) = world.gcs.take(m.ActorWorkerDied)
    assert died.intended
    assert world.raylet.leases.pending == {}
    (idle,) = world.start_workers()
    assert idle.take(m.ActorStarting) == []


@pytest.mark.row("4.34")
def test_a_job_that_ends_spares_only_detached_actors(world: World) -> None:
    stays, goes = world.start_actor("D", detached=True), world.start_actor("N")
    waiting = b"W".ljust(16)
    world.say(world.gcs, m.StartActor(waiting, world.spec(waiting), 0, 1))
    world.raylet.peer_gone(world.driver, "hung up")
    assert world.gcs.take(m.JobFinished) == [m.JobFinished(world.job)]
    assert [died.actor_id for died in world.gcs.take(m.ActorWorkerDied)] == [waiting]
    assert world.raylet.pool.workers[goes.peer_id].reason == "its job ended"
    assert world.raylet.pool.workers[stays.peer_id].reason == ""
    (failed,) = stays.take(m.WorkerFailed)
    assert failed.is_driver


def test_a_retried_lease_request_is_answered_once_more_but_granted_once(world: World) -> None:
    request = m.RequestLease(7, {"CPU": 1.0}, 1, world.job, nested=False)
    world.say(world.driver, request)
    world.say(world.driver, request)
    world.start_workers()
    world.say(world.driver, request)
    granted = world.driver.take(m.LeaseGranted)
    assert len(granted) == 2
    assert granted[0] == granted[1]
    assert len(world.raylet.leases.leases) == 1


def test_a_cancel_is_answered_with_the_grant_that_was_lost(world: World) -> None:
    """Found by the simulator, seed 2: a lost LeaseGranted and a cancel left the worker leased for ever."""
    lease = m.RequestLease(7, {"CPU": 1.0}, 1, world.job, nested=False)
    world.say(world.driver, lease)
    world.start_workers()
    (granted,) = world.driver.take(m.LeaseGranted)
    world.say(world.driver, m.CancelLease(7))
    assert world.driver.take(m.LeaseGranted) == [granted]
    world.say(world.driver, m.ReturnLease(granted.lease_id))
    assert world.raylet.leases.available == world.raylet.leases.total


def test_a_request_that_comes_after_its_cancel_is_refused(world: World) -> None:
    world.say(world.driver, m.CancelLease(7))
    world.say(world.driver, m.RequestLease(7, {"CPU": 1.0}, 1, world.job, nested=False))
    assert [refusal.kind for refusal in world.driver.take(m.LeaseRefused)] == ["cancelled", "cancelled"]
    assert not world.raylet.leases.pending


def test_the_last_words_of_a_worker_are_heard_before_its_death(world: World) -> None:
    """Found by the simulator, seed 19: the exit report may overtake what the worker wrote into its socket."""
    world.say(world.driver, m.RequestLease(7, {"CPU": 1.0}, 1, world.job, nested=False))
    (worker,) = world.start_workers()
    worker.drain = lambda: world.say(worker, m.RequestLease(1, {"CPU": 1.0}, 1, world.job, nested=True))
    world.end(worker)
    assert worker.closed
    assert not world.raylet.leases.pending
    assert not world.raylet.recent._clients.keys() & {worker.peer_id}


def test_a_retried_request_for_memory_is_granted_once(world: World) -> None:
    world.say(world.driver, m.AllocExtent(8, 4096))
    world.say(world.driver, m.AllocExtent(8, 4096))
    first, again = world.driver.take(m.ExtentGranted)
    assert first == again


@pytest.mark.row("4.10")
def test_hard_affinity_to_a_node_that_is_not_there_is_refused(world: World) -> None:
    world.say(
        world.driver,
        m.RequestLease(7, {"CPU": 1.0}, 1, world.job, nested=False, strategy=_bound_to(b"x" * 28)),
    )
    (refused,) = world.driver.take(m.LeaseRefused)
    assert refused.kind == "unschedulable"


def test_a_worker_that_nobody_started_is_refused(world: World) -> None:
    stranger = FakePeer(b"s" * 28)
    world.say(stranger, m.RegisterWorker(stranger.peer_id, 1, "unix:/w"))
    assert stranger.closed


def test_gpus_are_assigned_by_id(world: World) -> None:
    world.raylet.leases.total["GPU"] = world.raylet.leases.available["GPU"] = 20_000
    world.raylet.leases.gpus.free = {0: 10_000, 1: 10_000}
    world.say(world.driver, m.RequestLease(7, {"GPU": 1.0}, 1, world.job, nested=False))
    (worker,) = world.start_workers()
    (assigned,) = worker.take(m.AssignJob)
    assert assigned.assigned == {"GPU": 1.0, "GPU/0": 1.0}
