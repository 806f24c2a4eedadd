"""The node's side of the zygote: fork requests out, reports in, and a new zygote when the old one dies.

The spawner of raylet/worker_pool.py. A zygote that dies takes its workers along (PDEATHSIG); they become the node's
children, which is their subreaper, so that their groups are killed and their exits reported as always.
"""

from __future__ import annotations

import os
import select
import socket
from typing import Any, Protocol

import msgspec

from linckia.host import process
from linckia.node.zygote import MESSAGE_MAX_BYTES, fork_zygote
from linckia.rpc.reactor import Reactor

RESTARTS_MAX = 3


class Pool(Protocol):
    """Who is told what became of workers."""

    def forked(self, worker_id: bytes, pid: int) -> None: ...
    def fork_failed(self, worker_id: bytes, error: str) -> None: ...
    def exited(self, pid: int, status: int) -> None: ...


class ZygoteLink:
    """Owns the zygote process."""

    def __init__(self, reactor: Reactor, keep_fds: set[int], worker_entry: str) -> None:
        self.reactor, self.keep_fds, self.worker_entry = reactor, keep_fds, worker_entry
        self.pool: Pool | None = None
        self.log_path = ""
        self.stopping = False
        self._waiting: list[tuple[bytes, list[int]]] = []
        self._asked: dict[bytes, None] = {}
        self._living: set[int] = set()
        self._restarts = 0
        self._start()

    def _start(self) -> None:
        self.pid, self.sock = fork_zygote(self.keep_fds, self.worker_entry)
        self.reactor.register(self.sock.fileno(), self._on_event)

    def log_to(self, path: str) -> None:
        """Send the zygote's own output there."""
        self.log_path = path
        self._send(msgspec.msgpack.encode({"log": path}), [])

    def fork(self, config: dict[str, Any], fds: tuple[int, int]) -> None:
        """Ask for a worker; ``fds`` are closed when they are on their way."""
        self._asked[config["worker_id"]] = None
        self._send(msgspec.msgpack.encode({"fork": config}), list(fds))

    def _send(self, data: bytes, fds: list[int]) -> None:
        self._waiting.append((data, fds))
        if len(self._waiting) == 1:
            self._write()

    def _write(self) -> None:
        while self._waiting:
            data, fds = self._waiting[0]
            try:
                if fds:
                    socket.send_fds(self.sock, [data], fds, socket.MSG_NOSIGNAL)
                else:
                    self.sock.send(data, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                self.reactor.modify(self.sock.fileno(), select.EPOLLIN | select.EPOLLOUT)
                return
            except OSError:
                return  # it is dead: the hang-up is being reported
            del self._waiting[0]
            for fd in fds:
                os.close(fd)
        self.reactor.modify(self.sock.fileno(), select.EPOLLIN)

    def _on_event(self, events: int) -> None:
        if events & select.EPOLLOUT:
            self._write()
        while True:
            try:
                data = self.sock.recv(MESSAGE_MAX_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._on_death()
                return
            self._on_report(msgspec.msgpack.decode(data))

    def _on_report(self, report: dict[str, Any]) -> None:
        if self.pool is None:
            return
        if "forked" in report:
            self._asked.pop(report["forked"], None)
            self._living.add(report["pid"])
            self.pool.forked(report["forked"], report["pid"])
        elif "exited" in report:
            self._living.discard(report["exited"])
            self.pool.exited(report["exited"], report["status"])
        elif "fork_failed" in report:
            self._asked.pop(report["fork_failed"], None)
            self.pool.fork_failed(report["fork_failed"], report["error"])

    def _on_death(self) -> None:
        """All its workers are dead or dying. Fork a new one, a few times."""
        self.reactor.unregister(self.sock.fileno())
        self.sock.close()
        for _, fds in self._waiting:
            for fd in fds:
                os.close(fd)
        asked = self._asked
        self._waiting, self._asked = [], {}
        if self.stopping:
            return
        for pid in self._living:  # they are our children now, not reaped yet
            process.kill_group(pid)
        reap(self.pid)
        self._restarts += 1
        if self._restarts > RESTARTS_MAX:
            raise RuntimeError(f"the zygote died {self._restarts} times; see {self.log_path}")
        self._start()
        if self.log_path:
            self.log_to(self.log_path)
        if self.pool is not None:
            for worker_id in asked:
                self.pool.fork_failed(worker_id, "the zygote died")

    def reap_inherited(self, pid: int) -> None:
        """A dead child that is not the zygote: a worker that outlived the zygote, or somebody's orphan."""
        if pid in self._living:
            process.kill_group(pid)
        status = reap(pid)
        if pid in self._living:
            self._living.discard(pid)
            if self.pool is not None:
                self.pool.exited(pid, status)

    def stop(self) -> None:
        """Hang up: the zygote kills all workers and ends; returns when it has been reaped."""
        self.stopping = True
        self.reactor.unregister(self.sock.fileno())
        self.sock.close()
        process.continue_child(self.pid)
        reap(self.pid)


def reap(pid: int) -> int:
    """Wait for a child; its status, or 0 when it was reaped already."""
    try:
        return os.waitpid(pid, 0)[1]
    except ChildProcessError:
        return 0
