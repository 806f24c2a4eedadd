"""A part of a node or head that is a process of its own: started, watched, started again (P 9). Its death or hang
touches nothing else; it ends with whoever started it.

What is said over its socket is its owner's business: node/scaler_child.py, node/dashboard_child.py. Decisions are
`core/supervision`'s.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from linckia.base.backoff import Backoff
from linckia.base.limits import PART_BARREN_CAP_S, PART_RETRY_CAP_S, PART_RETRY_FIRST_S, PART_STEADY_AFTER_S
from linckia.core.supervision.part import Part
from linckia.core.supervision.states import PartState
from linckia.host import environment, process
from linckia.host.entropy import random_generator
from linckia.host.own_log import say
from linckia.node.child import spawn

if TYPE_CHECKING:
    from linckia.rpc.reactor import Reactor


class Program(NamedTuple):
    """What is started. ``silent_max_s``: it hangs when it is not heard for so long; ``start_max_s``: or, if that is
    longer, for so long before it has worked at all. ``kind``: of its socket.
    """

    part: str
    module: str
    process_name: str
    log_path: str
    silent_max_s: float
    start_max_s: float = 0.0
    kind: socket.SocketKind = socket.SOCK_STREAM


class PartChild:
    """``on_started(sock)``: a new process, and our end of its socket, which is the owner's now. ``on_ended(why)``: that
    socket is of no use any more.
    """

    def __init__(
        self,
        reactor: Reactor,
        program: Program,
        on_started: Callable[[socket.socket], None],
        on_ended: Callable[[str], None],
    ) -> None:
        self._reactor, self._program, self._on_started, self._on_ended = reactor, program, on_started, on_ended
        backoff = Backoff(PART_RETRY_FIRST_S, PART_RETRY_CAP_S, jitter=0.5)
        barren = Backoff(PART_RETRY_FIRST_S, PART_BARREN_CAP_S, jitter=0.5)
        self.part = Part(program.part, backoff, PART_STEADY_AFTER_S, barren)
        self.pid = 0
        self._pidfd = -1
        self._why = ""  # why it is about to end
        self._heard_s = 0.0
        self._is_over = False

    def facts(self) -> dict[str, Any]:
        """For `linckia status`."""
        return {**msgspec.structs.asdict(self.part.facts()), "pid": self.pid}

    def start(self) -> None:
        """Spawn it."""
        if self._is_over:
            return
        mine, theirs = socket.socketpair(socket.AF_UNIX, self._program.kind | socket.SOCK_CLOEXEC)
        try:
            self.pid = spawn(self._program.module, self._program.process_name, theirs, self._program.log_path)
        except OSError as error:
            mine.close()
            self._failed(f"its process cannot be started: {error}")
            return
        finally:
            theirs.close()
        self._heard_s, self._why = time.monotonic(), ""
        self._pidfd = os.pidfd_open(self.pid)
        self._reactor.register(self._pidfd, self._on_exit)
        self._on_started(mine)
        self._look_in(self._program.silent_max_s)

    def heard(self, *, works: bool) -> None:
        """It lives; and it has done some of its work."""
        self._heard_s = time.monotonic()
        if works:
            self.part.heard(self._heard_s)

    def end(self, why: str) -> None:
        """Kill it; another one follows."""
        self._why = self._why or why
        if self._pidfd >= 0:
            process.signal_pidfd(self._pidfd, signal.SIGKILL)

    def _look_in(self, delay_s: float) -> None:
        pid = self.pid
        self._reactor.call_later(delay_s, lambda: self._look(pid))

    def _look(self, pid: int) -> None:
        """Is it heard?"""
        if pid != self.pid or self._pidfd < 0:
            return
        may_s = self._program.silent_max_s
        if self.part.state is not PartState.UP:
            may_s = max(may_s, self._program.start_max_s)
        left_s = self._heard_s + may_s - time.monotonic()
        if left_s > 0:
            self._look_in(left_s)
        else:
            self.end(f"it was silent for {may_s:g} s")

    def _on_exit(self, _events: int) -> None:
        self._reactor.unregister(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1
        _, status = os.waitpid(self.pid, 0)
        self._on_ended("its process has ended")
        self._failed(self._why or f"process {self.pid}: {process.describe_exit(status)}")

    def _failed(self, why: str) -> None:
        self.pid = 0
        say(f"the {self._program.part} has ended and is started again: {why}")
        pause_s = self.part.failed(why, time.monotonic(), environment.wall_time_s(), random_generator())
        self._reactor.call_later(pause_s, self._again)

    def _again(self) -> None:
        if not self._is_over:
            self.part.tried()
            self.start()

    def close(self) -> None:
        """End it for good. Idempotent; leaves no zombie."""
        if self._is_over:
            return
        self._is_over = True
        self.part.closed()
        self._on_ended("who started it ends")
        if self._pidfd >= 0:
            self._reactor.unregister(self._pidfd)
            process.signal_pidfd(self._pidfd, signal.SIGKILL)
            os.close(self._pidfd)
            os.waitpid(self.pid, 0)
            self._pidfd = -1
