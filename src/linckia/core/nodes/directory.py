"""Which nodes are alive, by what evidence: the GCS's judge of liveness, without I/O (P 8, S 3, S 13, S 15, S 19).

A node proves its life by heartbeats. A closed connection is looked into at once by a *probe* of the node's port:
refused means that its process is gone; an answer means that it will be back; silence means nothing yet. A node that is
not heard for ``SUSPECT_AFTER_S`` is suspect and gets nothing new; so is one that is *late*, heard or not: it does not
acknowledge what it was asked (core/links/answers.py). One that is silent for a whole lease is asked a *last question*,
by another probe: without an answer it is dead, with one it has a second lease's time to be heard. (What was under way
when the network was cut is sent again only after up to a second, on older kernels after many: a node that was away for
most of its lease is often there again before it is heard.)

The *brake*: when more than half of the nodes (and at least three) are suspect together, the fault is more likely ours
than theirs, and nobody is declared dead by silence, nor any node started or ended (gcs/demand.py), until more than half
are heard again and the others had ``RELEASE_GRACE_S`` more, or ``BRAKE_MAX_S`` have passed.
"""

from __future__ import annotations

import msgspec

from linckia.base.limits import BRAKE_MAX_S, NODE_ANSWER_MAX_S, NODE_LEASE_TTL_S, PROBE_MAX_S, SUSPECT_AFTER_S
from linckia.core.nodes.states import NODE_TABLE, DeathReason, NodeEvent, NodeState

S, E = NodeState, NodeEvent
BRAKE_LEAST_NODES = 3
ANSWER_MAX_S = PROBE_MAX_S + 0.5  # who probes has said what came of it by then
RELEASE_GRACE_S = NODE_LEASE_TTL_S - SUSPECT_AFTER_S  # a network that heals does not heal for all in one moment


class Probe(msgspec.Struct, frozen=True):
    """Connect to the node's port and report what happened. ``last``: its lease has ended, the verdict follows."""

    node_id: bytes
    last: bool = False


class Changed(msgspec.Struct, frozen=True):
    """The node is in another state: tell the others whether it takes new work."""

    node_id: bytes
    state: NodeState
    why: str


class Died(msgspec.Struct, frozen=True):
    """For good."""

    node_id: bytes
    reason: DeathReason
    text: str


class Brake(msgspec.Struct, frozen=True):
    """The brake was pulled or released."""

    on: bool
    text: str


Effect = Probe | Changed | Died | Brake


class Node:
    """What is known of one node. ``drain`` is the reason it drains for, when it does."""

    __slots__ = (
        "asked_s",
        "connected",
        "deadline_s",
        "drain",
        "excused_until_s",
        "heard_s",
        "late",
        "node_id",
        "state",
    )

    def __init__(self, node_id: bytes, now_s: float) -> None:
        self.node_id = node_id
        self.state = NODE_TABLE.initial
        self.heard_s = now_s
        self.connected = True
        self.late = False  # it does not acknowledge
        self.drain: DeathReason | None = None
        self.deadline_s = 0.0
        self.asked_s: float | None = None  # the last question, which its silence has led to
        self.excused_until_s = 0.0  # it answered that question

    def verdict_s(self) -> float:
        """When its silence has its next consequence, once its lease has ended."""
        return 0.0 if self.asked_s is None else max(self.asked_s + ANSWER_MAX_S, self.excused_until_s)


class NodeDirectory:
    """Living nodes by id; the dead are the caller's to remember."""

    def __init__(self) -> None:
        self.nodes: dict[bytes, Node] = {}
        self.braked_since_s: float | None = None
        self.patient_until_s = 0.0  # nobody dies of silence before

    def joined(self, node_id: bytes, now_s: float) -> list[Effect]:
        """It registered, for the first time or again."""
        node = self.nodes.get(node_id)
        if node is None:
            self.nodes[node_id] = Node(node_id, now_s)
            return []
        node.connected, node.late = True, False
        return self.heard(node_id, now_s)

    def heard(self, node_id: bytes, now_s: float) -> list[Effect]:
        """A heartbeat, or anything else from it."""
        node = self.nodes.get(node_id)
        if node is None:
            return []
        node.heard_s, node.asked_s, node.excused_until_s = now_s, None, 0.0
        if node.state is S.SUSPECT and not node.late:
            self._move(node, E.HEARD)
            return [Changed(node_id, node.state, "it is heard again"), *self._release_brake(now_s)]
        return []

    def is_late(self, node_id: bytes) -> list[Effect]:
        """It has not acknowledged what it was asked."""
        node = self.nodes.get(node_id)
        if node is None:
            return []
        node.late = True
        return self._suspect(node, f"what it was asked is not acknowledged for {NODE_ANSWER_MAX_S:g} s")

    def answers(self, node_id: bytes, now_s: float) -> list[Effect]:
        """It was late, and has acknowledged all of it."""
        node = self.nodes.get(node_id)
        if node is not None:
            node.late = False
        return self.heard(node_id, now_s)

    def disconnected(self, node_id: bytes) -> list[Effect]:
        """Its connection closed: find out why."""
        node = self.nodes.get(node_id)
        if node is None:
            return []
        node.connected = False
        return [Probe(node_id)]

    def probed(self, node_id: bytes, outcome: str, text: str) -> list[Effect]:
        """``outcome``: refused | answered | silent."""
        node = self.nodes.get(node_id)
        if node is None or node.connected or outcome == "answered":
            return []
        if outcome == "refused":
            return self._end(node, DeathReason.UNEXPECTED_TERMINATION, text)
        return self._suspect(node, text)

    def answered_last(self, node_id: bytes, outcome: str, text: str, now_s: float) -> list[Effect]:
        """What came of the last question; nothing, when the node was heard meanwhile or the brake is on."""
        node = self.nodes.get(node_id)
        if node is None or node.asked_s is None:
            return []
        if outcome == "answered":
            node.excused_until_s = now_s + NODE_LEASE_TTL_S
            return []
        if self._is_braked(now_s):
            node.asked_s = None
            return []
        return self._end_silent(node, text, now_s)

    def unregistered(self, node_id: bytes, text: str) -> list[Effect]:
        """It ends on purpose."""
        node = self.nodes.get(node_id)
        return self._end(node, DeathReason.EXPECTED_TERMINATION, text) if node is not None else []

    def drain(
        self, node_id: bytes, reason: str, *, idle: bool, deadline_s: float, now_s: float
    ) -> tuple[list[Effect], str]:
        """(effects, why not): idle termination only of an idle node, preemption always (R 7.9)."""
        node = self.nodes.get(node_id)
        if node is None:
            return [], "no such living node"
        if reason == "IDLE_TERMINATION" and not idle:
            return [], "the node is not idle: it has leases, waiting requests or objects"
        preempted = reason == "PREEMPTION"
        node.drain = DeathReason.AUTOSCALER_DRAIN_PREEMPTED if preempted else DeathReason.AUTOSCALER_DRAIN_IDLE
        node.deadline_s = now_s + deadline_s if deadline_s > 0 else 0.0
        self._move(node, E.DRAIN)
        return [Changed(node_id, node.state, f"it drains ({reason})")], ""

    def tick(self, now_s: float) -> list[Effect]:
        """What has become of silence by now."""
        effects: list[Effect] = []
        expired: list[Node] = []
        for node in list(self.nodes.values()):
            silent_s = now_s - node.heard_s
            if node.deadline_s and now_s >= node.deadline_s:
                effects += self._end(node, DeathReason.AUTOSCALER_DRAIN_PREEMPTED, "its drain deadline has passed")
            elif silent_s >= SUSPECT_AFTER_S:
                effects += self._suspect(node, f"not heard for {silent_s:.1f} s")
                if silent_s >= NODE_LEASE_TTL_S and now_s >= self.patient_until_s:
                    expired.append(node)
        effects += self._pull_brake(now_s)
        effects += self._judge(expired, now_s)
        return [*effects, *self._release_brake(now_s)]

    def next_tick_s(self, now_s: float) -> float:
        """When ``tick`` has something to do at the earliest, if nobody is heard before; infinite without nodes. While
        the brake is on, now: anything may release it.
        """
        if self.braked_since_s is not None:
            return now_s
        return min((self._due_s(node, now_s) for node in self.nodes.values()), default=float("inf"))

    def _due_s(self, node: Node, now_s: float) -> float:
        """Of one node: it becomes suspect, or its lease or its drain deadline ends."""
        due_s = node.heard_s + SUSPECT_AFTER_S
        if due_s <= now_s:
            due_s = max(node.heard_s + NODE_LEASE_TTL_S, self.patient_until_s, node.verdict_s())
        return min(due_s, node.deadline_s) if node.deadline_s else due_s

    def _pull_brake(self, now_s: float) -> list[Effect]:
        """Most nodes are suspect: before any lease ends, and before anybody starts nodes to do their work."""
        suspects = sum(1 for node in self.nodes.values() if now_s - node.heard_s >= SUSPECT_AFTER_S)
        if self.braked_since_s is not None or suspects < BRAKE_LEAST_NODES or suspects * 2 <= len(self.nodes):
            return []
        self.braked_since_s = now_s
        text = f"{suspects} of {len(self.nodes)} nodes are silent at once: nobody is declared dead for now"
        return [Brake(on=True, text=text)]

    def _is_braked(self, now_s: float) -> bool:
        return self.braked_since_s is not None and now_s - self.braked_since_s < BRAKE_MAX_S

    def _judge(self, expired: list[Node], now_s: float) -> list[Effect]:
        if self._is_braked(now_s):
            return []
        effects: list[Effect] = []
        for node in expired:
            if node.asked_s is None:
                node.asked_s = now_s
                effects.append(Probe(node.node_id, last=True))
            elif now_s >= node.verdict_s():
                answered = "although its port answered" if node.excused_until_s else "and nothing is known of its port"
                effects += self._end_silent(node, answered, now_s)
        return effects

    def _end_silent(self, node: Node, text: str, now_s: float) -> list[Effect]:
        why = f"no heartbeat for {now_s - node.heard_s:.1f} s (lease {NODE_LEASE_TTL_S:g} s), {text}"
        return self._end(node, DeathReason.UNEXPECTED_TERMINATION, why, E.LEASE_ENDED)

    def _release_brake(self, now_s: float) -> list[Effect]:
        if self.braked_since_s is None:
            return []
        heard = sum(1 for node in self.nodes.values() if now_s - node.heard_s < SUSPECT_AFTER_S)
        if heard * 2 <= len(self.nodes) and now_s - self.braked_since_s < BRAKE_MAX_S:
            return []
        self.braked_since_s = None
        self.patient_until_s = now_s + RELEASE_GRACE_S
        return [Brake(on=False, text=f"{heard} of {len(self.nodes)} nodes are heard again")]

    def _suspect(self, node: Node, why: str) -> list[Effect]:
        if node.state is not S.ALIVE:
            return []
        self._move(node, E.SILENT)
        return [Changed(node.node_id, node.state, why)]

    def _end(self, node: Node, reason: DeathReason, text: str, event: NodeEvent = E.GONE) -> list[Effect]:
        self._move(node, event)
        del self.nodes[node.node_id]
        if node.drain is not None and reason is not DeathReason.UNEXPECTED_TERMINATION:
            reason = node.drain
        return [Died(node.node_id, reason, text)]

    def _move(self, node: Node, event: NodeEvent) -> None:
        node.state = NODE_TABLE.next(node.state, event, node.node_id.hex())
