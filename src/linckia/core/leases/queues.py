"""Who waits for resources, in which order: one FIFO per resource shape, nested requests before drivers'. Pure.

A shape that does not fit never blocks one that does, and a pass looks at the head of each shape only, so its cost does
not grow with the number of requests. Called by core/leases/manager.py.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator

from linckia.core.leases.records import Pending, RequestKey
from linckia.core.leases.vectors import shape_of

QueueKey = tuple[bool, tuple[tuple[str, int], ...]]


def queue_key(pending: Pending) -> QueueKey:
    """Requests of one queue are interchangeable as far as resources go."""
    return (not pending.request.nested, shape_of(pending.request.resources))


class WaitingQueues:
    """Requests that wait for resources, by shape."""

    def __init__(self) -> None:
        self._queues: dict[QueueKey, dict[RequestKey, Pending]] = {}

    def __iter__(self) -> Iterator[dict[RequestKey, Pending]]:
        return iter(self._queues.values())

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def add(self, pending: Pending) -> bool:
        """Append; True when it is now the head of its shape."""
        queue = self._queues.setdefault(queue_key(pending), {})
        queue[pending.request.key] = pending
        return len(queue) == 1

    def remove(self, pending: Pending) -> None:
        """Take out, wherever it stands."""
        key = queue_key(pending)
        queue = self._queues.get(key, {})
        queue.pop(pending.request.key, None)
        if not queue:
            self._queues.pop(key, None)

    def take_fitting(self, take: Callable[[Pending], bool]) -> list[Pending]:
        """Offer heads in order (nested first, then oldest) to ``take`` and remove those it takes."""
        heads = [(key[0], next(iter(queue.values())).order, key) for key, queue in self._queues.items()]
        heapq.heapify(heads)
        taken = []
        while heads:
            driver_side, _, key = heapq.heappop(heads)
            queue = self._queues[key]
            head = next(iter(queue.values()))
            if not take(head):
                continue
            taken.append(head)
            del queue[head.request.key]
            if queue:
                heapq.heappush(heads, (driver_side, next(iter(queue.values())).order, key))
            else:
                del self._queues[key]
        return taken
