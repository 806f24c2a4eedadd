"""The head as a child process of its node: started, watched, started again, given the sockets that ask for it.

The node's port is the head's port: whoever names the head in the preamble (rpc/endpoints.py) is handed over. Where
there may be other heads, the node hangs up on them for a moment after the process died, which tells the others that it
is gone; where there are none they wait for the next process. The death touches nothing else of the node. Used by
node/rooms.py for heads with a store.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

import msgspec

from linckia.base.limits import HEAD_CHILD_MAX_BYTES, HEAD_STOP_MAX_S
from linckia.host import process
from linckia.host.entropy import random_generator
from linckia.host.own_log import say
from linckia.node.head_forks import HeadForks
from linckia.node.head_options import CONNECTION, STOP, HeadOptions
from linckia.node.head_restarts import RestartPauses
from linckia.rpc.reactor import Reactor

BUSY_PAUSE_S = 0.05
OTHERS_LOOK_S = 0.3
"""Heads of other machines look at this address when their connection to the leader breaks, and only a hang-up proves
that it is dead: one that is handed to the next process says nothing. The next one ends its predecessor's lease itself.
"""


class HeadChild:
    """``on_failed(reason)``: it cannot start, in a sentence; it is not tried again."""

    def __init__(self, reactor: Reactor, options: HeadOptions, log_path: str, on_failed: Callable[[str], None]) -> None:
        self._reactor, self._options, self._on_failed = reactor, options, on_failed
        self.pid = 0
        self.starts = 0
        self.trouble = ""  # what it waits for
        self.epoch = 0  # by which it leads, or last led
        self.on_leads: Callable[[int], None] = lambda _epoch: None
        self.forks = HeadForks(reactor, options.store.partition(":")[0], log_path)
        self._alone = options.store.startswith("sqlite:")
        self._pidfd = -1
        self._channel: socket.socket | None = None
        self._early: list[socket.socket] = []  # wanted a head while there was none
        self._error, self._lease, self._worked = "", 0, False
        self._started_s, self._hang_up_until_s = 0.0, 0.0
        self._pauses = RestartPauses(random_generator())
        self._is_over = False

    def start(self) -> None:
        """Ask for the process."""
        if self._is_over:
            return
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        try:
            self.forks.fork(theirs, lambda pid, error: self._forked(mine, pid, error))
        except OSError as error:
            self._not_forked(mine, str(error))
        finally:
            theirs.close()

    def _not_forked(self, channel: socket.socket, error: str) -> None:
        """No memory or process left just now."""
        channel.close()
        if not self._is_over:
            say(f"the head process cannot be started, and is tried again: {error}")
            self._reactor.call_later(self._pauses.after_failure(), self.start)

    def _forked(self, channel: socket.socket, pid: int, error: str) -> None:
        """It waits for its options: until then it is not at work, and its pid is its own."""
        if error or self._is_over:
            self._not_forked(channel, error)
            return
        self.starts += 1
        self.pid = pid
        self._started_s, self._error, self._lease, self._worked = time.monotonic(), "", 0, False
        try:
            self._pidfd = os.pidfd_open(pid)
        except OSError:  # it was killed in its first moment, and reaped
            channel.close()
            self._ended(None)
            return
        self._channel = channel
        with contextlib.suppress(OSError):  # it is dead: its descriptor tells
            channel.send(msgspec.json.encode(self._options.as_json_object()))
        channel.setblocking(False)
        self._reactor.register(channel.fileno(), self._on_channel)
        self._reactor.register(self._pidfd, self._on_exit)
        early, self._early = self._early, []
        for sock in early:
            self.pass_socket(sock)

    def pass_socket(self, sock: socket.socket) -> None:
        """Somebody wants the head. Closed here, in any case."""
        if time.monotonic() < self._hang_up_until_s:
            sock.close()
            return
        if self._channel is None and not self._is_over:
            self._early.append(sock)
            return
        if self._channel is not None:
            try:
                socket.send_fds(self._channel, [CONNECTION], [sock.fileno()])
            except BlockingIOError:  # it is busy, not dead: hanging up would tell the others so
                self._reactor.call_later(BUSY_PAUSE_S, lambda: self.pass_socket(sock))
                return
            except OSError:
                pass  # it is dead: the hang-up says so
        sock.close()

    def pids(self) -> set[int]:
        """Its processes: who started them reaps them."""
        return {pid for pid in (self.pid, self.forks.pid) if pid}

    # --- what it says -------------------------------------------------------------------------------------------------

    def _on_channel(self, _events: int) -> None:
        while self._channel is not None:
            try:
                packet = self._channel.recv(HEAD_CHILD_MAX_BYTES)
            except BlockingIOError:
                return
            except ConnectionError:
                packet = b""
            if not packet:
                self._hang_up()
                return
            self._hear(msgspec.json.decode(packet))

    def _hear(self, said: dict[str, Any]) -> None:
        self._error = str(said.get("error", self._error))
        self.trouble = str(said.get("trouble", self.trouble))
        self._lease = int(said.get("lease", self._lease))
        self._worked = bool(said.get("works", self._worked))
        if "epoch" in said:
            self.epoch = int(said["epoch"])
            self._hang_up_until_s = 0.0  # others look for this one now, not for the dead one
            self.on_leads(self.epoch)

    def _hang_up(self) -> None:
        if self._channel is not None:
            self._reactor.unregister(self._channel.fileno())
            self._channel.close()
            self._channel = None

    # --- its end ------------------------------------------------------------------------------------------------------

    def _on_exit(self, _events: int) -> None:
        """At once: its descriptor tells, whatever else is going on."""
        self._on_channel(select.EPOLLIN)  # its last words
        self._hang_up()
        self._reactor.unregister(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1
        try:
            self._ended(os.waitpid(self.pid, 0)[1])
        except ChildProcessError:  # reaped by somebody else
            self._ended(None)

    def _ended(self, status: int | None) -> None:
        why = self._error or (process.describe_exit(status) if status is not None else "nobody knows how")
        say(f"the head process {self.pid} has ended: {why}")
        if self._error:
            self._fail()
            return
        now_s = time.monotonic()
        pause_s = self._pauses.after_end(status, lived_s=now_s - self._started_s, worked=self._worked)
        self._options = self._options._replace(predecessor=self.pid, predecessor_lease=self._lease)
        self.pid = 0
        if not self._alone:
            self._hang_up_until_s = now_s + OTHERS_LOOK_S
        if pause_s:
            self._reactor.call_later(pause_s, self.start)
        else:
            self.start()

    def _fail(self) -> None:
        self._let_go()
        self._on_failed(self._error)

    def _let_go(self) -> None:
        """There will be no head here any more."""
        self._is_over = True
        self.pid = 0
        early, self._early = self._early, []
        for sock in early:
            sock.close()
        self.forks.close()

    def close(self) -> None:
        """End it: it gives up its term first, so that another head need not wait. Blocks shortly; leaves no zombie."""
        if self._pidfd >= 0:
            self._reactor.unregister(self._pidfd)
            if self._channel is not None:
                with contextlib.suppress(OSError):
                    self._channel.send(STOP)
            if not process.wait_pidfd(self._pidfd, HEAD_STOP_MAX_S):
                process.signal_pidfd(self._pidfd, signal.SIGKILL)
            self._hang_up()
            os.close(self._pidfd)
            self._pidfd = -1
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pid, 0)
        self._let_go()
