"""get, put, wait, cancel, kill, get_actor: what users do with refs and handles (R 1.24-1.34)."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar, overload

from linckia.api.remote_function import connected
from linckia.base import errors

if TYPE_CHECKING:
    from linckia.api.actor import ActorHandle
    from linckia.worker.refs import ObjectRef

T = TypeVar("T")
_classes: tuple[Any, Any, Any] | None = None
LAST_REST_MIN = 32
ASYNC_GET_WARNING = (
    "get() was called inside an async actor and blocks its event loop; use `await ref` instead "
    "(LINCKIA_WARN_BLOCKING_GET_INSIDE_ASYNC=0 silences this)"
)


def _kinds() -> tuple[Any, Any, Any]:
    global _classes  # noqa: PLW0603  (filled at first use: start-up time)
    if _classes is None:
        from linckia.worker.objects import WaitCount  # noqa: PLC0415
        from linckia.worker.refs import ObjectRef  # noqa: PLC0415
        from linckia.worker.streams import ObjectRefGenerator  # noqa: PLC0415

        _classes = (ObjectRef, ObjectRefGenerator, WaitCount)
    return _classes


@overload
def get(refs: ObjectRef[T], *, timeout: float | None = None) -> T: ...
@overload
def get(refs: list[ObjectRef[T]], *, timeout: float | None = None) -> list[T]: ...
def get(refs: Any, *, timeout: float | None = None) -> Any:
    """The value of a ref, or the values of a list of refs in its order.

    ``timeout`` in seconds: None or -1 waits for ever, 0 only takes what is there. Raises what the task raised (a
    class that is both RayTaskError and the user's own), GetTimeoutError, TypeError for other elements, ValueError for
    tuples and other sequences. An error that has already arrived ends the wait for the rest; with several the lowest
    index wins.
    """
    runtime = connected()
    ref_class, generator_class, _ = _kinds()
    if type(refs) is ref_class:
        if not refs.state or runtime.interrupt_pending or timeout is not None:
            return _get_slow(runtime, [refs], timeout)[0]
        return runtime.objects.load(refs)
    if isinstance(refs, generator_class):
        return refs
    if not isinstance(refs, list):
        raise ValueError(f"get() takes an ObjectRef or a list of ObjectRefs, got {type(refs).__name__}")
    for ref in refs:
        if type(ref) is not ref_class:
            raise TypeError(f"get() takes ObjectRefs, found {type(ref).__name__} in the list")
    return _get_slow(runtime, refs, timeout)


def _get_slow(runtime: Any, refs: list[Any], timeout: float | None) -> list[Any]:
    if timeout is not None and timeout < 0 and timeout != -1:
        raise ValueError(f"get(timeout=...) must be None, -1, 0 or more seconds, got {timeout}")
    executor = runtime.executor
    if executor is not None and executor.actor is not None and executor.actor.is_async:
        _warn_blocking(executor.actor)
    return runtime.objects.get(refs, timeout)  # type: ignore[no-any-return]


def _warn_blocking(host: Any) -> None:
    if not getattr(host, "warned_blocking", False):
        host.warned_blocking = True
        import logging  # noqa: PLC0415  (start-up time)

        logging.getLogger("linckia").warning(ASYNC_GET_WARNING)


def put(value: T, *, replicas: int = 1, **options: Any) -> ObjectRef[T]:
    """Store a value; returns the ref of a new object owned by this process.

    ``replicas``: on how many nodes copies of it shall be kept, this one included, as long as it is referenced; they
    follow in the background, on as many nodes as there are. With copies it outlives this process, as long as the job.
    Values up to 100 KiB stay in this process, those with replicas in shared memory.
    TypeError for ObjectRefs and for what cannot be pickled; ObjectStoreFullError when there is no room for a large one.
    """
    if replicas != 1:
        from linckia.model.checkpoints import check_count  # noqa: PLC0415  (start-up time)

        check_count("put(replicas=...), all copies counted,", replicas)
    if options:
        if options.get("_owner") is not None:
            raise ValueError("put(_owner=...) is not supported; the process that puts an object owns it")
        unknown = set(options) - {"_owner", "_tensor_transport"}
        if unknown:
            raise TypeError(f"put() got unexpected keyword arguments {sorted(unknown)}")
    runtime = connected()
    ref_class, _, _ = _kinds()
    if type(value) is ref_class:
        raise TypeError("put() was called with an ObjectRef; wrap it in a list to store the reference itself")
    if replicas <= 1:
        return runtime.objects.put(value)  # type: ignore[no-any-return]
    ref = runtime.objects.put(value, 0)  # in shared memory, however small
    with runtime.mutex:
        runtime.replicas.wanted(ref, replicas, shared=False)
    return ref  # type: ignore[no-any-return]


def wait(
    refs: Sequence[Any], *, num_returns: int = 1, timeout: float | None = None, fetch_local: bool = True
) -> tuple[list[Any], list[Any]]:
    """(ready, rest): at most ``num_returns`` ready refs, both lists in input order; waits until so many are ready or
    ``timeout``.

    With ``fetch_local`` a large value is ready when a copy is on this node, without as soon as it exists anywhere.
    An object that holds an error is ready. Refs and generators may be mixed. TypeError unless a list of refs;
    ValueError for duplicates, ``num_returns`` outside 1..len, a negative timeout.
    """
    runtime = connected()
    ref_class, generator_class, _ = _kinds()
    if not isinstance(refs, list):
        raise TypeError(f"wait() takes a list of ObjectRefs, got {type(refs).__name__}")
    if timeout is not None and timeout < 0:
        raise ValueError(f"wait(timeout=...) must be None, 0 or more seconds, got {timeout}")
    if not refs:
        return [], []
    if not _is_last_rest(runtime, refs):
        kinds = set(map(type, refs))
        if not kinds <= {ref_class, generator_class}:
            wrong = next(kind.__name__ for kind in kinds if kind not in (ref_class, generator_class))
            raise TypeError(f"wait() takes ObjectRefs, found {wrong} in the list")
        if len(set(map(id, refs))) != len(refs):
            raise ValueError("wait() got duplicate ObjectRefs; the refs must be unique")
    if num_returns <= 0 or num_returns > len(refs):
        raise ValueError(
            f"wait(num_returns=...) must be between 1 and the number of refs ({len(refs)}), got {num_returns}"
        )
    if fetch_local and runtime.fetching.needed:
        ready, rest = _wait_here(runtime, refs, num_returns, timeout)
    else:
        ready, rest = _wait(runtime, refs, num_returns, timeout)
    if len(rest) > LAST_REST_MIN:
        runtime.last_rest = (id(rest), len(rest), weakref.ref(rest[0]), weakref.ref(rest[-1]))
    return ready, rest


def _is_last_rest(runtime: Any, refs: list[Any]) -> bool:
    """Is this the list that the last ``wait`` returned? Then its elements need no second look (a loop over 1,000 refs
    would look at each 500 times). A list with the same place, length and ends that is not is checked by its uses only.
    """
    last = runtime.last_rest
    return last is not None and (last[0], last[1], last[2](), last[3]()) == (id(refs), len(refs), refs[0], refs[-1])


def _wait(runtime: Any, refs: list[Any], num_returns: int, timeout: float | None) -> tuple[list[Any], list[Any]]:
    if num_returns == 1:
        for index, ref in enumerate(refs):
            if ref.state:
                return [ref], refs[:index] + refs[index + 1 :]
    ready = [ref for ref in refs if ref.state]
    if len(ready) < num_returns and timeout != 0:
        _wait_for(runtime, refs, num_returns, timeout)
    elif len(ready) < num_returns:
        _fetch_all(runtime, refs)
        runtime.progress.poll_if_free()
    ready, rest = [], list[Any]()
    for ref in refs:
        (ready if ref.state and len(ready) < num_returns else rest).append(ref)
    if runtime.interrupt_pending:
        runtime.check_interrupt()
    return ready, rest


def _wait_here(runtime: Any, refs: list[Any], num_returns: int, timeout: float | None) -> tuple[list[Any], list[Any]]:
    from linckia.worker.waiting import WaitHere  # noqa: PLC0415  (start-up time)

    waiting = WaitHere(runtime, refs, num_returns)
    waiting.wait(timeout)
    ready, rest = list[Any](), list[Any]()
    for ref in refs:
        (ready if id(ref) in waiting.ready and len(ready) < num_returns else rest).append(ref)
    if runtime.interrupt_pending:
        runtime.check_interrupt()
    return ready, rest


def _fetch_all(runtime: Any, refs: list[Any]) -> None:
    for ref in refs:
        if not ref.state and ref.extra is not None:
            runtime.objects.fetch_now(ref)


def _wait_for(runtime: Any, refs: list[Any], num_returns: int, timeout: float | None) -> None:
    _, _, wait_count = _kinds()
    _fetch_all(runtime, refs)
    with runtime.mutex:
        hooked = [ref for ref in refs if not ref.state]
        count = wait_count(num_returns - (len(refs) - len(hooked)))
        if count.need <= 0:
            return
        for ref in hooked:
            if ref.hooks is None:
                ref.hooks = [count]
            else:
                ref.hooks.append(count)
    try:
        runtime.wait_target(count, timeout)
    finally:
        with runtime.mutex:
            for ref in hooked:
                if ref.hooks is not None and count in ref.hooks:
                    ref.hooks.remove(count)
                    if not ref.hooks:
                        ref.hooks = None


def cancel(ref: Any, *, force: bool = False, recursive: bool = True) -> None:
    """Cancel a task or actor call (by its ref or generator); ``get`` then raises TaskCancelledError.

    Queued work never runs; a running task gets KeyboardInterrupt, or its worker is killed with ``force``; a running
    async actor call is cancelled on its loop, other actor calls only see ``get_runtime_context().is_canceled()``.
    Finished work: no effect. Cancelled tasks are never retried. ``recursive`` cancels what the task submitted too.
    TypeError for other objects, ValueError for ``force`` on an actor call.
    """
    runtime = connected()
    ref_class, generator_class, _ = _kinds()
    if not isinstance(ref, (ref_class, generator_class)):
        raise TypeError(f"cancel() takes an ObjectRef or ObjectRefGenerator, got {type(ref).__name__}")
    object_id = ref._id if isinstance(ref, ref_class) else ref._completed._id
    if force and object_id[8:20] != b"\xff" * 12:
        raise ValueError("cancel(force=True) is not possible for actor calls; use linckia.kill(actor)")
    runtime.cancel(ref, force=force, recursive=recursive)


def kill(actor: ActorHandle[Any], *, no_restart: bool = True) -> None:
    """Kill an actor's process at once (no atexit). ``no_restart=False`` uses one of its restarts. ValueError for
    other objects.
    """
    from linckia.api.actor import ActorHandle  # noqa: PLC0415  (start-up time)

    if not isinstance(actor, ActorHandle):
        raise ValueError(f"kill() takes an actor handle, got {type(actor).__name__}; use linckia.cancel() for tasks")
    runtime = connected()
    if actor._runtime is not None and actor._runtime is not runtime:
        raise errors.ActorHandleNotFoundError(f"{actor!r} belongs to another session; get a handle from this one")
    runtime.actors.kill(actor._info.actor_id, no_restart=no_restart)


def get_actor(name: str, namespace: str | None = None) -> ActorHandle[Any]:
    """A weak handle of a named actor: it does not keep the actor alive. ValueError when there is none."""
    from linckia.api.actor import ActorHandle  # noqa: PLC0415  (start-up time)
    from linckia.model.specs import decode_actor_info  # noqa: PLC0415  (start-up time)
    from linckia.protocol import messages as m  # noqa: PLC0415  (start-up time)

    if not isinstance(name, str) or not name:  # type: ignore[redundant-expr]  # (untyped callers)
        raise ValueError("get_actor() needs a non-empty name")
    if namespace is not None and (not isinstance(namespace, str) or not namespace):  # type: ignore[redundant-expr]
        raise ValueError("get_actor(namespace=...) must be a non-empty string or None")
    runtime = connected()
    space = namespace or runtime.job_config.namespace
    found = runtime.call(runtime.raylet, m.GetActorByName(runtime.next_rid(), name, space))
    if found.info is None:
        raise ValueError(
            f"there is no live actor named {name!r} in namespace {space!r}; create it first, or pass namespace=... "
            "(each job has a namespace of its own unless init(namespace=...) says otherwise)"
        )
    return ActorHandle(decode_actor_info(found.info), None)
