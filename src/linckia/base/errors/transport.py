"""Errors as bytes between processes. Type name, text, traceback and the pickled cause travel side by side (P 30).

So the reader always learns what happened, even when the cause cannot be pickled there or unpickled here. The caller
brings the pickler, because this floor must not import cloudpickle. Neither function raises over an error's content.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from linckia.base.errors.actors import ActorDiedError, ActorUnavailableError, RayActorError
from linckia.base.errors.codes import ErrorType
from linckia.base.errors.objects import (
    ObjectFetchTimedOutError,
    ObjectFreedError,
    ObjectLostError,
    ObjectReconstructionFailedError,
    OutOfDiskError,
    OwnerDiedError,
    ReferenceCountingAssertionError,
)
from linckia.base.errors.root import (
    Origin,
    RayError,
    blank_exception,
    instance_values,
    safe_text,
    set_instance_values,
    type_name,
)
from linckia.base.errors.system import (
    LocalRayletDiedError,
    NodeDiedError,
    OutOfMemoryError,
    RaySystemError,
    StreamingGeneratorReplayInconsistentError,
)
from linckia.base.errors.task_error import RayTaskError, plain_task_error
from linckia.base.errors.tasks import (
    ActorPlacementGroupRemoved,
    ActorUnschedulableError,
    ObjectRefStreamEndOfStreamError,
    RuntimeEnvSetupError,
    TaskCancelledError,
    TaskPlacementGroupRemoved,
    TaskUnschedulableError,
    UnserializableException,
    WorkerCrashedError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_VERSION = 1
_TASK, _OTHER = "task", "other"
_NOTHING = 0xFFFF_FFFF  # the length that stands for None

_CODES: tuple[tuple[type[RayError], ErrorType], ...] = (  # the first class that fits wins
    (RayTaskError, ErrorType.TASK_EXECUTION_EXCEPTION),
    (TaskCancelledError, ErrorType.TASK_CANCELLED),
    (WorkerCrashedError, ErrorType.WORKER_DIED),
    (ActorDiedError, ErrorType.ACTOR_DIED),
    (ActorUnavailableError, ErrorType.ACTOR_UNAVAILABLE),
    (RayActorError, ErrorType.ACTOR_DIED),
    (RuntimeEnvSetupError, ErrorType.RUNTIME_ENV_SETUP_FAILED),
    (OwnerDiedError, ErrorType.OWNER_DIED),
    (ReferenceCountingAssertionError, ErrorType.OBJECT_DELETED),
    (ObjectFetchTimedOutError, ErrorType.OBJECT_FETCH_TIMED_OUT),
    (ObjectFreedError, ErrorType.OBJECT_FREED),
    (ObjectLostError, ErrorType.OBJECT_LOST),
    (LocalRayletDiedError, ErrorType.LOCAL_RAYLET_DIED),
    (TaskPlacementGroupRemoved, ErrorType.TASK_PLACEMENT_GROUP_REMOVED),
    (ActorPlacementGroupRemoved, ErrorType.ACTOR_PLACEMENT_GROUP_REMOVED),
    (TaskUnschedulableError, ErrorType.TASK_UNSCHEDULABLE_ERROR),
    (ActorUnschedulableError, ErrorType.ACTOR_UNSCHEDULABLE_ERROR),
    (OutOfDiskError, ErrorType.OUT_OF_DISK_ERROR),
    (OutOfMemoryError, ErrorType.OUT_OF_MEMORY),
    (NodeDiedError, ErrorType.NODE_DIED),
    (ObjectRefStreamEndOfStreamError, ErrorType.END_OF_STREAMING_GENERATOR),
    (StreamingGeneratorReplayInconsistentError, ErrorType.STREAMING_GENERATOR_REPLAY_INCONSISTENT),
)


def encode_error(error: RayError, dumps: Callable[[object], bytes]) -> bytes:
    """`error` for another process. `dumps` pickles the user's exception, or what the error carries."""
    if isinstance(error, RayTaskError):
        return _encode_task_error(plain_task_error(error), dumps)
    try:
        pickled: bytes | None = dumps(error)
    except Exception:  # noqa: BLE001  (pickling runs the author's code)
        pickled = _pickle_what_can_be(error, dumps)
    return _join([_OTHER, type(error).__name__, type_name(type(error)), safe_text(error), pickled])


def decode_error(data: bytes, loads: Callable[[bytes], object]) -> RayError:
    """The error that `encode_error` packed. A task error comes plain: raise its `as_instanceof_cause()`."""
    try:
        kind, *fields = _split(data)
        return _decode_task_error(fields, loads) if _text(kind) == _TASK else _decode_other(fields, loads)
    except (ValueError, IndexError) as problem:
        return RaySystemError(f"an error arrived that cannot be read ({problem}); do both sides run the same Linckia?")


def describe_error(data: bytes) -> tuple[str, str]:
    """(name of the ErrorType or empty, text) of what `encode_error` packed, without running anybody's code."""
    try:
        kind, *fields = _split(data)
        if _text(kind) == _TASK:
            return ErrorType.TASK_EXECUTION_EXCEPTION.name, _text(fields[1] or b"")
        known = _public_class(_text(fields[0] or b""))
        code = next((code for cls, code in _CODES if known is not None and issubclass(known, cls)), None)
        return code.name if code is not None else "", _text(fields[2] or b"")
    except (ValueError, IndexError):
        return "", ""


def origin_of(error_type: str) -> Origin:
    """Whose fault an error is that the state API lists under this name."""
    if error_type == ErrorType.ACTOR_CREATION_FAILED.name:
        return "application"
    for cls, code in _CODES:
        if code.name == error_type:
            return cls.origin
    return "system"


def error_type_of(error: RayError) -> ErrorType | None:
    """The code under which the state API lists `error`; None for errors that Ray has no code for."""
    if isinstance(error, ObjectReconstructionFailedError):
        return error.reason
    if isinstance(error, RayActorError) and error.actor_init_failed:
        return ErrorType.ACTOR_CREATION_FAILED
    return next((code for cls, code in _CODES if isinstance(error, cls)), None)


def _encode_task_error(error: RayTaskError, dumps: Callable[[object], bytes]) -> bytes:
    cause, refusal = None, None
    try:
        cause = dumps(error.cause)
    except Exception as problem:  # noqa: BLE001  (pickling runs the author's code)
        refusal = f"{type_name(type(problem))}: {safe_text(problem)}"
    pid = None if error.pid is None else str(error.pid)
    process = [error.proctitle, pid, error.ip, error.actor_repr, error._actor_id]
    told = [error.cause_type_name, error.cause_text, refusal]
    return _join([_TASK, error.function_name, error.traceback_str, *process, *told, cause])


def _decode_task_error(fields: list[bytes | None], loads: Callable[[bytes], object]) -> RayError:
    *texts, pickled = fields
    function_name, traceback_str, proctitle, pid, ip, actor_repr, actor_id, cause_name, cause_text, refusal = (
        None if field is None else _text(field) for field in texts
    )
    traceback_str = traceback_str or ""
    cause: BaseException
    if pickled is None:
        cause = RayError(
            f"{cause_name} could not be pickled ({refusal}), so only its text is here: {cause_text}\n"
            f"Original traceback:\n{traceback_str}"
        )
    else:
        cause = _load_cause(pickled, loads, traceback_str)
    process_id = None if pid is None else int(pid)
    error = RayTaskError(function_name or "", traceback_str, cause, proctitle, process_id, ip, actor_repr, actor_id)
    error.cause_type_name, error.cause_text = cause_name or error.cause_type_name, cause_text or ""
    return error


def _load_cause(pickled: bytes, loads: Callable[[bytes], object], traceback_str: str) -> BaseException:
    try:
        cause = loads(pickled)
        found = f"found {type_name(type(cause))}, which is not an exception"
    except Exception as problem:  # noqa: BLE001  (unpickling runs the author's code)
        cause, found = None, f"{type_name(type(problem))}: {safe_text(problem)}"
    return cause if isinstance(cause, BaseException) else UnserializableException(f"{traceback_str}\n({found})")


def _decode_other(fields: list[bytes | None], loads: Callable[[bytes], object]) -> RayError:
    name, long_name, text, pickled = (fields[0], fields[1], fields[2], fields[3])
    told = _text(text or b"")
    if pickled is not None:
        try:
            error = loads(pickled)
            if isinstance(error, RayError):
                return error
        except Exception:  # noqa: BLE001  (unpickling runs the author's code; the text below still tells the story)
            error = None
    known = _public_class(_text(name or b""))
    if known is None:
        return UnserializableException(f"{_text(long_name or b'')}: {told}")
    stand_in = blank_exception(known, ())
    set_instance_values(stand_in, {"_told_elsewhere": told})
    return stand_in


def _pickle_what_can_be(error: RayError, dumps: Callable[[object], bytes]) -> bytes | None:
    """A copy of `error` without the values that do not pickle; its text, already made, stays whole."""
    values = {name: value for name, value in instance_values(error).items() if _can_be_pickled(value, dumps)}
    values["_told_elsewhere"] = safe_text(error)
    copy = blank_exception(type(error), tuple(arg for arg in error.args if _can_be_pickled(arg, dumps)))
    set_instance_values(copy, values)
    try:
        return dumps(copy)
    except Exception:  # noqa: BLE001  (then the class itself does not travel; name and text do)
        return None


def _can_be_pickled(value: object, dumps: Callable[[object], bytes]) -> bool:
    try:
        dumps(value)
    except Exception:  # noqa: BLE001  (pickling runs the author's code)
        return False
    return True


def _public_class(name: str) -> type[RayError] | None:
    waiting: list[type[RayError]] = [RayError]
    while waiting:
        cls = waiting.pop()
        if cls.__name__ == name and cls.__module__ == RayError.__module__:
            return cls
        waiting += cls.__subclasses__()
    return None


def _join(fields: Iterable[str | bytes | None]) -> bytes:
    parts = [bytes((_VERSION,))]
    for field in fields:
        if field is None:
            parts.append(_NOTHING.to_bytes(4, "big"))
            continue
        # surrogatepass: file names in messages may hold undecodable bytes.
        data = field.encode("utf-8", "surrogatepass") if isinstance(field, str) else bytes(field)
        parts += (len(data).to_bytes(4, "big"), data)
    return b"".join(parts)


def _split(data: bytes) -> list[bytes | None]:
    if not data or data[0] != _VERSION:
        raise ValueError(f"version {data[0] if data else 'missing'}, expected {_VERSION}")
    fields: list[bytes | None] = []
    at, end = 1, len(data)
    while at < end:
        size = int.from_bytes(data[at : at + 4], "big")
        at += 4
        if size == _NOTHING:
            fields.append(None)
            continue
        if at + size > end:
            raise ValueError("it is cut short")
        fields.append(bytes(data[at : at + size]))
        at += size
    return fields


def _text(field: bytes | None) -> str:
    return "" if field is None else field.decode("utf-8", "surrogatepass")
