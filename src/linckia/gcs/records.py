"""What the head writes into the store, table by table, and reads again: rows as msgpack maps, so that a row of an older
version lacks a field and one of a newer has a field too many, and both can be read.

Keys are ``gcs/<table>/<id>``; gcs/journal.py writes them, gcs/restoring.py reads them.
"""

from __future__ import annotations

from typing import Any

import msgspec

from linckia.core.actors.record import Actor
from linckia.core.actors.states import ActorDeathReason, ActorState
from linckia.core.autoscaling.instances import InstanceState
from linckia.core.placement.records import Group
from linckia.core.placement.states import GroupState
from linckia.model.placement import GroupSpec
from linckia.model.specs import ActorSpec
from linckia.model.wire import Address

META, NODES, JOBS, ACTORS, SPECS, GROUPS, KV, DEMAND, INSTANCES = (
    b"meta", b"nodes", b"jobs", b"actors", b"specs", b"groups", b"kv", b"demand", b"instances",
)  # fmt: skip
FORMAT_VERSION = 1
encode = msgspec.msgpack.encode


class MetaRow(msgspec.Struct, frozen=True):
    """``gcs/meta/``: of the whole cluster. ``token_mark`` tells its token from another's without showing it."""

    version: int
    session_name: str
    token_mark: str = ""
    jobs_seen: int = 0


class NodeRow(msgspec.Struct, frozen=True):
    """``gcs/nodes/<node id>``. ``drain``: why it drains, until ``drain_end_s`` (wall clock; 0: no deadline), which was
    ``drain_for_s`` away when it began.
    """

    info: bytes
    alive: bool
    joined_s: float
    died_s: float = 0.0
    drain: str = ""
    drain_end_s: float = 0.0
    drain_for_s: float = 0.0
    death_reason: str = ""
    death_kind: str = ""


class ActorRow(msgspec.Struct, frozen=True):
    """``gcs/actors/<actor id>``: what changes; what it is made of is in ``gcs/specs/<actor id>``."""

    state: ActorState
    restarts: int
    node_id: bytes = b""
    worker: Address | None = None
    pid: int = 0
    repr_name: str = ""
    preempted: int = 0
    taken_away: bool = False
    killed: bool = False
    no_process: bool = False
    scope_ended: bool = False
    death: ActorDeathReason | None = None
    death_number: int = 0
    death_text: str = ""
    oom_error: bytes | None = None
    error: bytes | None = None
    attempt: int = 0


class GroupRow(msgspec.Struct, frozen=True):
    """``gcs/groups/<group id>``. ``nodes``: of committed bundles."""

    spec: GroupSpec
    state: GroupState
    nodes: dict[int, bytes]
    attempt: int
    removal_number: int = 0


class DemandRow(msgspec.Struct, frozen=True):
    """``gcs/demand/``: what `request_resources` asked for last."""

    bundles: list[dict[str, float]]
    selectors: list[dict[str, str]]


class InstanceRow(msgspec.Struct, frozen=True):
    """``gcs/instances/<name>``: a node that the autoscaler asked a provider for."""

    node_type: str
    state: InstanceState
    node_id: bytes = b""


decode_meta = msgspec.msgpack.Decoder(MetaRow).decode
decode_node = msgspec.msgpack.Decoder(NodeRow).decode
decode_actor = msgspec.msgpack.Decoder(ActorRow).decode
decode_spec = msgspec.msgpack.Decoder(ActorSpec).decode
decode_group = msgspec.msgpack.Decoder(GroupRow).decode
decode_demand = msgspec.msgpack.Decoder(DemandRow).decode
decode_instance = msgspec.msgpack.Decoder(InstanceRow).decode


def actor_row(actor: Actor, node_id: bytes) -> ActorRow:
    """``node_id``: where it was sent, or empty."""
    fields: dict[str, Any] = {name: getattr(actor, name) for name in ActorRow.__struct_fields__ if name != "node_id"}
    return ActorRow(node_id=node_id or actor.node_id, **fields)


def actor_of(spec: ActorSpec, row: ActorRow) -> Actor:
    """Inverse of `actor_row`."""
    actor = Actor(spec)
    for name in ActorRow.__struct_fields__:
        setattr(actor, name, getattr(row, name))
    return actor


def group_row(group: Group) -> GroupRow:
    """An attempt under way is not kept: its number is."""
    return GroupRow(group.spec, group.state, group.nodes, group.attempt, group.removal_number)


def group_of_row(row: GroupRow, now_s: float) -> Group:
    """Inverse of `group_row`. Times of the last head's clock mean nothing here."""
    group = Group(row.spec, now_s)
    group.state, group.nodes, group.attempt = row.state, dict(row.nodes), row.attempt
    group.removal_number = row.removal_number
    group.scheduling_state = {"CREATED": "FINISHED", "REMOVED": "REMOVED"}.get(row.state.value, "QUEUED")
    if row.state is GroupState.CREATED:
        group.done_s = now_s
    return group


def kv_key(namespace: str, key: bytes) -> bytes:
    """``<namespace>\\0<key>``; namespaces have no zero byte."""
    return namespace.encode() + b"\0" + key


def split_kv_key(name: bytes) -> tuple[str, bytes]:
    """Inverse of `kv_key`."""
    namespace, _, key = name.partition(b"\0")
    return namespace.decode(), key
