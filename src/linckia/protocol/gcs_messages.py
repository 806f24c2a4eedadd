"""Between runtimes, raylets and the GCS: actors, key-value, jobs, questions (tags 90-139). See
``protocol/messages.py``.
"""

from __future__ import annotations

from linckia.model.wire import Address, PushExtras
from linckia.protocol.message import Message


class RegisterNode(Message, tag=90):
    """Raylet to GCS: this node joins."""

    rid: int
    node_id: bytes
    info: bytes  # encoded model.NodeInfo
    tells: bool = False  # NodeRuns follows: what runs there is not known before


class NodeRegistered(Message, tag=91):
    """``refused``: why this node may not join (it was declared dead, ...)."""

    rid: int
    epoch: int
    refused: str = ""


class RegisterActor(Message, tag=92):
    """Owner to GCS: answered by ActorRegistered. Without ``ready`` the arguments follow in ActorArgs."""

    rid: int
    spec: bytes  # encoded model.ActorSpec
    ready: bool


class ActorRegistered(Message, tag=93):
    """``existing``: get_if_exists found this live actor (encoded model.ActorInfo). ``error``: name taken, text.
    ``actor_id``: that was registered; its owner hears of it from now on.
    """

    rid: int
    error: str = ""
    existing: bytes = b""
    actor_id: bytes = b""


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
    """State of an actor as core/actors names it. ``error``, encoded, is why: when it is DEAD, and when it is
    RESTARTING because its node ran out of memory.
    """

    actor_id: bytes
    state: str
    worker: Address | None
    restarts: int
    error: bytes | None = None
    pid: int = 0


class GetActorByName(Message, tag=97):
    """Who is called so? Answered by ActorFound."""

    rid: int
    name: str
    namespace: str


class ActorFound(Message, tag=98):
    """``info``: encoded model.ActorInfo; None when there is none by that name."""

    rid: int
    info: bytes | None


class KillActor(Message, tag=99):
    """End an actor now (``linckia.kill``)."""

    rid: int
    actor_id: bytes
    no_restart: bool


class ActorOutOfScope(Message, tag=100):
    """Owner to GCS: no strong handle is left and all submitted calls are done."""

    actor_id: bytes


class ReviveActor(Message, tag=226):
    """Owner to GCS: an object was lost that a method of this actor, which ended out of scope, may make again. Answered
    by ActorUpdate to who subscribes.
    """

    actor_id: bytes


class ListActors(Message, tag=101):
    """Which actors have names? Answered by ActorList."""

    rid: int
    all_namespaces: bool
    namespace: str


class ActorList(Message, tag=102):
    """Answer to ListActors."""

    rid: int
    actors: list[bytes]  # encoded model.ActorInfo


class KvPut(Message, tag=103):
    """Store a value; ``overwrite`` False keeps one that is there. Answered by KvReply."""

    rid: int
    namespace: str
    key: bytes
    value: bytes
    overwrite: bool = True


class KvGet(Message, tag=104):
    """Read a value. Answered by KvReply."""

    rid: int
    namespace: str
    key: bytes


class KvDel(Message, tag=105):
    """Delete a key, or all keys with that prefix. Answered by KvReply."""

    rid: int
    namespace: str
    key: bytes
    prefix: bool = False


class KvKeys(Message, tag=106):
    """Which keys begin so? Answered by KvReply."""

    rid: int
    namespace: str
    prefix: bytes


class KvReply(Message, tag=107):
    """``count``: keys added or deleted; ``values``: found values or keys."""

    rid: int
    count: int = 0
    values: list[bytes] = []


class ClusterQuery(Message, tag=108):
    """``what``: nodes | total | available | overview | status | timeline | actors | jobs."""

    rid: int
    what: str


class ClusterAnswer(Message, tag=109):
    """Answer to ClusterQuery."""

    rid: int
    body: bytes  # msgpack


class JobFinished(Message, tag=110):
    """Raylet to GCS: the driver of this job is gone."""

    job_id: bytes


class StartActor(Message, tag=111):
    """GCS to raylet: find a worker for this actor, say so, and start it there when `BeginActor` comes. ``may_wait``
    False: answer ``busy`` when its resources are not free now. ``wait_s``: answer so when they are not free in so many
    seconds, or when not even all tasks of the node could make room; 0: wait as long as it takes. ``attempt``:
    counts the requests for this actor; what is said of another one than the last means nothing.
    """

    actor_id: bytes
    spec: bytes
    restarts: int
    epoch: int
    may_wait: bool = True
    wait_s: float = 0.0
    attempt: int = 1


class BeginActor(Message, tag=283):
    """GCS to raylet: its constructor may run, on the worker of this attempt. Until then it can be asked of another node
    instead. Said again it changes nothing.
    """

    actor_id: bytes
    attempt: int
    epoch: int


class CancelStart(Message, tag=284):
    """GCS to raylet: another node is asked, or none; the constructor has not begun. Forget that attempt."""

    actor_id: bytes
    attempt: int
    epoch: int


class ActorStart(Message, tag=112):
    """Raylet to GCS. ``phase``: leased | alive | failed | refused | unstartable | busy | elsewhere. ``error``:
    encoded, what the constructor raised.
    """

    actor_id: bytes
    phase: str
    worker: Address | None = None
    pid: int = 0
    error: bytes | None = None
    reason: str = ""
    repr_name: str = ""
    attempt: int = 1


class ActorWorkerDied(Message, tag=113):
    """Raylet to GCS: the process of this actor ended."""

    actor_id: bytes
    reason: str
    intended: bool
    restarts: int
    oom: bool = False  # ended because its node ran out of memory
    attempt: int = 1


class StopActor(Message, tag=114):
    """GCS to raylet: ``graceful`` lets submitted calls finish; else SIGKILL now."""

    actor_id: bytes
    graceful: bool
    reason: str
    epoch: int


class ResourceReport(Message, tag=115):
    """Raylet to GCS: what changed since the last report (``revision`` - 1), amounts in units of 1e-4. ``everything``:
    all of it, forget the rest. ``demand``: shapes with counts that wait. ``idle``: no lease, no request, no object of
    its own.
    """

    node_id: bytes
    revision: int
    available: dict[str, int]
    gone: list[str] = []
    total: dict[str, int] = {}
    total_gone: list[str] = []
    demand: list[tuple[dict[str, float], int, bytes]] = []  # amounts, how many, encoded strategy
    idle: bool = False
    everything: bool = False


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
    """Answer to Stop: the node is about to end."""

    rid: int


class Ping(Message, tag=119):
    """Are you there? Answered by Pong."""

    rid: int


class Pong(Message, tag=120):
    """Answer to Ping."""

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
    """Answer to RegisterJob."""

    rid: int
    job_id: bytes
    driver_id: bytes


class WhyAbsent(Message, tag=125):
    """Runtime to GCS: why is this actor, or this placement group, not there? Answered by Pending, whose ``kind`` is the
    state of the actor or group, or UNKNOWN.
    """

    rid: int
    actor_id: bytes = b""
    group_id: bytes = b""
