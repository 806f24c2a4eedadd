"""Between runtime processes and their raylet: leases, memory, output, actors' processes (tags 50-89). See
``protocol/messages.py``.
"""

from __future__ import annotations

from linckia.model.wire import Address, LogLine
from linckia.protocol.message import Message


class RegisterWorker(Message, tag=50):
    """First message of a worker to its raylet."""

    worker_id: bytes
    pid: int
    endpoint: str


class RegisterDriver(Message, tag=51):
    """First message of a driver to its raylet; answered by DriverRegistered. ``config`` is the encoded JobConfig."""

    rid: int
    worker_id: bytes
    pid: int
    endpoint: str
    config: bytes


class DriverRegistered(Message, tag=52):
    """``public_prefix`` goes before the path of the driver's socket to make its public address. ``tls``: paths of
    certificate, key and CA, when nodes use TLS.
    """

    rid: int
    job_id: bytes
    node_id: bytes
    node_ip: str
    session_name: str
    store_capacity: int
    resources: dict[str, float]
    public_prefix: str = ""
    tls: list[str] = []


class AssignJob(Message, tag=53):
    """Raylet to worker, before its first lease: which job it belongs to, from now on. Repeated before a lease that
    comes with GPUs: ``assigned`` is what the next lease holds, GPUs by id as ``GPU/0``."""

    job_id: bytes
    config: bytes
    node_id: bytes
    node_ip: str
    session_name: str
    store_capacity: int
    runtime_env: bytes = b""
    assigned: dict[str, float] = {}


class RequestLease(Message, tag=54):
    """Owner to raylet: I have ``backlog`` tasks of this shape. Answered by LeaseGranted or LeaseRefused, some time."""

    rid: int
    resources: dict[str, float]
    backlog: int
    job_id: bytes
    nested: bool  # the owner is itself running a task: served before drivers, else parents fill the machine and wait
    runtime_env: bytes = b""
    strategy: bytes = b""  # encoded model.placement.Strategy, empty for the default
    name: str = ""
    preferred: bytes = b""  # node that has most of the argument bytes
    hops: int = 0  # how often raylets have passed it on
    retriable: bool = True  # its tasks may run again when their worker has to end


class LeaseGranted(Message, tag=55):
    """Raylet to owner: the worker is yours until you return it."""

    rid: int
    lease_id: int
    worker: Address
    pid: int
    assigned: dict[str, float]


class LeaseRefused(Message, tag=56):
    """Final. ``kind``: unschedulable | runtime_env | shutdown | worker_start | cancelled."""

    rid: int
    kind: str
    reason: str


class CancelLease(Message, tag=57):
    """Owner to raylet: the request is no longer needed (the answer may already be under way: then return it)."""

    rid: int


class ReturnLease(Message, tag=58):
    """Owner to raylet: done with the worker. ``reusable`` False: the worker ends itself, do not grant it again."""

    lease_id: int
    reusable: bool = True


class RecallLease(Message, tag=59):
    """Raylet to owner: others wait; return this lease when its pushed tasks are done."""

    lease_id: int


class LeaseBroken(Message, tag=60):
    """Raylet to owner: the leased worker is dead. ``reason`` names pid, signal or exit code, and node."""

    lease_id: int
    worker_id: bytes
    reason: str
    intended: bool = False
    oom: bool = False  # it was ended because its node ran out of memory
    is_final: bool = False  # and its task shall not be tried again


class Blocked(Message, tag=61):
    """Worker to raylet: my running normal task waits; its CPU is free meanwhile."""


class Unblocked(Message, tag=62):
    """Worker to raylet: it goes on (takes its CPU back at once, oversubscribed if need be)."""


class KillWorker(Message, tag=63):
    """Runtime to raylet: SIGKILL this worker now (forced cancel, kill of an actor's process)."""

    worker_id: bytes
    reason: str


class AllocExtent(Message, tag=64):
    """Runtime to store: lease me at least ``size`` bytes of the segment. Answered by ExtentGranted/ExtentDenied."""

    rid: int
    size: int


class ExtentGranted(Message, tag=65):
    """Answer to AllocExtent: the extent is yours."""

    rid: int
    offset: int
    size: int


class ExtentDenied(Message, tag=66):
    """``kind`` ``disk_full``: objects could not be spilled for want of disk."""

    rid: int
    reason: str
    kind: str = ""


class ExtentReturned(Message, tag=67):
    """Runtime to store: these (offset, size) hold nothing of mine any more."""

    extents: list[tuple[int, int]]


class RecallExtents(Message, tag=68):
    """Store to runtime: give back what you do not use."""


class Sealed(Message, tag=69):
    """Producer to store: (offset, size, object_id, owner worker_id) are complete objects now."""

    objects: list[tuple[int, int, bytes, bytes]]


class FreeBlocks(Message, tag=70):
    """Owner to store, and store to the process whose extent holds the block: nobody reads these offsets any more."""

    offsets: list[int]


class LeftBehind(Message, tag=281):
    """Owner to store: what did this process make for me? It did not answer these tasks. Answered by ``BlocksLeft`` once
    it is dead; not at all as long as it lives.
    """

    worker_id: bytes


class BlocksLeft(Message, tag=282):
    """Store to owner: (object_id, offset, size) of blocks that this dead process made for it and that are there."""

    worker_id: bytes
    blocks: list[tuple[bytes, int, int]]


class SegmentRequest(Message, tag=71):
    """Runtime to store: pass me the segment's file descriptor (answered out of band by SCM_RIGHTS, see rpc/)."""

    rid: int


class LogLines(Message, tag=72):
    """Raylet to driver: output of its job's workers, in order per worker; ``dropped`` lines were lost before these."""

    lines: list[LogLine]
    dropped: int = 0


class ActorStarting(Message, tag=73):
    """Raylet to worker: host this actor. ``spec`` is an encoded model.ActorSpec."""

    spec: bytes
    restarts: int
    assigned: dict[str, float] = {}


class ActorStarted(Message, tag=74):
    """Worker to raylet (on to the GCS): the constructor returned, or raised ``error`` (encoded)."""

    actor_id: bytes
    error: bytes | None
    repr_name: str = ""


class ActorExiting(Message, tag=75):
    """Worker to raylet: the actor ends itself. ``intended``: exit_actor, sys.exit, __ray_terminate__, scope end."""

    actor_id: bytes
    intended: bool
    reason: str


class TerminateActor(Message, tag=76):
    """Raylet to worker: finish what was submitted, then exit gracefully (scope end)."""

    actor_id: bytes


class ExitWorker(Message, tag=77):
    """Raylet to worker: exit now, cleanly (idle, job end, shutdown)."""

    reason: str


class WhyPending(Message, tag=78):
    """Runtime to raylet: what holds up this lease request (0: none)? Answered by Pending."""

    rid: int
    lease_rid: int


class Pending(Message, tag=79):
    """Answer to WhyPending, WhyNoWorker and WhyAbsent. ``node_id``: its raylet may know more."""

    rid: int
    kind: str  # resources | infeasible | worker_start | granted | unknown
    text: str
    node_id: bytes = b""


class ProfileEvents(Message, tag=80):
    """Runtime to raylet to GCS: task events for timeline(): (name, start_s, end_s, task_id, worker_id, pid, kind)."""

    events: list[tuple[str, float, float, bytes, bytes, int, str]]


class WhyNoWorker(Message, tag=84):
    """Runtime to raylet: what holds up the start of this actor on your node? Answered by Pending."""

    rid: int
    actor_id: bytes


class TrimMemory(Message, tag=83):
    """Raylet to an idle worker: give back to the machine what you have allocated and do not use."""


class WaitEdge(Message, tag=81):
    """Worker to GCS: my task waits for these tasks/actors (deadlock detection); empty when it goes on."""

    task_id: bytes
    waits_for: list[bytes]
    worker_id: bytes
    name: str = ""
    exclusive_actor: bytes = b""  # the one-at-a-time actor it runs in


class Deadlock(Message, tag=82):
    """GCS to a waiting worker: you are part of this cycle."""

    task_id: bytes
    cycle: list[str]
