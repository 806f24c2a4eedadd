"""A GCS in virtual time, and the raylets' connections to it, for tests of its services."""

from __future__ import annotations

from typing import Any

import msgspec

from linckia.core.leases.vectors import to_units
from linckia.gcs.actor_placement import ActorPlacement
from linckia.gcs.service import Gcs
from linckia.model.specs import ActorSpec, NodeInfo
from linckia.model.wire import Address
from linckia.protocol import messages as m
from linckia.protocol.batch import decode_batch
from linckia.testing.clock import VirtualClock
from linckia.testing.scripts import ActorScript, actor_spec


class Peer:
    """A raylet's connection; ``heard`` has what announcements say one by one."""

    def __init__(self, node_id: bytes) -> None:
        self.peer_id, self.peer_role, self.closed = node_id, "raylet", False
        self.heard: list[Any] = []
        self.frames = 0

    def post(self, message: m.Message) -> None:
        self.frames += 1
        self.heard += decode_batch(message.batch) if isinstance(message, m.Announced) else [message]

    def joined(self) -> list[bytes]:
        """Node ids that it was told of."""
        infos = [info for each in self.heard if isinstance(each, m.NodesChanged) for info in each.joined]
        return [msgspec.msgpack.decode(info, type=NodeInfo).node_id for info in infos]


class Head:
    """A GCS in virtual time."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.gcs = Gcs("test", self.clock.call_later)
        self.gcs.nodes.now_s = self.clock.monotonic
        self.warned: list[str] = []
        self.placement = ActorPlacement(
            self.gcs.nodes, 1, lambda _id: 1, lambda _id, _why: None,
            lambda _job, key, _text: self.warned.append(key), self.clock.call_later,
        )  # fmt: skip

    def join(self, node_id: bytes, **resources: float) -> Peer:
        peer = Peer(node_id)
        info = NodeInfo(node_id, "ip", "host", "", 1, resources, {}, is_head=False)
        self.gcs.on_message(peer, m.RegisterNode(1, node_id, msgspec.msgpack.encode(info)))
        return peer

    def pass_time(self, for_s: float) -> None:
        self.clock.pass_time(for_s)


def spec(number: int, **need: float) -> ActorSpec:
    made = actor_spec(b"actor%d" % number, b"job", Address(b"owner", ""), ActorScript())
    return msgspec.structs.replace(made, lifetime_resources=need, placement_resources={})


def report(node_id: bytes, revision: int, *, everything: bool = False, **amounts: float) -> m.ResourceReport:
    units = dict.fromkeys(amounts, 0) | to_units(amounts)
    return m.ResourceReport(node_id, revision, units, [], units if everything else {}, [], [], everything=everything)
