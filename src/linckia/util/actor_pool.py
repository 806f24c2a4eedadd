"""`ActorPool`: spread calls over a fixed set of actors, one call at a time on each.

User programs call it in one thread. It only remembers which actor is busy with what: retries, restarts and placement
are the actors' own business.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

import linckia

_A = TypeVar("_A")
_V = TypeVar("_V")
# `Any` is the user's business: a call returns a ref (or a list of refs) of whatever its method returns.
_Refs = Any
_Call = tuple[Callable[[_A, Any], _Refs], Any]


class _Running(Generic[_A]):
    """One call that was handed to an actor. `index` is its place in submission order."""

    __slots__ = ("actor", "index", "refs")

    def __init__(self, index: int, actor: _A, refs: _Refs) -> None:
        self.index = index
        self.actor = actor
        self.refs = refs

    def awaited(self) -> Any:
        """A ref that is ready when the call is over: all refs of one call are made ready together."""
        return self.refs[0] if isinstance(self.refs, list) else self.refs


class ActorPool(Generic[_A]):
    """Calls `fn(actor, value)` for many values, with at most one unfinished call per actor.

    Results come in submission order (`map`, `get_next`) or as they finish (`map_unordered`, `get_next_unordered`). An
    actor that has died leaves the pool; its call raises where its result is asked for.
    """

    def __init__(self, actors: Iterable[_A]) -> None:
        self._idle: list[_A] = list(actors)
        self._running: dict[int, _Running[_A]] = {}
        self._waiting: deque[_Call[_A]] = deque()
        self._next_index = 0
        self._next_to_return = 0

    def map(self, fn: Callable[[_A, _V], _Refs], values: Iterable[_V]) -> Iterator[Any]:
        """Submit all values now; iterate over the results in order. Results of earlier calls are thrown away."""
        self._drop_earlier_results()
        for value in values:
            self.submit(fn, value)
        return self._remaining(self.get_next)

    def map_unordered(self, fn: Callable[[_A, _V], _Refs], values: Iterable[_V]) -> Iterator[Any]:
        """Submit all values now; iterate over the results as they finish. Earlier results are thrown away."""
        self._drop_earlier_results()
        for value in values:
            self.submit(fn, value)
        return self._remaining(self.get_next_unordered)

    def _remaining(self, get_one: Callable[[], Any]) -> Iterator[Any]:
        while self.has_next():
            yield get_one()

    def _drop_earlier_results(self) -> None:
        # A failed call is dropped too, so nothing is fetched here. Only waiting calls need actors, and they are gone.
        self._waiting.clear()
        running, self._running = self._running, {}
        self._idle.extend(call.actor for call in running.values())
        self._next_to_return = self._next_index

    def submit(self, fn: Callable[[_A, _V], _Refs], value: _V) -> None:
        """Call `fn(actor, value)`, which must return a ref or a list of refs, as soon as an actor is idle."""
        if not self._idle:
            self._waiting.append((fn, value))
            return
        actor = self._idle.pop()
        try:
            refs = fn(actor, value)
        except BaseException:
            self._idle.append(actor)
            raise
        self._running[self._next_index] = _Running(self._next_index, actor, refs)
        self._next_index += 1

    def has_next(self) -> bool:
        """Whether any result is still to come."""
        return bool(self._running or self._waiting)

    def get_next(self, timeout: float | None = None, ignore_if_timedout: bool = False) -> Any:
        """The next result in submission order.

        StopIteration when nothing is left; ValueError when `get_next_unordered` took that result already; TimeoutError
        after `timeout` seconds, with `ignore_if_timedout` after giving this call up. A failed call raises its error.
        """
        self._check_something_runs()
        call = self._running.get(self._next_to_return)
        if call is None:
            raise ValueError(
                "ActorPool.get_next: get_next_unordered has already returned a later result; "
                "take the rest with get_next_unordered"
            )
        if timeout is not None:
            self._wait([call], timeout, ignore_if_timedout)
        return self._finish(call)

    def get_next_unordered(self, timeout: float | None = None, ignore_if_timedout: bool = False) -> Any:
        """Any result that is ready; errors as for `get_next`. A call given up is the oldest one."""
        self._check_something_runs()
        return self._finish(self._wait(list(self._running.values()), timeout, ignore_if_timedout))

    def _check_something_runs(self) -> None:
        if self._running:
            return
        lost = len(self._waiting)
        self._waiting.clear()
        if lost:
            raise RuntimeError(
                f"ActorPool: no actor is left; {lost} submitted call(s) never ran; push() new ones first"
            )
        raise StopIteration("ActorPool: no results are left")

    def _wait(self, calls: list[_Running[_A]], timeout: float | None, ignore_if_timedout: bool) -> _Running[_A]:
        """One of `calls` that is over."""
        ready, _ = linckia.wait([call.awaited() for call in calls], num_returns=1, timeout=timeout)
        if ready:
            return next(call for call in calls if call.awaited() == ready[0])
        oldest = calls[0]
        message = f"ActorPool: no result within {timeout} s"
        if not ignore_if_timedout:
            raise TimeoutError(message)
        self._release(oldest)
        raise TimeoutError(f"{message}; call {oldest.index} ({oldest.awaited()}) is given up and its result ignored")

    def _finish(self, call: _Running[_A]) -> Any:
        try:
            result = linckia.get(call.refs)
        except linckia.exceptions.ActorUnavailableError:  # passing: the actor is being restarted
            self._release(call)
            raise
        except linckia.exceptions.RayActorError:
            self._release(call, alive=False)
            raise
        except Exception:
            self._release(call)
            raise
        self._release(call)
        return result

    def _release(self, call: _Running[_A], alive: bool = True) -> None:
        """Forget `call`, and give its actor the next waiting one."""
        del self._running[call.index]
        self._next_to_return = max(self._next_to_return, call.index + 1)
        if alive:
            self._idle.append(call.actor)
            self._submit_waiting()

    def _submit_waiting(self) -> None:
        if self._waiting:
            self.submit(*self._waiting.popleft())

    def has_free(self) -> bool:
        """Whether an actor is idle and no call waits for one."""
        return bool(self._idle) and not self._waiting

    def pop_idle(self) -> _A | None:
        """Take an idle actor out of the pool; None when there is none."""
        return self._idle.pop() if self.has_free() else None

    def push(self, actor: _A) -> None:
        """Add an actor. ValueError when it is in the pool already."""
        if actor in self._idle or any(call.actor == actor for call in self._running.values()):
            raise ValueError(f"ActorPool.push: {actor!r} is in this pool already")
        self._idle.append(actor)
        self._submit_waiting()


__all__ = ["ActorPool"]
