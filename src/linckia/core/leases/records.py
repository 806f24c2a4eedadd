"""What the lease manager is told (requests), what it keeps (leases, workers) and what it asks for (effects). No
behaviour.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from linckia.core.leases.gpus import Assignment
from linckia.core.leases.vectors import Units

RequestKey = tuple[bytes, int]
"""(owner id, rid); actors use (actor id, -attempt)."""

PoolKey = tuple[bytes, bytes]
"""(job id, runtime environment) that a worker is bound to; ``FRESH`` before its first lease."""

FRESH: PoolKey = (b"", b"")


class LeaseRequest(msgspec.Struct, frozen=True):
    """Somebody wants a worker. ``placement`` only decides feasibility (R 2.2); ``actor_id`` empty for tasks."""

    owner: bytes
    rid: int
    resources: Units
    job_id: bytes
    nested: bool = False
    runtime_env: bytes = b""
    actor_id: bytes = b""
    detached: bool = False
    placement: Units = {}
    backlog: int = 1
    name: str = ""
    strategy: bytes = b""  # encoded model.placement.Strategy
    preferred: bytes = b""  # node with most of the argument bytes
    hops: int = 0
    retriable: bool = True
    hold: str = ""  # why no node of the cluster can run it now: it waits for the cluster to change

    @property
    def key(self) -> RequestKey:
        """Identity of the request."""
        return (self.owner, self.rid)


class RequestState(Enum):
    """Where a live request stands."""

    INFEASIBLE = "infeasible"
    WAITING = "resources"
    STAFFING = "worker_start"


class Pending(msgspec.Struct, eq=False):
    """A request that is not granted yet."""

    request: LeaseRequest
    order: int
    state: RequestState = RequestState.WAITING
    gpus: Assignment = {}
    pinned: Units = {}  # in a placement group, "any bundle": the amounts of the bundle that was chosen


class Lease(msgspec.Struct, eq=False):
    """A granted worker. ``given_back`` is CPU returned while its task is blocked."""

    lease_id: int
    request: LeaseRequest
    worker_id: bytes
    gpus: Assignment
    given_back: Units = {}
    pinned: Units = {}
    recalled: bool = False
    blocked: bool = False  # its task waits for others

    @property
    def will_end(self) -> bool:
        """Its worker comes free by itself: a task that does not wait for others."""
        return not self.request.actor_id and not self.blocked


class Worker(msgspec.Struct, eq=False):
    """A registered worker process."""

    worker_id: bytes
    pool: PoolKey = FRESH
    lease: Lease | None = None
    leaving: bool = False
    idle_since_s: float = 0.0


# --- effects ----------------------------------------------------------------------------------------------------------


class StartWorkers(msgspec.Struct, frozen=True):
    """Fork so many workers; each answers by ``worker_ready`` or ``worker_start_failed``."""

    count: int


class Grant(msgspec.Struct, frozen=True):
    """Tell the requester. ``bind`` is True when the worker must first be told its job."""

    request: LeaseRequest
    lease_id: int
    worker_id: bytes
    assigned: dict[str, float]
    bind: bool


class Refuse(msgspec.Struct, frozen=True):
    """Tell the requester that it will never be granted."""

    request: LeaseRequest
    kind: str
    reason: str


class Recall(msgspec.Struct, frozen=True):
    """Ask the owner to return the lease when its pushed tasks are done."""

    owner: bytes
    lease_id: int


class Retire(msgspec.Struct, frozen=True):
    """Ask an idle worker to exit."""

    worker_id: bytes
    reason: str


class Kill(msgspec.Struct, frozen=True):
    """End the worker now."""

    worker_id: bytes
    reason: str


class Broken(msgspec.Struct, frozen=True):
    """The worker of this lease ended before the lease did."""

    lease: Lease


class Infeasible(msgspec.Struct, frozen=True):
    """No node can ever run this shape; said once per shape while such requests wait."""

    request: LeaseRequest
    text: str


class Claimed(msgspec.Struct, frozen=True):
    """A claim has got its bundles: what `reserve` would have answered."""

    owner: bytes
    gpus: list[Assignment]


Effect = Claimed | StartWorkers | Grant | Refuse | Recall | Retire | Kill | Broken | Infeasible
