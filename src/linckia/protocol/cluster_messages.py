"""Between nodes and the head, and between owners and raylets of other nodes: joining, the view, relays, jobs (tags
140-179). See ``protocol/messages.py``.
"""

from __future__ import annotations

import msgspec

from linckia.model.parts import DashboardFacts, PartFacts
from linckia.model.wire import Address
from linckia.protocol.message import Message


class Relayed(Message, tag=140):
    """Raylet to GCS: ``batch`` (encoded messages) of a driver or worker of this node."""

    worker_id: bytes
    role: str
    batch: bytes


class RelayedBack(Message, tag=141):
    """GCS to raylet: ``batch`` for a driver or worker of that node."""

    worker_id: bytes
    batch: bytes


class RelayEnded(Message, tag=142):
    """Raylet to GCS: that driver or worker has hung up."""

    worker_id: bytes


class NodesChanged(Message, tag=143):
    """GCS to raylets, raylets to their runtimes: ``joined`` are encoded model.NodeInfo; ``dead`` (node id, reason,
    text); ``states`` (node id, takes_work); ``preempted`` are about to be taken away: their end is nobody's fault.
    ``everything``: who is not among those that joined is gone.
    """

    joined: list[bytes] = []
    dead: list[tuple[bytes, str, str]] = []
    states: list[tuple[bytes, bool]] = []
    preempted: list[bytes] = []
    everything: bool = False


class NodeSilent(Message, tag=243):
    """Runtime to its raylet: what I send to that node is not acknowledged; look at it."""

    node_id: bytes


class NodeUnreachable(Message, tag=242):
    """Runtime to its raylet: I cannot connect to that node; send me elsewhere for a while, others may reach it.
    Raylet to a runtime that found it silent: it lives, but not for us; ask elsewhere.
    """

    node_id: bytes
    reason: str


class ViewInterest(Message, tag=144):
    """Raylet to GCS: tell me what changes from revision ``as_of`` on, or (``on`` False) no longer."""

    as_of: int
    on: bool = True


class NodeDelta(msgspec.Struct, array_like=True, frozen=True):
    """What changed at one node, in units of 1e-4; -1: the name is gone."""

    node_id: bytes
    available: dict[str, int]
    total: dict[str, int]


class ViewDelta(Message, tag=145):
    """GCS to an interested raylet: nodes that changed, up to revision ``as_of``."""

    as_of: int
    changes: list[NodeDelta]


class Heartbeat(Message, tag=146):
    """Raylet to GCS every HEARTBEAT_EVERY_S: this node lives; and its memory at its last look (threshold 0: it
    does not look), which of its parts are down, and its dashboard, if it has one.
    """

    node_id: bytes
    memory_used: int = 0
    memory_threshold: int = 0
    down: list[PartFacts] = []
    dashboard: DashboardFacts | None = None


class NodeFenced(Message, tag=147):
    """GCS to a raylet: this node was declared dead; it must end what it runs and join as a new one."""

    node_id: bytes
    reason: str


class UnregisterNode(Message, tag=148):
    """Raylet to GCS: this node ends on purpose."""

    node_id: bytes
    reason: str


class JobStarted(Message, tag=149):
    """GCS to all raylets: a job and its driver."""

    job_id: bytes
    config: bytes
    driver: Address
    node_id: bytes


class JobEnded(Message, tag=150):
    """GCS to all raylets: nothing of the job goes on but detached actors."""

    job_id: bytes


class LeaseSpilled(Message, tag=151):
    """Raylet to owner: ask that node instead (``hops`` as often as this request was passed on)."""

    rid: int
    node_id: bytes
    endpoint: str
    hops: int


class IncomingConnection(Message, tag=152):
    """Node to its driver or worker, with the descriptor of an accepted socket attached: somebody wants to talk."""

    rid: int = 0


class SegmentPassed(Message, tag=153):
    """Answer to SegmentRequest, with the segment's descriptor attached."""

    rid: int


class DrainNode(Message, tag=154):
    """Anybody to GCS. ``reason``: IDLE_TERMINATION | PREEMPTION. Answered by NodeDrained."""

    rid: int
    node_id: bytes
    reason: str
    message: str = ""
    deadline_s: float = 0.0


class NodeDrained(Message, tag=155):
    """``accepted`` False: why not."""

    rid: int
    accepted: bool
    text: str = ""


class SetDraining(Message, tag=156):
    """GCS to a raylet: take no new work from now on (or, ``on`` False, again)."""

    on: bool
    deadline_s: float = 0.0


class Announced(Message, tag=157):
    """GCS to all raylets: ``batch`` (encoded once for all) of NodesChanged, WorkerFailed and GroupUpdate, in order."""

    batch: bytes
