"""The process that forks heads: it imports what a head needs once, so that a head is there in milliseconds.

A head that is killed is missed at once, and to start Python and import takes 0.3 s, on a busy machine two seconds.
Spawned by node/head_forks.py with one socket as descriptor 0. Each packet on it names a kind of store and brings the
new head's channel to its node; the answer is the head's pid, or ``!`` and why there is none. Heads become children of
the node, not of this process: its end is no head's end. It has one thread, opens nothing, and ends with its node.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket

from linckia.host import exhaustion, process
from linckia.node.head_process import run_head
from linckia.store import opening

COMMANDS = 0
PACKET_MAX_BYTES = 256


class HeadZygote:
    """One per node that has a head with a store."""

    def __init__(self, commands: socket.socket, node_pid: int) -> None:
        self._commands, self._node_pid = commands, node_pid
        self._prepared: dict[str, None] = {}

    def run(self) -> None:
        """Fork on command until the node hangs up."""
        while True:
            packet, fds, _flags, _address = socket.recv_fds(self._commands, PACKET_MAX_BYTES, 1)
            if not packet:
                return
            answer = self._fork(packet.decode(), fds)
            for fd in fds:
                os.close(fd)
            self._commands.send(answer.encode())

    def _fork(self, kind: str, fds: list[int]) -> str:
        if not fds:
            return "!no descriptor was free for its channel"
        self._prepare(kind)
        told_read, told_write = os.pipe2(os.O_CLOEXEC)
        try:
            between = os.fork()
            if between == 0:
                self._fork_again(fds[0], told_write)
            os.waitpid(between, 0)  # from now on the node, which is a subreaper, is the head's parent
            os.set_blocking(told_read, False)
            return os.read(told_read, PACKET_MAX_BYTES).decode()
        except (OSError, BlockingIOError) as error:
            return f"!{exhaustion.describe(error)}"
        finally:
            os.close(told_read)
            os.close(told_write)

    def _prepare(self, kind: str) -> None:
        """What this kind of store needs besides, once; collections in heads then leave it alone, and so shared."""
        if kind not in self._prepared:
            self._prepared[kind] = None
            opening.prepare(kind)
            gc.collect()
            gc.freeze()

    def _fork_again(self, channel_fd: int, told: int) -> None:
        """Between zygote and head, for a moment. Never returns."""
        try:
            pid = os.fork()
            if pid == 0:
                self._become_head(channel_fd)
            os.write(told, str(pid).encode())
        except OSError as error:
            with contextlib.suppress(OSError):
                os.write(told, f"!{exhaustion.describe(error)}".encode())
        finally:
            os._exit(0)

    def _become_head(self, channel_fd: int) -> None:
        """Never returns."""
        try:
            channel = socket.socket(fileno=os.dup(channel_fd))
            self._commands.detach()
            process.close_all_descriptors({channel.fileno()})
            nothing = os.open(os.devnull, os.O_RDONLY)
            os.dup2(nothing, COMMANDS)
            os.close(nothing)
            run_head(channel, self._node_pid)
        finally:
            os._exit(1)


def main() -> None:
    """Entry of the process."""
    node_pid = os.getppid()
    process.die_with_parent(node_pid)
    process.set_process_name("linckia-hzygote")
    process.spare_as_oom_victim()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    commands = socket.socket(fileno=os.dup(COMMANDS))
    with contextlib.suppress(OSError):  # the node is gone
        HeadZygote(commands, node_pid).run()
    os._exit(0)
