"""The autoscaler as a child process of the process that has the head: started, watched, started again. Its death or
hang touches nothing else; it ends with the head, so that there is never one of an old leader that could launch.

Built by node/head_process.py, or by node/rooms.py for a head inside its node.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from linckia.base.backoff import Backoff
from linckia.base.limits import AUTOSCALER_SILENT_MAX_S, PART_RETRY_CAP_S, PART_RETRY_FIRST_S, PART_STEADY_AFTER_S
from linckia.core.autoscaling.records import Limits
from linckia.core.supervision.part import Part
from linckia.gcs.journal import Outbox
from linckia.gcs.scaling import ScalingService
from linckia.host import environment, process
from linckia.host.entropy import random_generator
from linckia.host.own_log import say
from linckia.node.child import spawn
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
        self._reactor, self._scaling, self._outbox, self._log_path = reactor, scaling, outbox, log_path
        self._limits, self._silent_max_s = limits, silent_max_s
        self.part = Part("autoscaler", Backoff(PART_RETRY_FIRST_S, PART_RETRY_CAP_S, jitter=0.5), PART_STEADY_AFTER_S)
        self.pid = 0
        self._pidfd = -1
        self._conn: Connection | None = None
        self._peer: _Peer | None = None
        self._why = ""  # why it is about to end
        self._heard_s = 0.0
        self._is_over = False
        scaling.types = [each.name for each in limits.types]
        scaling.part = self.facts

    def facts(self) -> dict[str, Any]:
        """For `linckia status`."""
        return {**msgspec.structs.asdict(self.part.facts()), "pid": self.pid}

    def start(self) -> None:
        """Spawn it."""
        if self._is_over:
            return
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self.pid = spawn("linckia.node.scaler_process", "linckia-scaler", theirs, self._log_path)
        except OSError as error:
            mine.close()
            self._failed(f"its process cannot be started: {error}")
            return
        finally:
            theirs.close()
        self._heard_s, self._why = time.monotonic(), ""
        self._pidfd = os.pidfd_open(self.pid)
        self._reactor.register(self._pidfd, self._on_exit)
        conn = Connection(self._reactor, mine, IDENTITY, self._on_messages, self._on_close, initiator=False)
        conn.on_established = lambda _conn: conn.post(m.HeadSays(0, msgspec.msgpack.encode(self._limits)))
        self._conn, self._peer = conn, _Peer(conn, self._outbox)
        self._look_in(self._silent_max_s)

    def _look_in(self, delay_s: float) -> None:
        pid = self.pid
        self._reactor.call_later(delay_s, lambda: self._look(pid))

    def _look(self, pid: int) -> None:
        """Is it heard?"""
        if pid != self.pid or self._pidfd < 0:
            return
        left_s = self._heard_s + self._silent_max_s - time.monotonic()
        if left_s > 0:
            self._look_in(left_s)
        else:
            self._end(f"it was silent for {self._silent_max_s:g} s")

    def _end(self, why: str) -> None:
        self._why = self._why or why
        if self._pidfd >= 0:
            process.signal_pidfd(self._pidfd, signal.SIGKILL)

    def _on_messages(self, conn: Connection, batch: list[m.Message]) -> None:
        if conn is not self._conn or self._peer is None:
            return
        self._heard_s = time.monotonic()
        for message in batch:
            if isinstance(message, m.AskHead):
                self._scaling.on_ask(self._peer, message)
                if message.what == "round":
                    self.part.heard(self._heard_s)

    def _on_close(self, conn: Connection, reason: str) -> None:
        if conn is self._conn:
            self._conn = self._peer = None
            self._end("" if "peer closed" in reason else reason)  # it is useless now, whether it knows it or not

    def _on_exit(self, _events: int) -> None:
        self._reactor.unregister(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1
        _, status = os.waitpid(self.pid, 0)
        conn, self._conn, self._peer = self._conn, None, None
        if conn is not None:
            conn.close("its process has ended")
        self._failed(self._why or f"process {self.pid}: {process.describe_exit(status)}")

    def _failed(self, why: str) -> None:
        self.pid = 0
        say(f"the autoscaler has ended and is started again: {why}")
        pause_s = self.part.failed(why, time.monotonic(), environment.wall_time_s(), random_generator())
        self._reactor.call_later(pause_s, self._again)

    def _again(self) -> None:
        if not self._is_over:
            self.part.tried()
            self.start()

    def close(self) -> None:
        """End it. Idempotent; leaves no zombie."""
        if self._is_over:
            return
        self._is_over = True
        self.part.closed()
        conn, self._conn, self._peer = self._conn, None, None
        if conn is not None:
            conn.close("the head ends")
        if self._pidfd >= 0:
            self._reactor.unregister(self._pidfd)
            process.signal_pidfd(self._pidfd, signal.SIGKILL)
            os.close(self._pidfd)
            os.waitpid(self.pid, 0)
            self._pidfd = -1
