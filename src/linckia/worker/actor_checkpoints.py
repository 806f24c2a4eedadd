"""Checkpoints of the actor in this process: saves its state between calls, restores it after a restart.

Each call passes ``counted``, which is there only for actors with a policy. The moment is core/actors/save_point.py's to
decide: a plain actor saves before it answers the call that made it due; an async or threaded one when no call runs.
The last call to end saves, in its own thread (an async actor: on its loop), so nothing else runs meanwhile. A save that
fails is told on stderr and tried again; it fails no call, except the one that asked for it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from linckia.base import errors
from linckia.base.limits import CHECKPOINT_HOLD_MAX_S, CHECKPOINT_REQUEST_MAX_S
from linckia.core.actors.save_point import SavePoint
from linckia.host.checkpoint_files import CheckpointFiles
from linckia.model.checkpoints import CheckpointInfo, decode_policy
from linckia.worker.checkpoint_states import info_of, packed, restore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from linckia.worker.actor_host import ActorHost

ADVICE = (
    "give the class save_checkpoint() and load_checkpoint(state, info), or __getstate__ without what does not pickle"
)


class ActorCheckpoints:
    """One per actor that has a policy. ``restored``: what its state came from; ``last``: what was saved last."""

    def __init__(self, host: ActorHost) -> None:
        self.host = host
        policy = decode_policy(host.spec.checkpoint)
        self.what = f"actor {host.spec.class_name} ({host.actor_id.hex()[:16]})"
        self.in_session = policy.dir is None
        folder = policy.dir or f"{host.runtime.session_dir}/checkpoints"
        self.files = CheckpointFiles(f"{folder}/actor-{host.actor_id.hex()}", host.restarts, policy.keep)
        self.point = SavePoint(policy.every_s, policy.every_calls, CHECKPOINT_HOLD_MAX_S)
        self.restored: CheckpointInfo | None = None
        self.last: CheckpointInfo | None = None
        self._lock = threading.Lock()
        self._held: list[Callable[[], None]] = []  # what lets calls go on that were held back
        self._requests: list[concurrent.futures.Future[CheckpointInfo]] = []
        self._told = ""  # the last failure on stderr: not again with every call

    # --- restore ------------------------------------------------------------------------------------------------------

    def restore(self) -> None:
        """After the constructor: give the actor the newest state there is."""
        found = restore(self.files, self.what)
        if found is None:
            if self.host.restarts:
                sys.stderr.write(
                    f"{self.what} was restarted and found no checkpoint in {self.files.folder}: it begins anew"
                    f"{' (give a dir that all nodes share)' if self.in_session else ''}\n"
                )
            return
        self.restored = self.last = found.info
        self.point.begun = found.info.calls + (found.info.calls_since or 0)
        self.files.count(self.point.begun)
        instance = self.host.instance
        if hasattr(instance, "load_checkpoint"):
            instance.load_checkpoint(found.state, found.info)
        elif hasattr(instance, "__setstate__"):
            instance.__setstate__(found.state)
        else:
            _set_state(instance, found.state)

    # --- calls --------------------------------------------------------------------------------------------------------

    def counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A method that tells when it begins and ends; it may be held back before."""
        return self._counted_async(function) if self.host.is_async else self._counted(function)

    def _counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            while (passed := self._try_begin(threading.Event)) is not None:
                passed.wait(CHECKPOINT_HOLD_MAX_S)
            ended = self._end
            try:
                value = function(*args, **kwargs)
                if inspect.isgenerator(value):
                    value, ended = self._items(value), _nothing
                    next(value)
                elif inspect.iscoroutine(value):
                    value = self.host.run_coroutine(value)
                return value
            finally:
                ended()

        return call

    def _counted_async(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            while (passed := self._try_begin(_LoopEvent)) is not None:
                await passed.wait(CHECKPOINT_HOLD_MAX_S)
            ended = self._end
            try:
                value = function(*args, **kwargs)
                if inspect.isawaitable(value):
                    value = await value
                if inspect.isasyncgen(value):
                    value, ended = self._items_async(value), _nothing
                    await anext(value)
                elif inspect.isgenerator(value):
                    value, ended = self._items(value), _nothing
                    next(value)
                return value
            finally:
                ended()

        return call

    def _items(self, items: Any) -> Iterator[Any]:
        """A call that yields ends with its generator. The first item is nobody's: a generator that was never begun
        would never end.
        """
        try:
            yield None
            yield from items
        finally:
            self._end()

    async def _items_async(self, items: Any) -> AsyncIterator[Any]:
        try:
            yield None
            async for item in items:
                yield item
        finally:
            self._end()

    def _try_begin(self, make: Callable[[], Any]) -> Any:
        """None when the call has begun; else an event to wait for, made by ``make``, before it tries again."""
        now_s = time.monotonic()
        with self._lock:
            if self.point.holds(now_s):
                passed = make()
                self._held.append(passed.set)
                return passed
            first = self.point.begin(now_s)
            self.files.count(self.point.begun)
        if first:
            self._look_later()
        return None

    def _end(self) -> None:
        with self._lock:
            save = self.point.end(time.monotonic())
        if save:
            self._save()

    # --- time and requests --------------------------------------------------------------------------------------------

    def _look_later(self) -> None:
        every_s, runtime = self.point.every_s, self.host.runtime
        if every_s is not None:
            with runtime.mutex:
                runtime.reactor.call_later(every_s, self._wake)

    def _wake(self) -> None:
        """The time has come (leading thread): the main thread looks between two calls."""
        self.host.run_soon(self._look)

    def _look(self) -> None:
        with self._lock:
            save = self.point.try_begin_save(time.monotonic())
        if save:
            self._save()

    def requested(self) -> Any:
        """``__linckia_checkpoint__``: save as soon as no call runs; the CheckpointInfo, or what went wrong."""
        answer: concurrent.futures.Future[CheckpointInfo] = concurrent.futures.Future()
        with self._lock:
            self._requests.append(answer)
            self.point.ask()
        self._look()
        if self.host.is_async:
            return asyncio.wait_for(asyncio.wrap_future(answer), CHECKPOINT_REQUEST_MAX_S)
        return answer.result(CHECKPOINT_REQUEST_MAX_S)

    # --- save ---------------------------------------------------------------------------------------------------------

    def _save(self) -> None:
        """No call runs and none begins until this is over."""
        problem: Exception | None = None
        try:
            data = packed(self._state(), self.what, ADVICE)
            self.last = info_of(self.files.save(data, self.point.begun))
        except Exception as error:  # noqa: BLE001  (the author's code, or the disk: told, and tried again)
            problem = error
            self._tell(error)
        with self._lock:
            self.point.saved(time.monotonic(), well=problem is None)
            held, self._held = self._held, []
            requests, self._requests = self._requests, []
        for go_on in held:
            go_on()
        for request in requests:
            if problem is None and self.last is not None:
                request.set_result(self.last)
            else:
                request.set_exception(problem or errors.CheckpointError("nothing was saved"))
        if problem is not None:
            self._look_later()

    def _state(self) -> Any:
        instance = self.host.instance
        if not hasattr(instance, "save_checkpoint"):
            return instance.__getstate__()
        state = instance.save_checkpoint()
        if inspect.isawaitable(state):
            if inspect.iscoroutine(state):
                state.close()
            text = f"save_checkpoint of {self.what} is async; it must be a plain method"
            raise errors.CheckpointError(text, "application")
        return state

    def _tell(self, error: Exception) -> None:
        text = f"checkpoint of {self.what} could not be saved, it is tried again later: {error}"
        if text != self._told:
            self._told = text
            sys.stderr.write(f"{text}\n")

    def ended(self) -> None:
        """The actor ends by intention: what lies in the session goes with it."""
        if self.in_session:
            self.files.forget()


class _LoopEvent:
    """An event that the running loop waits for and any thread sets."""

    __slots__ = ("_event", "_loop")

    def __init__(self) -> None:
        self._loop, self._event = asyncio.get_running_loop(), asyncio.Event()

    def set(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self, timeout_s: float) -> None:
        try:
            await asyncio.wait_for(self._event.wait(), timeout_s)
        except TimeoutError:
            return  # it looks again


def _nothing() -> None:
    return


def _set_state(instance: Any, state: Any) -> None:
    """As pickle does for objects without ``__setstate__``."""
    slots = None
    if isinstance(state, tuple) and len(state) == 2:
        state, slots = state
    if state:
        instance.__dict__.update(state)
    for name, value in (slots or {}).items():
        setattr(instance, name, value)
