"""From arguments to a submitted task: pack, resolve references, make the return refs, hand over to the submitter or
actor client.

The fast path (no references, small simple arguments, one return) is straight-line code; the rest is below it. Called
by ``api``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from linckia.base import errors
from linckia.model.wire import Dependency, PushExtras
from linckia.serialization import values
from linckia.worker.orphans import owner_died
from linckia.worker.refs import BLOCK, ERROR, INLINE, ObjectRef
from linckia.worker.streams import ObjectRefGenerator, Stream
from linckia.worker.tasks import DYNAMIC, STREAMING, TaskRecord, Template

if TYPE_CHECKING:
    from linckia.worker.actor_client import ActorClient
    from linckia.worker.runtime import Runtime

INLINE_ARGUMENTS_MAX_BYTES = 100 * 1024
LOOK_EVERY = 256  # submissions between looks at what has arrived: about what a worker is sent ahead
FIRST_RETURN = b"\x01\x00\x00\x00"


class CallOptions:
    """What one call changes without a template of its own."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


def submit(
    runtime: Runtime,
    template: Template,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    actor: ActorClient | None = None,
    options: CallOptions | None = None,
) -> Any:
    """Submit one task or actor call; returns its ref, refs, generator, or None (``num_returns=0``)."""
    record = TaskRecord(
        runtime.next_task_id(actor.actor_id if actor is not None else None), template, template.max_retries
    )
    if args or kwargs:
        _pack(runtime, record, args, kwargs)
    num_returns = template.num_returns
    if options is not None:
        record.extras = PushExtras(name=options.name)
    if num_returns == 1:
        ref: ObjectRef[Any] = ObjectRef(record.task_id + FIRST_RETURN)
        ref.value = record
        record.ref = ref
        answer: Any = ref
    else:
        answer = _other_returns(runtime, record, num_returns)
    executor = runtime.executor
    if executor is not None:
        context = executor.context()
        if context is not None:
            record.parent = context
            context.children[record.task_id] = record
    if actor is not None and actor.scope is not None:
        scope = actor.scope()
        if scope is not None:
            record.holds = [scope] if record.holds is None else [*record.holds, scope]
    with runtime.mutex:
        if record.holds is not None and record.waiting == 0 and record.options is not None:
            _resolve(runtime, record)
        elif actor is not None:
            actor.submit(record)
        else:
            runtime.submitter.enqueue(record)
    progress = runtime.progress
    progress.generation += 1
    if progress._background_leads:
        if runtime.reactor.dirty:
            progress.touch()
    elif not progress._armed:
        progress.arm()
    if not progress.generation % LOOK_EVERY:
        progress.take_ready_if_free()
    if runtime.interrupt_pending:
        runtime.check_interrupt()
    return answer


def _other_returns(runtime: Runtime, record: TaskRecord, num_returns: int) -> Any:
    if num_returns in (STREAMING, DYNAMIC):
        completed: ObjectRef[Any] = ObjectRef(record.task_id + FIRST_RETURN)
        completed.value = record
        record.ref = completed
        record.stream = Stream(record)
        return ObjectRefGenerator(runtime, record.stream, completed) if num_returns == STREAMING else completed
    refs: list[ObjectRef[Any]] = [
        ObjectRef(record.task_id + (index + 1).to_bytes(4, "little")) for index in range(num_returns)
    ]
    if not refs:
        return None
    record.ref, record.more_refs = refs[0], tuple(refs[1:])
    for ref in refs:
        ref.value = record
    return refs


# --- arguments ------------------------------------------------------------------------------------------------------


class Unresolved:
    """Arguments on their way: references to resolve, then the packed bytes."""

    __slots__ = ("inner", "packed", "slots")

    def __init__(self, slots: list[ObjectRef[Any]], inner: list[Any], packed: Any) -> None:
        self.slots, self.inner, self.packed = slots, inner, packed


def _pack(runtime: Runtime, record: TaskRecord, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Fill ``record.args``; with references among the arguments fill ``record.options`` (Unresolved) and ``holds``
    too.
    """
    slots: list[ObjectRef[Any]] = []
    for value in args:
        if type(value) is ObjectRef:
            args, kwargs, slots = _take_refs(args, kwargs)
            break
    else:
        for value in kwargs.values():
            if type(value) is ObjectRef:
                args, kwargs, slots = _take_refs(args, kwargs)
                break
    packed = values.pack_args(args, kwargs)
    if type(packed) is bytes and not slots:
        record.args = packed
        return
    if isinstance(packed, bytes):
        inner: list[Any] = []
        record.args = packed
    else:
        inner = packed.contained
        if packed.size_bytes <= INLINE_ARGUMENTS_MAX_BYTES:
            record.args = packed.to_bytes()
        else:
            ref: ObjectRef[Any] = ObjectRef(runtime.next_task_id() + b"\x00\x00\x00\x80")
            runtime.objects.store(ref, packed)
            slots.append(ref)
            record.args = b"\x02"
    if slots or inner:
        record.options = Unresolved(slots, inner, None)
        record.holds = [*slots, *inner]


def _take_refs(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any], list[ObjectRef[Any]]]:
    slots: list[ObjectRef[Any]] = []

    def take(value: Any) -> Any:
        if type(value) is ObjectRef:
            slots.append(value)
            return values.ArgSlot(len(slots) - 1)
        return value

    return tuple(take(value) for value in args), {key: take(value) for key, value in kwargs.items()}, slots


class WaitsForArguments:
    """Hook of the references that a task waits for; `listing.py` finds the task through it."""

    __slots__ = ("record", "runtime")

    def __init__(self, runtime: Runtime, record: TaskRecord) -> None:
        self.runtime, self.record = runtime, record

    def __call__(self, _ref: Any) -> None:
        record = self.record
        record.waiting -= 1
        if record.waiting == 0 and not (record.ref is not None and record.ref.state):
            _go(self.runtime, record)


def _resolve(runtime: Runtime, record: TaskRecord) -> None:
    """Under the mutex: wait for pending references, then go on. An actor call takes its place in the queue now."""
    unresolved: Unresolved = record.options
    ready = WaitsForArguments(runtime, record)
    for ref in unresolved.slots:
        if not ref.state:
            runtime.objects.fetch(ref)
        if not ref.state:
            record.waiting += 1
            ref.hooks = [*ref.hooks, ready] if ref.hooks is not None else [ready]
    actor = record_actor(runtime, record)
    if actor is not None:
        if record.waiting == 0:
            _go(runtime, record, first=True)
        else:
            actor.submit(record)
    elif record.waiting == 0:
        _go(runtime, record)


def resubmit(runtime: Runtime, record: TaskRecord, actor: ActorClient | None) -> None:
    """Run a finished task again (under the mutex); its references wait for their values first."""
    if record.options is not None:
        _resolve(runtime, record)
    elif actor is not None:
        actor.submit(record)
    else:
        runtime.submitter.enqueue(record)


def record_actor(runtime: Runtime, record: TaskRecord) -> ActorClient | None:
    """The actor a record calls, found by the id inside the task id; a function may have taken a call's place."""
    if record.template.function is not None:
        return None
    return record.actor or runtime.actors.find(record.task_id[8:24])


def _go(runtime: Runtime, record: TaskRecord, *, first: bool = False) -> None:
    """All references have values: build the extras and submit; a failed one fails the task instead (R 4.5)."""
    unresolved: Unresolved = record.options
    record.options = None
    record.lineage = unresolved
    actor = record_actor(runtime, record)
    for ref in unresolved.slots:
        if ref.state >= ERROR:
            _fail_by_dependency(runtime, record, ref, actor)
            return
    extras = record.extras = record.extras or PushExtras()
    borrowing = runtime.borrowing
    inner = list(unresolved.inner)
    for ref in unresolved.slots:
        info = borrowing.info(ref)
        if ref.state == INLINE:
            extras.dependencies.append(Dependency(info, inline=ref.value))
        elif ref.state == BLOCK:
            borrowing.by_id[ref._id] = ref
            if runtime.replicas.table.objects:
                runtime.replicas.share(ref._id)
            extras.dependencies.append(Dependency(info, block=ref.value))
        if ref.extra is not None and ref.extra.contained:
            inner += ref.extra.contained
    extras.borrowed = [borrowing.info(ref) for ref in inner]
    if actor is not None:
        actor.submit(record) if first else actor.arguments_ready(record)
    else:
        runtime.submitter.enqueue(record)


def _fail_by_dependency(runtime: Runtime, record: TaskRecord, ref: ObjectRef[Any], actor: ActorClient | None) -> None:
    if ref.state == ERROR:
        runtime.fail_encoded(record, ref.value)
    else:
        runtime.fail(record, owner_died(ref))
    if actor is not None:
        actor.remove_queued(record)


# --- constructors ---------------------------------------------------------------------------------------------------


class Constructor:
    """The packed arguments of an actor's constructor; kept by the owner while the actor may be restarted."""

    __slots__ = ("args", "extras", "places", "record", "runtime", "_callback")

    def __init__(self, runtime: Runtime, record: TaskRecord) -> None:
        self.runtime, self.record = runtime, record
        self.args = record.args
        self.extras: PushExtras | None = None
        self.places: list[Any] = []  # tokens of arguments: a restart may read them in place at any time
        self._callback: Any = None

    def ready(self) -> bool:
        """True when all references have values; fills ``extras``."""
        unresolved = self.record.options
        if unresolved is None:
            return True
        with self.runtime.mutex:
            for ref in unresolved.slots:
                if not ref.state:
                    self.runtime.objects.fetch(ref)
            if any(not ref.state for ref in unresolved.slots) or any(ref.state >= ERROR for ref in unresolved.slots):
                return False
            self._fill_extras(unresolved)
        return True

    def when_ready(self, callback: Any) -> None:
        """Call ``callback(None)`` when :meth:`ready`, or ``callback(error)`` when a reference failed."""
        unresolved = self.record.options
        with self.runtime.mutex:
            pending = [ref for ref in unresolved.slots if not ref.state]
            self.record.waiting = len(pending)
            if not pending:
                self._finish(callback)
            for ref in pending:
                ref.hooks = [*(ref.hooks or []), lambda _ref: self._one_ready(callback)]

    def _one_ready(self, callback: Any) -> None:
        self.record.waiting -= 1
        if self.record.waiting == 0:
            self._finish(callback)

    def _finish(self, callback: Any) -> None:
        unresolved = self.record.options
        for ref in unresolved.slots:
            if ref.state >= ERROR:
                callback(self.runtime.encode_error(self._death_by(ref)))
                return
        self._fill_extras(unresolved)
        callback(None)

    def _fill_extras(self, unresolved: Unresolved) -> None:
        self.extras = _constructor_extras(self.runtime, unresolved)
        self.places = [ref.extra.token for ref in unresolved.slots if ref.state == BLOCK and ref.extra is not None]

    def _death_by(self, ref: ObjectRef[Any]) -> errors.RayError:
        """The actor's death, because an argument of its constructor failed."""
        try:
            self.runtime.objects.load(ref)
        except errors.RayTaskError as error:
            return errors.ActorDiedError(error)
        except errors.RayError as error:
            text = f"an argument of its constructor failed: {error}"
            return errors.ActorDiedError(errors.ActorDiedErrorContext(error_message=text))
        return errors.ActorDiedError()


def _constructor_extras(runtime: Runtime, unresolved: Unresolved) -> PushExtras:
    borrowing = runtime.borrowing
    extras = PushExtras()
    inner = list(unresolved.inner)
    for ref in unresolved.slots:
        info = borrowing.info(ref)
        inline = ref.value if ref.state == INLINE else None
        block = ref.value if ref.state == BLOCK else None
        borrowing.by_id[ref._id] = ref
        runtime.replicas.share(ref._id)
        extras.dependencies.append(Dependency(info, inline=inline, block=block))
        if ref.extra is not None and ref.extra.contained:
            inner += ref.extra.contained
    extras.borrowed = [borrowing.info(ref) for ref in inner]
    return extras


def pack_constructor(runtime: Runtime, arguments: tuple[tuple[Any, ...], dict[str, Any]]) -> Constructor:
    """Pack the arguments of a constructor."""
    record = TaskRecord(b"\x00" * 24, _NO_TEMPLATE, 0)
    if arguments[0] or arguments[1]:
        _pack(runtime, record, *arguments)
    return Constructor(runtime, record)


class _NoTemplate:
    max_retries = 0


_NO_TEMPLATE: Any = _NoTemplate()
