"""The head as a child process of its node: started, watched, started again, given the sockets that ask for it.

The node's port is the head's port: whoever names the head in the preamble (rpc/endpoints.py) is handed over. While the
process is dead, or stays so, the node hangs up on them at once, which tells other heads that it is gone. Its death
touches nothing else of the node. Used by node/rooms.py for heads with a store.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec

from linckia.base.backoff import Backoff
from linckia.base.limits import HEAD_CHILD_MAX_BYTES, HEAD_STOP_MAX_S
from linckia.host import environment, process
from linckia.host.entropy import random_generator
from linckia.node.head_options import CONNECTION, STOP, HeadOptions
from linckia.node.launch import program
from linckia.rpc.reactor import Reactor

STEADY_AFTER_S = 5.0
BUSY_PAUSE_S = 0.05
OTHERS_LOOK_S = 0.3
"""Where there may be other heads, nothing is started for so long. They look at this address when their connection to
the leader breaks, and only a hang-up proves that it is dead; a process that is just starting would let them wait.
"""


class HeadChild:
    """``on_failed(reason)``: it cannot start, in a sentence; it is not tried again."""

    def __init__(self, reactor: Reactor, options: HeadOptions, log_path: str, on_failed: Callable[[str], None]) -> None:
        self._reactor, self._options, self._log_path, self._on_failed = reactor, options, log_path, on_failed
        self.pid = 0
        self.starts = 0
        self.trouble = ""  # what it waits for
        self._pidfd = -1
        self._channel: socket.socket | None = None
        self._error = ""
        self._started_s = 0.0
        self._backoff, self._attempt = Backoff(0.01, 2.0, jitter=0.5), 0
        self._is_over = False

    def start(self) -> None:
        """Spawn it."""
        if self._is_over:
            return
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        try:
            self.pid = self._spawn(theirs)
        except OSError as error:  # no memory or process left just now
            print(f"the head process cannot be started, and is tried again: {error}", file=sys.stderr)  # noqa: T201
            mine.close()
            self._reactor.call_later(self._pause_s() or BUSY_PAUSE_S, self.start)
            return
        finally:
            theirs.close()
        self.starts += 1
        self._started_s, self._error = time.monotonic(), ""
        self._channel = mine
        mine.send(msgspec.json.encode(self._options.as_json_object()))
        mine.setblocking(False)
        self._pidfd = os.pidfd_open(self.pid)
        self._reactor.register(mine.fileno(), self._on_channel)
        self._reactor.register(self._pidfd, self._on_exit)

    def _spawn(self, channel: socket.socket) -> int:
        log_fd = os.open(self._log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        command, boot = program("linckia.node.head_process", "linckia-head")
        files = [
            (os.POSIX_SPAWN_DUP2, channel.fileno(), 0),
            (os.POSIX_SPAWN_DUP2, log_fd, 1),
            (os.POSIX_SPAWN_DUP2, log_fd, 2),
        ]
        try:
            return os.posix_spawn(
                sys.executable, command, {**environment.process_environment(), **boot}, file_actions=files
            )
        finally:
            os.close(log_fd)

    def pass_socket(self, sock: socket.socket) -> None:
        """Somebody wants the head. Closed here, in any case."""
        if self._channel is not None:
            try:
                socket.send_fds(self._channel, [CONNECTION], [sock.fileno()])
            except BlockingIOError:  # it is busy, not dead: hanging up would tell the others so
                self._reactor.call_later(BUSY_PAUSE_S, lambda: self.pass_socket(sock))
                return
            except OSError:
                pass  # it is dead: the hang-up says so
        sock.close()

    def _on_channel(self, _events: int) -> None:
        assert self._channel is not None
        try:
            packet = self._channel.recv(HEAD_CHILD_MAX_BYTES)
        except (BlockingIOError, ConnectionError):
            packet = b""
        if not packet:
            self._hang_up()
            return
        said: dict[str, Any] = msgspec.json.decode(packet)
        self._error = str(said.get("error", self._error))
        self.trouble = str(said.get("trouble", self.trouble))

    def _hang_up(self) -> None:
        if self._channel is not None:
            self._reactor.unregister(self._channel.fileno())
            self._channel.close()
            self._channel = None

    def _on_exit(self, _events: int) -> None:
        self._hang_up_after_last_words()
        self._reactor.unregister(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1
        _, status = os.waitpid(self.pid, 0)
        why = self._error or process.describe_exit(status)
        print(f"the head process {self.pid} has ended: {why}", file=sys.stderr)  # noqa: T201
        if self._error:
            self._on_failed(self._error)
            return
        self._options = self._options._replace(predecessor=self.pid)
        if time.monotonic() - self._started_s > STEADY_AFTER_S:
            self._attempt = 0
        self._reactor.call_later(self._pause_s(), self.start)

    def _pause_s(self) -> float:
        """Before the next start."""
        alone = self._options.store.startswith("sqlite:")
        pause_s = self._backoff.delay_s(self._attempt - 1, random_generator()) if self._attempt else 0.0
        self._attempt += 1
        return pause_s if alone else max(pause_s, OTHERS_LOOK_S)

    def _hang_up_after_last_words(self) -> None:
        if self._channel is not None:
            self._on_channel(select.EPOLLIN)
            self._hang_up()

    def close(self) -> None:
        """End it: it gives up its term first, so that another head need not wait. Blocks shortly; leaves no zombie."""
        self._is_over = True
        if self._pidfd < 0:
            return
        self._reactor.unregister(self._pidfd)
        if self._channel is not None:
            with contextlib.suppress(OSError):
                self._channel.send(STOP)
        if not process.wait_pidfd(self._pidfd, HEAD_STOP_MAX_S):
            process.signal_pidfd(self._pidfd, signal.SIGKILL)
        self._hang_up()
        os.close(self._pidfd)
        os.waitpid(self.pid, 0)
        self._pidfd = -1
