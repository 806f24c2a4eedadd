"""`Pool`: `multiprocessing.Pool` whose processes are actors, anywhere in the cluster.

User programs call it. It validates arguments and cuts work into chunks; dispatch.py runs them and results.py gives the
answers back. It refuses what the standard pool refuses (use after `close`, pickling).
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, NoReturn, TypeVar

import linckia
from linckia.util.multiprocessing.dispatch import Chunk, Dispatcher
from linckia.util.multiprocessing.results import AsyncResult, IMapIterator, UnorderedIMapIterator
from linckia.util.multiprocessing.worker import Call, Outcome, PoolWorker

_T = TypeVar("_T")
_Callback = Callable[[Any], object]
_ErrorCallback = Callable[[BaseException], object]

# `map` without chunksize makes about this many chunks per process: few messages, yet no long idling at the end.
_CHUNKS_PER_PROCESS = 4
# `imap` keeps this many chunks per process under way or untaken.
_IMAP_WINDOW = 2


class Pool:
    """A fixed number of worker processes that call functions.

    Connects to the running cluster, or starts one with `processes` CPUs. Workers take no CPU from other tasks unless
    `ray_remote_args` (options of their actor) says so. A worker that dies fails the calls it was running with
    `ActorDiedError` and is replaced. With `maxtasksperchild`, a worker is replaced after that many chunks.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] | None = None,
        maxtasksperchild: int | None = None,
        context: object = None,
        ray_address: str | None = None,
        ray_remote_args: Mapping[str, Any] | None = None,
    ) -> None:
        """Returns when all workers are ready. ValueError when the cluster has fewer CPUs than `processes`; raises what
        `initializer` raised, as the cause of an actor's death."""
        if context is not None:
            warnings.warn("Pool: context is ignored; workers are started by Linckia", stacklevel=2)
        if maxtasksperchild is not None and maxtasksperchild < 1:
            raise ValueError(f"Pool: maxtasksperchild must be at least 1, not {maxtasksperchild}")
        if initializer is not None and not callable(initializer):
            raise TypeError(f"Pool: initializer must be callable, not {initializer!r}")
        if processes is not None:
            _check_positive_int("Pool", "processes", processes)
        _connect(processes, ray_address)
        self._processes = _process_count(processes)
        options: dict[str, Any] = {"num_cpus": 0, **(ray_remote_args or {})}
        worker_class = linckia.remote(PoolWorker).options(**options)
        arguments = tuple(initargs or ())
        self._dispatcher = Dispatcher(
            lambda: worker_class.remote(initializer, arguments), self._processes, maxtasksperchild
        )
        self._running = True
        self._iterators: weakref.WeakSet[IMapIterator[Any]] = weakref.WeakSet()

    def __repr__(self) -> str:
        state = "running" if self._running else "closed"
        return f"<linckia Pool of {self._processes} processes, {state}>"

    def apply(
        self,
        func: Callable[..., _T],
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        kwds: Mapping[str, Any] | None = None,
    ) -> _T:
        """`func(*args, **kwargs)` in a worker. `kwds` is the standard library's name for `kwargs`."""
        return self.apply_async(func, args, kwargs, kwds=kwds).get()

    def apply_async(
        self,
        func: Callable[..., _T],
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        callback: _Callback | None = None,
        error_callback: _ErrorCallback | None = None,
        *,
        kwds: Mapping[str, Any] | None = None,
    ) -> AsyncResult[_T]:
        """`apply` without waiting. One of the callbacks is called when the result is there."""
        self._check_running()
        result: AsyncResult[_T] = AsyncResult(1, True, callback, error_callback)
        call: Call = (tuple(args or ()), dict(kwargs or kwds or {}))
        self._dispatcher.submit(Chunk((_callee(func),), [call], True, result.sink(0)))
        return result

    def map(self, func: Callable[[Any], _T], iterable: Iterable[Any], chunksize: int | None = None) -> list[_T]:
        """`[func(item) for item in iterable]` by all workers. Raises the error of the first item that failed."""
        return self.map_async(func, iterable, chunksize).get()

    def map_async(
        self,
        func: Callable[[Any], _T],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: _Callback | None = None,
        error_callback: _ErrorCallback | None = None,
    ) -> AsyncResult[list[_T]]:
        """`map` without waiting. `callback` gets the whole list."""
        return self._map(func, [((item,), {}) for item in iterable], chunksize, callback, error_callback)

    def starmap(
        self, func: Callable[..., _T], iterable: Iterable[Iterable[Any]], chunksize: int | None = None
    ) -> list[_T]:
        """`[func(*args) for args in iterable]` by all workers."""
        return self.starmap_async(func, iterable, chunksize=chunksize).get()

    def starmap_async(
        self,
        func: Callable[..., _T],
        iterable: Iterable[Iterable[Any]],
        callback: _Callback | None = None,
        error_callback: _ErrorCallback | None = None,
        *,
        chunksize: int | None = None,
    ) -> AsyncResult[list[_T]]:
        """`starmap` without waiting."""
        return self._map(func, [(tuple(args), {}) for args in iterable], chunksize, callback, error_callback)

    def _map(
        self,
        func: Callable[..., Any],
        calls: list[Call],
        chunksize: int | None,
        callback: _Callback | None,
        error_callback: _ErrorCallback | None,
    ) -> AsyncResult[Any]:
        self._check_running()
        if chunksize is None:
            chunksize = max(1, -(-len(calls) // (self._processes * _CHUNKS_PER_PROCESS)))
        _check_positive_int("Pool", "chunksize", chunksize)
        starts = range(0, len(calls), chunksize)
        result: AsyncResult[Any] = AsyncResult(len(starts), False, callback, error_callback)
        function = _shared(func, len(starts))
        for index, start in enumerate(starts):
            chunk = Chunk(function, calls[start : start + chunksize], True, result.sink(index))
            self._dispatcher.submit(chunk)
        return result

    def imap(self, func: Callable[[Any], _T], iterable: Iterable[Any], chunksize: int | None = 1) -> IMapIterator[_T]:
        """Iterate over `func(item)` in order, while the workers go ahead. `iterable` may be endless."""
        return self._imap(IMapIterator, func, iterable, chunksize)

    def imap_unordered(
        self, func: Callable[[Any], _T], iterable: Iterable[Any], chunksize: int | None = 1
    ) -> IMapIterator[_T]:
        """`imap` in order of completion."""
        return self._imap(UnorderedIMapIterator, func, iterable, chunksize)

    def _imap(
        self, kind: type[IMapIterator[Any]], func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None
    ) -> IMapIterator[Any]:
        self._check_running()
        chunksize = 1 if chunksize is None else chunksize
        _check_positive_int("Pool", "chunksize", chunksize)
        function, dispatcher = _shared(func, 2), self._dispatcher

        def submit(calls: list[Call], finished: Callable[[list[Outcome]], None]) -> None:
            dispatcher.submit(Chunk(function, calls, False, finished))

        calls: Iterable[Call] = (((item,), {}) for item in iterable)
        results = kind(submit, calls, chunksize, self._processes * _IMAP_WINDOW)
        self._iterators.add(results)
        return results

    def close(self) -> None:
        """Take no more work. What was submitted goes on, including the rest of every `imap`."""
        if self._running:
            self._running = False
            for results in list(self._iterators):
                results.feed_all()
            self._dispatcher.close()

    def terminate(self) -> None:
        """End the workers at once. Results that are not there become errors. Also the end of a `with` block."""
        self._running = False
        self._dispatcher.terminate()

    def join(self) -> None:
        """Wait until the workers have ended. ValueError before `close` or `terminate`."""
        if self._running:
            raise ValueError("Pool is still running: call close() or terminate() before join()")
        self._dispatcher.join()

    def __enter__(self) -> Pool:
        self._check_running()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.terminate()

    def __del__(self) -> None:
        if getattr(self, "_running", False):  # False also when __init__ failed before there was a dispatcher
            self.terminate()

    def __reduce__(self) -> NoReturn:
        raise NotImplementedError("a Pool cannot be passed between processes; make one where it is needed")

    def _check_running(self) -> None:
        if not self._running:
            raise ValueError("Pool not running: it was closed or terminated")


class _CallRemote:
    """A remote function in the place of a plain one: its task runs where the cluster likes, the worker waits for it."""

    def __init__(self, function: Any) -> None:
        self._function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return linckia.get(self._function.remote(*args, **kwargs))


def _callee(func: Callable[..., Any]) -> Callable[..., Any]:
    if isinstance(func, linckia.remote_function.RemoteFunction):
        return _CallRemote(func)
    if not callable(func):
        raise TypeError(f"Pool: the function must be callable, not {func!r}")
    return func


def _shared(func: Callable[..., Any], chunk_count: int) -> tuple[Any]:
    """The function for several chunks: stored once, because it may close over much."""
    callee = _callee(func)
    return (linckia.put(callee) if chunk_count > 1 else callee,)


def _connect(processes: int | None, address: str | None) -> None:
    """Make sure that there is a cluster."""
    if linckia.is_initialized():
        return
    if address is not None or processes is None:
        linckia.init(address=address)
        return
    try:
        linckia.init(num_cpus=processes)
    except ValueError:  # an address in the environment leads to an existing cluster, whose size is not ours to choose
        linckia.init()


def _process_count(processes: int | None) -> int:
    cpus = int(linckia.cluster_resources().get("CPU", 0))
    if processes is None:
        if cpus < 1:
            raise ValueError("Pool: the cluster has no CPUs; say how many processes there shall be")
        return cpus
    if processes > cpus:
        raise ValueError(f"Pool: {processes} processes do not fit into a cluster that has {cpus} CPUs")
    return processes


def _check_positive_int(subject: str, name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{subject}: {name} must be an int, not {value!r}")
    if value < 1:
        raise ValueError(f"{subject}: {name} must be at least 1, not {value}")


__all__ = ["Pool"]
