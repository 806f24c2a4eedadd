"""The raylet's knowledge of the cluster: the cached view, when it wants news of it, where a request should go.

Decisions are `core/scheduling`'s. Called by raylet/lease_desk.py; fed by the GCS (`NodesChanged`, `ViewDelta`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from linckia.base.limits import AVOID_UNREACHABLE_S, VIEW_INTEREST_S
from linckia.core.leases import vectors
from linckia.core.leases.records import LeaseRequest
from linckia.core.scheduling.policy import Ask, Decision, Rng, Scheduler
from linckia.core.scheduling.settling import SETTLE_EVERY_S, SettlingView
from linckia.core.scheduling.view import NodeView
from linckia.host.entropy import random_generator
from linckia.host.own_log import say
from linckia.model.placement import DEFAULT, decode_strategy
from linckia.model.specs import NodeInfo
from linckia.protocol import messages as m
from linckia.rpc.probe import probe

if TYPE_CHECKING:
    from linckia.core.leases.manager import LeaseManager
    from linckia.raylet.service import Raylet

_decode_node = msgspec.msgpack.Decoder(NodeInfo).decode


class _AllBut:
    """Every node id but one."""

    def __init__(self, node_id: bytes) -> None:
        self.node_id = node_id

    def __contains__(self, node_id: object) -> bool:
        return node_id != self.node_id

    def __iter__(self) -> Iterator[bytes]:
        raise TypeError("nobody knows all node ids")

    def __len__(self) -> int:
        raise TypeError("nobody counts all node ids")


class ClusterSide:
    """One per raylet. ``changed`` is called when a node joined, left or has more room than before."""

    def __init__(self, raylet: Raylet, manager: LeaseManager, changed: Callable[[], None]) -> None:
        self.raylet, self.manager, self._changed = raylet, manager, changed
        self.view = SettlingView(lambda: raylet.reactor.call_later(SETTLE_EVERY_S, self._settle))
        self.nodes: dict[bytes, NodeInfo] = {}
        self.encoded: dict[bytes, bytes] = {}
        self.preempted: dict[bytes, None] = {}
        self._scheduler = Scheduler()
        self.rng: Rng = random_generator()  # replaced by the simulator
        self._interested = False
        self._quiet_timer: Any = None
        self._suspended: set[bytes] = set()  # nodes that by the GCS's word take no work
        self._avoided: dict[bytes, str] = {}  # nodes that processes of this one do not reach, and why
        self.node_id = raylet.options.node.node_id
        self._join(raylet.options.node)

    @property
    def alone(self) -> bool:
        """No other node is known: nothing to choose."""
        return len(self.view.nodes) == 1

    @property
    def takes_work(self) -> bool:
        """False while this node drains."""
        return self.view.nodes[self.node_id].takes_work

    def handlers(self) -> dict[type, Callable[[Any, Any], None]]:
        """Message type -> handler(peer, message)."""
        return {
            m.NodesChanged: self.on_nodes,
            m.ViewDelta: self.on_delta,
            m.SetDraining: self.on_draining,
            m.NodeUnreachable: lambda _peer, message: self.avoid(message.node_id, message.reason),
            m.NodeSilent: lambda peer, message: self.look_at(message.node_id, peer),
        }

    # --- news ---------------------------------------------------------------------------------------------------------

    def _join(self, info: NodeInfo) -> None:
        self.nodes[info.node_id] = info
        self.view.join(NodeView(info.node_id, vectors.to_units(info.resources), info.labels, node_ip=info.node_ip))

    def on_nodes(self, _peer: Any, message: m.NodesChanged) -> None:
        """Nodes joined, died, became suspect or recovered; our runtimes want to know too."""
        joined: list[bytes] = []  # besides this one
        for encoded in message.joined:
            info = _decode_node(encoded)
            if info.node_id != self.node_id:
                joined.append(encoded)
                self.encoded[info.node_id] = encoded
                self._join(info)
        gone = self._missing(message) if message.everything else []
        for node_id, _reason, text in (*message.dead, *gone):
            self.view.leave(node_id)
            self.raylet.objects.node_gone(node_id, text)
            self.nodes.pop(node_id, None)
            self.encoded.pop(node_id, None)
            self.preempted.pop(node_id, None)
            self._suspended.discard(node_id)
        for node_id, takes_work in message.states:
            (self._suspended.discard if takes_work else self._suspended.add)(node_id)
            self.view.mark(node_id, takes_work=takes_work and node_id not in self._avoided)
        self.preempted.update(dict.fromkeys(message.preempted))
        if joined or message.dead or gone or message.states or message.preempted:
            for_clients = msgspec.structs.replace(message, joined=joined, dead=[*message.dead, *gone], everything=False)
            for peer in self.raylet.clients.values():
                peer.post(for_clients)
        if joined:
            self.raylet.objects.node_joined()
        self._changed()

    def _missing(self, message: m.NodesChanged) -> list[tuple[bytes, str, str]]:
        """Nodes that we know and a new head does not: their death was told by nobody."""
        known = {_decode_node(encoded).node_id for encoded in message.joined}
        text = "the head does not know it any more"
        return [(node_id, "UNEXPECTED_TERMINATION", text) for node_id in self.encoded if node_id not in known]

    def avoid(self, node_id: bytes, reason: str) -> None:
        """A process of ours cannot connect to that node: others get our work for a while (S 18)."""
        node = self.nodes.get(node_id)
        if node is None or node_id in self._avoided or node_id == self.node_id:
            return
        self._avoided[node_id] = reason
        here = f"{self.node_id.hex()[:8]} ({self.raylet.options.node.node_ip})"
        say(f"node {here} cannot reach node {node_id.hex()[:8]} ({node.node_ip}): {reason}")
        self.view.mark(node_id, takes_work=False)
        self.raylet.reactor.call_later(AVOID_UNREACHABLE_S, lambda: self._try_again(node_id))

    def look_at(self, node_id: bytes, asker: Any) -> None:
        """What a process of ours sends there is not acknowledged. The node lives, by the head's word, and the head
        hears us: when its port is silent then it is the way between us that is cut.
        """
        node = self.nodes.get(node_id)
        if node is None or node_id == self.node_id:
            return

        def outcome(how: str, text: str) -> None:
            lives = node_id in self.nodes and node_id not in self._suspended
            if how != "silent" or not lives or not self.raylet.gcs.is_heard:
                return
            reason = f"nothing is acknowledged, {text}"
            self.avoid(node_id, reason)
            self.raylet.objects.pulls.links.unreachable(node_id, reason)
            asker.post(m.NodeUnreachable(node_id, reason))

        probe(self.raylet.reactor, node.endpoint, outcome)

    def _try_again(self, node_id: bytes) -> None:
        del self._avoided[node_id]
        if node_id in self.nodes:
            self.view.mark(node_id, takes_work=node_id not in self._suspended)
            self._changed()

    def introduce(self, peer: Any) -> None:
        """Tell a runtime that has just registered which nodes there are besides ours."""
        if self.encoded:
            peer.post(m.NodesChanged(joined=list(self.encoded.values()), preempted=list(self.preempted)))

    def on_delta(self, _peer: Any, message: m.ViewDelta) -> None:
        """What other nodes have left."""
        for change in message.changes:
            if change.node_id != self.node_id:
                self.view.patch(change.node_id, change.available, change.total)
        self.view.as_of = message.as_of
        if message.changes:
            self._changed()

    def on_draining(self, _peer: Any, message: m.SetDraining) -> None:
        """This node takes no new work."""
        self.view.mark(self.node_id, takes_work=not message.on)
        for lease in self.manager.leases.values():
            if message.on and not lease.request.actor_id:  # their owners go on elsewhere when their tasks are done
                self.raylet.post_to(lease.request.owner, m.RecallLease(lease.lease_id))
        self._changed()

    # --- interest -----------------------------------------------------------------------------------------------------

    def want_news(self, *, waiting: bool) -> None:
        """Requests wait here (or no longer do): listen to the view, or stop a while after."""
        if waiting and self._quiet_timer is not None:
            self._quiet_timer.cancel()
            self._quiet_timer = None
        if waiting and not self._interested and not self.alone:
            self._interested = True
            self.raylet.gcs.post(m.ViewInterest(self.view.as_of))
        elif not waiting and self._interested and self._quiet_timer is None:
            self._quiet_timer = self.raylet.reactor.call_later(VIEW_INTEREST_S, self._lose_interest)

    def _lose_interest(self) -> None:
        self._quiet_timer = None
        self._interested = False
        self.raylet.gcs.post(m.ViewInterest(self.view.as_of, on=False))

    def head_is_back(self) -> None:
        """A session with a head begins: it does not know what we listened to, and counts its own revisions."""
        self.view.as_of = 0
        if self._interested:
            self.raylet.gcs.post(m.ViewInterest(0))

    # --- decisions ----------------------------------------------------------------------------------------------------

    def decide(self, request: LeaseRequest) -> Decision:
        """Where the request should go now."""
        self.view.report(self.node_id, self.manager.available, self.manager.total)
        ask = Ask(
            need=request.resources,
            placement=request.placement,
            strategy=decode_strategy(request.strategy) if request.strategy else DEFAULT,
            preferred=request.preferred or self.node_id,
            name=request.name,
        )
        if (request.hops or request.actor_id) and self._has_room(ask):
            return Decision("node", self.node_id, "it was sent here, and here is room")
        decision = self._scheduler.decide(self.view, ask, self.rng)
        return self._asked_there(ask, decision) if not request.hops else decision

    def _has_room(self, ask: Ask) -> bool:
        """This node could run it now, and may: whoever sent it here chose among all, it is not chosen again."""
        node = self.view.nodes[self.node_id]
        fits = vectors.fits(ask.need, node.available) and vectors.fits(ask.placement, node.total)
        if not fits or not node.takes_work:
            return False
        if ask.strategy.kind in ("DEFAULT", "SPREAD") and not ask.strategy.selectors:
            return True
        decision = self._scheduler.decide(self.view, ask, self.rng, exclude=_AllBut(self.node_id))
        return decision.kind == "node" and decision.node_id == self.node_id

    def _asked_there(self, ask: Ask, decision: Decision) -> Decision:
        """An affinity that says what to do when its node is full: only that node knows whether it is."""
        strategy = ask.strategy
        node = self.view.nodes.get(strategy.node_id)
        if node is None or not (strategy.fail_on_unavailable or strategy.spill_on_unavailable):
            return decision
        if node.takes_work and vectors.fits(ask.need, node.total) and decision.node_id != node.node_id:
            return Decision("node", node.node_id, "the node of its affinity knows whether it has room")
        return decision

    def sent(self, node_id: bytes, request: LeaseRequest) -> m.LeaseSpilled | None:
        """The answer that sends an owner to that node; None when it has just gone."""
        node = self.nodes.get(node_id)
        if node is None:
            return None
        self.view.debit(node_id, request.resources)
        return m.LeaseSpilled(request.rid, node_id, node.endpoint, request.hops + 1)

    def _settle(self) -> None:
        """What was sent and never showed in a report is over, or was refused."""
        if self.view.settle():
            self._changed()
        if not self.view.is_settled:
            self.raylet.reactor.call_later(SETTLE_EVERY_S, self._settle)
