"""Bundles of placement groups that wait at a node until its tasks have made room for them. Pure; used by manager.py.

A request for one worker gets its turn when some worker comes back. Bundles may need many at once, and what comes back
one by one goes to smaller requests each time: so while a claim waits, nothing else that needs the same resources is
served here. A claim waits for a limited time only (raylet/bundles.py), and only where tasks have what it lacks.
"""

from __future__ import annotations

from collections.abc import Collection

from linckia.core.leases import vectors
from linckia.core.leases.records import LeaseRequest
from linckia.core.leases.vectors import Units

CLAIM_RID = -2


class Claims:
    """By owner (a placement group), first come first."""

    def __init__(self) -> None:
        self.bundles: dict[bytes, list[Units]] = {}
        self._barred: dict[str, int] = {}

    def add(self, owner: bytes, bundles: list[Units]) -> None:
        """It waits."""
        self.bundles[owner] = bundles
        for name in vectors.together(bundles):
            self._barred[name] = self._barred.get(name, 0) + 1

    def drop(self, owner: bytes) -> bool:
        """It does not wait any more; False when it did not."""
        bundles = self.bundles.pop(owner, None)
        if bundles is None:
            return False
        for name in vectors.together(bundles):
            self._barred[name] -= 1
            if not self._barred[name]:
                del self._barred[name]
        return True

    def bar(self, names: Collection[str]) -> bool:
        """Whether somebody who needs these has to wait for a claim."""
        return bool(self._barred) and any(name in self._barred for name in names)

    def as_requests(self) -> list[LeaseRequest]:
        """As others ask for room."""
        return [
            LeaseRequest(owner=owner, rid=CLAIM_RID, resources=vectors.together(bundles), job_id=b"")
            for owner, bundles in self.bundles.items()
        ]
