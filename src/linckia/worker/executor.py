"""The worker's main thread: take pushed tasks, run them, answer (section 4, step 4). Hand-flattened like
``submitter.py``.

Small inline results of plain tasks take the fast path; everything else (references, streams, actor calls, errors)
goes through ``task_run.py``. Answers of short tasks share a write; none waits for a task that is expected to be long.
Message handlers run in whichever thread leads, under ``Runtime.mutex``; user code runs here, without it.
"""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from setproctitle import setproctitle

from linckia.core.placement.names import plain
from linckia.protocol import messages as m
from linckia.serialization import values
from linckia.worker import task_context
from linckia.worker.long_wait import Watched, on_deadlock, wait_long
from linckia.worker.progress import Target
from linckia.worker.task_context import TaskContext
from linckia.worker.task_history import label_of
from linckia.worker.task_run import TaskRun, call_user
from linckia.worker.tasks import Peer

if TYPE_CHECKING:
    from collections.abc import Callable

    from linckia.worker.runtime import Runtime

FLUSH_AFTER_S = 5e-4
INLINE_RESULT_MAX_BYTES = 100 * 1024 - 1
BLOCK_GRACE_S = 1e-3  # a get shorter than this does not give the CPU back


class ExecTemplate:
    """A template as this worker knows it: the definition and the loaded function."""

    __slots__ = (
        "calls",
        "careful",
        "definition",
        "failure",
        "function",
        "label",
        "mean_s",
        "name",
        "plain",
        "qualified_name",
        "reported_s",
    )

    def __init__(self, definition: m.TemplateDef) -> None:
        self.definition = definition
        self.name = definition.name
        self.qualified_name = definition.qualified_name or definition.name
        self.function: Any = None
        self.failure: BaseException | None = None  # the function could not be loaded
        self.mean_s = -1.0
        self.reported_s = -1.0
        self.calls = 0
        self.careful = definition.careful
        self.label = label_of(definition)
        self.plain = (
            definition.num_returns == 1
            and bool(definition.function_id)
            and not definition.max_calls
            and not self.careful
        )


class Executor:
    """One per worker. As a wait target its ``state`` is "there is something to run"."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.queue: deque[tuple[Peer, m.Push]] = deque()
        self.setup_failure: BaseException | None = None  # the job's environment: no task of it can run here
        self.controls: deque[Any] = deque()  # callables the main thread runs between tasks
        self.exiting = False
        self.actor: Any = None  # ActorHost once this worker hosts an actor
        self.current: m.Push | None = None
        self.current_peer: Peer | None = None
        self.current_template: ExecTemplate | None = None
        self.cancelling: bytes | None = None
        self.blocked = False
        self.watched: Watched | None = None  # the long wait of the running task
        self.run = TaskRun(runtime, self)
        self.source = ""
        self.assigned: dict[str, float] = {"CPU": 1.0}
        self.gpu_ids: list[int] = []
        self.visible_gpus: VisibleGpus | None = None  # once a task of this worker had some
        self.user_threads = "OMP_NUM_THREADS" in os.environ  # noqa: TID251  (the interface of OpenMP)
        if not self.user_threads:
            set_thread_limit(1)
        self.profile: Any = None  # a Profile when the job wants task events
        self.started_s = 0.0  # of the current task
        self.note_end = runtime.history.ended.append
        self._context: TaskContext | None = None
        self._at_end: deque[Callable[[], None]] = deque()
        self._oldest_reply_s = 0.0
        self._register_handlers()

    @property
    def state(self) -> bool:
        return bool(self.queue) or bool(self.controls) or self.exiting

    def _register_handlers(self) -> None:
        self.runtime.handlers.update(
            {
                m.FunctionDef: self._on_function,
                m.TemplateDef: self._on_template,
                m.Push: self._on_push,
                m.TakeBack: self._on_take_back,
                m.CancelTask: self._on_cancel,
                m.Deadlock: lambda _peer, message: on_deadlock(self, message),
                m.LeaseInfo: lambda _peer, message: self.controls.append(lambda: self.assign(message.assigned)),
                m.StreamConsumed: lambda _peer, message: self.run.on_consumed(message),
            }
        )

    # --- the main loop ----------------------------------------------------------------------------------------------

    def loop(self) -> None:
        """Run what is pushed until the worker is told to exit."""
        queue, controls = self.queue, self.controls
        wait_for = self.runtime.progress.wait_for
        while not self.exiting:
            if controls:
                controls.popleft()()
            elif queue:
                try:
                    peer, push = queue.popleft()
                except IndexError:
                    continue  # taken back at this moment
                self.execute(peer, push)
            else:
                try:
                    wait_for(self)
                except KeyboardInterrupt:
                    continue  # a cancel that came too late
        self.runtime.reactor.flush_dirty()
        while self._at_end:
            self._at_end.popleft()()
        if not self.runtime.closing and self.actor is None:
            self._outlive_borrowers()

    def after_task(self, cleanup: Callable[[], None]) -> None:
        """Call it in the main thread once the running task was answered, also when this worker ends with it."""
        at_end = self._at_end
        at_end.append(cleanup)
        self.controls.append(lambda: at_end.popleft()() if at_end else None)

    def _outlive_borrowers(self) -> None:
        """A worker that ends by intention serves its objects until nobody borrows them (R 3.1: they die with it)."""
        lent = self.runtime.borrowing.lent
        if lent:
            self.runtime.progress.wait_for(NothingLent(lent))

    def execute(self, peer: Peer, push: m.Push) -> None:
        """Run one task and answer."""
        try:
            template: ExecTemplate = peer.templates[push.template]
        except KeyError:
            why = f"refused: a task of template {push.template}, which was never introduced"
            self.runtime.reactor.call_soon(lambda: peer.conn.close(why))
            return
        function = template.function
        self.current, self.current_peer = push, peer
        own_name = push.extras.name if push.extras is not None else ""
        if template is not self.current_template or own_name:
            self.current_template = None if own_name else template
            setproctitle(f"linckia::{own_name or template.name}")
        conn = peer.conn
        if template.mean_s > FLUSH_AFTER_S or template.mean_s < 0 or template.careful or push.extras is not None:
            self.runtime.reactor.flush_dirty()  # answers must not wait behind a task that may be long
            self._oldest_reply_s = 0.0
        self.started_s = started_s = time.perf_counter()
        if push.extras is None and template.plain and function is not None:
            try:
                if push.args:
                    args, kwargs = values.unpack_args(push.args)
                    value = call_user(function, args, kwargs)
                    args = kwargs = ()  # type: ignore[assignment]
                else:
                    value = call_user(function, (), {})
                data = values.dumps(value)
            except BaseException as error:  # noqa: BLE001  (whatever the user's code raises is the task's answer)
                self.run.answer_error(peer, push, template, error, set())
            else:
                if type(data) is bytes and len(data) <= INLINE_RESULT_MAX_BYTES:
                    conn.post(m.Done(push.task_id, data))
                else:
                    self.run.answer_value(peer, push, template, data, set())
            value = None
        else:
            self.run.run(peer, push, template)
        self.finish(peer, template, started_s)

    def finish(self, peer: Peer, template: ExecTemplate, started_s: float) -> None:
        """Bookkeeping after a task: time, flush, cancel that came late, max_calls."""
        now_s = time.perf_counter()
        took_s = now_s - started_s
        push = self.current
        if push is not None:
            extras = push.extras
            call = None if extras is None else (extras.attempt, extras.name)
            self.note_end((push.task_id, template.label, call, started_s, now_s))
        self.current = self.current_peer = self._context = None
        if self.cancelling is not None:
            self.cancelling = None
            self.runtime.interrupt_pending = False
        mean_s = template.mean_s
        template.mean_s = mean_s = took_s if mean_s < 0 else 0.8 * mean_s + 0.2 * took_s
        reported_s = template.reported_s
        if reported_s < 0 or mean_s > 2 * reported_s or 2 * mean_s < reported_s:
            template.reported_s = mean_s
            peer.conn.post(m.BatchTime(1, mean_s))
        if self.profile is not None:
            self.profile.task(template.name, took_s, push.task_id if push is not None else b"")
        if not self._oldest_reply_s:
            self._oldest_reply_s = now_s
        if (
            not self.queue
            or now_s - self._oldest_reply_s > FLUSH_AFTER_S
            or len(peer.conn.outbox) >= 64
            or template.careful
        ):
            self.runtime.reactor.flush_dirty()
            self._oldest_reply_s = 0.0
        if template.definition.max_calls:
            template.calls += 1
            if template.calls >= template.definition.max_calls:
                self.exit(f"max_calls={template.definition.max_calls} of {template.name} is reached", intended=True)

    def exit(self, reason: str, *, intended: bool) -> None:
        """End this worker after telling everybody whose tasks wait here."""
        runtime = self.runtime
        with runtime.mutex:
            given_back: dict[int, tuple[Peer, list[bytes]]] = {}
            while self.queue:
                peer, push = self.queue.popleft()
                given_back.setdefault(id(peer), (peer, []))[1].append(push.task_id)
            for peer in list(runtime.peers.values()):
                if not peer.closed and (peer.templates or id(peer) in given_back):
                    peer.conn.post(m.WorkerExiting(given_back.get(id(peer), (peer, []))[1], intended, reason))
            self.exiting = True
        runtime.reactor.flush_dirty()

    def assign(self, assigned: dict[str, float]) -> None:
        """What this worker's tasks hold from now on; GPU ids become CUDA_VISIBLE_DEVICES (untouched without GPUs, R
        4.32).
        """
        self.gpu_ids = sorted(int(name.partition("/")[2]) for name in assigned if name.startswith("GPU/"))
        self.assigned = {name: amount for name, amount in assigned.items() if not name.startswith("GPU/")}
        self.runtime.in_group = any(name.startswith("bundle_group_") for name in assigned)
        if not self.user_threads:
            set_thread_limit(plain(self.assigned).get("CPU", 0))
        if self.gpu_ids and self.visible_gpus is None:
            self.visible_gpus = VisibleGpus()
        if self.visible_gpus is not None:
            self.visible_gpus.show(self.gpu_ids)

    # --- messages (leading thread, under the mutex) -----------------------------------------------------------------

    def _on_function(self, peer: Peer, message: m.FunctionDef) -> None:
        peer.functions_received[message.function_id] = message.blob

    def _on_template(self, peer: Peer, message: m.TemplateDef) -> None:
        template = peer.templates[message.template] = ExecTemplate(message)
        if message.function_id:
            self.controls.append(lambda: self._load(peer, template))

    def _load(self, peer: Peer, template: ExecTemplate) -> None:
        """Unpickle the function in the main thread: importing user modules may take long and run user code."""
        template.failure = template.failure or self.setup_failure
        if template.function is None and template.failure is None:
            function_id = template.definition.function_id
            loaded = self.run.functions.get(function_id)
            if loaded is None:
                try:
                    loaded = pickle.loads(peer.functions_received[function_id])
                    self.run.functions[function_id] = loaded
                except BaseException as error:  # noqa: BLE001  (import errors of user modules belong to the task)
                    template.failure = error
                    return
            template.function = loaded

    def _on_push(self, peer: Peer, message: m.Push) -> None:
        actor = self.actor
        if actor is not None and actor.takes_push:
            actor.on_push(peer, message)
        elif self.blocked or self.exiting:
            peer.conn.send(m.TakenBack([message.task_id], stalled=self.blocked))
        else:
            self.queue.append((peer, message))

    def _on_take_back(self, peer: Peer, message: m.TakeBack) -> None:
        peer.conn.send(m.TakenBack(self._take_from_queue(peer, message.count)))

    def _take_from_queue(self, peer: Peer, count: int) -> list[bytes]:
        taken: list[bytes] = []
        others: list[tuple[Peer, m.Push]] = []
        while len(taken) < count:
            try:
                entry = self.queue.pop()
            except IndexError:
                break
            if entry[0] is peer:
                taken.append(entry[1].task_id)
            else:
                others.append(entry)
        self.queue.extend(reversed(others))
        taken.reverse()
        return taken

    def _on_cancel(self, peer: Peer, message: m.CancelTask) -> None:
        for entry in list(self.queue):
            if entry[1].task_id == message.task_id:
                try:
                    self.queue.remove(entry)
                except ValueError:
                    break  # the main thread took it at this moment
                self.run.answer_cancelled(peer, entry[1], has_run=False)
                peer.conn.flush()
                return
        current = self.current
        if self.actor is not None and self.actor.on_cancel(message):
            return
        if current is not None and current.task_id == message.task_id:
            context = self.context()
            if context is not None:
                context.cancelled = True
                self.cancel_children(context, recursive=message.recursive)
            if self.actor is None:
                self.cancelling = message.task_id
                self._interrupt_main()

    def cancel_children(self, context: TaskContext, *, recursive: bool) -> None:
        """Pass a cancel on to what the task has submitted."""
        if recursive:
            for record in list(context.children.values()):
                self.runtime.cancel_record(record, force=False, recursive=True)

    def _interrupt_main(self) -> None:
        if threading.get_ident() == self.runtime.main_ident:
            self.runtime.interrupt_pending = True
        else:
            signal.pthread_kill(self.runtime.main_ident or 0, signal.SIGINT)
            self.runtime.progress.wake_all()

    def on_peer_closed(self, peer: Peer) -> None:
        """An owner is gone: its unstarted tasks are not wanted any more."""
        for entry in list(self.queue):
            if entry[0] is peer:
                try:
                    self.queue.remove(entry)
                except ValueError:
                    continue

    # --- waiting inside a task --------------------------------------------------------------------------------------

    def wait_in_task(self, target: Target, deadline_s: float | None) -> bool:
        """Wait in the main thread of a task or sync actor call. Only normal tasks give their CPU back (R 4.16)."""
        if self.actor is None:
            return self.wait_blocked(target, deadline_s)
        return wait_long(self, target, deadline_s)

    def wait_blocked(self, target: Target, deadline_s: float | None) -> bool:
        """Wait; beyond a short grace give back the CPU and the tasks that wait behind this one."""
        progress = self.runtime.progress
        grace_s = time.monotonic() + BLOCK_GRACE_S
        if deadline_s is not None and deadline_s <= grace_s:
            return progress.wait_for(target, deadline_s)
        if progress.wait_for(target, grace_s):
            return True
        with self.runtime.mutex:
            self.blocked = True
            stalled = self._give_all_back()
            self.runtime.raylet.send(m.Blocked())
        try:
            return wait_long(self, target, deadline_s)
        finally:
            with self.runtime.mutex:
                self.blocked = False
                self.runtime.raylet.send(m.Unblocked())
                for peer in stalled:
                    if not peer.closed:
                        peer.conn.send(m.Resumed())

    def _give_all_back(self) -> list[Peer]:
        entries = list(self.queue)
        self.queue.clear()
        by_peer: dict[int, tuple[Peer, list[bytes]]] = {}
        if self.current_peer is not None:
            by_peer[id(self.current_peer)] = (self.current_peer, [])
        for peer, push in entries:
            by_peer.setdefault(id(peer), (peer, []))[1].append(push.task_id)
        for peer, task_ids in by_peer.values():
            if not peer.closed:
                peer.conn.send(m.TakenBack(task_ids, stalled=True))
        return [peer for peer, _ in by_peer.values()]

    def task_name(self) -> str:
        """Of the task that runs in the main thread; what its output is marked with."""
        peer, push = self.current_peer, self.current
        if peer is None or push is None:
            return "worker"
        return (push.extras.name if push.extras is not None else "") or str(peer.templates[push.template].name)

    # --- context ----------------------------------------------------------------------------------------------------

    def context(self) -> TaskContext | None:
        """The task that the calling code belongs to, or None."""
        context = task_context.active.get()
        if context is not None:
            return context
        if self.current is None:
            return None
        if self._context is None:
            self._context = TaskContext(
                self.current_peer,
                self.current,
                self.current_template,
                self.actor.actor_id if self.actor is not None else None,
            )
        return self._context


class NothingLent:
    """Wait target: no other process borrows our objects."""

    __slots__ = ("_lent",)

    def __init__(self, lent: dict[bytes, Any]) -> None:
        self._lent = lent

    @property
    def state(self) -> bool:
        return not self._lent


def set_thread_limit(cpus: float) -> None:
    """Numeric libraries that are loaded later use as many threads as the task has CPUs, unless the user chose (R
    4.32).
    """
    os.environ["OMP_NUM_THREADS"] = str(max(1, int(cpus)))  # noqa: TID251  (the interface of OpenMP)


class VisibleGpus:
    """CUDA_VISIBLE_DEVICES of this process: what CUDA libraries that are loaded later see. The interface of CUDA."""

    def __init__(self) -> None:
        self._before = os.environ.get("CUDA_VISIBLE_DEVICES")  # noqa: TID251

    def show(self, gpu_ids: list[int]) -> None:
        """Only these; with none, what it was before the first were assigned."""
        visible = ",".join(map(str, gpu_ids)) if gpu_ids else self._before
        if visible is None:
            os.environ.pop("CUDA_VISIBLE_DEVICES", None)  # noqa: TID251
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = visible  # noqa: TID251
