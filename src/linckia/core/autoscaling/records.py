"""What the autoscaler knows and what it decides, as data. No behaviour."""

from __future__ import annotations

import msgspec

from linckia.core.autoscaling.instances import InstanceEvent, InstanceState

Amounts = dict[str, float]


class NodeType(msgspec.Struct, frozen=True):
    """A worker group: what one node of it offers, and how many there may be."""

    name: str
    resources: Amounts
    min_workers: int = 0
    max_workers: int = 1 << 30
    labels: dict[str, str] = {}
    priority: int = 0
    idle_timeout_s: float | None = None


class Limits(msgspec.Struct, frozen=True):
    """For the cluster as a whole. ``upscaling_speed``: nodes per round, relative to those that run."""

    types: list[NodeType]
    max_workers: int = 1 << 30
    upscaling_speed: float = 1.0
    idle_timeout_s: float = 300.0


class RunningNode(msgspec.Struct, frozen=True):
    """A living node. ``idle_since_s`` 0: busy. ``node_type`` empty: not ours (the head, nodes started by hand)."""

    node_id: bytes
    node_type: str
    total: Amounts
    available: Amounts
    labels: dict[str, str] = {}
    idle_since_s: float = 0.0
    is_head: bool = False
    takes_work: bool = True


class Gang(msgspec.Struct, frozen=True):
    """Bundles that must fit all at once: a placement group that waits for nodes. ``fixed``: nodes of bundles it has;
    ``selectors``: what the labels of each bundle's node must be (empty: anything).
    """

    name: str
    bundles: list[Amounts]
    strategy: str
    fixed: list[bytes] = []
    selectors: list[dict[str, str]] = []


class Demand(msgspec.Struct, frozen=True):
    """What waits. ``shapes``: (amounts, how many, label selectors in order). ``constraints``: request_resources, with
    a label selector each in ``constraint_selectors`` (empty: anything).
    """

    shapes: list[tuple[Amounts, int, list[dict[str, str]]]] = []
    gangs: list[Gang] = []
    constraints: list[Amounts] = []
    constraint_selectors: list[dict[str, str]] = []


class Launch(msgspec.Struct, frozen=True):
    """Start ``count`` nodes of a type."""

    node_type: str
    count: int
    reason: str


class Terminate(msgspec.Struct, frozen=True):
    """Drain and end a node. ``cause``: IDLE | MAX_NUM_NODE_PER_TYPE | MAX_NUM_NODES."""

    node_id: bytes
    cause: str
    reason: str


class Plan(msgspec.Struct, frozen=True):
    """What to do now, and what cannot be helped."""

    launch: list[Launch]
    terminate: list[Terminate]
    unmet: list[tuple[str, str]]  # what, why


class Instance(msgspec.Struct, frozen=True):
    """A node that was asked of a provider. ``age_s``: in this state, by the clock of the head that leads now;
    ``node_id`` once it has joined.
    """

    name: str
    node_type: str
    state: InstanceState
    age_s: float = 0.0
    node_id: bytes = b""


class Observation(msgspec.Struct, frozen=True):
    """The cluster as the head sees it at ``now_s`` of its clock. ``hold``: why nothing may be started or ended now, or
    empty. ``hosted``: instances that nodes of this cluster run as processes (name -> node type), and ``failed``: those
    that did not come up, with the reason.
    """

    nodes: list[RunningNode]
    demand: Demand
    now_s: float
    hold: str = ""
    instances: list[Instance] = []
    hosted: dict[str, str] = {}
    failed: dict[str, str] = {}


class Change(msgspec.Struct, frozen=True):
    """What becomes of an instance. ``event`` None: it is new, or was found, in ``state``."""

    name: str
    node_type: str
    event: InstanceEvent | None = None
    state: InstanceState | None = None
    node_id: bytes = b""


class Round(msgspec.Struct, frozen=True):
    """What one look at the cluster leads to. First ``changes`` are written down, then instances are launched (again),
    drained, and ended; ``said`` is for people.
    """

    changes: list[Change]
    launch: list[tuple[str, str]]  # name, node type
    drain: list[tuple[str, str]]  # name, reason
    end: list[str]
    unmet: list[tuple[str, str]]
    said: list[str]
