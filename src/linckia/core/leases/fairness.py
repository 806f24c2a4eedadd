"""Whose lease to ask back when somebody waits: the class (owner and shape) that holds most gives to the one that holds
fewer. Pure.

Owners keep a lease while they have tasks for it, so without this a first come owner would keep all workers to its end.
Each lease is asked back at most once; a class gives only to one that holds at least two less, or nothing, so equal
owners do not ping-pong while an owner without any worker takes turns with the others.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from linckia.core.leases.queues import WaitingQueues
from linckia.core.leases.records import Lease, LeaseRequest, Recall
from linckia.core.leases.vectors import Units, add, shape_of, subtract, together

REQUESTS_LOOKED_AT_PER_SHAPE = 16  # bounds the cost of an event; the next event looks again

ClassKey = tuple[bytes, tuple[tuple[str, int], ...], bytes, bytes, bytes]


def class_of(request: LeaseRequest) -> ClassKey:
    """Leases that are alike to their owner: it can use any of them for the same tasks."""
    return (
        request.owner, shape_of(request.resources), request.strategy, request.runtime_env, request.preferred
    )  # fmt: skip


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

    def amounts(self) -> Units:
        """What all task leases hold together: so much may come back."""
        holding = (lease.request.resources for leases in self._holding.values() for lease in leases.values())
        return together([*holding, *(lease.request.resources for lease in self._coming.values())])

    def choose(self, waiting: WaitingQueues, available: Units, claims: Iterable[LeaseRequest] = ()) -> Iterator[Recall]:
        """Recalls for ``claims``, and for the first requests of each waiting shape."""
        if not self._holding:
            return
        promised: Units = dict(available)
        for lease in self._coming.values():
            add(promised, lease.request.resources)
        shares: dict[ClassKey, int] = {}
        for claim in claims:
            yield from self._choose_for(claim, promised, shares)
        for queue in waiting:
            for pending in itertools.islice(queue.values(), REQUESTS_LOOKED_AT_PER_SHAPE):
                yield from self._choose_for(pending.request, promised, shares)

    def _choose_for(self, request: LeaseRequest, promised: Units, shares: dict[ClassKey, int]) -> Iterator[Recall]:
        """Recall until ``promised`` covers the request, which then has its share of it, or until nobody has to give."""
        own = class_of(request)
        own_count = len(self._holding.get(own, ())) + shares.get(own, 0)
        while True:
            short = [name for name, count in request.resources.items() if promised.get(name, 0) < count]
            if not short:
                subtract(promised, request.resources)
                shares[own] = shares.get(own, 0) + 1
                return
            lease = self._take_from_richest(own, own_count, short)
            if lease is None:
                return
            lease.recalled = True
            self._coming[lease.lease_id] = lease
            add(promised, lease.request.resources)
            yield Recall(lease.request.owner, lease.lease_id)

    def _take_from_richest(self, own: ClassKey, own_count: int, short: list[str]) -> Lease | None:
        """The newest lease of the class that holds most, if taking it makes the shares more equal."""
        giving = [
            (len(leases), key)
            for key, leases in self._holding.items()
            if key != own
            and (own_count == 0 or len(leases) > own_count + 1)
            and any(name in short for name, _ in key[1])
        ]
        if not giving:
            return None
        most = max(count for count, _ in giving)
        key = next(key for count, key in giving if count == most)
        leases = self._holding[key]
        lease = leases.pop(next(reversed(leases)))
        if not leases:
            del self._holding[key]
        return lease
