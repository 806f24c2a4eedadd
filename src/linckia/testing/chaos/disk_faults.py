"""Faults of disks and memory: no room for the store or for spilled values, a slow fsync, a program that eats."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time

from linckia.testing.chaos.ground import Ground, OwnGround, chosen
from linckia.testing.chaos.history import Deed
from linckia.testing.chaos.injecting import Doing, Injector
from linckia.testing.chaos.places import empty, fill
from linckia.testing.chaos.schedule import Fault

SLOWER_BY_US = 200_000
ATTACHED_MAX_S, AGAIN_AFTER_S = 10.0, 0.2
EATEN_SHARE = 0.93
"""Above the node's threshold (ground.LITTLE_MEMORY_SETTINGS), below what the kernel allows."""
EATER = """
import sys, time
limit, usage, lasts_s = int(sys.argv[1]), sys.argv[2], float(sys.argv[3])
held, until_s = [], time.monotonic() + lasts_s
while int(open(usage).read()) < limit and time.monotonic() < until_s:
    held.append(bytearray(b"x") * (4 << 20))
    time.sleep(0.01)  # sleep: it grows at a pace
time.sleep(max(0.0, until_s - time.monotonic()))  # sleep: it holds what it has
"""


class StoreDisk:
    """The kind `slow-disk`, for any cluster of this machine."""

    def __init__(self, injector: Injector) -> None:
        self.injector, self.ground = injector, injector.ground

    def kinds(self) -> dict[str, Doing]:
        """How each is done."""
        return {"slow-disk": self._slow}

    def _slow(self, fault: Fault) -> Deed | None:
        """By strace, which delays the system calls of the process that writes; it detaches when it is ended."""
        pid = self.ground.store_pid()
        if not pid:
            return None
        calls = f"inject=fsync,fdatasync:delay_enter={SLOWER_BY_US}"
        command = ["strace", "-f", "-q", "-o", "/dev/null", "-e", "trace=fsync,fdatasync", "-e", calls, "-p", str(pid)]
        at_ns = time.monotonic_ns()
        tracer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def detach() -> None:
            tracer.terminate()
            tracer.wait(ATTACHED_MAX_S)

        self.injector.later(fault.lasts_s, detach, "end strace")
        return Deed(fault.kind, at_ns, f"{_what(self.ground)} (pid {pid})", pid, fault.lasts_s)


class DiskFaults:
    """``kinds`` by name. The ground has small disks, or nodes with little memory."""

    def __init__(self, injector: Injector, ground: OwnGround) -> None:
        self.injector, self.ground = injector, ground

    def kinds(self) -> dict[str, Doing]:
        """How each is done."""
        return {
            "full-store": lambda fault: self._full(fault, self._store_disk(fault)),
            "full-spill": lambda fault: self._full(fault, "spill"),
            "memory": self._memory,
        }

    def _store_disk(self, fault: Fault) -> str:
        etcd = self.ground.etcd
        return "store" if etcd is None else etcd.members[int(fault.draw * len(etcd.members))].name

    def _full(self, fault: Fault, name: str) -> Deed | None:
        disk = self.ground.disks[name]
        at_ns = time.monotonic_ns()
        fill(disk)

        self.injector.later(fault.lasts_s, lambda: empty(disk), f"free the disk of {name}")
        if self.ground.etcd is not None:  # a member ends when it cannot write
            self.injector.later(fault.lasts_s + AGAIN_AFTER_S, self.ground.etcd.start, "start etcd", starts=True)
        return Deed(fault.kind, at_ns, f"the disk of {name}", lasts_s=fault.lasts_s)

    def _memory(self, fault: Fault) -> Deed | None:
        node = chosen(self.injector.whole(), fault.draw)
        group = self.ground.places.memory.get(self.ground.names[node.node_id]) if node is not None else None
        if node is None or group is None:
            return None
        limit = str(int(group.limit_bytes * EATEN_SHARE))
        usage = str(group.path / ("memory.current" if group.unified else "memory.usage_in_bytes"))
        at_ns = time.monotonic_ns()
        with group.inside():
            eater = subprocess.Popen([sys.executable, "-c", EATER, limit, usage, str(fault.lasts_s)])

        def finish() -> None:
            with contextlib.suppress(ProcessLookupError):
                eater.kill()
            eater.wait()

        self.injector.later(fault.lasts_s, finish, "end the eater")
        name = f"node {node.node_id[:8]}: {limit} of {group.limit_bytes} bytes"
        return Deed(fault.kind, at_ns, name, lasts_s=fault.lasts_s)


def _what(ground: Ground) -> str:
    return "etcd's leader" if ground.etcd is not None else "the head"
