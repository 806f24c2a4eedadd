"""The services of a head that know of actors and groups, in virtual time."""

from __future__ import annotations

from typing import Any

import msgspec

from linckia.gcs.actors import ActorService
from linckia.gcs.placement_groups import GroupService
from linckia.gcs.service import Gcs
from linckia.gcs.why import WhyService
from linckia.model.placement import GroupSpec
from linckia.model.specs import ActorSpec, NodeInfo, encode
from linckia.model.wire import Address
from linckia.protocol import messages as m
from linckia.testing.clock import VirtualClock
from linckia.testing.scripts import ActorScript, actor_spec

ACTOR, GROUP, ASKER = b"actor", b"g" * 18, b"asker"


class Peer:
    """Somebody's connection."""

    def __init__(self, peer_id: bytes, role: str = "raylet") -> None:
        self.peer_id, self.peer_role, self.closed = peer_id, role, False
        self.heard: list[Any] = []

    def post(self, message: m.Message) -> None:
        self.heard.append(message)


class Head:
    """The services that know, in virtual time."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.gcs = Gcs("test", self.clock.call_later)
        self.nodes = self.gcs.nodes
        self.nodes.now_s = self.clock.monotonic
        self.actors = ActorService(self.nodes, self.clock.call_later, lambda _job, _key, _text: None)
        self.groups = GroupService(self.nodes, self.clock.call_later, self.gcs.reply)
        for service in (self.actors, self.groups, WhyService(self.nodes, self.actors, self.groups, self.gcs.reply)):
            self.gcs.plug_in(service.handlers())
        self.asker = Peer(ASKER, "driver")

    def join(self, node_id: bytes, **resources: float) -> Peer:
        peer = Peer(node_id)
        self.gcs.on_message(peer, m.RegisterNode(1, node_id, node_info(node_id, **resources)))
        return peer

    def tell(self, peer: Peer, message: m.Message) -> None:
        self.gcs.on_message(peer, message)

    def register(self, spec: ActorSpec, *, ready: bool = True) -> None:
        self.tell(self.asker, m.RegisterActor(2, encode(spec), ready))

    def create(self, *bundles: dict[str, float], strategy: str = "PACK") -> None:
        spec = GroupSpec(GROUP, list(bundles), strategy=strategy, name="gang", job_id=b"job")
        self.tell(self.asker, m.CreateGroup(3, spec))

    def pass_time(self, for_s: float) -> None:
        self.clock.pass_time(for_s)

    def why(self, *, actor_id: bytes = b"", group_id: bytes = b"") -> m.Pending:
        self.tell(self.asker, m.WhyAbsent(4, actor_id, group_id))
        answer = self.asker.heard[-1]
        assert isinstance(answer, m.Pending), "every question is answered at once"
        return answer


def node_info(node_id: bytes, **resources: float) -> bytes:
    return msgspec.msgpack.encode(NodeInfo(node_id, "10.0.0.1", "host", "", 1, resources, {}, is_head=False))


def spec(need: dict[str, float], max_restarts: int = 0) -> ActorSpec:
    made = actor_spec(ACTOR, b"job", Address(ASKER, ""), ActorScript(max_restarts=max_restarts))
    return msgspec.structs.replace(made, lifetime_resources=need, placement_resources={})
