"""What the asynchronous methods of a Pool return: `AsyncResult` and the iterators of `imap`.

`Pool` makes them; dispatch.py fills them from its thread. They know nothing of workers.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from multiprocessing import TimeoutError as PoolTimeoutError
from typing import Any, Generic, TypeVar

from linckia.util.multiprocessing.worker import Call, Failure, Outcome, Success

_T = TypeVar("_T")


class AsyncResult(Generic[_T]):
    """The future result of `apply_async` (one value) or `map_async` (a list).

    Callbacks run in the pool's own thread before `get` returns; they must not wait for other results of this pool.
    """

    def __init__(
        self,
        chunk_count: int,
        single: bool,
        callback: Callable[[Any], object] | None,
        error_callback: Callable[[BaseException], object] | None,
    ) -> None:
        self._outcomes: list[list[Outcome] | None] = [None] * chunk_count
        self._missing = chunk_count
        self._single = single
        self._callback = callback
        self._error_callback = error_callback
        self._done = threading.Event()
        self._value: Any = None
        self._failure: Failure | None = None
        if chunk_count == 0:
            self._conclude()

    def sink(self, index: int) -> Callable[[list[Outcome]], None]:
        """What the chunk at `index` calls when it is finished."""

        def finished(outcomes: list[Outcome]) -> None:
            self._outcomes[index] = outcomes
            self._missing -= 1
            if not self._missing:
                self._conclude()

        return finished

    def _conclude(self) -> None:
        """All outcomes are there: the first failure in order of the items wins, whichever came first in time."""
        outcomes = [outcome for chunk in self._outcomes for outcome in chunk or ()]
        self._outcomes = []
        self._failure = next((outcome for outcome in outcomes if isinstance(outcome, Failure)), None)
        if self._failure is None:
            values = [outcome.value for outcome in outcomes if isinstance(outcome, Success)]
            self._value = values[0] if self._single else values
        try:
            if self._failure is not None and self._error_callback is not None:
                self._error_callback(self._failure.exception())
            elif self._failure is None and self._callback is not None:
                self._callback(self._value)
        except Exception:  # noqa: BLE001 - a user's callback must not stop the pool's thread; show it as a thread's error
            threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))
        self._done.set()

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the result is there or `timeout` seconds are over."""
        self._done.wait(timeout)

    def get(self, timeout: float | None = None) -> _T:
        """The result; raises the call's error, or `multiprocessing.TimeoutError` after `timeout` seconds."""
        if not self._done.wait(timeout):
            raise PoolTimeoutError(f"no result within {timeout} s")
        if self._failure is not None:
            raise self._failure.exception()
        value: _T = self._value
        return value

    def ready(self) -> bool:
        """Whether `get` would return or raise at once."""
        return self._done.is_set()

    def successful(self) -> bool:
        """Whether there was no error. ValueError while the result is not there."""
        if not self.ready():
            raise ValueError(f"{self!r}: the result is not there yet")
        return self._failure is None


class IMapIterator(Generic[_T]):
    """Results of `imap` one by one. Reads the input lazily: at most `window` chunks are under way or untaken.

    A failing item raises when its turn comes, and the iteration can go on after that.
    """

    def __init__(
        self,
        submit: Callable[[list[Call], Callable[[list[Outcome]], None]], None],
        source: Iterable[Call],
        chunksize: int,
        window: int,
    ) -> None:
        self._submit = submit
        self._source = iter(source)
        self._chunksize = chunksize
        self._changed = threading.Condition()
        self._submitted = 0
        self._taken = 0
        self._arrived: dict[int, list[Outcome]] = {}
        self._ready: deque[Outcome] = deque()
        self._exhausted = False
        self._source_error: BaseException | None = None
        self._feeding = threading.Lock()
        for _ in range(window):
            self._feed()

    def _feed(self) -> bool:
        """Submit the next chunk; False when the input has no more. The input runs in the thread that calls."""
        with self._feeding:
            if self._exhausted:
                return False
            calls: list[Call] = []
            try:
                for call in islice(self._source, self._chunksize):  # one by one: what came before an error is kept
                    calls.append(call)
            except Exception as error:  # noqa: BLE001 - the user's iterable; raised after the results before it
                self._source_error = error
            self._exhausted = len(calls) < self._chunksize
            if not calls:
                return False
            index = self._submitted
            self._submitted += 1
        self._submit(calls, lambda outcomes: self._arrive(index, outcomes))
        return True

    def feed_all(self) -> None:
        """Submit everything that is left: the pool is being closed."""
        while self._feed():
            pass

    def _arrive(self, index: int, outcomes: list[Outcome]) -> None:
        with self._changed:
            self._arrived[index] = outcomes
            self._changed.notify_all()

    def _next_index(self) -> int | None:
        """The chunk to hand out next, if it is there."""
        return self._taken if self._taken in self._arrived else None

    def next(self, timeout: float | None = None) -> _T:
        """The next result; `multiprocessing.TimeoutError` when it does not come within `timeout` seconds."""
        while not self._ready:
            if self._exhausted and self._taken == self._submitted:
                error, self._source_error = self._source_error, None
                raise StopIteration if error is None else error
            with self._changed:
                if not self._changed.wait_for(lambda: self._next_index() is not None, timeout):
                    raise PoolTimeoutError(f"no result within {timeout} s")
                index = self._next_index()
                assert index is not None
                self._ready.extend(self._arrived.pop(index))
                self._taken += 1
            self._feed()
        outcome = self._ready.popleft()
        if isinstance(outcome, Failure):
            raise outcome.exception()
        value: _T = outcome.value
        return value

    def __next__(self) -> _T:
        return self.next()

    def __iter__(self) -> Iterator[_T]:
        return self


class UnorderedIMapIterator(IMapIterator[_T]):
    """The same in order of completion, for `imap_unordered`."""

    def _next_index(self) -> int | None:
        return next(iter(self._arrived), None)
