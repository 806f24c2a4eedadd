"""Whose lease to ask back when somebody waits: the class (owner and shape) that holds most gives to the one that holds fewer. Pure.

Owners keep a lease while they have tasks for it, so without this a first come owner would keep all workers to its end. Each lease is
asked back at most once; a class is never asked for the benefit of one that holds as much, so equal owners do not ping-pong.
"""

from __future__ import annotations

from collections.abc import Iterator

from linckia.core.leases.queues import WaitingQueues
from linckia.core.leases.records import Lease, LeaseRequest, Recall
from linckia.core.leases.vectors import Units, add, shape_of

ClassKey = tuple[bytes, tuple[tuple[str, int], ...]]


def class_of(request: LeaseRequest) -> ClassKey:
    """Leases that are alike to their owner."""
    return (request.owner, shape_of(request.resources))


class RecallBook:
    """Task leases by class, and which of them have been asked back."""

    def __init__(self) -> None:
        self._holding: dict[ClassKey, dict[int, Lease]] = {}  # not asked back yet
        self._coming: dict[int, Lease] = {}  # asked back, not returned yet

    def granted(self, lease: Lease) -> None:
        """A lease began; actors' leases cannot be asked back."""
        if not lease.request.actor_id:
            self._holding.setdefault(class_of(lease.request), {})[lease.lease_id] = lease

    def ended(self, lease: Lease) -> None:
        """A lease ended."""
        self._coming.pop(lease.lease_id, None)
        key = class_of(lease.request)
        leases = self._holding.get(key)
        if leases is not None and leases.pop(lease.lease_id, None) is not None and not leases:
            del self._holding[key]

    def choose(self, waiting: WaitingQueues, available: Units) -> Iterator[Recall]:
        """Recalls for the head of each waiting shape."""
        if not self._holding:
            return
        promised: Units = dict(available)
        for lease in self._coming.values():
            if not lease.given_back:  # a blocked worker has given its CPU already, and ends when it ends
                add(promised, lease.request.resources)
        for queue in waiting:
            request = next(iter(queue.values())).request
            yield from self._choose_for(request, promised)
            for name, count in request.resources.items():
                promised[name] = promised.get(name, 0) - count

    def _choose_for(self, request: LeaseRequest, promised: Units) -> Iterator[Recall]:
        own = class_of(request)
        own_count = len(self._holding.get(own, ()))
        while True:
            short = [name for name, count in request.resources.items() if promised.get(name, 0) < count]
            if not short:
                return
            giving = [
                (len(leases), key)
                for key, leases in self._holding.items()
                if key != own and len(leases) > own_count and any(name in short for name, _ in key[1])
            ]
            if not giving:
                return
            most = max(count for count, _ in giving)
            leases = self._holding[next(key for count, key in giving if count == most)]
            lease = leases.pop(next(reversed(leases)))
            if not leases:
                del self._holding[class_of(lease.request)]
            lease.recalled = True
            self._coming[lease.lease_id] = lease
            if not lease.given_back:
                add(promised, lease.request.resources)
            yield Recall(lease.request.owner, lease.lease_id)
