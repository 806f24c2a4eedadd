"""A simulated worker process: runs pushed tasks one at a time, or hosts an actor; an owner as well."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from linckia.core.objects.references import Answer
from linckia.model.wire import Block, Result
from linckia.protocol import messages as m
from linckia.testing.network import SimConnection
from linckia.testing.owner import SimOwner, SimTask
from linckia.testing.process import infos, refs
from linckia.testing.scripts import Script

if TYPE_CHECKING:
    from linckia.testing.cluster import SimCluster


@dataclass(eq=False)
class Running:
    """The task that runs."""

    task_id: bytes
    caller: bytes
    args: list[bytes]
    script: Script
    waiting: int = 0  # children without a result
    results: list[bytes] = field(default_factory=list)  # references of the task's own
    block: Block | None = None
    failed: bool = False


class SimWorker(SimOwner):
    """Made when the pool forks."""

    nested = True

    def __init__(self, cluster: SimCluster, name: bytes, pid: int) -> None:
        super().__init__(cluster, name, "worker")
        self.pid = pid
        self.queue: deque[Running] = deque()
        self.running: Running | None = None
        self.answering: dict[bytes, Running] = {}
        self.actor_id = b""
        self.incarnation = 0
        self.constructed = False
        self.leaving = False
        self.handlers.update(
            {
                m.AssignJob: self._on_assign,
                m.Push: self._on_push,
                m.ActorStarting: self._on_actor_starting,
                m.TerminateActor: self._on_terminate,
                m.ExitWorker: lambda _c, _msg: cluster.crash(self.name, "told to exit", 0),
            }
        )
        self.raylet.post(m.RegisterWorker(name, pid, f"sim:{name.decode()}"))

    def _on_assign(self, _connection: SimConnection, message: m.AssignJob) -> None:
        assert self.job_id in (b"", message.job_id), "a worker serves one job"
        self.job_id = message.job_id
        self._run_next()

    # --- tasks --------------------------------------------------------------------------------------------------------

    def _on_push(self, connection: SimConnection, message: m.Push) -> None:
        arguments = refs([each.ref for each in message.extras.dependencies]) if message.extras is not None else ()
        self.carry(self.refs.begin(message.task_id, connection.peer_id, arguments))
        script = self.cluster.scripts[message.task_id]
        ids = [ref.object_id for ref in arguments]
        self.queue.append(Running(message.task_id, connection.peer_id, ids, script))
        self._run_next()

    def _run_next(self) -> None:
        if self.running is not None or not self.queue or (self.actor_id and not self.constructed):
            return
        if not self.job_id:  # the owner's push has overtaken the raylet's word: two connections
            return
        run = self.running = self.queue.popleft()
        self.cluster.attempt(self, run.task_id)
        for object_id in run.args:
            self._open(object_id, run)
        for _ in range(run.script.children):
            self._start_child(run)
        if run.waiting:
            self.raylet.post(m.Blocked())
        self.later(run.script.duration_s, lambda: self._body_done(run))

    def _open(self, object_id: bytes, run: Running) -> None:
        """Take a reference out of an argument's value, which is sent for when it is elsewhere."""
        entry = self.refs.entries[object_id]
        if entry.owner not in (self.name, *self.refs.dead) and self.rng.random() < 0.3:
            self.fetch(object_id, entry.owner)
        for inner in entry.contains:
            if self.rng.random() < 0.5:
                self.refs.keep(inner)
                run.results.append(inner)

    def _start_child(self, run: Running) -> None:
        run.waiting += 1
        script = Script(duration_s=self.rng.uniform(0.001, 0.05), max_retries=3)

        def done(child: SimTask) -> None:
            run.waiting -= 1
            if not run.waiting:
                self.raylet.post(m.Unblocked())
                self._body_done(run)

        run.results.append(self.submit(script, run.args[:1], done).result)

    def _body_done(self, run: Running) -> None:
        if run.waiting or self.running is not run:
            return
        self.running = None
        script, caller = run.script, run.caller
        if script.keeps:
            for object_id in run.args:
                self.refs.keep(object_id)
                self.later(self.rng.uniform(0.0, 0.3), self._dropper(object_id))
        run.failed = script.raises
        if script.large and not run.failed:
            size = self.rng.choice([200_000, 1 << 20, 9 << 20])

            def stored(block: Block | None) -> None:
                run.block, run.failed = block, block is None
                self._finish(run, [])

            self.store(run.task_id + b"r", caller, size, stored)
            return
        own = [self.put([])] if script.returns_refs and self.rng.random() < 0.5 else []
        run.results += own
        self._finish(run, [*run.results, *run.args] if script.returns_refs and not run.failed else [])

    def _dropper(self, object_id: bytes) -> Callable[[], None]:
        return lambda: self.carry(self.refs.drop(object_id))

    def _finish(self, run: Running, contained: list[bytes]) -> None:
        self.answering[run.task_id] = run
        self.cluster.contents[run.task_id + b"r"] = tuple(contained)
        self.carry(self.refs.finish(run.task_id, contained))
        for object_id in run.results:
            self.carry(self.refs.drop(object_id))
        if run.task_id not in self.refs.frames and self.answering.pop(run.task_id, None) is not None:
            self.later(0.0, self._after_answer)  # its caller is dead

    def answer(self, effect: Answer) -> None:
        """All owners know: the answer leaves, and the next task runs."""
        run = self.answering.pop(effect.task_id)
        result = Result(contained=infos(effect.contained), inline=None if run.block else b"v", block=run.block)
        connection = self.peer(effect.to)
        if connection is not None:
            connection.post(m.DoneMany(run.task_id, [result], list(effect.borrowing), failed=run.failed))
        self.later(0.0, self._after_answer)

    def _after_answer(self) -> None:
        self._run_next()
        if self.leaving and not self.queue and self.running is None and not self.answering:
            self.raylet.post(m.ActorExiting(self.actor_id, True, "out of scope"))
            self.cluster.crash(self.name, "the actor has exited", 0)

    def process_died(self, name: bytes) -> None:
        """Answers to the dead are not sent; what runs goes on."""
        super().process_died(name)
        over = [task_id for task_id, run in self.answering.items() if run.caller == name]
        for task_id in over:
            if task_id not in self.refs.frames:
                del self.answering[task_id]
        if over:
            self.later(0.0, self._after_answer)

    # --- actors -------------------------------------------------------------------------------------------------------

    def _on_actor_starting(self, _connection: SimConnection, message: m.ActorStarting) -> None:
        spec = self.cluster.decode_spec(message.spec)
        assert not self.actor_id, "a worker hosts one actor"
        self.actor_id, self.incarnation = spec.actor_id, message.restarts
        script = self.cluster.actor_scripts[spec.actor_id]

        def constructed() -> None:
            self.constructed = not script.fails
            error = b"raised" if script.fails else None
            self.raylet.post(m.ActorStarted(spec.actor_id, error))
            self.later(0.0, self._after_answer)

        self.later(script.start_s, constructed)

    def _on_terminate(self, _connection: SimConnection, _message: Any) -> None:
        self.leaving = True
        self.later(0.0, self._after_answer)
