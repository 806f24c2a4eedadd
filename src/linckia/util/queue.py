"""`Queue`: a first-in, first-out queue that drivers, tasks and actors share, with the interface of `queue.Queue`.

User programs call it. The items live in an actor (queue_actor.py); this handle only asks, and may be passed to tasks.
The module bears the name of a standard one because Ray's import path is `ray.util.queue`.
"""

from __future__ import annotations

import queue
from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar

import linckia
from linckia.util.queue_actor import QueueActor

_T = TypeVar("_T")


class Empty(queue.Empty):
    """`get` found no item (in time). A `queue.Empty`."""


class Full(queue.Full):
    """`put` found no room (in time). A `queue.Full`."""


class Queue(Generic[_T]):
    """At most `maxsize` items (0 or less: no limit), kept by an actor that lives as long as some handle does.

    `actor_options` are the options of that actor: `{"name": "jobs", "num_cpus": 0}`. At most 1,000 calls wait inside it
    at a time; raise `max_concurrency` there when more consumers than that block in `get`.
    """

    def __init__(self, maxsize: int = 0, actor_options: Mapping[str, Any] | None = None) -> None:
        self.maxsize = maxsize
        self.actor: Any = linckia.remote(QueueActor).options(**(actor_options or {})).remote(maxsize)

    def __len__(self) -> int:
        return self.qsize()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(maxsize={self.maxsize}, actor={self.actor!r})"

    def size(self) -> int:
        """Same as `qsize`."""
        return self.qsize()

    def qsize(self) -> int:
        """The number of items just now."""
        return int(linckia.get(self._actor().qsize.remote()))

    def empty(self) -> bool:
        """Whether there is no item just now."""
        return bool(linckia.get(self._actor().empty.remote()))

    def full(self) -> bool:
        """Whether there is no room just now."""
        return bool(linckia.get(self._actor().full.remote()))

    def put(self, item: _T, block: bool = True, timeout: float | None = None) -> None:
        """Add an item, waiting for room up to `timeout` seconds. Raises `Full` when there is none."""
        if not self._wait_for(self._put_call(item, block, timeout)):
            raise Full

    async def put_async(self, item: _T, block: bool = True, timeout: float | None = None) -> None:
        """`put` for coroutines."""
        if not await self._wait_for_async(self._put_call(item, block, timeout)):
            raise Full

    def _put_call(self, item: _T, block: bool, timeout: float | None) -> Any:
        if not block:
            return self._actor().put_now.remote(item)
        return self._actor().put.remote(item, _checked(timeout))

    def get(self, block: bool = True, timeout: float | None = None) -> _T:
        """Take the oldest item, waiting for one up to `timeout` seconds. Raises `Empty` when there is none.

        Interrupted (Ctrl-C), it takes nothing from the queue.
        """
        return self._get_result(self._wait_for(self._get_call(block, timeout)))

    async def get_async(self, block: bool = True, timeout: float | None = None) -> _T:
        """`get` for coroutines. Cancelled, it takes nothing from the queue."""
        return self._get_result(await self._wait_for_async(self._get_call(block, timeout)))

    def _get_call(self, block: bool, timeout: float | None) -> Any:
        if not block:
            return self._actor().get_now.remote(1)
        return self._actor().get.remote(_checked(timeout))

    def _get_result(self, answer: Any) -> _T:
        if not answer:
            raise Empty
        item: _T = answer[0]
        return item

    def put_nowait(self, item: _T) -> None:
        """`put` without waiting."""
        self.put(item, block=False)

    def get_nowait(self) -> _T:
        """`get` without waiting."""
        return self.get(block=False)

    def put_nowait_batch(self, items: Iterable[_T]) -> None:
        """Add all items without waiting, or raise `Full` and add none."""
        if not isinstance(items, Iterable):
            raise TypeError(f"Queue.put_nowait_batch: items must be iterable, not {items!r}")
        if not linckia.get(self._actor().put_now_batch.remote(list(items))):
            raise Full(f"the items do not all fit into a queue of {self.maxsize}")

    def get_nowait_batch(self, num_items: int) -> list[_T]:
        """Take exactly `num_items` items without waiting, or raise `Empty` and take none."""
        if not isinstance(num_items, int):
            raise TypeError(f"Queue.get_nowait_batch: num_items must be an int, not {num_items!r}")
        if num_items < 0:
            raise ValueError(f"Queue.get_nowait_batch: num_items must not be negative, not {num_items}")
        items: list[_T] | None = linckia.get(self._actor().get_now.remote(num_items))
        if items is None:
            raise Empty(f"the queue holds fewer than {num_items} items")
        return items

    def shutdown(self, force: bool = False, grace_period_s: float = 5) -> None:
        """End the actor: at once with `force`, else after the calls before this one, at most `grace_period_s` later.

        Items that are still inside are lost. Other handles then get an actor error. A second call does nothing.
        """
        actor, self.actor = self.actor, None
        if actor is None:
            return
        if not force:
            try:
                linckia.get(actor.__ray_terminate__.remote(), timeout=grace_period_s)
            except (linckia.exceptions.GetTimeoutError, linckia.exceptions.RayActorError):
                pass  # either it is stuck, and killed below, or it has ended as asked
        linckia.kill(actor, no_restart=True)

    def _actor(self) -> Any:
        if self.actor is None:
            raise RuntimeError("this Queue was shut down by Queue.shutdown(); make a new one")
        return self.actor

    def _wait_for(self, ref: Any) -> Any:
        try:
            return linckia.get(ref)
        except KeyboardInterrupt:
            linckia.cancel(ref)  # or the item would go to a reader that has left
            raise

    async def _wait_for_async(self, ref: Any) -> Any:
        try:
            return await ref
        except BaseException:  # this coroutine was cancelled; if instead the call failed, cancelling it does nothing
            linckia.cancel(ref)
            raise


def _checked(timeout: float | None) -> float | None:
    if timeout is not None and timeout < 0:
        raise ValueError(f"Queue: timeout must not be negative, not {timeout}")
    return timeout


__all__ = ["Empty", "Full", "Queue"]
