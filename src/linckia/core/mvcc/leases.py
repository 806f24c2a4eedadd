"""Which lease ends when, and which keys hang on it. Knows no keys' values; ``state.py`` deletes what expires."""

from __future__ import annotations

import heapq

from linckia.core.mvcc.errors import LeaseNotFoundError


class LeaseRecord:
    """One lease. ``keys`` is a dict for its order."""

    __slots__ = ("due_s", "keys", "lease_id", "ttl_s")

    def __init__(self, lease_id: int, ttl_s: float, due_s: float) -> None:
        self.lease_id, self.ttl_s, self.due_s = lease_id, ttl_s, due_s
        self.keys: dict[bytes, None] = {}


class LeaseTable:
    """Living leases; numbers are never used twice."""

    def __init__(self) -> None:
        self.last_id = 0
        self._leases: dict[int, LeaseRecord] = {}
        self._due: list[tuple[float, int]] = []  # may have old entries: renewals only add

    def __len__(self) -> int:
        return len(self._leases)

    def __contains__(self, lease_id: int) -> bool:
        return lease_id in self._leases

    def find(self, lease_id: int) -> LeaseRecord:
        """LeaseNotFoundError unless it lives."""
        record = self._leases.get(lease_id)
        if record is None:
            raise LeaseNotFoundError(lease_id)
        return record

    def add(self, lease_id: int, ttl_s: float, now_s: float) -> LeaseRecord:
        """A new lease, or one that is read back after a restart: with its full time, so that it never ends early."""
        record = LeaseRecord(lease_id, ttl_s, now_s + ttl_s)
        self._leases[lease_id] = record
        self.last_id = max(self.last_id, lease_id)
        heapq.heappush(self._due, (record.due_s, lease_id))
        return record

    def renew(self, lease_id: int, now_s: float) -> LeaseRecord:
        """Its full time again."""
        record = self.find(lease_id)
        record.due_s = now_s + record.ttl_s
        if len(self._due) > 4 * len(self._leases) + 64:
            self._due = [(each.due_s, each.lease_id) for each in self._leases.values()]
            heapq.heapify(self._due)
        else:
            heapq.heappush(self._due, (record.due_s, lease_id))
        return record

    def remove(self, lease_id: int) -> LeaseRecord:
        """Forget it; its keys are the caller's to delete."""
        record = self.find(lease_id)
        del self._leases[lease_id]
        return record

    def attach(self, key: bytes, lease_id: int, old_lease_id: int) -> None:
        """The key hangs on ``lease_id`` (0: on none) and no longer on the old one."""
        old = self._leases.get(old_lease_id)
        if old is not None:
            old.keys.pop(key, None)
        if lease_id:
            self.find(lease_id).keys[key] = None

    def next_due_s(self) -> float | None:
        """When the first lease ends, unless it is renewed."""
        while self._due:
            due_s, lease_id = self._due[0]
            record = self._leases.get(lease_id)
            if record is not None and record.due_s == due_s:
                return due_s
            heapq.heappop(self._due)
        return None

    def expired(self, now_s: float) -> list[int]:
        """The leases whose time is over, the longest dead first."""
        over = sorted((each.due_s, each.lease_id) for each in self._leases.values() if each.due_s <= now_s)
        return [lease_id for _, lease_id in over]
