"""Every message that crosses a process boundary, as a typed struct; no behaviour.

One frame carries a *batch*: a msgpack array of messages, each an array ``[tag, field, ...]`` (``array_like`` structs), so that
a thousand small messages cost one encode call, one system call and one decode call. Tags are part of the protocol: they are
never reused; a new message takes the next free number and raises ``PROTOCOL_VERSION`` only when an old peer could misread it.

Field conventions: ``rid`` is a request id, unique per sending process, repeated unchanged when a request is retried, and the
answer carries it back (receivers answer a repeated ``rid`` from memory: see ``rpc/idempotence.py``). Ids are raw bytes of the
sizes in ``base/ids.py``; sizes are bytes; times are seconds. An *endpoint* is ``unix:/path`` or ``tcp:host:port``.
"""

from __future__ import annotations

from typing import Any

import msgspec

from linckia.model.wire import Address, Block, Dependency, LogLine, PushExtras, RefInfo, Result

PROTOCOL_VERSION = 1

__all__ = ["Address", "Block", "Dependency", "LogLine", "PushExtras", "RefInfo", "Result"]  # extended below


class Message(msgspec.Struct, array_like=True):
    """Base of all messages: encoded as a msgpack array headed by the tag."""


# --- driver/worker <-> worker: tasks (1-29) ---------------------------------------------------------------------------


class FunctionDef(Message, tag=1):
    """A pickled function or class, sent once per connection before its first use."""

    function_id: bytes
    blob: bytes


class TemplateDef(Message, tag=2):
    """The constant part of a task, sent once per connection; ``Push.template`` refers to it."""

    template: int
    function_id: bytes  # empty for actor methods
    name: str  # function or method name
    num_returns: int  # -1 streaming, -2 dynamic
    retry_exceptions: bytes = b""  # pickled tuple of classes, b"*" for all, empty for none
    max_calls: int = 0
    backpressure: int = -1
    concurrency_group: str = ""
    careful: bool = False  # max_retries=0: answer earlier tasks before this one starts, and this one at once
    qualified_name: str = ""


class Push(Message, tag=3, gc=False):
    """Run this task. Empty ``args`` means no arguments."""

    task_id: bytes
    template: int
    args: bytes
    extras: PushExtras | None = None


class Done(Message, tag=4, gc=False):
    """The hot answer: one inline result without nested references."""

    task_id: bytes
    inline: bytes


class DoneMany(Message, tag=5):
    """The general answer. ``borrowing`` lists argument references the worker still holds; ``retryable`` says that the
    application error matches the template's ``retry_exceptions``; ``cancelled`` that the task ended by cancellation."""

    task_id: bytes
    results: list[Result]
    borrowing: list[bytes] = []
    failed: bool = False
    retryable: bool = False
    cancelled: bool = False
    stream_length: int = -1


class BatchTime(Message, tag=6):
    """How long the tasks since the last report ran: ``count`` tasks took ``total_s`` together (adapts pipelining)."""

    count: int
    total_s: float


class TakeBack(Message, tag=7):
    """Owner to worker: give back up to ``count`` tasks that have not started, newest first."""

    count: int


class TakenBack(Message, tag=8):
    """Worker to owner: these were not started and will not be; run them elsewhere. ``stalled``: the running task waits."""

    task_ids: list[bytes]
    stalled: bool = False


class Resumed(Message, tag=9):
    """Worker to owner: the running task no longer waits; push again."""


class Yielded(Message, tag=10):
    """One item of a streaming generator (index from 0)."""

    task_id: bytes
    index: int
    result: Result


class StreamConsumed(Message, tag=11):
    """Owner to worker: so many items were consumed (backpressure); ``dropped`` when nobody will consume the rest."""

    task_id: bytes
    consumed: int
    dropped: bool = False


class CancelTask(Message, tag=12):
    """Owner to executing worker. The forced variant goes to the raylet as KillWorker."""

    task_id: bytes
    recursive: bool


class CancelRemote(Message, tag=13):
    """A borrower asks the owner of a reference to cancel its task."""

    object_id: bytes
    force: bool
    recursive: bool


class WorkerExiting(Message, tag=14):
    """Worker to owner: I end after this (max_calls, sys.exit, idle); unstarted tasks are given back."""

    task_ids: list[bytes]
    intended: bool
    reason: str


class LeaseInfo(Message, tag=16):
    """Owner to a worker it was granted, before the first push: what its tasks hold; GPUs by id, as ``GPU/3``."""

    assigned: dict[str, float]


# --- driver/worker <-> owner: objects (30-49) -------------------------------------------------------------------------


class GetObject(Message, tag=30):
    """Borrower to owner: tell me the value when there is one. ``wait_only``: only that it exists."""

    object_id: bytes
    wait_only: bool = False


class ObjectValue(Message, tag=31):
    """Owner to borrower: the value. ``unknown``: the owner does not know this object (freed or never existed)."""

    object_id: bytes
    result: Result | None
    unknown: bool = False


class AddBorrower(Message, tag=32):
    """``borrower`` now holds the reference; answered by BorrowerAdded with the same rid."""

    rid: int
    object_id: bytes
    borrower: Address


class BorrowerAdded(Message, tag=33):
    rid: int
    known: bool


class BorrowEnded(Message, tag=34):
    """The sender no longer holds these references."""

    object_ids: list[bytes]


class ActorHandleHeld(Message, tag=35):
    """Holder to the actor's owner (or GCS when detached): ``delta`` strong handles in this process (+1 first, -1 last)."""

    actor_id: bytes
    delta: int


# --- runtime <-> raylet (50-89) -----------------------------------------------------------------------------------------


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
    rid: int
    job_id: bytes
    node_id: bytes
    node_ip: str
    session_name: str
    store_capacity: int
    resources: dict[str, float]


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
    node_affinity: bytes = b""
    soft: bool = True
    name: str = ""


class LeaseGranted(Message, tag=55):
    rid: int
    lease_id: int
    worker: Address
    pid: int
    assigned: dict[str, float]


class LeaseRefused(Message, tag=56):
    """Final. ``kind``: unschedulable | runtime_env | shutdown | worker_start."""

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
    oom: bool = False


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
    rid: int
    offset: int
    size: int


class ExtentDenied(Message, tag=66):
    rid: int
    reason: str


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
    rid: int
    kind: str  # resources | infeasible | worker_start | granted | unknown
    text: str


class ProfileEvents(Message, tag=80):
    """Runtime to raylet to GCS: task events for timeline(): (name, start_s, end_s, task_id, worker_id, pid, kind)."""

    events: list[tuple[str, float, float, bytes, bytes, int, str]]


class WaitEdge(Message, tag=81):
    """Worker to GCS: my task waits for these tasks/actors (deadlock detection); empty when it goes on."""

    task_id: bytes
    waits_for: list[bytes]
    worker_id: bytes
    name: str = ""


class Deadlock(Message, tag=82):
    """GCS to a waiting worker: you are part of this cycle."""

    task_id: bytes
    cycle: list[str]


class TaskStarted(Message, tag=83):
    """Reserved for state API."""

    task_id: bytes


# --- runtime/raylet <-> GCS (90-139) ----------------------------------------------------------------------------------


class RegisterNode(Message, tag=90):
    rid: int
    node_id: bytes
    info: bytes  # encoded model.NodeInfo


class NodeRegistered(Message, tag=91):
    rid: int
    epoch: int


class RegisterActor(Message, tag=92):
    """Owner to GCS: answered by ActorRegistered. Without ``ready`` the arguments follow in ActorArgs."""

    rid: int
    spec: bytes  # encoded model.ActorSpec
    ready: bool


class ActorRegistered(Message, tag=93):
    """``existing``: get_if_exists found this live actor (encoded model.ActorInfo). ``error``: name taken, text."""

    rid: int
    error: str = ""
    existing: bytes = b""


class ActorArgs(Message, tag=94):
    """Owner to GCS: the constructor's arguments are ready, or failed (``error``: encoded, the actor is dead)."""

    actor_id: bytes
    args: bytes
    extras: PushExtras | None
    error: bytes | None = None


class SubscribeActor(Message, tag=95):
    """Answered at once and on each change by ActorUpdate."""

    actor_id: bytes


class ActorUpdate(Message, tag=96):
    """State of an actor as core/actors names it. ``error`` is an encoded ActorDiedError when state is DEAD."""

    actor_id: bytes
    state: str
    worker: Address | None
    restarts: int
    error: bytes | None = None
    pid: int = 0


class GetActorByName(Message, tag=97):
    rid: int
    name: str
    namespace: str


class ActorFound(Message, tag=98):
    """``info``: encoded model.ActorInfo; None when there is none by that name."""

    rid: int
    info: bytes | None


class KillActor(Message, tag=99):
    rid: int
    actor_id: bytes
    no_restart: bool


class ActorOutOfScope(Message, tag=100):
    """Owner to GCS: no strong handle is left and all submitted calls are done."""

    actor_id: bytes


class ListActors(Message, tag=101):
    rid: int
    all_namespaces: bool
    namespace: str


class ActorList(Message, tag=102):
    rid: int
    actors: list[bytes]  # encoded model.ActorInfo


class KvPut(Message, tag=103):
    rid: int
    namespace: str
    key: bytes
    value: bytes
    overwrite: bool = True


class KvGet(Message, tag=104):
    rid: int
    namespace: str
    key: bytes


class KvDel(Message, tag=105):
    rid: int
    namespace: str
    key: bytes
    prefix: bool = False


class KvKeys(Message, tag=106):
    rid: int
    namespace: str
    prefix: bytes


class KvReply(Message, tag=107):
    """``count``: keys added or deleted; ``values``: found values or keys."""

    rid: int
    count: int = 0
    values: list[bytes] = []


class ClusterQuery(Message, tag=108):
    """``what``: nodes | total | available | status | timeline | actors | jobs."""

    rid: int
    what: str


class ClusterAnswer(Message, tag=109):
    rid: int
    body: bytes  # msgpack


class JobFinished(Message, tag=110):
    job_id: bytes


class StartActor(Message, tag=111):
    """GCS to raylet: find a worker for this actor and start it there."""

    actor_id: bytes
    spec: bytes
    restarts: int
    epoch: int


class ActorStart(Message, tag=112):
    """Raylet to GCS. ``phase``: leased | alive | failed | refused; ``error`` encoded when the constructor raised."""

    actor_id: bytes
    phase: str
    worker: Address | None = None
    pid: int = 0
    error: bytes | None = None
    reason: str = ""
    repr_name: str = ""


class ActorWorkerDied(Message, tag=113):
    """Raylet to GCS: the process of this actor ended."""

    actor_id: bytes
    reason: str
    intended: bool
    restarts: int
    oom: bool = False


class StopActor(Message, tag=114):
    """GCS to raylet: ``graceful`` lets submitted calls finish; else SIGKILL now."""

    actor_id: bytes
    graceful: bool
    reason: str
    epoch: int


class ResourceReport(Message, tag=115):
    """Raylet to GCS, on change only: what is available, and demand shapes with counts that wait."""

    node_id: bytes
    available: dict[str, float]
    demand: list[tuple[dict[str, float], int]]
    revision: int


class WorkerFailed(Message, tag=116):
    """Raylet to GCS to subscribers: a runtime process is gone (its objects and actors with it)."""

    worker_id: bytes
    reason: str
    is_driver: bool = False


class Stop(Message, tag=117):
    """Driver or CLI to the node: shut the cluster down."""

    rid: int
    reason: str


class Stopped(Message, tag=118):
    rid: int


class Ping(Message, tag=119):
    rid: int


class Pong(Message, tag=120):
    rid: int


class Failure(Message, tag=121):
    """The request ``rid`` could not be done: error class name of linckia.exceptions, and text."""

    rid: int
    kind: str
    text: str


class DriverMessage(Message, tag=122):
    """Raylet/GCS to driver: a warning or notice to show (``level``: info | warning | error), once per ``key``."""

    level: str
    key: str
    text: str


class RegisterJob(Message, tag=123):
    """Raylet to GCS: a driver has registered; answered by JobRegistered with the job's number."""

    rid: int
    driver: Address
    pid: int
    config: bytes


class JobRegistered(Message, tag=124):
    rid: int
    job_id: bytes
    driver_id: bytes


def _all_messages() -> Any:
    union: Any = None
    for cls in list(globals().values()):
        if isinstance(cls, type) and issubclass(cls, Message) and cls is not Message:
            union = cls if union is None else union | cls
    return union


AnyMessage = _all_messages()
__all__ += [name for name, value in list(globals().items()) if isinstance(value, type) and issubclass(value, Message)]
__all__ += ["AnyMessage", "PROTOCOL_VERSION"]
