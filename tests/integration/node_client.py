"""What tests of the node share: a started node, a bare client that speaks the protocol, and looks at processes."""

from __future__ import annotations

import os
import pathlib
import select
import time
from typing import Any, TypeVar

import msgspec

from linckia.model.specs import JobConfig
from linckia.node.launch import NodeProcess
from linckia.protocol import messages as m
from linckia.rpc.handshake import Identity
from linckia.rpc.reactor import Reactor

M = TypeVar("M", bound=m.Message)
HERE = str(pathlib.Path(__file__).parent)


class Client:
    """A driver without a runtime: sends messages and waits for messages."""

    def __init__(self, endpoint: str, *, token: bytes) -> None:
        self.reactor = Reactor()
        self.worker_id = os.urandom(28)
        self.inbox: list[m.Message] = []
        self.closed = ""
        identity = Identity("driver", self.worker_id, token)
        self.connection = self.reactor.connect(endpoint, identity, self._on_messages, self._on_close)
        self.job_id = b""

    @classmethod
    def of(cls, node: NodeProcess) -> Client:
        """A client of this node."""
        return cls(node.endpoint, token=pathlib.Path(node.token_path).read_bytes())

    def _on_messages(self, _connection: Any, batch: list[m.Message]) -> None:
        self.inbox += batch

    def _on_close(self, _connection: Any, reason: str) -> None:
        self.closed = reason

    def post(self, message: m.Message) -> None:
        """Send."""
        self.connection.send(message)

    def poll_until(self, condition: Any, what: str, timeout_s: float = 10.0) -> None:
        """Run the reactor until the condition holds."""
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"{what} did not come; there is {self.inbox}, closed: {self.closed!r}")
            self.reactor.poll(0.05)

    def wait_for(self, kind: type[M], timeout_s: float = 10.0) -> M:
        """The next message of that type; others stay in the inbox."""
        self.poll_until(lambda: any(isinstance(x, kind) for x in self.inbox), kind.__name__, timeout_s)
        found = next(x for x in self.inbox if isinstance(x, kind))
        self.inbox.remove(found)
        return found

    def register(self) -> m.DriverRegistered:
        """Become a driver."""
        config = msgspec.msgpack.encode(JobConfig("tests", [], "", "test"))
        self.post(m.RegisterDriver(1, self.worker_id, os.getpid(), "unix:/nowhere", config))
        answer = self.wait_for(m.DriverRegistered)
        self.job_id = answer.job_id
        return answer

    def request(self, rid: int, **resources: float) -> None:
        """Ask for a lease."""
        self.post(m.RequestLease(rid, resources, 1, self.job_id, nested=False))

    def lease(self, rid: int, **resources: float) -> m.LeaseGranted:
        """Ask for a lease and get it."""
        self.request(rid, **resources)
        granted = self.wait_for(m.LeaseGranted)
        assert granted.rid == rid
        return granted

    def log_text(self, last: str) -> list[m.LogLine]:
        """Log lines until one says ``last``."""
        lines: list[m.LogLine] = []
        while not any(line.text == last for line in lines):
            lines += self.wait_for(m.LogLines).lines
        return lines

    def close(self) -> None:
        """Hang up."""
        if not self.connection.closed:
            self.connection.close()
        self.reactor.close()


def tree_of(pid: int) -> set[int]:
    """The process and all its descendants."""
    parents: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                stat = pathlib.Path(f"/proc/{name}/stat").read_text()
            except OSError:
                continue
            parents.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(name))
    found, todo = set(), [pid]
    while todo:
        current = todo.pop()
        found.add(current)
        todo += parents.get(current, [])
    return found


def state_of(pid: int) -> str:
    """State letter, empty when there is no such process."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def wait_gone(pids: set[int], timeout_s: float) -> set[int]:
    """Pids that are still running (not zombies of somebody else) after the time."""
    deadline_s = time.monotonic() + timeout_s
    left = set(pids)
    for pid in pids:
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            left.discard(pid)
            continue
        poller = select.poll()
        poller.register(pidfd, select.POLLIN)
        if poller.poll(max(0.0, deadline_s - time.monotonic()) * 1000):
            left.discard(pid)
        os.close(pidfd)
    return left
