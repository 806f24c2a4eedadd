"""The head and node rooms of one process, and the dispatcher that gives each message to the room that handles its type.

Built by node/main.py after the zygote is forked. A handler that fails never takes the process down: the failure is
logged and, when the message was a request, answered.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from linckia.gcs.actors import ActorService
from linckia.gcs.service import Gcs
from linckia.gcs.waits import WaitService
from linckia.host import environment
from linckia.model.specs import NodeInfo
from linckia.node.resources import node_resources
from linckia.protocol.messages import DriverMessage, Failure, Message
from linckia.raylet.service import Raylet, RayletOptions
from linckia.rpc.connection import Connection
from linckia.rpc.handshake import Identity
from linckia.rpc.inproc import LocalLink
from linckia.rpc.reactor import Reactor

if TYPE_CHECKING:
    from linckia.node.main import Node
    from linckia.node.zygote_link import ZygoteLink

NODE_IP = "127.0.0.1"
GCS_ID = b"gcs"


class Rooms:
    """GCS and raylet behind one listening socket."""

    def __init__(self, reactor: Reactor, identity: Identity, node: Node, zygote: ZygoteLink) -> None:
        self.reactor, self.node = reactor, node
        self.endpoint = f"unix:{node.session.sockets}/raylet.sock"
        self.listener = reactor.listen(self.endpoint, identity, self._on_messages, self._on_close)
        at_gcs, at_raylet = LocalLink.pair(reactor, (GCS_ID, "gcs"), (node.node_id, "raylet"))
        self.gcs = Gcs(node.session.name)
        self.actors = ActorService(at_gcs.send, NODE_IP, reactor.call_later)
        self.actors.reply = self.gcs.reply
        self.gcs.handlers.update(self.actors.handlers())
        self.gcs.on_worker_failed.append(lambda message: self.actors.owner_ended(message.worker_id))
        self.waits = WaitService(self._tell_drivers)
        self.gcs.handlers.update(self.waits.handlers())
        self.gcs.on_worker_failed.append(lambda message: self.waits.worker_gone(message.worker_id))
        self.raylet = Raylet(reactor, self._raylet_options(), zygote, at_raylet)
        self.raylet.on_stop = node.stop
        zygote.pool = self.raylet.pool
        self.gcs.queries["available"] = self._available
        at_gcs.listen(lambda link, batch: self._each(link, batch, self._to_gcs))
        at_raylet.listen(lambda link, batch: self._each(link, batch, self._to_raylet))

    def _tell_drivers(self, message: DriverMessage) -> None:
        for driver in self.raylet.drivers.values():
            driver.peer.post(message)

    def _available(self) -> dict[str, float]:
        """Free resources; of the object store what no object fills."""
        available = self.gcs.available()
        used = self.raylet.store.core.usage().sealed_bytes
        available["object_store_memory"] = max(0.0, available.get("object_store_memory", 0.0) - used)
        return available

    def start(self) -> None:
        """Register the node and start workers."""
        self.raylet.start()

    def close(self) -> None:
        """Stop accepting, forget workers' exits."""
        self.reactor.close_listener(self.listener)
        self.raylet.pool.kill_all()

    # --- messages -----------------------------------------------------------------------------------------------------

    def _on_messages(self, peer: Connection, batch: list[Message]) -> None:
        self._each(peer, batch, self._dispatch)

    def _dispatch(self, peer: Any, message: Message) -> None:
        if type(message) in self.raylet.handlers:
            self._to_raylet(peer, message)
        else:
            self._to_gcs(peer, message)

    def _to_raylet(self, peer: Any, message: Message) -> None:
        self.raylet.handlers[type(message)](peer, message)

    def _to_gcs(self, peer: Any, message: Message) -> None:
        if type(message) not in self.gcs.handlers:
            raise LookupError(f"nobody here handles {type(message).__name__}")
        self.gcs.on_message(peer, message)

    def _each(self, peer: Any, batch: list[Message], handle: Any) -> None:
        for message in batch:
            try:
                handle(peer, message)
            except Exception as error:  # noqa: BLE001 - one bad request must not end the cluster; it is logged and answered
                import traceback  # noqa: PLC0415 - 4 ms that only a failure needs

                print(f"{type(message).__name__} from {peer.peer_role} {peer.peer_id.hex()}:", file=sys.stderr)  # noqa: T201
                traceback.print_exc()
                rid = getattr(message, "rid", None)
                if rid is not None:
                    peer.post(Failure(rid, type(error).__name__, str(error)))

    def _on_close(self, peer: Connection, reason: str) -> None:
        if not peer.established:
            print(f"connection refused or lost during its handshake: {reason}", file=sys.stderr)  # noqa: T201
            return
        self.raylet.peer_gone(peer, reason)
        self.gcs.peer_gone(peer)

    # --- facts --------------------------------------------------------------------------------------------------------

    def _raylet_options(self) -> RayletOptions:
        node, options = self.node, self.node.options
        resources = node_resources(options, NODE_IP, node.segment.capacity_bytes)
        info = NodeInfo(
            node_id=node.node_id,
            node_ip=NODE_IP,
            hostname=environment.host_name(),
            endpoint=self.endpoint,
            pid=os.getpid(),
            resources=resources,
            labels=dict(options.labels),
            is_head=True,
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
        )

    def _worker_config(self) -> dict[str, Any]:
        node = self.node
        return {
            "node_id": node.node_id,
            "node_ip": NODE_IP,
            "raylet_endpoint": self.endpoint,
            "token": node.token.encode(),
            "segment_fd": node.segment.fd,
            "store_capacity": node.segment.capacity_bytes,
            "session_dir": node.session.path,
            "session_name": node.session.name,
            "sockets_dir": node.session.sockets,
        }
