"""The actor behind `linckia.util.queue.Queue`: one asyncio queue that many processes share.

Only `Queue` calls it. Expected outcomes (full, empty, timed out) are return values, not exceptions, so that polling a
queue costs no tracebacks; `Queue` turns them into `Full` and `Empty`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any


class QueueActor:
    """All methods are async, so a waiting `get` never blocks a `put`; each runs uninterrupted up to its await."""

    def __init__(self, maxsize: int) -> None:
        self._maxsize = maxsize
        self._queue: asyncio.Queue[Any] = asyncio.Queue(maxsize)

    async def qsize(self) -> int:
        return self._queue.qsize()

    async def empty(self) -> bool:
        return self._queue.empty()

    async def full(self) -> bool:
        return self._queue.full()

    async def put(self, item: Any, timeout_s: float | None) -> bool:
        """Wait for room; False when there was none in time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._queue.put(item)
        except TimeoutError:
            return False
        return True

    async def put_now(self, item: Any) -> bool:
        """Add `item` if there is room; else say False."""
        return await self.put_now_batch([item])

    async def put_now_batch(self, items: Sequence[Any]) -> bool:
        """Add all of `items`, or none and say False."""
        if self._maxsize > 0 and self._queue.qsize() + len(items) > self._maxsize:
            return False
        for item in items:
            self._queue.put_nowait(item)
        return True

    async def get(self, timeout_s: float | None) -> tuple[Any, ...]:
        """A tuple of one item; the empty tuple when none came in time."""
        try:
            async with asyncio.timeout(timeout_s):
                return (await self._queue.get(),)
        except TimeoutError:
            return ()

    async def get_now(self, count: int) -> list[Any] | None:
        """Exactly `count` items, or None when there are fewer."""
        if self._queue.qsize() < count:
            return None
        return [self._queue.get_nowait() for _ in range(count)]
