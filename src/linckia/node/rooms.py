"""The rooms of one node process (raylet, and on a head the GCS), its doors, and the dispatcher that gives each message
to the room that handles its type.

Built by node/main.py after the zygote is forked. A handler that fails never takes the process down: the failure is
logged and, when the message was a request, answered.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

from msgspec import to_builtins

from linckia.base.addresses import join_host_port
from linckia.host import environment, exhaustion
from linckia.host.own_log import say
from linckia.model.specs import NodeInfo
from linckia.node.dispatch import each
from linckia.node.resources import max_idle_workers, memory_settings, node_resources
from linckia.node.start_errors import StartError
from linckia.protocol import messages as m
from linckia.raylet.gcs_link import GcsLink
from linckia.raylet.relaying import Relaying
from linckia.raylet.service import Raylet, RayletOptions
from linckia.rpc.connection import Connection
from linckia.rpc.endpoints import HEAD_ROUTE, public_prefix
from linckia.rpc.front_door import FrontDoor
from linckia.rpc.handshake import Identity
from linckia.rpc.inproc import LocalLink
from linckia.rpc.reactor import Reactor

if TYPE_CHECKING:
    from linckia.core.autoscaling.records import Limits
    from linckia.node.dashboard_child import DashboardChild
    from linckia.node.head import HeadRoom
    from linckia.node.head_child import HeadChild
    from linckia.node.instances import InstanceHost
    from linckia.node.main import Node
    from linckia.node.scaler_child import ScalerChild
    from linckia.node.zygote_link import ZygoteLink

LOOPBACK = "127.0.0.1"
GCS_ID = b"gcs"


class Rooms:
    """Everything of one node behind its Unix socket and, in clusters, its one port."""

    def __init__(self, reactor: Reactor, identity: Identity, node: Node, zygote: ZygoteLink) -> None:
        self.reactor, self.node, self.identity = reactor, node, identity
        self.node_ip = node.options.node_ip or LOOPBACK
        reactor.local_node = node.node_id.hex()
        self.endpoint = f"unix:{node.session.sockets}/raylet.sock"
        self.listener = reactor.listen(self.endpoint, identity, self._on_messages, self._on_close)
        self.door: FrontDoor | None = None
        if node.options.port >= 0:
            self.door = FrontDoor(reactor, self.node_ip, node.options.port, self._on_node_socket, self._on_route)
        self.head = None if node.options.address or node.options.store else self._own_head()
        self.head_child = self._head_child() if node.options.store else None
        self.registered = self.head is not None
        self.refused = ""
        link = self._local_link(self.head) if self.head is not None else self._link_to_head()
        self.relaying = Relaying(link)
        self.link = link
        self.instances = self._instance_host(link) if node.scaling is not None else None
        self.scaler: ScalerChild | None = None
        self.raylet = Raylet(reactor, self._raylet_options(), zygote, link)
        if self.instances is not None:
            self.raylet.handlers.update(self.instances.handlers())
        self.raylet.on_stop = node.stop
        self.raylet.on_fence = self._on_fence
        if isinstance(link, GcsLink):
            link.on_presence = self.raylet.heads.presence
        zygote.pool = self.raylet.pool
        if self.head is not None:
            self.head.gcs.queries["available"] = self._available
            self.head.nodes.own_memory = self.raylet.memory.facts
            self.head.nodes.own_down = self.raylet.parts_down
        self.dashboard = self._own_dashboard() if node.options.include_dashboard is not False else None

    # --- the head: here or elsewhere ----------------------------------------------------------------------------------

    def _own_head(self) -> HeadRoom:
        from linckia.node.head import HeadRoom  # noqa: PLC0415 - 2 MB that only heads need

        return HeadRoom(self.reactor, self.node.session.name, each)

    def _head_child(self) -> HeadChild:
        """The head as a process of its own: it may die, and others may lead."""
        from linckia.node.head_child import HeadChild  # noqa: PLC0415 - few nodes have one
        from linckia.node.head_options import HeadOptions  # noqa: PLC0415 - likewise

        assert self.door is not None
        node = self.node
        in_session = node.options.store == "session"
        options = HeadOptions(
            f"sqlite:{node.session.path}/gcs.db" if in_session else node.options.store,
            self.node_ip,
            self.door.port,
            node.token,
            node.session.name,
            list(node.tls_files or ()),
            node_id=node.node_id.hex(),
            scaling=to_builtins(node.scaling) if node.scaling is not None else None,
            scaler_log=self._scaler_log(),
        )
        child = HeadChild(self.reactor, options, f"{node.session.logs}/head.log", self._on_head_failed)
        child.on_leads = self._on_own_head_leads
        child.start()
        return child

    def _scaler_log(self) -> str:
        return f"{self.node.session.logs}/autoscaler.log"

    def _start_scaler(self, head: HeadRoom, limits: Limits) -> None:
        """Beside the head that is in this process."""
        from linckia.node.scaler_child import ScalerChild  # noqa: PLC0415 - few heads have one

        head.scaling.host_id = self.node.node_id
        self.scaler = ScalerChild(self.reactor, head.scaling, head.outbox, limits, self._scaler_log())
        self.scaler.start()

    def _own_dashboard(self) -> DashboardChild | None:
        from linckia.node import dashboard_child  # noqa: PLC0415 - few nodes have one

        child = dashboard_child.beside(self.node, self.endpoint, self.node_ip)
        if child is not None:
            self.raylet.dashboard = child.facts
            if self.head is not None:
                self.head.nodes.own_dashboard = child.facts
            child.start()
            if child.trouble and self.node.options.include_dashboard:
                raise StartError(f"the dashboard does not start: {child.trouble}")
        return child

    def _instance_host(self, link: Any) -> InstanceHost:
        from linckia.node.instances import InstanceHost, start_instance  # noqa: PLC0415 - few nodes start others

        return InstanceHost(
            self.reactor,
            self.node.node_id,
            lambda node_type, labels: start_instance(self, node_type, labels),
            link.post,
            lambda: getattr(link, "epoch", 0),
        )

    def children(self) -> set[int]:
        """Processes of this node that whoever started them reaps."""
        mine = self.head_child.pids() if self.head_child is not None else set()
        mine |= {each.process.pid for each in (self.scaler, self.dashboard) if each is not None}
        return mine | (self.instances.pids() if self.instances is not None else set())

    def _on_head_failed(self, reason: str) -> None:
        if not self.registered:
            self.refused = self.refused or reason
        else:
            say(f"no head runs here any more: {reason}")

    def _local_link(self, head: HeadRoom) -> LocalLink:
        at_gcs, at_raylet = LocalLink.pair(self.reactor, (GCS_ID, "gcs"), (self.node.node_id, "raylet"))
        at_gcs.listen(head.on_batch)
        at_raylet.listen(self._from_head)
        return at_raylet

    def _link_to_head(self) -> GcsLink:
        addresses = self.node.options.address or self.tcp_address
        endpoints = [f"tcp:{address}" for address in addresses.split(",")]
        return GcsLink(
            self.reactor,
            endpoints,
            self.node.node_id,
            self.identity,
            self._from_head,
            self._on_new_head,
            self._on_refused,
        )

    def _on_new_head(self, unacked: list[m.Message]) -> None:
        if self.instances is not None:
            self.instances.begin()  # before the node registers: then nobody takes them for gone
        self.raylet.heads.begin(unacked, self.relaying)

    def _on_refused(self, reason: str) -> None:
        self.refused = self.refused or reason
        if self.registered:
            self.node.stop(f"the head does not accept this node any more: {reason}")

    def _from_head(self, link: Any, batch: list[m.Message]) -> None:
        for message in batch:
            if type(message) is m.RelayedBack:
                self.relaying.from_head(message)
                continue
            if type(message) is m.NodeRegistered and not message.refused:
                self.registered = True
            each(link, [message], self._to_raylet)

    def _on_fence(self, reason: str) -> None:
        """The cluster goes on without this node."""
        if not self.registered:
            self.refused = reason
        elif self.node.options.rejoin:
            self.node.rejoin(reason)
        else:
            self.node.stop(reason)

    def _available(self) -> dict[str, float]:
        """Free resources, this node's as of now; of the object store what no object fills."""
        assert self.head is not None
        mine = self.head.nodes.nodes.get(self.node.node_id)
        if mine is not None:
            free = {name: max(0, count) for name, count in self.raylet.leases.available.items()}
            mine.available = self.raylet.with_free_store(free)
        return self.head.nodes.available()

    def start(self) -> None:
        """Register the node (heads; others have joined already) and start workers."""
        self.raylet.start()
        if self.head is not None and self.node.scaling is not None:
            self._start_scaler(self.head, self.node.scaling)

    def close(self) -> None:
        """Stop accepting, tell the head, forget workers' exits."""
        self.reactor.close_listener(self.listener)
        if self.door is not None:
            self.door.close()
        for part in (self.scaler, self.dashboard):
            if part is not None:
                part.close()
        if self.instances is not None:
            self.instances.close()
        link = self.raylet.gcs
        if isinstance(link, GcsLink):
            link.post(m.UnregisterNode(self.node.node_id, self.node.reason or "it was stopped"))
            link.close()
            if self.head_child is not None:
                self.head_child.close()
        self.raylet.pool.kill_all()
        self.raylet.objects.close()

    # --- doors --------------------------------------------------------------------------------------------------------

    def _on_node_socket(self, sock: socket.socket) -> None:
        self.reactor.adopt(sock, self.identity, self._on_messages, self._on_close)

    def _on_route(self, worker_id: bytes, sock: socket.socket) -> None:
        """Somebody of another node wants one of our processes, or the head: hand the socket over."""
        if worker_id == HEAD_ROUTE:
            self._on_head_socket(sock)
            return
        client = self.raylet.clients.get(worker_id)
        if client is not None and not client.closed:
            try:
                client.send_with_fd(m.IncomingConnection(), sock.fileno())
            except OSError as error:  # no descriptor left to keep it until it can be sent: the caller sees a hang-up
                say(f"a connection for {worker_id.hex()} is refused: {exhaustion.describe(error)}")
        sock.close()

    def _on_head_socket(self, sock: socket.socket) -> None:
        known = self._leads_elsewhere()
        if known is not None:
            identity = Identity("gcs", GCS_ID, self.identity.token)
            self.reactor.adopt(sock, identity, lambda peer, batch: _send_on(peer, batch, known), _no_matter)
        elif self.head_child is not None:
            self.head_child.pass_socket(sock)
        elif self.head is not None:
            identity = Identity("gcs", GCS_ID, self.identity.token)
            self.reactor.adopt(sock, identity, self.head.on_batch, self._on_close)
        else:
            sock.close()  # it asks another one

    def _leads_elsewhere(self) -> m.NotLeader | None:
        """Who asks here for the head is sent there, also when the head of this node is dead or stopped."""
        link = self.raylet.gcs
        if not isinstance(link, GcsLink) or not link.up or link.endpoint == f"tcp:{self.tcp_address}":
            return None
        if self.head_child is not None and self.head_child.epoch > link.epoch:
            return None
        heads = [endpoint.removeprefix("tcp:") for endpoint in link.endpoints]
        return m.NotLeader(link.endpoint.removeprefix("tcp:"), link.epoch, heads)

    def _on_own_head_leads(self, epoch: int) -> None:
        """Our raylet may still hold on to the last leader, which is stopped, or cut off."""
        link = self.raylet.gcs
        if isinstance(link, GcsLink) and link.up and link.endpoint != f"tcp:{self.tcp_address}":
            link.leader_is(self.tcp_address, epoch)

    # --- messages -----------------------------------------------------------------------------------------------------

    def _on_messages(self, peer: Connection, batch: list[m.Message]) -> None:
        each(peer, batch, self._dispatch)

    def _dispatch(self, peer: Any, message: m.Message) -> None:
        if type(message) in self.raylet.handlers:
            self._to_raylet(peer, message)
        elif isinstance(message, m.NewLeader):
            if isinstance(self.raylet.gcs, GcsLink):
                self.raylet.gcs.leader_is(message.leader, message.epoch)
        elif self.head is not None:
            self.head.handle(peer, message)
        else:
            self.relaying.to_head(peer, message)

    def _to_raylet(self, peer: Any, message: m.Message) -> None:
        self.raylet.handlers[type(message)](peer, message)

    def _on_close(self, peer: Connection, reason: str) -> None:
        if not peer.established:
            say(f"connection refused or lost during its handshake: {reason}")
            return
        if self.head is not None:
            self.head.peer_gone(peer)
        else:
            self.relaying.ended(peer)
        self.raylet.peer_gone(peer, reason)

    # --- facts --------------------------------------------------------------------------------------------------------

    @property
    def tcp_address(self) -> str:
        """``host:port`` of this node; empty when it is embedded."""
        return join_host_port(self.node_ip, self.door.port) if self.door is not None else ""

    def _prefix(self) -> str:
        return public_prefix(self.node.node_id, self.node_ip, self.door.port) if self.door is not None else ""

    def _raylet_options(self) -> RayletOptions:
        node, options = self.node, self.node.options
        resources = node_resources(options, self.node_ip, node.segment.capacity_bytes)
        info = NodeInfo(
            node_id=node.node_id,
            node_ip=self.node_ip,
            hostname=environment.host_name(),
            endpoint=self._prefix() or self.endpoint,
            pid=os.getpid(),
            resources=resources,
            labels={"ray.io/node-id": node.node_id.hex(), **options.labels},
            is_head=self.head is not None or self.head_child is not None,
            name=options.node_name,
        )
        prestart = options.prestart_workers
        return RayletOptions(
            node=info,
            session_name=node.session.name,
            logs_dir=node.session.logs,
            segment=node.segment,
            worker_config=self._worker_config(),
            prestart_workers=int(resources.get("CPU", 0)) if prestart is None else prestart,
            max_workers=options.max_workers,
            is_head=self.head is not None,
            public_prefix=self._prefix(),
            identity=self.identity,
            spill_dir=options.spill_dir or node.session.path,
            tls=list(node.tls_files or ()),
            memory=memory_settings(),
            max_idle_workers=max_idle_workers(),
        )

    def _worker_config(self) -> dict[str, Any]:
        node = self.node
        return {
            "node_id": node.node_id,
            "node_ip": self.node_ip,
            "raylet_endpoint": self.endpoint,
            "public_prefix": self._prefix(),
            "tls": list(node.tls_files or ()),
            "token": node.token.encode(),
            "segment_fd": node.segment.fd,
            "store_capacity": node.segment.capacity_bytes,
            "session_dir": node.session.path,
            "session_name": node.session.name,
            "sockets_dir": node.session.sockets,
        }


def _send_on(peer: Connection, batch: list[m.Message], known: m.NotLeader) -> None:
    if isinstance(batch[0], m.LinkHello):
        peer.post(known)
    else:  # another head: it looks again, and by then we know as much as it does
        peer.close("another head leads")


def _no_matter(_peer: Connection, _reason: str) -> None:
    """Who asked where the head is has heard it, or asks again."""
