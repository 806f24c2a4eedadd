"""`LinckiaExecutor`: `concurrent.futures.Executor` whose calls are tasks of the cluster.

User programs, and libraries that take an executor (asyncio, dask, scikit-optimize...), call it. Retries, placement and
errors are those of the tasks; this file only keeps futures and, with `max_workers`, a queue in front of the cluster.
"""

from __future__ import annotations

import functools
import itertools
import threading
import types
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, wait
from typing import Any, ParamSpec, TypeVar

import linckia

_T = TypeVar("_T")
_P = ParamSpec("_P")


class TaskFuture(Future[_T]):
    """The future of one call. `running()` is never true: nobody here hears when a task begins."""

    def __init__(self, call: Callable[[], Any]) -> None:
        super().__init__()
        self._call: Callable[[], Any] | None = call
        self._ref: Any = None
        self._settling = threading.Lock()
        self._notified = False

    def cancel(self) -> bool:
        """Give the call up: it never starts, or is interrupted (`linckia.cancel`). False when its result is there."""
        with self._settling:
            if not super().cancel():
                return False
            if not self._notified:  # tells `wait` and `as_completed`; may be done once only
                self._notified = True
                self.set_running_or_notify_cancel()
        if self._ref is not None:
            linckia.cancel(self._ref)
        return True

    def start(self, finished: Callable[[TaskFuture[_T]], None]) -> None:
        """Submit the task. Calls `finished` in any case, later or at once. For the executor."""
        call, self._call = self._call, None
        if call is None or self.cancelled():
            finished(self)
            return
        try:
            self._ref = call()
            answer = self._ref.future()
        except Exception as error:  # noqa: BLE001 - whatever submitting raises is this call's outcome
            self._settle(None, error)
            finished(self)
            return
        if self.cancelled():  # while the task was being submitted
            linckia.cancel(self._ref)
        answer.add_done_callback(lambda done: self._receive(done, finished))

    def _receive(self, answer: Future[_T], finished: Callable[[TaskFuture[_T]], None]) -> None:
        error = answer.exception()
        # The slot first: whoever waits for this future may look at the executor next.
        finished(self)
        self._settle(None if error is not None else answer.result(), error)

    def _settle(self, value: Any, error: BaseException | None) -> None:
        with self._settling:
            if self.cancelled():
                return
            self.set_running_or_notify_cancel()
        if error is not None:
            self.set_exception(error)
        else:
            self.set_result(value)


class LinckiaExecutor(Executor):
    """Runs calls as tasks. At most `max_workers` are in the cluster at a time (None: no limit, the cluster queues).

    `task_options` are those of `linckia.remote`: `LinckiaExecutor(num_cpus=2, max_retries=0)`. Arguments that are
    refs arrive as values. Errors are those of `linckia.get`: they derive from the class that the function raised.
    """

    def __init__(self, max_workers: int | None = None, **task_options: Any) -> None:
        if max_workers is not None and max_workers < 1:
            raise ValueError(f"LinckiaExecutor: max_workers must be at least 1 or None, not {max_workers}")
        if "num_returns" in task_options:
            raise ValueError("LinckiaExecutor: num_returns cannot be set; a call has one result")
        self._max_workers = max_workers
        self._options = task_options
        self._lock = threading.Lock()
        self._waiting: deque[TaskFuture[Any]] = deque()
        self._started = 0
        self._unfinished: set[TaskFuture[Any]] = set()
        self._shut_down = False
        self._remote_functions: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> TaskFuture[_T]:
        """Call `fn(*args, **kwargs)` in the cluster. RuntimeError after `shutdown`."""
        function = self._remote_function(fn)
        future: TaskFuture[_T] = TaskFuture(lambda: function.remote(*args, **kwargs))
        with self._lock:
            if self._shut_down:
                raise RuntimeError("LinckiaExecutor: cannot submit after shutdown()")
            self._unfinished.add(future)
            self._waiting.append(future)
        self._start_waiting()
        return future

    def map(
        self, fn: Callable[..., _T], *iterables: Iterable[Any], timeout: float | None = None, chunksize: int = 1
    ) -> Iterator[_T]:
        """Results of `fn` over the items, in order. `chunksize` items go into one task, for short functions."""
        if chunksize < 1:
            raise ValueError(f"LinckiaExecutor.map: chunksize must be at least 1, not {chunksize}")
        if chunksize == 1:
            return super().map(fn, *iterables, timeout=timeout)
        chunks = super().map(
            functools.partial(_run_chunk, fn), _chunks(zip(*iterables, strict=False), chunksize), timeout=timeout
        )
        return itertools.chain.from_iterable(chunks)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; with `wait`, return when all are done. `cancel_futures` cancels the unfinished ones."""
        with self._lock:
            self._shut_down = True
            unfinished = list(self._unfinished)
        if cancel_futures:
            for future in unfinished:
                future.cancel()
            self._start_waiting()
        if wait:
            _wait_for_all(unfinished)

    def _start_waiting(self) -> None:
        """Start what the limit allows. Called by submitters and whenever a task ends; acts outside the lock."""
        while True:
            with self._lock:
                full = self._max_workers is not None and self._started >= self._max_workers
                if full or not self._waiting:
                    return
                future = self._waiting.popleft()
                self._started += 1
            future.start(self._finished)

    def _finished(self, future: TaskFuture[Any]) -> None:
        with self._lock:
            self._started -= 1
            self._unfinished.discard(future)
            more = bool(self._waiting)
        if more:
            self._start_waiting()

    def _remote_function(self, fn: Callable[..., Any]) -> Any:
        """The remote function for `fn`, made once per function so that it is exported once."""
        if not callable(fn):
            raise TypeError(f"LinckiaExecutor: the function must be callable, not {fn!r}")
        try:
            known = self._remote_functions.get(fn)
        except TypeError:  # not hashable or not weakly referable: some instances with __call__
            return self._make_remote(fn)
        if known is None:
            known = self._make_remote(fn)
            self._remote_functions[fn] = known
        return known

    def _make_remote(self, fn: Callable[..., Any]) -> Any:
        target = fn if isinstance(fn, types.FunctionType) else _as_function(fn)
        remote = linckia.remote(target)
        return remote.options(**self._options) if self._options else remote


_wait_for_all = wait  # `shutdown` has a parameter of that name


def _as_function(callee: Callable[..., _T]) -> Callable[..., _T]:
    """Tasks are made of functions only; builtins, partials, bound methods and instances need this."""

    def call(*args: Any, **kwargs: Any) -> _T:
        return callee(*args, **kwargs)

    return call


def _chunks(items: Iterable[tuple[Any, ...]], size: int) -> Iterator[list[tuple[Any, ...]]]:
    source = iter(items)
    while chunk := list(itertools.islice(source, size)):
        yield chunk


def _run_chunk(fn: Callable[..., _T], chunk: list[tuple[Any, ...]]) -> list[_T]:
    return [fn(*args) for args in chunk]


__all__ = ["LinckiaExecutor", "TaskFuture"]
