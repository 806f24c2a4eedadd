"""Connections to other nodes that go nowhere although both nodes live: two hosts that do not reach each other (S 18).

TCP would wait a quarter of an hour. Every ``LOOK_EVERY_S`` this process looks which connections have sent the same
bytes in vain several times; after ``SILENT_S`` our raylet is asked to look at that node. It alone judges
(raylet/cluster.py): a node that the head does not hear either is left to its lease, and so is everything when it is we
who are cut off.
By its word what we ask that node for is asked elsewhere, which costs nothing when the network heals a moment later;
what runs there is given up only after ``HANG_UP_AFTER_S``. Nothing here is on the way of a task.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from linckia.base.addresses import node_of
from linckia.base.limits import NODE_LEASE_TTL_S, SUSPECT_AFTER_S
from linckia.base.pulse import until_pulse_s
from linckia.protocol import messages as m

if TYPE_CHECKING:
    from linckia.worker.runtime import Runtime
    from linckia.worker.tasks import Peer

LOOK_EVERY_S = 1.0
SILENT_S = SUSPECT_AFTER_S + 1.0  # by then the head suspects a node that is cut off from everybody
HANG_UP_AFTER_S = NODE_LEASE_TTL_S + 2.0


class Reach:
    """One per runtime. A timer runs only while there are connections to other nodes."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self._since_s: dict[Peer, float] = {}  # connection -> since when nothing was acknowledged, if it is stuck
        self._looking = False

    def watch(self, peer: Peer) -> None:
        """There is a new connection."""
        if self._is_far(peer):
            self._look_later()

    def _look_later(self) -> None:
        if not self._looking:
            self._looking = True
            self.runtime.reactor.call_later(until_pulse_s(time.monotonic(), LOOK_EVERY_S / 2), self._look)

    def _is_far(self, peer: Peer) -> bool:
        return _node(peer) not in (b"", self.runtime.node_id) and not peer.closed

    def silent_s(self, node_id: bytes) -> float:
        """How long the way to that node has been stuck."""
        now_s = time.monotonic()
        return max((now_s - since_s for peer, since_s in self._since_s.items() if _node(peer) == node_id), default=0.0)

    def _stuck_since_s(self, peer: Peer, now_s: float) -> float:
        """-1 when it is not stuck. What was heard between two looks counts: a network that is away, back for less than
        a second and away again was not away all the time.
        """
        at_most_s = peer.conn.stuck_at_most_s
        return -1.0 if at_most_s is None else max(self._since_s.get(peer, now_s), now_s - at_most_s)

    def _look(self) -> None:
        runtime, now_s = self.runtime, time.monotonic()
        with runtime.mutex:
            self._looking = False
            far = [peer for peer in [*runtime.peers.values(), *runtime.raylets.peers.values()] if self._is_far(peer)]
            known = [peer for peer in far if _node(peer) in runtime.raylets.nodes]
            self._since_s = {peer: since_s for peer in known if (since_s := self._stuck_since_s(peer, now_s)) >= 0}
            if runtime.closing or not far:
                return
            for node_id in dict.fromkeys(map(_node, self._since_s)):
                if self.silent_s(node_id) >= SILENT_S:
                    runtime.raylet.post(m.NodeSilent(node_id))
            self._look_later()


def _node(peer: Peer) -> bytes:
    return node_of(peer.address.endpoint)
