"""The caller's records of tasks: templates, scheduling keys, leases, task records, peers. Data only; no decisions, no
I/O.
"""

from __future__ import annotations

import itertools
from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

from linckia.base.limits import TEMPLATES_KEPT_MAX

if TYPE_CHECKING:
    from linckia.model.wire import Address
    from linckia.protocol.messages import FunctionDef, TemplateDef
    from linckia.rpc.connection import Connection
    from linckia.worker.refs import ObjectRef
    from linckia.worker.retrying import Means

STREAMING, DYNAMIC = -1, -2


class Peer:
    """Another runtime process (or the raylet) at the other end of one connection."""

    __slots__ = (
        "actor",
        "address",
        "closed",
        "conn",
        "fetching",
        "functions_received",
        "functions_sent",
        "known",
        "lease",
        "lost",
        "tasks",
        "templates",
    )

    def __init__(self, conn: Connection | None, address: Address) -> None:
        self.conn: Any = conn
        self.address = address
        self.closed = conn is None
        self.tasks: dict[bytes, TaskRecord] = {}  # pushed to this peer, not answered, in push order
        self.known: set[int] = set()  # template indexes it was told
        self.functions_sent: set[bytes] = set()
        self.functions_received: dict[bytes, bytes] = {}
        self.templates: dict[int, Any] = {}  # what it told us (executor side)
        self.fetching: dict[bytes, ObjectRef[Any]] = {}  # values we asked it for
        self.lost: dict[bytes, int] = {}  # tasks taken away without an answer -> items received of a generator
        self.lease: Lease | None = None
        self.actor: Any = None  # ActorClient when the peer hosts an actor we call


class SchedulingKey:
    """Tasks that can share leased workers: same resources, strategy and runtime environment."""

    __slots__ = (
        "depth",
        "idle",
        "job_id",
        "leases",
        "near",
        "preferred",
        "queue",
        "requests",
        "resources",
        "retriable",
        "run_time_s",
        "runtime_env",
        "spread",
        "strategy",
        "timer",
    )

    def __init__(self, resources: dict[str, float], strategy: bytes = b"") -> None:
        self.resources = resources
        self.strategy = strategy
        self.queue: deque[TaskRecord] = deque()
        self.leases: list[Lease] = []
        self.idle: list[Lease] = []
        self.requests: dict[int, Peer] = {}  # rid -> the raylet that was asked last
        self.run_time_s = -1.0
        self.depth = 1
        self.runtime_env = b""
        self.retriable = True  # its tasks may run again: who has too little memory ends their workers first
        self.preferred = b""  # node that has most of the argument bytes
        self.near: dict[bytes, SchedulingKey] = {}  # node -> the key of tasks whose arguments are there
        self.spread = bool(strategy) and _is_spread(strategy)

    @property
    def share(self) -> int:
        """Queued tasks that one lease may take: with SPREAD an even part, after which the next may be anywhere."""
        if not self.spread:
            return len(self.queue)
        return -(-len(self.queue) // max(1, len(self.leases) + len(self.requests)))


def _is_spread(strategy: bytes) -> bool:
    from linckia.model.placement import decode_strategy  # noqa: PLC0415  (start-up time)

    return decode_strategy(strategy).kind == "SPREAD"


class Template:
    """The constant part of a remote call, shared by all its tasks."""

    __slots__ = (
        "careful",
        "definition",
        "function",
        "index",
        "key",
        "max_retries",
        "means",
        "name",
        "num_returns",
        "retries_on_error",
    )

    def __init__(
        self,
        definition: TemplateDef,
        function: FunctionDef | None,
        key: SchedulingKey | None,
        max_retries: int,
        means: Means | None = None,
    ) -> None:
        self.index = definition.template
        self.definition = definition
        self.function = function
        self.key: Any = key
        self.max_retries = max_retries
        self.means: Any = means
        self.num_returns = definition.num_returns
        self.retries_on_error = bool(definition.retry_exceptions)
        self.name = definition.name


def remember(cache: dict[Any, Any], key: Any, value: Any) -> None:
    """Keep it; a cache that is full forgets its oldest half (what was forgotten is made anew when it is asked for)."""
    if len(cache) >= TEMPLATES_KEPT_MAX:
        for old in list(itertools.islice(cache, TEMPLATES_KEPT_MAX // 2)):
            del cache[old]
    cache[key] = value


class Lease:
    """A worker granted to us."""

    __slots__ = (
        "broken",
        "closing",
        "depth_used",
        "idle_since",
        "key",
        "lease_id",
        "node_died",
        "oldest_push_s",
        "peer",
        "raylet",
        "recalled",
        "stalled",
        "taking_back",
    )

    def __init__(self, lease_id: int, peer: Peer, key: SchedulingKey, raylet: Peer) -> None:
        self.lease_id = lease_id
        self.peer = peer
        self.raylet = raylet  # of the node that granted it
        self.key = key
        self.idle_since = 0.0
        self.oldest_push_s = 0.0
        self.recalled = False
        self.stalled = False
        self.closing = False
        self.taking_back = False
        self.node_died = False
        self.broken: Any = None  # LeaseBroken once the raylet said so


class TaskRecord(msgspec.Struct, gc=False, eq=False):
    """One submitted task until its last answer.

    Not tracked by the garbage collector: a million pending records would be scanned again and again. The cycle with its
    refs is cut when the task ends.
    """

    task_id: bytes
    template: Any  # Template
    retries_left: int
    args: bytes = b""
    extras: Any = None  # PushExtras
    ref: Any = None  # its first return, or the completion of a stream; None without returns
    more_refs: tuple[Any, ...] = ()  # further returns (apart, because a tuple per task would cost the collector)
    stream: Any = None  # Stream
    peer: Any = None  # the Peer it was pushed to
    queue: Any = None  # the SchedulingKey it waits in
    actor: Any = None  # the ActorClient of an actor call
    options: Any = None
    holds: list[Any] | None = None  # refs that must live until the task is done
    places: list[Any] | None = None  # tokens of arguments read in place, from the push to the answer (spilling.py)
    lineage: Any = None  # the references among its arguments, for lineage.py
    waiting: int = 0  # dependencies without a value yet
    attempt: int = 0
    oom_deaths: int = 0  # how often its worker was ended for want of memory
    cancelled: bool = False
    parent: Any = None

    def refs(self) -> tuple[Any, ...]:
        """All returns."""
        return () if self.ref is None else (self.ref, *self.more_refs)
