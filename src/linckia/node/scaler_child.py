"""The autoscaler as a child process of the process that has the head: what the two say to each other. It ends with the
head, so that there is never one of an old leader that could launch.

Built by node/head_process.py, or by node/rooms.py for a head inside its node; the process is node/part_child.py's.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

import msgspec

from linckia.base.limits import AUTOSCALER_SILENT_MAX_S
from linckia.core.autoscaling.records import Limits
from linckia.gcs.journal import Outbox
from linckia.gcs.scaling import ScalingService
from linckia.host import environment
from linckia.node.part_child import PartChild, Program
from linckia.protocol import messages as m
from linckia.rpc.connection import Connection
from linckia.rpc.handshake import Identity

if TYPE_CHECKING:
    from linckia.rpc.reactor import Reactor

IDENTITY: Final = Identity("gcs", b"gcs", b"")
"""The token is empty: nobody but the child has the other end of its socket."""
SILENT_MAX_S: Final = float(environment.option("AUTOSCALER_SILENT_S", str(AUTOSCALER_SILENT_MAX_S)))


class _Peer:
    """The child, as the head's services see it: what is said to it waits for the store."""

    def __init__(self, conn: Connection, outbox: Outbox) -> None:
        self._conn, self._outbox = conn, outbox

    def post(self, message: m.Message) -> None:
        self._outbox.say(self, message)

    def transmit(self, message: m.Message) -> None:
        if not self._conn.closed:
            self._conn.post(message)


class ScalerChild:
    """``silent_max_s``: a child that asks nothing for so long hangs."""

    def __init__(
        self,
        reactor: Reactor,
        scaling: ScalingService,
        outbox: Outbox,
        limits: Limits,
        log_path: str,
        *,
        silent_max_s: float = SILENT_MAX_S,
    ) -> None:
        self._reactor, self._scaling, self._outbox, self._limits = reactor, scaling, outbox, limits
        program = Program("autoscaler", "linckia.node.scaler_process", "linckia-scaler", log_path, silent_max_s)
        self.process = PartChild(reactor, program, self._on_started, self._on_ended)
        self._conn: Connection | None = None
        self._peer: _Peer | None = None
        scaling.types = [each.name for each in limits.types]
        scaling.part = self.process.facts

    def start(self) -> None:
        """Spawn it."""
        self.process.start()

    def close(self) -> None:
        """End it. Idempotent; leaves no zombie."""
        self.process.close()

    def _on_started(self, sock: socket.socket) -> None:
        conn = Connection(self._reactor, sock, IDENTITY, self._on_messages, self._on_close, initiator=False)
        conn.on_established = lambda _conn: conn.post(m.HeadSays(0, msgspec.msgpack.encode(self._limits)))
        self._conn, self._peer = conn, _Peer(conn, self._outbox)

    def _on_messages(self, conn: Connection, batch: list[m.Message]) -> None:
        if conn is not self._conn or self._peer is None:
            return
        self.process.heard(works=False)
        for message in batch:
            if isinstance(message, m.AskHead):
                self._scaling.on_ask(self._peer, message)
                if message.what == "round":
                    self.process.heard(works=True)

    def _on_close(self, conn: Connection, reason: str) -> None:
        if conn is self._conn:
            self._conn = self._peer = None
            self.process.end("" if "peer closed" in reason else reason)  # useless now, whether it knows it or not

    def _on_ended(self, why: str) -> None:
        conn, self._conn, self._peer = self._conn, None, None
        if conn is not None:
            conn.close(why)
