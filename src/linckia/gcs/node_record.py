"""What the GCS knows of one node, and what stands for its connection while it has none. Used by gcs/nodes.py."""

from __future__ import annotations

from typing import Any

from linckia.core.leases import vectors
from linckia.host import environment
from linckia.model.parts import DashboardFacts, PartFacts
from linckia.model.specs import NodeInfo
from linckia.protocol import messages as m

DRAIN_LEAST_S = 0.001  # 0 means that there is no deadline


class NodeRecord:
    """A node that registered; kept for a while after its death."""

    def __init__(self, peer: Any, info: NodeInfo, encoded: bytes, *, is_new: bool = True) -> None:
        self.peer, self.info, self.encoded = peer, info, encoded
        self.is_new = is_new  # nobody knows more of it than ``info`` says
        self.available = vectors.to_units(info.resources)
        self.total = dict(self.available)
        self.changes: dict[str, int] = {}  # name -> cluster revision of its last change, oldest first
        self.demand: list[tuple[dict[str, float], int, bytes]] = []
        self.revision = -1
        self.memory: tuple[int, int] = (0, 0)  # used bytes, threshold
        self.down: list[PartFacts] = []  # supervised parts of it
        self.dashboard: DashboardFacts | None = None
        self.idle = False
        self.idle_since_s = 0.0  # 0: busy
        self.alive = True
        self.has_told = True  # what runs there; until then this head gives it nothing
        self.joined_s, self.died_s = environment.wall_time_s(), 0.0
        self.state = "ALIVE"
        self.preempted = False  # it drains because its machine will be taken away
        self.drain = ""  # why it drains
        self.drain_end_s = self.drain_for_s = 0.0  # on the wall clock; how long it was given
        self.death_reason = self.death_kind = ""  # a sentence; a name of DeathReason
        self.changed_at = 0  # cluster revision of its last change

    def drain_left_s(self, wall_now_s: float) -> float:
        """Until its drain deadline; 0 without one. A clock that jumps makes it end early or, at most, begin anew."""
        if not self.drain_end_s:
            return 0.0
        return min(self.drain_for_s, max(DRAIN_LEAST_S, self.drain_end_s - wall_now_s))

    def since(self, revision: int) -> m.NodeDelta:
        """What changed after ``revision``; costs what changed."""
        names = []
        for name in reversed(self.changes):
            if self.changes[name] <= revision:
                break
            names.append(name)
        return m.NodeDelta(
            self.info.node_id,
            {name: self.available.get(name, -1) for name in names},
            {name: self.total.get(name, -1) for name in names},
        )

    def tell_now(self, message: m.Message) -> None:
        """Its link knows of the store's delay; another connection has none."""
        getattr(self.peer, "transmit", self.peer.post)(message)


class AbsentPeer:
    """Stands for the connection of a node that the last head knew and that has not come to this one yet."""

    closed = False

    def post(self, message: m.Message) -> None:
        """It will be told everything when it comes."""
