"""Lease requests of jobs that this node has not heard of yet: asked by nodes that heard of the job before. They wait
for the news, unless they are cancelled, or their owner ends, before it comes. Pure; used by raylet/lease_desk.py.
"""

from __future__ import annotations

from linckia.core.leases.records import LeaseRequest, RequestKey
from linckia.core.tables.relation import Relation


class Parked:
    """By job, in the order in which they were asked; and by owner."""

    def __init__(self) -> None:
        self._requests: dict[RequestKey, LeaseRequest] = {}
        self._jobs: Relation[RequestKey, bytes] = Relation(b"")
        self._owners: Relation[RequestKey, bytes] = Relation(b"")

    def __len__(self) -> int:
        return len(self._requests)

    def add(self, request: LeaseRequest) -> None:
        """It waits for news of its job."""
        self._requests[request.key] = request
        self._jobs.put(request.key, request.job_id)
        self._owners.put(request.key, request.owner)

    def cancel(self, key: RequestKey) -> LeaseRequest | None:
        """It waits no more. None when it did not."""
        self._jobs.pop(key)
        self._owners.pop(key)
        return self._requests.pop(key, None)

    def owner_gone(self, owner: bytes) -> None:
        """Nobody wants its requests any more."""
        for key in self._owners.at(owner):
            self.cancel(key)

    def pop(self, job_id: bytes) -> list[LeaseRequest]:
        """Those of a job that is known now."""
        return [request for key in self._jobs.at(job_id) if (request := self.cancel(key)) is not None]
