"""The actor in this worker: its instance and how its methods run: in order, on a loop, in threads (R 5.5-5.12).

Sync actors run on the executor's main loop. One ``async def`` method makes the whole actor async: the main thread
runs an event loop that is also the I/O leader (it watches the reactor's epoll descriptor), so a call costs no thread
hop. ``max_concurrency`` > 1 without async means a pool of threads per concurrency group. Limits are counted here;
callers are not throttled.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import inspect
import os
import pickle
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from linckia.base import errors
from linckia.model.specs import ActorSpec
from linckia.protocol import messages as m
from linckia.worker import task_context
from linckia.worker.task_context import TaskContext
from linckia.worker.task_run import StreamOut, call_user, parts_of
from linckia.worker.tasks import DYNAMIC, STREAMING, Peer

if TYPE_CHECKING:
    from collections.abc import Callable

    from linckia.worker.executor import ExecTemplate, Executor
    from linckia.worker.runtime import Runtime


class ActorExit(SystemExit):
    """Raised by ``exit_actor()``: the actor ends by its own will."""


class Group:
    """A concurrency group: its limit and what waits for a place."""

    __slots__ = ("limit", "loop", "pool", "running", "waiting")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.running = 0
        self.waiting: deque[tuple[Peer, m.Push]] = deque()
        self.pool: concurrent.futures.ThreadPoolExecutor | None = None
        self.loop: asyncio.AbstractEventLoop | None = None

    def start_loop(self, name: str) -> None:
        """An async actor's named group runs on a loop and thread of its own."""
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, name=f"linckia-{name}", daemon=True).start()


class ActorHost:
    """Hosts the one actor of this process."""

    def __init__(self, runtime: Runtime, executor: Executor, spec: ActorSpec, restarts: int) -> None:
        self.runtime, self.executor, self.spec, self.restarts = runtime, executor, spec, restarts
        self.actor_id = spec.actor_id
        self.instance: Any = None
        self.cls: Any = None
        self.repr_name = spec.class_name
        self.is_async = spec.is_async
        self.threaded = not spec.is_async and (spec.max_concurrency > 1 or bool(spec.concurrency_groups))
        self.takes_push = self.is_async or self.threaded
        self.groups = {name: Group(limit) for name, limit in spec.concurrency_groups.items()}
        self.groups[""] = self.groups["_default"] = Group(max(1, spec.max_concurrency))
        self.method_groups = {method.name: method.concurrency_group for method in spec.methods}
        self.running: dict[bytes, TaskContext] = {}
        self.loop: asyncio.AbstractEventLoop | None = None
        self.terminating = False
        self.exited = False
        self.leaving = ""  # why, once a call has ended the actor while others still run on the loop
        self.checkpoints: Any = None  # ActorCheckpoints when the actor has a policy
        self._flush_scheduled = False
        self._early: list[tuple[Peer, m.Push]] = []

    # --- start ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Construct in the main thread (async actors: on their loop), report, and serve."""
        if self.is_async:
            asyncio.run(self._serve_async())
        elif self._construct():
            if self.threaded:
                for name, group in self.groups.items():
                    group.pool = concurrent.futures.ThreadPoolExecutor(
                        group.limit, thread_name_prefix=f"linckia-{name or 'default'}"
                    )
            self._report(None)

    def _construct(self) -> bool:
        context = TaskContext(None, None, None, self.actor_id)
        context.name = f"{self.spec.class_name}.__init__"
        token = task_context.active.set(context)
        try:
            if self.executor.setup_failure is not None:
                raise self.executor.setup_failure
            self.cls = pickle.loads(self.spec.class_blob)
            push = m.Push(b"\x00" * 24, 0, self.spec.args, self.spec.extras)
            held: set[bytes] = set()
            args, kwargs = self.executor.run.arguments(push, held)
            self.instance = self.cls.__new__(self.cls)
            call_user(self.instance.__init__, args, kwargs)
            del args, kwargs
            self._keep_borrowed(held)
            if self.spec.checkpoint:
                self._restore()
            self._take_repr()
        except BaseException as error:  # noqa: BLE001  (whatever the constructor raises decides the actor's fate)
            self._report(error)
            return False
        finally:
            task_context.active.reset(token)
        return True

    def _restore(self) -> None:
        from linckia.worker.actor_checkpoints import ActorCheckpoints  # noqa: PLC0415  (few actors have them)

        self.checkpoints = ActorCheckpoints(self)
        self.checkpoints.restore()

    def _keep_borrowed(self, held: set[bytes]) -> None:
        with self.runtime.mutex:
            _, foreign = self.runtime.borrowing.still_held(held, b"")
        for token in foreign:
            token.registered = True
            self.runtime.borrowing.introduce(token.owner, token.object_id, self.runtime.address)

    def _take_repr(self) -> None:
        if self.cls.__repr__ is not object.__repr__:
            self.repr_name = repr(self.instance)
            self.executor.source = self.repr_name

    def _report(self, error: BaseException | None) -> None:
        encoded = None
        if error is not None:
            task_error = self.executor.run.task_error(error, f"{self.spec.class_name}.__init__")
            encoded = errors.encode_error(errors.ActorDiedError(task_error), self.runtime.objects.pickle_plain)
        self.runtime.raylet.send(m.ActorStarted(self.actor_id, encoded, self.repr_name))
        if error is not None:
            self.executor.exiting = True

    # --- methods ----------------------------------------------------------------------------------------------------

    def method(self, template: ExecTemplate) -> Any:
        """The bound method of a call, hidden ones included (R 1.22)."""
        name = template.name.rpartition(".")[2]
        if template.function is None:
            hidden = {
                "__ray_ready__": lambda: True,
                "__ray_call__": lambda function, *args, **kwargs: function(self.instance, *args, **kwargs),
                "__ray_terminate__": self._terminate_call,
                "__ray_checkpoint__": self._checkpoint_call,
            }
            key = name.replace("__linckia_", "__ray_")
            function = hidden.get(key) or getattr(self.instance, name)
            counts = key not in hidden or key == "__ray_call__"
            template.function = self.checkpoints.counted(function) if self.checkpoints and counts else function
        return template.function

    def _checkpoint_call(self) -> Any:
        if self.checkpoints is None:
            raise errors.CheckpointError(
                f"actor {self.spec.class_name} has no checkpoints; give its class checkpoint=CheckpointPolicy(...)"
            )
        return self.checkpoints.requested()

    def _terminate_call(self) -> None:
        self.exit_self(ActorExit("__ray_terminate__ was called"))

    def run_coroutine(self, coroutine: Any) -> Any:
        """A coroutine came out of a sync actor (``__ray_call__`` with an async function): run it to its end."""
        return asyncio.run(coroutine)

    # --- pushes (leading thread, under the mutex) -------------------------------------------------------------------

    def on_push(self, peer: Peer, push: m.Push) -> None:
        """Start the call now if its group has a place."""
        if self.instance is None:
            self._early.append((peer, push))
            return
        if self.leaving:
            return  # the process ends soon; the GCS will tell the caller
        group = self._group(peer, push)
        if group is None:
            self._refuse_group(peer, push)
        elif group.running >= group.limit:
            group.waiting.append((peer, push))
        else:
            group.running += 1
            self._dispatch(group, peer, push)

    def _group(self, peer: Peer, push: m.Push) -> Group | None:
        template = peer.templates[push.template]
        name = template.definition.concurrency_group or self.method_groups.get(template.name.rpartition(".")[2], "")
        return self.groups.get(name)

    def _refuse_group(self, peer: Peer, push: m.Push) -> None:
        template: ExecTemplate = peer.templates[push.template]
        known = sorted(name for name in self.groups if name and name != "_default")
        wanted = template.definition.concurrency_group
        text = f"concurrency group {wanted!r} of {template.name} is not declared; declared: {known}"
        self.executor.run.answer_error(peer, push, template, ValueError(text), set())
        peer.conn.flush()

    def _dispatch(self, group: Group, peer: Peer, push: m.Push) -> None:
        if group.pool is not None:
            group.pool.submit(self._run_in_thread, group, peer, push)
        elif self.loop is not None:
            if group.loop is not None:
                asyncio.run_coroutine_threadsafe(self._run_async(group, peer, push), group.loop)
            elif threading.get_ident() == self.runtime.main_ident:
                self.loop.create_task(self._run_async(group, peer, push))
            else:
                loop = self.loop
                loop.call_soon_threadsafe(lambda: loop.create_task(self._run_async(group, peer, push)))

    def _done(self, group: Group) -> None:
        with self.runtime.mutex:
            group.running -= 1
            while group.waiting and group.running < group.limit:
                group.running += 1
                self._dispatch(group, *group.waiting.popleft())
            if self.terminating and not self._busy():
                self.run_soon(self._graceful_end)

    def _busy(self) -> bool:
        if any(group.running or group.waiting for group in self.groups.values()):
            return True
        return bool(self.executor.queue) or (not self.takes_push and self.executor.current is not None)

    # --- threads ----------------------------------------------------------------------------------------------------

    def _run_in_thread(self, group: Group, peer: Peer, push: m.Push) -> None:
        template: ExecTemplate = peer.templates[push.template]
        context = TaskContext(peer, push, template, self.actor_id)
        context.started_s = time.perf_counter()
        token = task_context.active.set(context)
        self.running[push.task_id] = context
        try:
            self.executor.run.run(peer, push, template)
        finally:
            self._note_end(push, template, context.started_s)
            self.running.pop(push.task_id, None)
            task_context.active.reset(token)
            peer.conn.flush()
            self._done(group)

    def _note_end(self, push: m.Push, template: ExecTemplate, started_s: float) -> None:
        call = None if push.extras is None else (push.extras.attempt, push.extras.name)
        self.executor.note_end((push.task_id, template.label, call, started_s, time.perf_counter()))

    # --- asyncio ----------------------------------------------------------------------------------------------------

    async def _serve_async(self) -> None:
        self.loop = asyncio.get_running_loop()
        for name in self.spec.concurrency_groups:
            self.groups[name].start_loop(name)
        self._stopped = asyncio.Event()
        if not self._construct():
            return
        self.runtime.futures.attach(self.loop)
        self.runtime.progress.loop_leads = True
        with self.runtime.mutex:
            early, self._early = self._early, []
            for peer, push in early:
                self.on_push(peer, push)
        self._report(None)
        while not self.executor.exiting:
            await self._stopped.wait()
            self._stopped.clear()
            while self.executor.controls:
                self.executor.controls.popleft()()

    def run_soon(self, control: Callable[[], None]) -> None:
        """Have the main thread call it between two calls; an async actor's on its loop."""
        self.executor.controls.append(control)
        self.runtime.progress.notify()
        self._wake_loop()

    def _wake_loop(self) -> None:
        if self.loop is not None:
            self.loop.call_soon_threadsafe(self._stopped.set)

    async def _run_async(self, group: Group, peer: Peer, push: m.Push) -> None:
        template: ExecTemplate = peer.templates[push.template]
        context = TaskContext(peer, push, template, self.actor_id)
        task_context.active.set(context)
        context.handle = asyncio.current_task()
        context.started_s = time.perf_counter()
        self.running[push.task_id] = context
        run = self.executor.run
        held: set[bytes] = set()
        try:
            function = self.method(template)
            fetch = self.runtime.fetching.begin_arguments(push.extras.dependencies) if push.extras is not None else None
            if fetch is not None:
                await self.runtime.futures.when(fetch)
            args, kwargs = run.arguments(push, held)
            value = call_user(function, args, kwargs)
            del args, kwargs, fetch
            if inspect.isawaitable(value):
                value = await value
            if run.num_returns(push, template) in (STREAMING, DYNAMIC):
                await self._stream_async(peer, push, template, value, held)
            else:
                run.answer(peer, push, template, value, held)
        except asyncio.CancelledError as error:
            if context.cancelled:
                run.answer_cancelled(peer, push)
            else:
                run.answer_error(peer, push, template, error, held)
        except BaseException as error:  # noqa: BLE001  (whatever the method raises is its answer)
            run.answer_error(peer, push, template, error, held)
        finally:
            self._note_end(push, template, context.started_s)
            self.running.pop(push.task_id, None)
            if group.loop is not None:
                self.runtime.reactor.flush_dirty()
            else:
                self._flush_soon()
            self._done(group)

    async def _stream_async(
        self, peer: Peer, push: m.Push, template: ExecTemplate, items: Any, held: set[bytes]
    ) -> None:
        run = self.executor.run
        if not hasattr(items, "__aiter__"):
            run.stream(peer, push, template, items, held)
            return
        out = run.open_stream(push, template)
        try:
            async for item in items:
                for part in parts_of(item, template):
                    run.send_item(peer, push, out, part)
                if not out.state:
                    await self._room(out)
                if out.dropped:
                    break
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001  (the error becomes the last item)
            run.answer_error(peer, push, template, error, held, length=out.produced)
            return
        finally:
            run.streams.pop(push.task_id, None)
        peer.conn.post(m.DoneMany(push.task_id, [], stream_length=out.produced))

    async def _room(self, out: StreamOut) -> None:
        """Wait until the caller has consumed enough items."""
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        out.wake = lambda: loop.call_soon_threadsafe(lambda: None if ready.done() else ready.set_result(None))
        self.runtime.reactor.flush_dirty()
        if not out.state:
            await ready
        out.wake = None

    def _flush_soon(self) -> None:
        if not self._flush_scheduled and self.loop is not None:
            self._flush_scheduled = True
            self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_scheduled = False
        self.runtime.reactor.flush_dirty()
        if not self.running:
            self.runtime.progress.spin_if_free()

    # --- cancel -----------------------------------------------------------------------------------------------------

    def on_cancel(self, message: m.CancelTask) -> bool:
        """Async: cancel the asyncio task; threads and sync: set the flag; queued: answer without running (R 5.26)."""
        for group in self.groups.values():
            for entry in list(group.waiting):
                if entry[1].task_id == message.task_id:
                    group.waiting.remove(entry)
                    self.executor.run.answer_cancelled(entry[0], entry[1], has_run=False)
                    entry[0].conn.flush()
                    return True
        context = self.running.get(message.task_id)
        if context is None:
            return False
        context.cancelled = True
        self.executor.cancel_children(context, recursive=message.recursive)
        if context.handle is not None and self.loop is not None:
            context.handle.get_loop().call_soon_threadsafe(context.handle.cancel)
        return True

    # --- end --------------------------------------------------------------------------------------------------------

    def terminate(self) -> None:
        """Out of scope: finish what was submitted, then end (leading thread, under the mutex)."""
        self.terminating = True
        if not self._busy():
            self.executor.controls.append(self._graceful_end)
            self._wake_loop()

    def _graceful_end(self) -> None:
        if self._busy():
            self.executor.controls.append(self._graceful_end) if not self.takes_push else None
            return
        self._end(self.leaving or "the last handle of the actor went out of scope")

    def exit_self(self, error: SystemExit) -> None:
        """``exit_actor``, ``sys.exit`` or ``__ray_terminate__``: no answer for this call, no restart."""
        reason = (
            "exit_actor() was called"
            if isinstance(error, ActorExit)
            else f"sys.exit({error.code!r}) was called in a method"
        )
        if isinstance(error, ActorExit) and error.code:
            reason = str(error.code)
        if self.is_async:
            self.leaving = reason
            self.terminating = True
            return  # the other running calls finish first, see _done
        current = task_context.active.get()
        for task_id, context in list(self.running.items()):
            if context is not current and context.thread != threading.get_ident():
                self._join(task_id)
        self._end(reason)

    def _join(self, task_id: bytes) -> None:
        for _ in range(3000):
            if task_id not in self.running:
                return
            threading.Event().wait(0.01)

    def _end(self, reason: str) -> None:
        if self.exited:
            return
        self.exited = True
        self._run_shutdown_hook()
        if self.checkpoints is not None:
            self.checkpoints.ended()
        self.runtime.raylet.send(m.ActorExiting(self.actor_id, intended=True, reason=reason))
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        self.runtime.history.leave(self.runtime)
        self.runtime.reactor.flush_dirty()
        os._exit(0)

    def _run_shutdown_hook(self) -> None:
        for name in ("__ray_shutdown__", "__linckia_shutdown__"):
            hook = getattr(self.instance, name, None)
            if callable(hook):
                try:
                    call_user(hook, (), {})
                except Exception as error:  # noqa: BLE001  (R 5.13: logged, the actor ends all the same)
                    sys.stderr.write(f"{name} of {self.repr_name} raised {error!r}\n")
