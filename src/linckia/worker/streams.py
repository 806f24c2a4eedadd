"""Streaming generators, the caller's side: items arrive while the task runs, each an object of its own (R 1.48,
4.28-4.30).
"""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from linckia.base import errors
from linckia.model.wire import Result
from linckia.protocol import messages as m
from linckia.serialization import values
from linckia.worker import current
from linckia.worker.refs import BLOCK, ObjectRef
from linckia.worker.tasks import DYNAMIC

if TYPE_CHECKING:
    from linckia.worker.runtime import Runtime
    from linckia.worker.tasks import TaskRecord


NONE = pickle.dumps(None, 5)


class Stream:
    """What the owner knows of one running generator. ``state`` is true when ``next`` would not block."""

    __slots__ = (
        "consumed",
        "cut",
        "dropped",
        "entry",
        "finished",
        "hooks",
        "items",
        "received",
        "record",
        "seen",
    )

    def __init__(self, record: TaskRecord) -> None:
        self.record = record
        self.entry: Any = None  # how its large items can be made again (replays.py), once there is one
        self.seen = 0  # items of the present run
        self.cut = False  # nothing after the items received already is wanted
        self.items: deque[ObjectRef[Any]] = deque()
        self.received = 0
        self.consumed = 0
        self.finished = False
        self.dropped = False
        self.hooks: list[Callable[[Any], None]] | None = None

    @property
    def state(self) -> int:
        return 1 if self.items or self.finished else 0

    def restart(self) -> None:
        """The generator runs again from its start; items received already count only if they were lost."""
        self.seen = 0

    def fire(self) -> None:
        """Tell who waits for the next item."""
        hooks, self.hooks = self.hooks, None
        for hook in hooks or ():
            hook(self)


class Streams:
    """Message handlers and consumption for all streams of a runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    def again(self, record: TaskRecord, length: int) -> Stream:
        """Of a generator that ended after ``length`` items and runs again: nobody waits for new ones."""
        stream = Stream(record)
        stream.received = stream.consumed = length
        stream.dropped = True
        return stream

    def on_yielded(self, record: TaskRecord, message: m.Yielded, sender: bytes) -> None:
        """One more item (or a repeated one of a retry)."""
        stream = record.stream
        if stream is None:
            return
        object_id = record.task_id + (message.index + 2).to_bytes(4, "little")
        stream.seen = message.index + 1
        if message.index < stream.received or stream.dropped:
            self._on_repeated(stream, object_id, message, sender)
            return
        stream.received = message.index + 1
        ref: ObjectRef[Any] = ObjectRef(object_id)
        self.runtime.complete_result(ref, message.result, sender)
        if ref.state == BLOCK:
            self.runtime.replays.yielded(record, ref)
        stream.items.append(ref)
        stream.fire()

    def _on_repeated(self, stream: Stream, object_id: bytes, message: m.Yielded, sender: bytes) -> None:
        """It fills what was lost; otherwise its memory is free again at once. The consumer's position stays."""
        ref = self.runtime.borrowing.by_id.get(object_id) or ObjectRef(object_id)
        self.runtime.complete_result(ref, message.result, sender)
        if stream.cut and stream.seen >= stream.received:
            self._send_consumed(stream, dropped=True)
        else:
            self._acknowledge(stream)

    def on_done(self, record: TaskRecord, message: m.DoneMany) -> None:
        """The task ended: an error becomes one extra item."""
        error = message.results[0].error if message.failed and message.results else None
        stream, length = record.stream, message.stream_length
        if error is None and 0 <= length < stream.received and not stream.dropped:
            problem = errors.StreamingGeneratorReplayInconsistentError(
                f"generator {record.template.name} yielded {stream.received} items, and {length} when it ran again; "
                "a retried generator must yield the same number of items"
            )
            error = self.runtime.encode_error(problem)
        self._finish(record, error)
        if record.ref is not None and record.template.num_returns == DYNAMIC and not message.cancelled and length >= 0:
            self._complete_dynamic(record.ref, list(stream.items))
        elif error is not None:
            self._complete_failed(record, error)
        elif record.ref is not None:
            self.runtime.complete_result(record.ref, Result(inline=NONE), b"")

    def fail(self, record: TaskRecord, error: bytes) -> None:
        """The task ended without an answer."""
        self._finish(record, error)
        self._complete_failed(record, error)

    def _finish(self, record: TaskRecord, error: bytes | None) -> None:
        stream = record.stream
        if error is not None and not stream.dropped:
            ref: ObjectRef[Any] = ObjectRef(record.task_id + (stream.received + 2).to_bytes(4, "little"))
            self.runtime.complete_error(ref, error)
            stream.items.append(ref)
        self.runtime.replays.ended(record, error)
        stream.finished = True
        stream.fire()

    def _complete_failed(self, record: TaskRecord, error: bytes) -> None:
        for ref in record.refs():
            self.runtime.complete_error(ref, error)

    def _complete_dynamic(self, ref: ObjectRef[Any], items: list[ObjectRef[Any]]) -> None:
        """The value of a dynamic task is made here, because its items are the caller's."""
        data: Any = values.dumps(DynamicObjectRefGenerator(items))
        inline = data if type(data) is bytes else data.to_bytes()
        contained = [self.runtime.borrowing.info(item) for item in items]
        self.runtime.complete_result(ref, Result(inline=inline, contained=contained), b"")

    def take(self, stream: Stream) -> ObjectRef[Any] | None:
        """The next item, which must be there; None at the end."""
        with self.runtime.mutex:
            if not stream.items:
                return None
            ref = stream.items.popleft()
            stream.consumed += 1
            self._acknowledge(stream)
            return ref

    def _acknowledge(self, stream: Stream) -> None:
        record = stream.record
        limited = record.template.definition.backpressure > 0 or (
            record.extras is not None and record.extras.backpressure > 0
        )
        if limited:
            self._send_consumed(stream)

    def _send_consumed(self, stream: Stream, *, dropped: bool = False) -> None:
        record = stream.record
        if record.peer is not None and not record.peer.closed:
            send = record.peer.conn.post if dropped else record.peer.conn.send
            send(m.StreamConsumed(record.task_id, stream.consumed, dropped=dropped))

    def drop(self, stream: Stream) -> None:
        """Nobody will read the rest. Items that were lost, and that somebody still holds, are waited for."""
        stream.dropped = True
        stream.items.clear()
        if not stream.finished:
            stream.cut = True
            if stream.seen >= stream.received:
                self._send_consumed(stream, dropped=True)


class ObjectRefGenerator:
    """Iterates over the refs a streaming task yields; ``for``, ``next``, ``async for``. Not thread-safe, not
    picklable.
    """

    __slots__ = ("__weakref__", "_completed", "_runtime", "_stream")

    def __init__(self, runtime: Runtime, stream: Stream, completed: ObjectRef[Any]) -> None:
        self._runtime, self._stream, self._completed = runtime, stream, completed

    @property
    def state(self) -> int:
        """True when the next item (or the end) is there: what ``wait`` looks at."""
        return self._stream.state

    @property
    def hooks(self) -> Any:
        return self._stream.hooks

    @hooks.setter
    def hooks(self, value: Any) -> None:
        self._stream.hooks = value

    @property
    def extra(self) -> Any:
        return None

    def __iter__(self) -> ObjectRefGenerator:
        return self

    def __next__(self) -> ObjectRef[Any]:
        return self._next_sync(None)

    def _next_sync(self, timeout_s: float | None = None) -> ObjectRef[Any]:
        """The next ref; nil when ``timeout_s`` passes first. StopIteration at the end."""
        if not self._runtime.wait_target(self._stream, timeout_s):
            return ObjectRef.nil()
        ref = self._runtime.streams.take(self._stream)
        if ref is None:
            raise StopIteration
        return ref

    def __aiter__(self) -> ObjectRefGenerator:
        return self

    async def __anext__(self) -> ObjectRef[Any]:
        if not self._stream.state:
            await self._runtime.futures.when(self)
        ref = self._runtime.streams.take(self._stream)
        if ref is None:
            raise StopAsyncIteration
        return ref

    async def _next_async(self, timeout_s: float | None = None) -> ObjectRef[Any]:
        import asyncio  # noqa: PLC0415  (start-up time)

        try:
            return await asyncio.wait_for(self.__anext__(), timeout_s)
        except TimeoutError:
            return ObjectRef.nil()

    def completed(self) -> ObjectRef[Any]:
        """A ref that gets its value when the generator task has ended (raises what it raised)."""
        return self._completed

    def next_ready(self) -> bool:
        """True when there is an item that ``next`` would return at once."""
        return bool(self._stream.items)

    def is_finished(self) -> bool:
        """True when the task ended and everything was consumed."""
        return self._stream.finished and not self._stream.items

    def task_id(self) -> Any:
        """TaskID of the generator task."""
        return self._completed.task_id()

    def _get_next_ref(self) -> ObjectRef[Any]:
        return self._stream.items[0]

    def send(self, _value: object) -> None:
        """Not supported."""
        raise NotImplementedError("ObjectRefGenerator.send: values cannot be sent into a remote generator")

    def throw(self, _value: object) -> None:
        """Not supported."""
        raise NotImplementedError("ObjectRefGenerator.throw: use linckia.cancel(generator) instead")

    def close(self) -> None:
        """Not supported."""
        raise NotImplementedError("ObjectRefGenerator.close: drop the generator, or use linckia.cancel(generator)")

    async def asend(self, _value: object) -> None:
        """Not supported."""
        raise NotImplementedError("ObjectRefGenerator.asend: values cannot be sent into a remote generator")

    async def athrow(self, _value: object) -> None:
        """Not supported."""
        raise NotImplementedError("ObjectRefGenerator.athrow: use linckia.cancel(generator) instead")

    async def aclose(self) -> None:
        """Not supported."""
        raise NotImplementedError("ObjectRefGenerator.aclose: drop the generator, or use linckia.cancel(generator)")

    def __reduce__(self) -> Any:
        raise TypeError("an ObjectRefGenerator cannot be passed to tasks or stored in objects; pass the refs it yields")

    def __del__(self) -> None:
        runtime = current.runtime
        if runtime is self._runtime and runtime is not None:
            runtime.release(self._stream)


class DynamicObjectRefGenerator:
    """The value of a task with ``num_returns="dynamic"``: iterates over the refs of its items; ``len`` works."""

    def __init__(self, refs: list[ObjectRef[Any]]) -> None:
        self._refs = refs

    def __iter__(self) -> Any:
        return iter(self._refs)

    def __len__(self) -> int:
        return len(self._refs)
