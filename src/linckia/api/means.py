"""From options to what an owner keeps of them: back-off, fallback, replicas (docs/fault-tolerance.md).

Called once per template, by ``remote_function.py`` and ``actor.py``; a template without such options has None. Errors:
ValueError for options that do not fit each other, each naming the option.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from linckia.api.actor import ActorMethod
from linckia.api.options import MethodOptions, TaskOptions
from linckia.api.options_held import Held
from linckia.api.remote_function import OptionedFunction, RemoteFunction
from linckia.base.limits import INLINE_OBJECT_MAX_BYTES, RETRY_BACKOFF_CAP_S
from linckia.core.tasks.retry_pauses import backoff
from linckia.serialization import values
from linckia.worker.fallbacks import Fallback, Guarded, same
from linckia.worker.refs import ObjectRef
from linckia.worker.retrying import Means

if TYPE_CHECKING:
    from linckia.base.backoff import Backoff
    from linckia.model.specs import MethodSpec
    from linckia.worker.runtime import Runtime

_COROUTINE = 0x80  # of a code object's flags


def task_means(runtime: Runtime, name: str, options: TaskOptions, returns: int) -> Means | None:
    """Of a remote function."""
    schedule = _schedule(options.retry_backoff_s, options.max_backoff_s)
    return _means(runtime, name, options, returns, schedule)


def method_means(
    runtime: Runtime, name: str, spec: MethodSpec | None, options: MethodOptions | None, returns: int
) -> Means | None:
    """Of an actor method: the call's options win over those of ``@method``."""
    first_s, cap_s = (spec.retry_backoff_s or None, spec.max_backoff_s or None) if spec is not None else (None, None)
    if options is not None:
        first_s = first_s if options.retry_backoff_s is None else options.retry_backoff_s
        cap_s = cap_s if options.max_backoff_s is None else options.max_backoff_s
    return _means(runtime, name, options, returns, _schedule(first_s, cap_s))


def _schedule(first_s: float | None, cap_s: float | None) -> Backoff | None:
    if first_s is None and cap_s is not None:
        raise ValueError("option max_backoff_s needs retry_backoff_s, the first pause: without it there is none")
    return backoff(first_s or 0.0, RETRY_BACKOFF_CAP_S if cap_s is None else cap_s)


def _means(
    runtime: Runtime, name: str, options: TaskOptions | MethodOptions | None, returns: int, schedule: Backoff | None
) -> Means | None:
    given = options.given if options is not None else {}
    held = tuple(value for value in given.values() if isinstance(value, Held))
    replicas = options.replicas if options is not None else 1
    wanted = options.fallback if options is not None else None
    fallback = _fallback(runtime, name, wanted.value, returns) if wanted is not None else None
    if schedule is None and fallback is None and replicas <= 1 and not held:
        return None
    return Means(schedule, fallback, replicas, held)


def _fallback(runtime: Runtime, name: str, value: Any, returns: int) -> Fallback:
    if returns < 0:
        raise ValueError(
            f"option fallback of {name}: a generator has no single result to replace; catch the error of its last item"
        )
    if isinstance(value, ActorMethod):
        raise ValueError(f"option fallback of {name}: an actor's method cannot be one; call it in a function")
    if isinstance(value, RemoteFunction):
        return _calls(runtime, value._function, value._options, returns)
    if isinstance(value, OptionedFunction):
        return _calls(runtime, value._function._function, value._options, returns)
    if callable(value):
        if getattr(getattr(value, "__code__", None), "co_flags", 0) & _COROUTINE:
            raise ValueError(f"option fallback of {name}: an async function cannot be one; use asyncio.run() in it")
        return _calls(runtime, value, TaskOptions({}), returns)
    return _value(runtime, name, value, returns)


def _calls(runtime: Runtime, function: Any, options: TaskOptions, returns: int) -> Fallback:
    """A task that is given the exception."""
    bound = RemoteFunction(Guarded(function), {})._bind(TaskOptions({**options.given, "num_returns": returns}))
    return Fallback(template=bound.template)


def _value(runtime: Runtime, name: str, value: Any, returns: int) -> Fallback:
    """Small values are the results at once; a large one, and one with references, is put and brought by a task."""
    if type(value) is not ObjectRef:
        inline = [_inline(part) for part in _parts(name, value, returns)]
        if None not in inline:
            return Fallback([data for data in inline if data is not None])
    ref: ObjectRef[Any] = value if type(value) is ObjectRef else runtime.objects.put(value)
    options = TaskOptions({"num_returns": returns, "num_cpus": 0, "name": f"fallback of {name}"})
    return Fallback(template=RemoteFunction(same, {})._bind(options).template, ref=ref)


def _parts(name: str, value: Any, returns: int) -> list[Any]:
    if returns == 1:
        return [value]
    if not isinstance(value, (list, tuple)) or len(value) != returns or not returns:
        raise ValueError(
            f"option fallback of {name}: with num_returns={returns} it must be a function, or a list or tuple of "
            f"{returns} values (one for each return), got {type(value).__name__}"
        )
    return list(value)


def _inline(part: Any) -> bytes | None:
    data = values.dumps(part)
    if isinstance(data, bytes):
        return data if len(data) <= INLINE_OBJECT_MAX_BYTES else None
    return data.to_bytes() if not data.contained and data.size_bytes <= INLINE_OBJECT_MAX_BYTES else None
