"""Run one task the general way, and build its answer: references in and out, several returns, generators, errors.

Called by ``executor.py`` (main thread) and ``actor_host.py`` (threads, coroutines). Decides nothing about when to run.
"""

from __future__ import annotations

import atexit
import inspect
import os
import pickle
import sys
from typing import TYPE_CHECKING, Any

from linckia.base import errors
from linckia.model.wire import PushExtras, Result
from linckia.protocol import messages as m
from linckia.serialization import values
from linckia.worker.tasks import DYNAMIC, STREAMING, Peer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from linckia.model.wire import Dependency
    from linckia.worker.executor import ExecTemplate, Executor
    from linckia.worker.runtime import Runtime

INLINE_RESULT_MAX_BYTES = 100 * 1024 - 1


def call_user(function: Any, args: Any, kwargs: Any) -> Any:
    """The boundary between the runtime and user code: a signal handler looks for this frame (``signals.py``)."""
    return function(*args, **kwargs)


def parts_of(item: Any, template: ExecTemplate) -> Any:
    """What one ``yield`` yields: one object, or several (``_num_objects_per_yield``). ValueError for another number."""
    wanted = template.definition.objects_per_yield
    if wanted == 1:
        return (item,)
    parts = tuple(item)
    if len(parts) != wanted:
        raise ValueError(f"{template.name} has _num_objects_per_yield={wanted} but yielded {len(parts)} objects")
    return parts


class StreamOut:
    """A generator that this worker runs. As a wait target: true when it may go on."""

    __slots__ = ("consumed", "dropped", "limit", "produced", "wake")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.produced = 0
        self.consumed = 0
        self.dropped = False
        self.wake: Any = None  # set by an event loop that waits

    @property
    def state(self) -> bool:
        return self.dropped or self.limit <= 0 or self.produced - self.consumed < self.limit


class TaskRun:
    """One per worker."""

    def __init__(self, runtime: Runtime, executor: Executor) -> None:
        self.runtime, self.executor = runtime, executor
        self.functions: dict[bytes, Any] = {}
        self.streams: dict[bytes, StreamOut] = {}

    # --- run --------------------------------------------------------------------------------------------------------

    def run(self, peer: Peer, push: m.Push, template: ExecTemplate) -> None:
        """Arguments, call, answer."""
        held: set[bytes] = set()
        try:
            if template.failure is not None:
                raise template.failure
            function = self.executor.actor.method(template) if self.executor.actor is not None else template.function
            args, kwargs = self.arguments(push, held)
            value = call_user(function, args, kwargs)
            del args, kwargs
            if inspect.iscoroutine(value) and self.executor.actor is not None:
                value = self.executor.actor.run_coroutine(value)
        except BaseException as error:  # noqa: BLE001  (whatever the user's code raises is the task's answer)
            self.answer_error(peer, push, template, error, held)
            return
        self.answer(peer, push, template, value, held)

    def arguments(self, push: m.Push, held: set[bytes]) -> tuple[Any, Any]:
        """Positional and keyword arguments. ``held`` collects the ids of borrowed objects met on the way."""
        extras = push.extras
        if extras is None:
            return values.unpack_args(push.args) if push.args else ((), {})
        local = self.runtime.borrowing.arguments
        local.ids = held
        try:
            dependencies = extras.dependencies
            if not dependencies:
                return values.unpack_args(push.args) if push.args else ((), {})
            read = self._reader(dependencies)
            if push.args == b"\x02":  # the packed arguments are themselves an object: the last dependency
                packed = read(dependencies[-1])
                return values.unpack_args(packed, [values.loads(read(each)) for each in dependencies[:-1]])
            slots = [values.loads(read(each)) for each in dependencies]
            if not push.args:
                return (), {}
            return values.unpack_args(push.args, slots)
        finally:
            local.ids = None

    def _reader(self, dependencies: list[Dependency]) -> Callable[[Dependency], bytes | memoryview]:
        """How to read arguments that were references: in place, or as copies that are brought here first."""
        fetching, objects = self.runtime.fetching, self.runtime.objects
        brought = fetching.bring_arguments(dependencies)
        if not brought:
            return objects.dependency_bytes

        def read(dependency: Dependency) -> bytes | memoryview:
            copy = brought.get(dependency.ref.object_id) if dependency.inline is None else None
            return fetching.view(copy) if copy is not None else objects.dependency_bytes(dependency)

        return read

    def answer(self, peer: Peer, push: m.Push, template: ExecTemplate, value: Any, held: set[bytes]) -> None:
        """Answer with a return value of any kind."""
        num_returns = self.num_returns(push, template)
        try:
            if num_returns in (STREAMING, DYNAMIC):
                self.stream(peer, push, template, value, held)
                return
            if num_returns == 1:
                self.answer_value(peer, push, template, values.dumps(value), held)
                return
            results = [
                self.result(part if isinstance(part, Result) else values.dumps(part), push, index, peer)
                for index, part in enumerate(self._split(value, num_returns, template, push))
            ]
        except BaseException as error:  # noqa: BLE001  (unserialisable results, errors inside generators)
            value = None
            self.answer_error(peer, push, template, error, held)
            return
        value = None
        self._post_answer(peer, m.DoneMany(push.task_id, results), held)

    def num_returns(self, push: m.Push, template: ExecTemplate) -> int:
        """Of this call."""
        extras = push.extras
        if extras is not None and extras.num_returns != 1:
            return extras.num_returns
        return template.definition.num_returns

    def _split(self, value: Any, num_returns: int, template: ExecTemplate, push: m.Push) -> list[Any]:
        if num_returns == 0:
            return []
        if inspect.isgenerator(value):
            return self._split_generator(value, num_returns, template, push)
        try:
            parts = list(value)
        except TypeError:
            raise ValueError(
                f"task {template.name} has num_returns={num_returns} but returned {type(value).__name__}, not iterable"
            ) from None
        if len(parts) != num_returns:
            raise ValueError(f"task {template.name} has num_returns={num_returns} but returned {len(parts)} values")
        return parts

    def _split_generator(
        self, value: Iterator[Any], num_returns: int, template: ExecTemplate, push: m.Push
    ) -> list[Any]:
        """Surplus items are dropped; missing ones fail alone (R 4.31, section 15)."""
        parts: list[Any] = []
        for item in value:
            if len(parts) == num_returns:
                break
            parts.append(item)
        if len(parts) < num_returns:
            text = f"generator {template.name} has num_returns={num_returns} but yielded {len(parts)} values"
            error = self._encode(ValueError(text), template)
            parts += [Result(error=error)] * (num_returns - len(parts))
        return parts

    # --- results ----------------------------------------------------------------------------------------------------

    def result(self, data: Any, push: m.Push, index: int, peer: Peer) -> Result:
        """One value in its wire form; references inside are lent to the caller."""
        if isinstance(data, Result):
            return data
        object_id = push.task_id + (index + 1).to_bytes(4, "little")
        result = self.runtime.objects.to_result(data, object_id, peer.address.worker_id, INLINE_RESULT_MAX_BYTES)
        if isinstance(data, values.Serialized) and data.contained:
            with self.runtime.mutex:
                result.contained, foreign = self.runtime.borrowing.lend_results(data.contained, peer.address)
            for owner, inner in foreign:
                self.runtime.borrowing.introduce(owner, inner, peer.address)
        return result

    def answer_value(self, peer: Peer, push: m.Push, template: ExecTemplate, data: Any, held: set[bytes]) -> None:
        """Answer with one serialised value."""
        try:
            result = self.result(data, push, 0, peer)
        except BaseException as error:  # noqa: BLE001  (a full store is the task's error)
            self.answer_error(peer, push, template, error, held)
            return
        del data
        if not held and result.inline is not None and not result.contained:
            peer.conn.post(m.Done(push.task_id, result.inline))
        else:
            self._post_answer(peer, m.DoneMany(push.task_id, [result]), held)

    def _post_answer(self, peer: Peer, answer: m.DoneMany, held: set[bytes]) -> None:
        if held:
            with self.runtime.mutex:
                answer.borrowing, foreign = self.runtime.borrowing.still_held(held, peer.address.worker_id)
            for token in foreign:
                token.registered = True
                self.runtime.borrowing.introduce(token.owner, token.object_id, self.runtime.address)
        peer.conn.post(answer)

    # --- streams ----------------------------------------------------------------------------------------------------

    def stream(self, peer: Peer, push: m.Push, template: ExecTemplate, iterator: Any, held: set[bytes]) -> None:
        """Send each item as it is made; pause while too many are unconsumed."""
        out = self.open_stream(push, template)
        step = iter(iterator).__next__
        try:
            while True:
                try:
                    item = call_user(step, (), {})
                except StopIteration:
                    break
                for part in parts_of(item, template):
                    self.send_item(peer, push, out, part)
                del item
                if not out.state:
                    self.runtime.wait_target(out, None)
                if out.dropped:
                    break
        except BaseException as error:  # noqa: BLE001  (the error becomes the last item)
            self.answer_error(peer, push, template, error, held, length=out.produced)
            return
        finally:
            self.streams.pop(push.task_id, None)
            del iterator, step
        self._post_answer(peer, m.DoneMany(push.task_id, [], stream_length=out.produced), held)

    def open_stream(self, push: m.Push, template: ExecTemplate) -> StreamOut:
        """Register a stream so that StreamConsumed reaches it. Dynamic returns are not consumed before the end."""
        limit = template.definition.backpressure if self.num_returns(push, template) == STREAMING else 0
        if push.extras is not None and push.extras.backpressure > 0:
            limit = push.extras.backpressure
        out = self.streams[push.task_id] = StreamOut(limit)
        return out

    def send_item(self, peer: Peer, push: m.Push, out: StreamOut, item: Any) -> None:
        """One item on its way."""
        result = self.result(values.dumps(item), push, out.produced + 1, peer)
        peer.conn.send(m.Yielded(push.task_id, out.produced, result))
        out.produced += 1

    def on_consumed(self, message: m.StreamConsumed) -> None:
        """The caller consumed items, or dropped the generator."""
        out = self.streams.get(message.task_id)
        if out is not None:
            out.consumed = message.consumed
            out.dropped = out.dropped or message.dropped
            if out.wake is not None and out.state:
                out.wake()
            self.runtime.progress.notify()

    # --- errors -----------------------------------------------------------------------------------------------------

    def answer_error(
        self, peer: Peer, push: m.Push, template: ExecTemplate, error: BaseException, held: set[bytes], length: int = -1
    ) -> None:
        """Answer with what the task raised; ``SystemExit`` ends the worker instead."""
        executor = self.executor
        if isinstance(error, SystemExit):
            self._exit(error, template)
            return
        cancelled = executor.cancelling == push.task_id and isinstance(error, KeyboardInterrupt)
        if cancelled:
            self.answer_cancelled(peer, push, length)
            return
        retryable = self._retryable(error, template, push.extras)
        encoded = self._encode(error, template)
        self.runtime.history.has_raised(push, template.label, encoded)
        error.__traceback__ = None
        answer = m.DoneMany(
            push.task_id, [Result(error=encoded)], failed=True, retryable=retryable, stream_length=length
        )
        del error
        self._post_answer(peer, answer, held)

    def answer_cancelled(self, peer: Peer, push: m.Push, length: int = -1, *, has_run: bool = True) -> None:
        """Answer that the task was cancelled."""
        error = errors.TaskCancelledError(error_message="the task was cancelled")
        result = Result(error=self.runtime.encode_error(error))
        template = peer.templates.get(push.template)
        if template is not None and result.error is not None:
            history = self.runtime.history
            if has_run:
                history.has_raised(push, template.label, result.error)
            else:
                history.never_ran(push, template.label, result.error)
        peer.conn.post(m.DoneMany(push.task_id, [result], failed=True, cancelled=True, stream_length=length))

    def _encode(self, error: BaseException, template: ExecTemplate) -> bytes:
        return errors.encode_error(self.task_error(error, template.qualified_name), self.runtime.objects.pickle_plain)

    def task_error(self, error: BaseException, name: str) -> errors.RayTaskError:
        """What ``get`` shall raise for an exception of user code in this process."""
        actor = self.executor.actor
        where = errors.ProcessInfo(
            pid=os.getpid(),
            ip=self.runtime.node_ip,
            proctitle=f"linckia::{name}",
            actor_repr=actor.repr_name if actor is not None else None,
            actor_id=actor.actor_id.hex() if actor is not None else None,
        )
        return errors.make_task_error(error, name, where)

    def _retryable(self, error: BaseException, template: ExecTemplate, extras: PushExtras | None) -> bool:
        allowed = template.definition.retry_exceptions
        if not allowed or not isinstance(error, Exception):
            return False
        if allowed == b"*":
            return True
        wanted = pickle.loads(allowed)
        if not callable(wanted):
            return errors.matches_retry_exceptions(error, wanted)
        try:
            return bool(call_user(wanted, (error,), {}))
        except Exception as problem:  # noqa: BLE001  (a filter of the user's that fails does not hide what it was to judge)
            error.add_note(f"retry_exceptions could not judge this error, so the task was not tried again: {problem!r}")
            return False

    def _exit(self, error: SystemExit, template: ExecTemplate) -> None:
        """``sys.exit`` in a task: the process ends, as R 4.22 and 5.19 want."""
        actor = self.executor.actor
        if actor is not None:
            actor.exit_self(error)
            return
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        self.runtime.history.leave(self.runtime)
        self.runtime.reactor.flush_dirty()
        code = error.code if isinstance(error.code, int) else (0 if error.code is None else 1)
        os._exit(code)
