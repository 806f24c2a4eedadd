"""What the processes of a chaos run stand on: hosts of a network of its own, small disks, little memory, clocks.

Hosts are network namespaces (testing/namespaces.py). Disks are small tmpfs in a mount namespace that ends with the
run's last process, so that none is left behind whatever kills the run. Memory is limited by a control group per node.
Each is made only if a fault needs it.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from linckia.testing import memory_group, namespaces
from linckia.testing.chaos import clocks
from linckia.testing.chaos.clocks import WallClock
from linckia.testing.chaos.schedule import CLOCKS, HOSTS, LITTLE_MEMORY, NEEDS, SMALL_DISKS, TRACER
from linckia.testing.memory_group import MemoryGroup
from linckia.testing.namespaces import Host, Network

CLONE_NEWNS = 0x00020000
MIB = 1 << 20
STORE_DISK_BYTES = 640 * MIB
"""A member of etcd keeps five files of 64 MB and one that it lays out ahead; an hour of chaos writes four."""
SPILL_DISK_BYTES = 160 * MIB
NODE_MEMORY_BYTES = 700 * MIB
FILLER = "filler"
INJECTOR = "injector"
_libc = ctypes.CDLL(None, use_errno=True)


def impossible() -> dict[str, str]:
    """Kind of fault -> why it cannot be done on this machine."""
    reasons = {
        HOSTS: namespaces.why_not(),
        SMALL_DISKS: _no_disks(),
        TRACER: "" if shutil.which("strace") else "fsync is slowed by strace: apt-get install strace",
        LITTLE_MEMORY: memory_group.why_not(),
        CLOCKS: clocks.why_not(),
    }
    return {kind: reasons[need] for kind, need in NEEDS.items() if reasons[need]}


def _no_disks() -> str:
    if os.geteuid() != 0:
        return "small disks are mounted, which needs root"
    return "" if shutil.which("mount") else "no `mount` here: apt-get install mount"


class Places:
    """``network`` is None without hosts. Made and closed by one thread, which stands on a host of its own."""

    def __init__(self, folder: Path, needs: Sequence[str], names: Sequence[str]) -> None:
        self.folder = folder
        self.network = Network([INJECTOR, *names]) if HOSTS in needs else None
        self.has_disks, self.has_little_memory = SMALL_DISKS in needs, LITTLE_MEMORY in needs
        self._clock_library = clocks.build(folder) if CLOCKS in needs else None
        self.memory: dict[str, MemoryGroup] = {}
        self.clocks: dict[str, WallClock] = {}
        self._mounts: list[Path] = []
        self._stack = contextlib.ExitStack()
        if self.network is not None:
            self._stack.enter_context(self.network.inside(self.network.hosts[INJECTOR]))
        if self.has_disks:
            _own_mounts()

    def host(self, name: str) -> Host | None:
        """None where all are on this machine."""
        return self.network.hosts[name] if self.network is not None else None

    def address(self, name: str) -> str:
        """Its IP, empty: this machine's."""
        found = self.host(name)
        return found.address if found is not None else ""

    @contextlib.contextmanager
    def at(self, name: str) -> Iterator[None]:
        """What this thread starts meanwhile runs on that host."""
        found = self.host(name)
        if self.network is None or found is None:
            yield
            return
        with self.network.inside(found):
            yield

    @contextlib.contextmanager
    def with_memory(self, name: str) -> Iterator[None]:
        """What this process starts meanwhile has little memory, shared by all that was started under that name."""
        if not self.has_little_memory:
            yield
            return
        if name not in self.memory:
            self.memory[name] = MemoryGroup(NODE_MEMORY_BYTES)
        with self.memory[name].inside():
            yield

    @contextlib.contextmanager
    def with_clock(self, name: str) -> Iterator[None]:
        """What this process starts meanwhile has a wall clock of its own, shared by all that was started under that
        name.
        """
        if self._clock_library is None:
            yield
            return
        if name not in self.clocks:
            self.clocks[name] = WallClock(self.folder / f"clock-{name}")
        more = {"LINCKIA_TESTING_CLOCK": str(self.clocks[name].path), "LD_PRELOAD": str(self._clock_library)}
        os.environ.update(more)
        try:
            yield
        finally:
            for key in more:
                del os.environ[key]

    def kernel_kills(self) -> int | None:
        """Processes that the kernel has ended for want of memory, on all nodes; None where memory is not limited."""
        if not self.has_little_memory:
            return None
        return sum(group.kernel_kills() for group in self.memory.values())

    def disk(self, name: str, size_bytes: int) -> Path:
        """A folder; an empty small disk where there are some."""
        path = self.folder / name
        path.mkdir(parents=True)
        if self.has_disks:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=700", "tmpfs", path], check=True)
            self._mounts.append(path)
        return path

    def close(self) -> None:
        """When all that stood on it has ended."""
        for group in self.memory.values():
            with contextlib.suppress(TimeoutError):  # who did not end is told by the ground
                group.remove()
        for path in self._mounts:  # lazily: who did not end is told by the ground
            subprocess.run(["umount", "--lazy", path], check=False)
        self._stack.close()
        if self.network is not None:
            self.network.close()


def fill(disk: Path) -> None:
    """Not a byte is left."""
    path = disk / FILLER
    with path.open("wb") as file:
        for step in (MIB, 4096):
            with contextlib.suppress(OSError):
                for place in itertools.count(os.fstat(file.fileno()).st_size, step):
                    os.posix_fallocate(file.fileno(), place, step)


def empty(disk: Path) -> None:
    """There is room again."""
    (disk / FILLER).unlink(missing_ok=True)


def _own_mounts() -> None:
    """From now on mounts of this thread, and of all it starts, are seen by these only."""
    if _libc.unshare(CLONE_NEWNS):
        number = ctypes.get_errno()
        raise OSError(number, f"unshare: {os.strerror(number)}")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
