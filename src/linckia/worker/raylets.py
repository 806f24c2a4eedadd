"""The raylets this runtime talks to besides its own: those that leased it workers or hold its objects.

Knows the nodes (`NodesChanged`, from the own raylet) and connects on first use. When a node is declared dead, every
connection to it is closed, so that each part of the runtime decides what that means. Used by worker/runtime.py under
its mutex.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from linckia.base.addresses import node_of
from linckia.model.specs import NodeInfo
from linckia.model.wire import Address
from linckia.protocol import messages as m
from linckia.worker.reach import HANG_UP_AFTER_S, Reach
from linckia.worker.tasks import Peer

if TYPE_CHECKING:
    from linckia.worker.runtime import Runtime

_decode_node = msgspec.msgpack.Decoder(NodeInfo).decode
DEAD_REMEMBERED_MAX = 1000


class Raylets:
    """By node id."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.nodes: dict[bytes, NodeInfo] = {}  # of other nodes
        self.peers: dict[bytes, Peer] = {}
        self.dead: dict[bytes, str] = {}  # node id -> why
        self.reach = Reach(runtime)
        self.preempted: dict[bytes, None] = {}  # they drain, because their machines will be taken away

    def at(self, node_id: bytes, endpoint: str = "") -> Peer:
        """The connection to a node's raylet; a closed peer when the node is unknown, dead or cannot be reached."""
        runtime = self.runtime
        if not node_id or node_id == runtime.node_id:
            return runtime.raylet_peer
        peer = self.peers.get(node_id)
        if peer is not None and not peer.closed:
            return peer
        if not endpoint:
            info = self.nodes.get(node_id)
            endpoint = info.endpoint if info is not None else ""
        if not endpoint or node_id in self.dead:
            return Peer(None, Address(node_id, endpoint))
        try:
            conn = runtime.reactor.connect(endpoint, runtime.identity, runtime.on_messages, runtime.on_close)
        except OSError:
            return Peer(None, Address(node_id, endpoint))
        peer = self.peers[node_id] = Peer(conn, Address(node_id, endpoint))
        conn.state = peer
        self.reach.watch(peer)
        return peer

    def on_nodes(self, _peer: Any, message: m.NodesChanged) -> None:
        """The cluster changed."""
        for encoded in message.joined:
            info = _decode_node(encoded)
            self.nodes[info.node_id] = info
        self.preempted.update(dict.fromkeys(message.preempted))
        for node_id, _reason, text in message.dead:
            self._node_dead(node_id, text)
            self.preempted.pop(node_id, None)
        if message.joined:
            self.runtime.replicas.nodes_joined()

    def on_unreachable(self, _peer: Any, message: m.NodeUnreachable) -> None:
        """It lives, but nothing of ours gets there: ask elsewhere; what runs there is given up when that lasts."""
        runtime, info = self.runtime, self.nodes.get(message.node_id)
        if info is None:
            return
        where = f"node {message.node_id.hex()[:8]} at {info.node_ip} cannot be reached from {runtime.node_ip}"
        if self.reach.silent_s(message.node_id) >= HANG_UP_AFTER_S:
            self._hang_up(message.node_id, f"{where}: {message.reason}")
        else:
            runtime.submitter.ask_elsewhere(message.node_id)

    def _node_dead(self, node_id: bytes, text: str) -> None:
        runtime, info = self.runtime, self.nodes.pop(node_id, None)
        self.dead[node_id] = text
        while len(self.dead) > DEAD_REMEMBERED_MAX:
            del self.dead[next(iter(self.dead))]
        where = f"node {node_id.hex()[:8]} at {info.node_ip if info is not None else '?'} died: {text}"
        self._hang_up(node_id, where)
        runtime.node_dead(node_id, where)

    def _hang_up(self, node_id: bytes, where: str) -> None:
        """Close all connections to a node."""
        runtime, prefix = self.runtime, f"node:{node_id.hex()}:"
        peers = [peer for peer in runtime.peers.values() if peer.address.endpoint.startswith(prefix)]
        raylet = self.peers.pop(node_id, None)
        for peer in [*peers, raylet]:
            if peer is not None and not peer.closed:
                peer.conn.close(where)
        runtime.submitter.raylet_gone(node_id, where)

    def why_gone(self, peer: Peer, reason: str) -> str:
        """What to say of a peer whose connection closed. One to another node that never came to be: our raylet sends
        us elsewhere for a while.
        """
        runtime, node_id = self.runtime, node_of(peer.address.endpoint)
        if peer.conn.established or not node_id or node_id == runtime.node_id:
            return "is gone"
        if not runtime.raylet.closed:
            runtime.raylet.post(m.NodeUnreachable(node_id, reason))
        return f"cannot be reached from {runtime.node_ip}: {reason}"

    def closed(self, peer: Peer) -> bool:
        """True when the peer was a raylet of ours: what hangs on it has been told."""
        node_id = peer.address.worker_id
        if self.peers.get(node_id) is not peer:
            return False
        del self.peers[node_id]
        self.runtime.submitter.raylet_gone(node_id, f"the connection to node {node_id.hex()[:8]} is lost")
        self.runtime.replicas.raylet_gone(node_id)
        return True

    def close(self) -> None:
        """Disconnect."""
        for peer in list(self.peers.values()):
            if not peer.closed:
                peer.conn.close()
