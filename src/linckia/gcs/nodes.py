"""The GCS's node service: who is in the cluster, what each has left, and telling the others.

`core/nodes` decides who is alive; here are the connections, the view (`core/scheduling`), the changes that interested
raylets have not been told yet, and the questions about nodes. Built by node/rooms.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from linckia.base.limits import (
    CLUSTER_EVENTS_MAX_BYTES,
    DEAD_NODES_MAX_BYTES,
    SUSPECT_AFTER_S,
)
from linckia.core.leases import vectors
from linckia.core.nodes.directory import Brake, Changed, Died, Effect, NodeDirectory, Probe
from linckia.core.nodes.states import DeathReason, NodeState
from linckia.core.scheduling.settling import SETTLE_EVERY_S, SettlingView
from linckia.core.scheduling.view import NodeView
from linckia.core.tables.budget import Ledger, Recent
from linckia.gcs import records
from linckia.gcs.amounts import patch, total_of
from linckia.gcs.journal import Outbox
from linckia.gcs.news import News
from linckia.gcs.node_record import AbsentPeer, NodeRecord
from linckia.gcs.view_changes import ViewChanges
from linckia.host import environment
from linckia.host.own_log import say
from linckia.model.parts import DashboardFacts, PartFacts
from linckia.model.specs import NodeInfo
from linckia.protocol import messages as m

_decode_node = msgspec.msgpack.Decoder(NodeInfo).decode
_encode = msgspec.msgpack.encode
TICK_LEAST_S = 0.25
NOTIFY_EVERY_S = 0.01
EVENT_BYTES, NODE_RECORD_BYTES = 250, 4000
"""Of an event besides its text, and of a dead node's record besides what it said of itself: measured."""


class NodeService:
    """``reply`` answers requests (Gcs.reply). Listeners: ``on_joined``, ``on_back`` (it registered again), ``on_dead``,
    ``on_resources``.
    """

    def __init__(
        self,
        reply: Callable[[Any, m.Message], None],
        call_later: Callable[[float, Callable[[], None]], Any],
        outbox: Outbox | None = None,
    ) -> None:
        self._reply, self._call_later = reply, call_later
        self._outbox = outbox or Outbox()
        self._outbox.tables[records.NODES] = self._row
        self.epoch = 1
        self.nodes: dict[bytes, NodeRecord] = {}
        self.view = SettlingView(lambda: call_later(SETTLE_EVERY_S, self._settle))
        self.changes = ViewChanges(self.view, self.send, call_later)
        self.on_back: list[Callable[[NodeRecord], None]] = []
        self.on_joined: list[Callable[[NodeRecord], None]] = []
        self.on_dead: list[Callable[[NodeRecord, str], None]] = []
        self.on_resources: list[Callable[[], None]] = []
        self.on_suspect: list[Callable[[bytes], None]] = []
        self._notifying = False
        self.directory = NodeDirectory()
        self.probe: Callable[[str, Callable[[str, str], None]], None] = _no_probe  # node/head.py sets it
        self.own_memory: Callable[[], tuple[int, int]] = lambda: (0, 0)  # of the head's node; node/rooms.py sets it
        self.own_down: Callable[[], list[PartFacts]] = list  # likewise
        self.own_dashboard: Callable[[], DashboardFacts | None] = lambda: None  # likewise
        self.now_s = time.monotonic  # the simulator sets its own
        self._news = News(call_later, self.broadcast, lambda: len(self.directory.nodes), lambda: self.now_s())
        self._tick_timer: Any = None
        self.events: Recent[tuple[float, str, str]] = Recent(CLUSTER_EVENTS_MAX_BYTES)
        self.dead: Ledger[bytes] = Ledger(DEAD_NODES_MAX_BYTES, "those that died first")

    def note(self, severity: str, text: str) -> None:
        """Into the head's log, and among the events of the state API."""
        say(text)
        self.events.add((environment.wall_time_s(), severity, text), EVENT_BYTES + len(text))

    def handlers(self) -> dict[type, Callable[[Any, Any], None]]:
        """Message type -> handler(peer, message)."""
        return {
            m.RegisterNode: self.on_register,
            m.ResourceReport: self.on_report,
            m.ViewInterest: self.changes.on_interest,
            m.UnregisterNode: self.on_unregister,
            m.Heartbeat: self.on_heartbeat,
            m.DrainNode: self.on_drain,
        }

    def living(self) -> list[NodeRecord]:
        """Nodes that are not dead."""
        return [node for node in self.nodes.values() if node.alive]

    def the_only_one(self) -> bytes:
        """The id of the one living node; empty when there are more, or none."""
        living = self.directory.nodes
        return next(iter(living)) if len(living) == 1 else b""

    def send(self, node_id: bytes, message: m.Message) -> bool:
        """To one node's raylet; False when it is not there."""
        node = self.nodes.get(node_id)
        if node is None or not node.alive:
            return False
        node.peer.post(message)
        return True

    def send_now(self, node_id: bytes, message: m.Message) -> None:
        """As `send`, past what waits for the store: only what follows from nothing that is not in it yet."""
        node = self.nodes.get(node_id)
        if node is not None and node.alive:
            node.tell_now(message)

    def broadcast(self, message: m.Message, besides: Any = None) -> None:
        """To all living raylets, in order of joining, ``besides`` one connection."""
        for node in self.nodes.values():
            if node.alive and node.peer is not besides:
                node.peer.post(message)

    def announce(self, message: m.Message) -> None:
        """To all living raylets, soon: see `News`."""
        self._news.announce(message)

    # --- joining and leaving ------------------------------------------------------------------------------------------

    def on_register(self, peer: Any, message: m.RegisterNode) -> None:
        """A raylet joins, or is back on a new connection."""
        known = self.nodes.get(message.node_id)
        if known is not None and not known.alive:
            text = f"node {message.node_id.hex()} was declared dead: {known.death_reason}"
            self._reply(peer, m.NodeRegistered(message.rid, self.epoch, text))
            peer.post(m.NodeFenced(message.node_id, text))
            return
        self._apply(self.directory.joined(message.node_id, self.now_s()))
        if known is not None:
            known.peer, known.revision, known.has_told = peer, -1, known.has_told and not message.tells
            self.view.mark(message.node_id, takes_work=known.has_told and known.state == NodeState.ALIVE.value)
            self._reply(peer, m.NodeRegistered(message.rid, self.epoch))
            peer.post(m.NodesChanged(joined=[node.encoded for node in self.living()], everything=True))
            for listener in self.on_back:
                listener(known)
            return
        info = _decode_node(message.info)
        node = self.nodes[message.node_id] = NodeRecord(peer, info, message.info)
        joined = NodeView(info.node_id, vectors.to_units(info.resources), info.labels, node_ip=info.node_ip)
        joined.takes_work = node.has_told = not message.tells
        self.view.join(joined)
        self._outbox.touch(records.NODES, info.node_id)
        self._reply(peer, m.NodeRegistered(message.rid, self.epoch))
        others = [
            other.encoded for other in self.living() if other is not node and self._news.knows_of(other.info.node_id)
        ]
        if others:
            leaving = [other.info.node_id for other in self.living() if other.preempted]
            peer.post(m.NodesChanged(joined=others, preempted=leaving))
        self._news.joined(info.node_id, message.info)
        self.changes.changed(node)
        if not self.is_own(node):
            self.begin_to_tick()
        for listener in self.on_joined:
            listener(node)

    @property
    def is_settling(self) -> bool:
        """Nodes of the last head have not come to this one yet: what seems to be missing may be there."""
        return bool(self.absent())

    def absent(self) -> list[NodeRecord]:
        """Living nodes of the last head that have not come to this one."""
        return [node for node in self.living() if isinstance(node.peer, AbsentPeer)]

    @staticmethod
    def is_own(node: NodeRecord) -> bool:
        """It is in this process: as alive as we are."""
        return getattr(node.peer, "is_local", False)

    def begin_to_tick(self) -> None:
        """There are nodes that may fall silent."""
        if self._tick_timer is None:
            self._schedule_tick()

    def back(self, node_id: bytes) -> None:
        """It has told what runs there: it takes work again."""
        node = self.nodes[node_id]
        node.has_told = True
        if node.drain:  # the last head may have died before it said so
            self.send(node_id, m.SetDraining(True, node.drain_left_s(environment.wall_time_s())))
        self.view.mark(node_id, takes_work=node.state == NodeState.ALIVE.value)
        for listener in self.on_resources:
            listener()

    def restore(self, row: records.NodeRow) -> None:
        """A node as the last head knew it. One that lived has a lease's time to come to this head."""
        info = _decode_node(row.info)
        node = self.nodes[info.node_id] = NodeRecord(AbsentPeer(), info, row.info, is_new=False)
        node.joined_s, node.died_s, node.alive, node.drain = row.joined_s, row.died_s, row.alive, row.drain
        node.drain_end_s, node.drain_for_s = row.drain_end_s, row.drain_for_s
        node.preempted = row.drain == "PREEMPTION"
        if not row.alive:
            node.state, node.death_reason, node.death_kind = "DEAD", row.death_reason, row.death_kind
            node.available = {}
            self._bury(node)
            return
        self.directory.joined(info.node_id, self.now_s())
        joined = NodeView(info.node_id, vectors.to_units(info.resources), info.labels, node_ip=info.node_ip)
        joined.takes_work = node.has_told = False
        self.view.join(joined)
        if row.drain:
            left_s = node.drain_left_s(environment.wall_time_s())
            self.directory.drain(info.node_id, row.drain, idle=True, deadline_s=left_s, now_s=self.now_s())
            node.state = NodeState.DRAINING.value
        self.changes.changed(node)
        self.begin_to_tick()

    def _row(self, node_id: bytes) -> bytes | None:
        node = self.nodes.get(node_id)
        if node is None:
            return None
        names = ("alive", "joined_s", "died_s", "drain", "drain_end_s", "drain_for_s", "death_reason", "death_kind")
        return records.encode(records.NodeRow(node.encoded, **{name: getattr(node, name) for name in names}))

    def on_heartbeat(self, _peer: Any, message: m.Heartbeat) -> None:
        """It lives, and has so much memory left."""
        self._apply(self.directory.heard(message.node_id, self.now_s()))
        node = self.nodes.get(message.node_id)
        if node is not None:
            node.memory, node.down = (message.memory_used, message.memory_threshold), message.down
            node.dashboard = message.dashboard

    def late(self, node_id: bytes) -> None:
        """It does not acknowledge what it was asked."""
        self._apply(self.directory.is_late(node_id))

    def answers(self, node_id: bytes) -> None:
        """It does after all."""
        self._apply(self.directory.answers(node_id, self.now_s()))

    def on_unregister(self, _peer: Any, message: m.UnregisterNode) -> None:
        """It ends on purpose."""
        self._apply(self.directory.unregistered(message.node_id, message.reason))

    def peer_gone(self, peer: Any) -> None:
        """A raylet's connection is closed."""
        node = self.nodes.get(peer.peer_id)
        if node is not None and node.alive and node.peer is peer:
            self._apply(self.directory.disconnected(peer.peer_id))

    def on_drain(self, peer: Any, message: m.DrainNode) -> None:
        """Somebody wants a node to go."""
        why_not = self.drain(message.node_id, message.reason, message.deadline_s)
        self._reply(peer, m.NodeDrained(message.rid, not why_not, why_not))

    def drain(self, node_id: bytes, reason: str, deadline_s: float = 0.0) -> str:
        """Give a node no new work; why not, or empty."""
        node = self.nodes.get(node_id)
        idle = node is not None and node.idle
        effects, why_not = self.directory.drain(node_id, reason, idle=idle, deadline_s=deadline_s, now_s=self.now_s())
        if not why_not:
            self.send(node_id, m.SetDraining(True, deadline_s))
            if node is not None:
                node.drain, node.drain_for_s = reason, deadline_s
                node.drain_end_s = environment.wall_time_s() + deadline_s if deadline_s > 0 else 0.0
                self._outbox.touch(records.NODES, node_id)
            if node is not None and reason == "PREEMPTION":
                node.preempted = True
                self.announce(m.NodesChanged(preempted=[node_id]))
            self._schedule_tick()  # its deadline may be before what the next look waits for
        self._apply(effects)
        return why_not

    # --- liveness -----------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        now_s = self.now_s()
        for node in self.living():
            if self.is_own(node):
                self.directory.heard(node.info.node_id, now_s)
        self._apply(self.directory.tick(now_s))
        self._schedule_tick()

    def _schedule_tick(self) -> None:
        """Look when silence may have a consequence, which is seldom while all are heard."""
        if self._tick_timer is not None:
            self._tick_timer.cancel()
        now_s = self.now_s()
        wait_s = min(self.directory.next_tick_s(now_s) - now_s, SUSPECT_AFTER_S)
        self._tick_timer = self._call_later(max(TICK_LEAST_S, wait_s), self._tick)

    def _apply(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Probe(node_id, last):
                    self._probe(node_id, last=last)
                case Changed(node_id, state, why):
                    self._mark(node_id, state, why)
                case Died(node_id, reason, text):
                    self.declare_dead(node_id, reason.value, text)
                case Brake(on, text):
                    self.note("WARNING", f"brake {'on' if on else 'off'}: {text}")

    def _probe(self, node_id: bytes, *, last: bool) -> None:
        info = self.nodes[node_id].info

        def outcome(how: str, text: str) -> None:
            if last:
                self._apply(self.directory.answered_last(node_id, how, text, self.now_s()))
                return
            where = f"node process {info.pid} at {info.node_ip}"
            self._apply(self.directory.probed(node_id, how, f"{where}: its connection closed, {text}"))

        self.probe(info.endpoint, outcome)

    def _mark(self, node_id: bytes, state: NodeState, why: str) -> None:
        node = self.nodes[node_id]
        node.state = state.value
        takes_work = state is NodeState.ALIVE
        self.note("INFO", f"node {node_id.hex()[:12]} at {node.info.node_ip} is {state.value}: {why}")
        self.view.mark(node_id, takes_work=takes_work and node.has_told)
        self.announce(m.NodesChanged(states=[(node_id, takes_work)]))
        if takes_work:
            for listener in self.on_resources:
                listener()
        elif state is NodeState.SUSPECT:
            for silent in self.on_suspect:
                silent(node_id)

    def declare_dead(self, node_id: bytes, reason: str, text: str) -> None:
        """For good: its id never comes back. Idempotent."""
        node = self.nodes.get(node_id)
        if node is None or not node.alive:
            return
        node.alive, node.state, node.death_reason, node.death_kind = False, "DEAD", text, reason
        node.died_s = environment.wall_time_s()
        node.available = {}
        node.demand = []
        self.view.leave(node_id)
        self.changes.gone(node_id)
        severity = "ERROR" if reason == DeathReason.UNEXPECTED_TERMINATION.value else "INFO"
        self.note(severity, f"node {node_id.hex()[:12]} at {node.info.node_ip} is dead ({reason}): {text}")
        self._bury(node)
        self._outbox.touch(records.NODES, node_id)
        self.announce(m.NodesChanged(dead=[(node_id, reason, text)]))
        if not node.peer.closed:
            node.peer.post(m.NodeFenced(node_id, text))
        for listener in self.on_dead:
            listener(node, text)

    def _bury(self, node: NodeRecord) -> None:
        """Remembered as long as there is room; those that died first go first."""
        for oldest in self.dead.add(node.info.node_id, NODE_RECORD_BYTES + len(node.encoded) + len(node.death_reason)):
            del self.nodes[oldest]
            self._outbox.touch(records.NODES, oldest)

    # --- the view -----------------------------------------------------------------------------------------------------

    def on_report(self, _peer: Any, message: m.ResourceReport) -> None:
        """What a node has left; older reports than the last are ignored."""
        node = self.nodes.get(message.node_id)
        if node is None or not node.alive or message.revision <= node.revision:
            return
        node.demand, node.revision = message.demand, message.revision
        if message.idle is not node.idle:
            node.idle, node.idle_since_s = message.idle, self.now_s() if message.idle else 0.0
        available = {**message.available, **dict.fromkeys(message.gone, -1)}
        total = {**message.total, **dict.fromkeys(message.total_gone, -1)}
        if message.everything:
            available = {**dict.fromkeys(node.available, -1), **available}
            total = {**dict.fromkeys(node.total, -1), **total}
        names = [*patch(node.available, available), *patch(node.total, total)]
        self.view.patch(message.node_id, available, total)
        if message.everything and not node.is_new:  # to another head: who knows how much was different then?
            names = [*available, *total]
        node.is_new = False
        if names:
            self.changes.changed(node, names)
        if self.on_resources and not self._notifying:  # once for many reports
            self._notifying = True
            self._call_later(NOTIFY_EVERY_S, self._notify)

    def _notify(self) -> None:
        self._notifying = False
        for listener in self.on_resources:
            listener()

    def _settle(self) -> None:
        """What was placed on a node and never showed in its reports is over, or was refused."""
        if self.view.settle():
            self._notify()
        if not self.view.is_settled:
            self._call_later(SETTLE_EVERY_S, self._settle)

    # --- questions ----------------------------------------------------------------------------------------------------

    def queries(self) -> dict[str, Callable[[], Any]]:
        """Questions of `ClusterQuery` that are about nodes."""
        return {"nodes": self.table, "total": self.total, "available": self.available}

    def table(self) -> list[dict[str, Any]]:
        """All nodes, the dead included."""
        return [
            {
                **msgspec.structs.asdict(node.info),
                "alive": node.alive,
                "available": vectors.to_amounts(node.available),
                "state": node.state,
                "death_reason": node.death_reason,
                "death_kind": node.death_kind,
                "memory": node.memory if not self.is_own(node) else self.own_memory(),
                "down": [
                    msgspec.structs.asdict(each) for each in (self.own_down() if self.is_own(node) else node.down)
                ],
                "dashboard": _plain(self.own_dashboard() if self.is_own(node) else node.dashboard),
            }
            for node in self.nodes.values()
        ]

    def total(self) -> dict[str, float]:
        """Of living nodes, the names of placement groups included."""
        return total_of(vectors.to_amounts(node.total) for node in self.living())

    def available(self) -> dict[str, float]:
        """What is free on living nodes, used-up names left out."""
        available = total_of(vectors.to_amounts(self._free(node)) for node in self.living())
        return {name: amount for name, amount in available.items() if amount}

    def _free(self, node: NodeRecord) -> vectors.Units:
        """What the node said last, less what was placed there since."""
        placed = self.view.unsettled_of(node.info.node_id)
        return {name: max(0, count - placed.get(name, 0)) for name, count in node.available.items()}

    def demand(self) -> list[tuple[dict[str, float], int, str]]:
        """Shapes that wait, of all nodes, with counts and where they wait."""
        return [
            (shape, count, f"at node {node.info.node_id.hex()[:8]}")
            for node in self.living()
            for shape, count, _ in node.demand
        ]


def _plain(told: DashboardFacts | None) -> dict[str, Any] | None:
    if told is None:
        return None
    return {"url": told.url, "pid": told.pid, **msgspec.structs.asdict(told.part)}


def _no_probe(_endpoint: str, outcome: Callable[[str, str], None]) -> None:
    outcome("refused", "nobody looked why")
