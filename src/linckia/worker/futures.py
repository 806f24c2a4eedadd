"""Refs as concurrent.futures and asyncio futures."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from linckia.worker.refs import BLOCK, ObjectRef

if TYPE_CHECKING:
    import asyncio
    import concurrent.futures
    from collections.abc import Callable

    from linckia.worker.fetching import Fetch
    from linckia.worker.runtime import Runtime


class Futures:
    """Adapters for one runtime. Loops that await get the reactor's epoll descriptor as a reader: they lead
    themselves.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self._attached: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()

    def on_done(self, ref: Any, callback: Any) -> None:
        """Call ``callback(ref)`` when it has a value; at once when it has one. The callback must be quick and not
        raise.
        """
        runtime = self.runtime
        with runtime.mutex:
            if not ref.state:
                if isinstance(ref, ObjectRef):
                    runtime.objects.fetch(ref)
                ref.hooks = [*(ref.hooks or []), callback]
                return
        callback(ref)

    def as_concurrent(self, ref: ObjectRef[Any]) -> concurrent.futures.Future[Any]:
        """A concurrent future; its value is loaded when it completes."""
        import concurrent.futures  # noqa: PLC0415  (start-up time)

        future: concurrent.futures.Future[Any] = concurrent.futures.Future()

        def resolve(fetch: Fetch | None) -> None:
            if future.cancelled():
                return
            try:
                value = self._value(ref, fetch)
            except BaseException as error:  # noqa: BLE001  (whatever the task raised is the future's exception)
                future.set_exception(error)
            else:
                future.set_result(value)

        self._on_here(ref, lambda fetch: self.runtime.reactor.call_soon(lambda: resolve(fetch)))
        self.runtime.reactor.flush_dirty()
        self.runtime.progress.lead_now()
        return future

    def as_asyncio(self, ref: ObjectRef[Any]) -> asyncio.Future[Any]:
        """A future of the running loop with the value."""
        import asyncio  # noqa: PLC0415  (start-up time)

        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()

        def resolve(fetch: Fetch | None) -> None:
            if future.done():
                return
            try:
                value = self._value(ref, fetch)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:  # noqa: BLE001  (whatever the task raised is the future's exception)
                future.set_exception(error if not isinstance(error, StopIteration) else RuntimeError(repr(error)))
            else:
                future.set_result(value)

        if ref.state and not (ref.state == BLOCK and self.runtime.fetching.is_away(ref.value)):
            resolve(None)
            return future
        self.attach(loop)

        def here(fetch: Fetch | None) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(resolve, fetch)

        self._on_here(ref, here)
        self.runtime.reactor.flush_dirty()
        self.runtime.progress.touch()
        return future

    def _on_here(self, ref: ObjectRef[Any], callback: Callable[[Fetch | None], None]) -> None:
        """Call back when the value can be loaded without waiting, with the fetch that brought it, if there was one."""

        def done(_ref: Any) -> None:
            with self.runtime.mutex:
                fetch = self.runtime.fetching.begin(ref)
                if fetch is not None and not fetch.state:
                    fetch.hooks = [*(fetch.hooks or []), fetched]
                    return
            callback(fetch)

        def fetched(fetch: Fetch) -> None:
            failure = fetch.failure
            if failure is None or failure.kind != "moved":
                callback(fetch)
                return
            self.runtime.fetching.failed(ref, failure)
            self.on_done(ref, done)

        self.on_done(ref, done)

    def _value(self, ref: ObjectRef[Any], fetch: Fetch | None) -> Any:
        return self.runtime.objects.load(ref) if fetch is None else self.runtime.fetching.value_of(ref, fetch)

    def when(self, target: Any) -> asyncio.Future[None]:
        """A future of the running loop that completes when ``target`` (ref or stream) is ready."""
        import asyncio  # noqa: PLC0415  (start-up time)

        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._when(target, loop, lambda: None if future.done() else future.set_result(None))
        return future

    def _when(self, target: Any, loop: Any, resolve: Any) -> None:
        if target.state:
            resolve()
            return
        self.attach(loop)

        def hook(_done: Any) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(resolve)

        self.on_done(target, hook)
        self.runtime.reactor.flush_dirty()
        self.runtime.progress.touch()

    def attach(self, loop: Any) -> None:
        """Let the loop's thread read our sockets while it is idle: no hop through the background thread."""
        if loop in self._attached:
            return
        self._attached[loop] = True
        loop.add_reader(self.runtime.reactor.epoll.fileno(), self.runtime.progress.poll_if_free)
