"""Turns what the user's code raised into a `RayTaskError`: called by the worker that ran it, or by the owner of a task
whose argument failed. It formats tracebacks; it neither pickles (`transport.py`) nor decides about retries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from linckia.base.errors.root import RayError, safe_text, type_name
from linckia.base.errors.task_error import RayTaskError, plain_task_error
from linckia.base.errors.tasks import UserCodeException

if TYPE_CHECKING:
    from collections.abc import Sequence
    from traceback import TracebackException

MAX_TRACEBACK_CHARS = 1_000_000
"""A longer text keeps its two ends: an error must not cost more than the result it replaces."""

_PACKAGE = __file__.removesuffix("base/errors/capture.py")
_USER_CODE_INSIDE = (_PACKAGE + "cli/", _PACKAGE + "testing/")  # the demo and the test kit define tasks themselves


class ProcessInfo(NamedTuple):
    """The process that raised an error, as its text names it. A worker makes one and keeps it."""

    pid: int | None = None
    ip: str | None = None
    proctitle: str | None = None
    actor_repr: str | None = None
    actor_id: str | None = None


def make_task_error(error: BaseException, function_name: str, where: ProcessInfo) -> RayTaskError:
    """What `get` on the results of `function_name` shall raise, because its body raised `error`."""
    return _task_error(function_name, user_traceback(error), _root_cause(error), where)


def make_dependency_error(error: RayError, function_name: str, where: ProcessInfo) -> RayTaskError:
    """The error of a task that never ran because an argument of it failed with `error`: same cause, longer text."""
    if isinstance(error, RayTaskError):
        error = plain_task_error(error)
    told = f"{type_name(type(error))}: {safe_text(error)}"
    text = f"  An argument of this task could not be computed, so the task did not run:\n{told}"
    return _task_error(function_name, _limited(text), _root_cause(error), where)


def matches_retry_exceptions(error: BaseException, retry_exceptions: bool | Sequence[type[BaseException]]) -> bool:
    """True when the option `retry_exceptions` asks to run a task again that raised `error`."""
    if isinstance(retry_exceptions, bool):
        return retry_exceptions
    wanted = tuple(retry_exceptions)
    suspects = [error]
    if isinstance(error, RayTaskError) and isinstance(error.cause, BaseException):
        suspects.append(error.cause)
    # Libraries wrap what the user's function raised; people list their own exceptions, not the wrapper (R 3.30).
    suspects += [one.__cause__ for one in suspects if isinstance(one, UserCodeException) and one.__cause__ is not None]
    return any(isinstance(suspect, wanted) for suspect in suspects)


def user_traceback(error: BaseException) -> str:
    """The traceback without frames of Linckia's own files; all of them when there are no others."""
    import traceback  # noqa: PLC0415  (start-up time: only a process that fails needs it)

    try:
        report = traceback.TracebackException.from_exception(error, compact=True)
        _keep_user_frames(report)
        return _limited("".join(report.format()))
    except Exception as problem:  # noqa: BLE001  (formatting runs the author's code: __str__, __cause__, __notes__)
        reason = f"(its traceback could not be formatted: {type_name(type(problem))})"
        return _limited(f"{type_name(type(error))}: {safe_text(error)}\n{reason}\n")


def _task_error(function_name: str, text: str, cause: BaseException, where: ProcessInfo) -> RayTaskError:
    return RayTaskError(
        function_name, text, cause, where.proctitle, where.pid, where.ip, where.actor_repr, where.actor_id
    )


def _root_cause(error: BaseException) -> BaseException:
    """The first exception of a chain of tasks: a task error never wraps a task error (R 3.28)."""
    if isinstance(error, RayTaskError) and isinstance(error.cause, BaseException):
        return error.cause
    return error


def _keep_user_frames(report: TracebackException) -> None:
    waiting = [report]
    while waiting:
        one = waiting.pop()
        kept = [frame for frame in one.stack if not _is_ours(frame.filename)]
        if kept:
            one.stack[:] = kept
        # TracebackException has cut cycles already.
        waiting += [other for other in (one.__cause__, one.__context__, *(one.exceptions or ())) if other is not None]


def _is_ours(filename: str) -> bool:
    return filename.startswith(_PACKAGE) and not filename.startswith(_USER_CODE_INSIDE)


def _limited(text: str) -> str:
    if len(text) <= MAX_TRACEBACK_CHARS:
        return text
    half = MAX_TRACEBACK_CHARS // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"
