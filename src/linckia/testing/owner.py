"""A simulated owner: submits tasks, leases workers for them, retries, creates actors and calls them.

The shell of the life cycles in core/tasks and core/actors as ``worker/submitter.py`` and ``worker/actor_client.py``
live them, without their pipelining. What a task does is a ``Script``; its outcome is told to the cluster exactly once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from linckia.core.objects.references import Ref
from linckia.core.tasks.states import TASK_TABLE, TaskEvent, TaskState
from linckia.model.specs import encode
from linckia.model.wire import Dependency, PushExtras
from linckia.protocol import messages as m
from linckia.testing.network import SimConnection
from linckia.testing.process import SimProcess, infos, refs
from linckia.testing.scripts import ActorScript, Script, actor_spec

if TYPE_CHECKING:
    from linckia.testing.cluster import SimCluster

LEASE_IDLE_S = 0.05
REQUESTS_MAX = 3
Shape = tuple[tuple[str, float], ...]
E = TaskEvent


@dataclass(eq=False)
class SimTask:
    """A submitted task or actor call."""

    task_id: bytes
    script: Script
    pinned: tuple[Ref, ...]
    retries_left: int
    done: Callable[[SimTask], None] | None
    state: TaskState = TASK_TABLE.initial
    actor: SimActor | None = None

    @property
    def result(self) -> bytes:
        """The object that the task makes."""
        return self.task_id + b"r"

    def move(self, event: TaskEvent) -> None:
        """Raises when the life cycle has no such move."""
        self.state = TASK_TABLE.next(self.state, event, self.task_id)


@dataclass(eq=False)
class SimLease:
    """A worker granted to this owner."""

    lease_id: int
    worker: bytes
    shape: Shape
    task: SimTask | None = None
    recalled: bool = False


@dataclass(eq=False)
class SimActor:
    """An actor as its owner sees it."""

    actor_id: bytes
    script: ActorScript
    state: str = "PENDING_CREATION"
    worker: bytes = b""
    registered: bool = False
    out_of_scope: bool = False
    queue: deque[SimTask] = field(default_factory=deque)
    pushed: dict[bytes, SimTask] = field(default_factory=dict)


class SimOwner(SimProcess):
    """Drivers, and workers as far as they submit."""

    nested = False

    def __init__(self, cluster: SimCluster, name: bytes, role: str) -> None:
        super().__init__(cluster, name, role)
        self.queues: dict[Shape, deque[SimTask]] = {}
        self.open: dict[Shape, dict[int, None]] = {}  # rids of lease requests that are wanted
        self.leases: dict[int, SimLease] = {}
        self.actors: dict[bytes, SimActor] = {}
        self.given: set[tuple[bytes, bytes]] = set()  # who was ever asked to run which task
        self.count = 0
        self.handlers.update(
            {
                m.DoneMany: self._on_done,
                m.RecallLease: self._on_recall,
                m.LeaseBroken: lambda _c, _msg: None,  # the worker's connection says so, after its last answer
                m.ActorUpdate: self._on_actor_update,
            }
        )

    def new_id(self, kind: str) -> bytes:
        """An id that no other process mints."""
        self.count += 1
        return self.name + f"-{kind}{self.count}".encode()

    def put(self, contained: list[bytes]) -> bytes:
        """A small object of ours."""
        object_id = self.new_id("o")
        self.carry(self.refs.create(object_id, contained))
        return object_id

    def put_large(self, size: int) -> bytes:
        """A large object of ours, in the store when it has room."""
        object_id = self.put([])

        def stored(block: Any) -> None:
            if block is not None and object_id in self.freed:
                self.raylet.post(m.FreeBlocks([block.offset]))
            elif block is not None:
                self.blocks[object_id] = block

        self.store(object_id, self.name, size, stored)
        return object_id

    # --- tasks --------------------------------------------------------------------------------------------------------

    def submit(self, script: Script, args: list[bytes], done: Callable[[SimTask], None] | None = None) -> SimTask:
        """A normal task. The caller gets one reference to its result."""
        task = self._task(script, args, done)
        task.move(E.ARGS_READY)
        self.queues.setdefault(script.shape, deque()).append(task)
        self._pump(script.shape)
        return task

    def _task(self, script: Script, args: list[bytes], done: Callable[[SimTask], None] | None) -> SimTask:
        task_id = self.new_id("t")
        self.carry(self.refs.create(task_id + b"r"))
        task = SimTask(task_id, script, self.refs.submit(task_id, args), script.max_retries, done)
        self.cluster.submitted(self, task_id, script)
        return task

    def _pump(self, shape: Shape) -> None:
        """Push to idle workers; ask for as many as there are tasks left, or for none."""
        queue, requests = self.queues.setdefault(shape, deque()), self.open.setdefault(shape, {})
        for lease in list(self.leases.values()):
            if queue and lease.shape == shape and lease.task is None and not lease.recalled:
                self._push(lease, queue.popleft())
        for _ in range(min(len(queue), REQUESTS_MAX) - len(requests)):
            rid = self.next_rid()
            requests[rid] = None
            message = m.RequestLease(rid, dict(shape), len(queue), self.job_id, nested=self.nested)
            self.ask(self.raylet, message, lambda reply: self._on_lease(shape, reply))
        if not queue:
            for rid in requests:
                self.requests[rid].message = m.CancelLease(rid)
                self.raylet.post(m.CancelLease(rid))
            requests.clear()

    def _on_lease(self, shape: Shape, reply: Any) -> None:
        self.open[shape].pop(reply.rid, None)
        queue = self.queues[shape]
        if isinstance(reply, m.LeaseRefused):
            if reply.kind != "cancelled" and not any(lease.shape == shape for lease in self.leases.values()):
                while queue:
                    self._end(queue.popleft(), E.GAVE_UP, f"refused: {reply.kind}")
            return
        if not queue:
            self.raylet.post(m.ReturnLease(reply.lease_id))
            return
        lease = self.leases[reply.lease_id] = SimLease(reply.lease_id, reply.worker.worker_id, shape)
        self._push(lease, queue.popleft())

    def _push(self, lease: SimLease, task: SimTask) -> None:
        lease.task = task
        task.move(E.PUSHED)
        self._send(lease.worker, task)

    def _send(self, worker: bytes, task: SimTask) -> None:
        connection = self.peer(worker)
        self.given.add((worker, task.task_id))
        if connection is not None:
            dependencies = [Dependency(info) for info in infos(task.pinned)]
            connection.post(m.Push(task.task_id, 0, b"", PushExtras(dependencies=dependencies)))

    def _on_recall(self, _connection: SimConnection, message: m.RecallLease) -> None:
        lease = self.leases.get(message.lease_id)
        if lease is not None:
            lease.recalled = True
            if lease.task is None:
                self._return(lease)

    def _return(self, lease: SimLease, *, reusable: bool = True) -> None:
        if self.leases.pop(lease.lease_id, None) is not None:
            self.raylet.post(m.ReturnLease(lease.lease_id, reusable))
            self._pump(lease.shape)

    def _idle(self, lease: SimLease) -> None:
        lease.task = None
        if lease.recalled:
            self._return(lease)
        self._pump(lease.shape)
        if lease.task is None:
            self.later(LEASE_IDLE_S, lambda: self._return(lease) if lease.task is None else None)

    # --- answers ------------------------------------------------------------------------------------------------------

    def _on_done(self, connection: SimConnection, message: m.DoneMany) -> None:
        worker = connection.peer_id
        lease = next((each for each in self.leases.values() if each.worker == worker), None)
        actor = next((each for each in self.actors.values() if message.task_id in each.pushed), None)
        if actor is not None and actor.worker == worker:
            task = actor.pushed.pop(message.task_id)
        elif lease is not None and lease.task is not None and lease.task.task_id == message.task_id:
            task = lease.task
        else:
            self._on_late_answer(worker, message)
            return
        result = message.results[0]
        if result.block is not None:
            if task.result in self.freed:
                self.raylet.post(m.FreeBlocks([result.block.offset]))
            else:
                self.blocks[task.result] = result.block
        contained = refs(result.contained)
        self.carry(self.refs.answered(task.task_id, worker, message.borrowing, task.result, contained))
        self._end(task, E.GAVE_UP if message.failed else E.SUCCEEDED, "raised" if message.failed else "ok")
        if actor is None and lease is not None:
            self._idle(lease)

    def _on_late_answer(self, worker: bytes, message: m.DoneMany) -> None:
        """Of an attempt that was given up since: an actor's call when its process was known to be gone. Nobody else
        knows of its memory.
        """
        if (worker, message.task_id) not in self.given:
            raise AssertionError(f"{worker!r} answers {message.task_id!r}, which {self.name!r} did not give it")
        blocks = [result.block.offset for result in message.results if result.block is not None]
        if blocks:
            self.raylet.post(m.FreeBlocks(blocks))

    def _end(self, task: SimTask, event: TaskEvent, outcome: str) -> None:
        task.move(event)
        self.carry(self.refs.abandoned(task.task_id))
        self.cluster.finished(task.task_id, outcome)
        if task.done is not None:
            task.done(task)
        if task.actor is not None and task.actor.out_of_scope:
            self.drop_actor(task.actor)

    # --- deaths -------------------------------------------------------------------------------------------------------

    def process_died(self, name: bytes) -> None:
        """Its tasks run elsewhere, or fail."""
        super().process_died(name)
        for lease in [lease for lease in self.leases.values() if lease.worker == name]:
            task, lease.task = lease.task, None
            if task is not None and self._may_retry(task):
                self.queues[lease.shape].appendleft(task)
                task.move(E.ARGS_READY)
            elif task is not None:
                self._end(task, E.GAVE_UP, "the worker died")
            self._return(lease, reusable=False)
        for actor in [actor for actor in self.actors.values() if actor.worker == name]:
            self._actor_lost(actor)

    def _may_retry(self, task: SimTask) -> bool:
        if task.retries_left == 0:
            return False
        task.retries_left -= 1
        task.move(E.RETRIED)
        return True

    # --- actors -------------------------------------------------------------------------------------------------------

    def create_actor(self, script: ActorScript) -> SimActor:
        """Register it with the GCS."""
        actor = SimActor(self.name + f"-a{len(self.actors)}".encode(), script)
        self.actors[actor.actor_id] = actor
        self.cluster.actor_scripts[actor.actor_id] = script
        spec = actor_spec(actor.actor_id, self.job_id, self.address, script)

        def registered(reply: Any) -> None:
            actor.registered = True
            if reply.error or reply.existing:
                self._actor_dead(actor)
            elif actor.out_of_scope:
                self.raylet.post(m.ActorOutOfScope(actor.actor_id))

        self.ask(self.raylet, m.RegisterActor(self.next_rid(), encode(spec), True), registered)
        return actor

    def call(self, actor: SimActor, script: Script, args: list[bytes]) -> SimTask:
        """A method call, in order."""
        task = self._task(script, args, None)
        task.actor = actor
        task.move(E.ARGS_READY)
        if actor.state == "DEAD":
            self._end(task, E.GAVE_UP, "the actor is dead")
        else:
            actor.queue.append(task)
            self._pump_actor(actor)
        return task

    def kill(self, actor: SimActor, *, no_restart: bool) -> None:
        """``linckia.kill``."""
        if actor.registered:
            self.raylet.post(m.KillActor(self.next_rid(), actor.actor_id, no_restart))

    def drop_actor(self, actor: SimActor) -> None:
        """The last handle is gone."""
        actor.out_of_scope = True
        if actor.registered and not actor.queue and not actor.pushed:
            self.raylet.post(m.ActorOutOfScope(actor.actor_id))

    def _on_actor_update(self, _connection: SimConnection, update: m.ActorUpdate) -> None:
        actor = self.actors.get(update.actor_id)
        if actor is None or actor.state == "DEAD":
            return
        actor.state = update.state
        if update.state == "DEAD":
            self._actor_dead(actor)
        elif update.worker is not None and actor.worker != update.worker.worker_id:
            self._actor_lost(actor)
            actor.worker = update.worker.worker_id
            self._pump_actor(actor)

    def _pump_actor(self, actor: SimActor) -> None:
        while actor.queue and actor.worker:
            task = actor.queue.popleft()
            task.move(E.PUSHED)
            actor.pushed[task.task_id] = task
            self._send(actor.worker, task)

    def _actor_lost(self, actor: SimActor) -> None:
        """Its process is gone: calls without an answer run again, or fail."""
        lost, actor.pushed, actor.worker = list(actor.pushed.values()), {}, b""
        again = []
        for task in lost:
            if self._may_retry(task):
                task.move(E.ARGS_READY)
                again.append(task)
            else:
                self._end(task, E.GAVE_UP, "the actor's process died")
        actor.queue.extendleft(reversed(again))
        if actor.state == "DEAD":
            self._actor_dead(actor)

    def _actor_dead(self, actor: SimActor) -> None:
        """What was not pushed fails; what was is decided when its process has hung up."""
        actor.state = "DEAD"
        while actor.queue:
            self._end(actor.queue.popleft(), E.GAVE_UP, "the actor is dead")
