"""Fallbacks: what takes the place of a result after the last failure, the application's or the system's.

A value becomes the result at once. A function runs as a task of its own, under the id of the failed one: whatever
holds a reference to its results never learns that they were made by something else. The failed attempt stays in the
history. Cancelled work does not fall back, nor does anything once the cluster is gone. Under ``Runtime.mutex``; user
code runs on a worker only, the exception is unpickled there too.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

from linckia.base import errors
from linckia.base.errors.root import safe_text, type_name
from linckia.model.wire import PushExtras, Result
from linckia.serialization import values
from linckia.worker.submission import Unresolved, resubmit
from linckia.worker.task_run import call_user
from linckia.worker.tasks import TaskRecord, Template

if TYPE_CHECKING:
    from linckia.worker.refs import ObjectRef
    from linckia.worker.runtime import Runtime


class Fallback:
    """What to do: ``inline`` values, one per return; else run ``template`` with the exception, or with ``ref``."""

    __slots__ = ("inline", "ref", "template")

    def __init__(
        self, inline: list[bytes] | None = None, template: Template | None = None, ref: ObjectRef[Any] | None = None
    ) -> None:
        self.inline, self.template, self.ref = inline, template, ref


class FailedWith:
    """An error on its way to a fallback: where it is unpickled it is the exception that ``get`` would raise."""

    __slots__ = ("error",)

    def __init__(self, error: bytes) -> None:
        self.error = error

    def __reduce__(self) -> tuple[Any, ...]:
        return exception_of, (self.error,)


def exception_of(error: bytes) -> BaseException:
    """The exception behind an encoded error."""
    found = errors.decode_error(error, pickle.loads)
    return found.as_instanceof_cause() if isinstance(found, errors.RayTaskError) else found


class Guarded:
    """A fallback function as the worker calls it: if it fails too, its exception says what it was the fallback of."""

    def __init__(self, function: Any) -> None:
        self.function = function
        self.__name__ = getattr(function, "__name__", type(function).__name__)
        self.__qualname__ = getattr(function, "__qualname__", self.__name__)
        self.__module__ = getattr(function, "__module__", None) or ""

    def __call__(self, error: BaseException) -> Any:
        try:
            return call_user(self.function, (error,), {})
        except Exception as problem:
            if problem is not error:
                problem.add_note(f"This was the fallback of a call that had failed with {_first_line(error)}")
            raise


def _first_line(error: BaseException) -> str:
    cause = (error.cause if isinstance(error, errors.RayTaskError) else None) or error
    return f"{type_name(type(cause))}: {safe_text(cause).partition(chr(10))[0]}"


def same(value: Any) -> Any:
    """The function behind a fallback that is a value: it arrives as an argument."""
    return value


def take_over(runtime: Runtime, record: TaskRecord, error: bytes | None) -> bool:
    """Put the fallback in the place of a final failure. False when there is none, or it may not be used."""
    fallback: Fallback | None = record.template.means.fallback
    if fallback is None or error is None or record.cancelled or runtime.closing or runtime.raylet_peer.closed:
        return False
    runtime.lineage.failed(record)
    runtime.fallen_back += 1
    refs, parent, attempt = record.refs(), record.parent, record.attempt + 1
    runtime.forget_record(record)
    if fallback.inline is not None:
        for ref, data in zip(refs, fallback.inline, strict=False):
            runtime.complete_result(ref, Result(inline=data), b"")
        return True
    template: Any = fallback.template
    again = TaskRecord(record.task_id, template, template.max_retries)
    again.ref, again.more_refs, again.attempt = record.ref, record.more_refs, attempt
    again.extras = PushExtras(attempt=attempt)
    for ref in refs:
        if not ref.state:
            ref.value = again
    if parent is not None:
        again.parent = parent
        parent.children[again.task_id] = again
    _pack(again, fallback, error)
    resubmit(runtime, again, None)
    return True


def _pack(again: TaskRecord, fallback: Fallback, error: bytes) -> None:
    """The one argument. An error travels inside the message, whatever its size, as it came."""
    ref = fallback.ref
    packed = values.pack_args((FailedWith(error) if ref is None else values.ArgSlot(0),), {})
    again.args = packed if isinstance(packed, bytes) else packed.to_bytes()
    if ref is not None:
        again.options = Unresolved([ref], [], None)
        again.holds = [ref]
