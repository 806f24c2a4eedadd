"""How much memory this node may use and does use: control groups of both versions, and the machine itself (P 16).

`MemoryProbe` reads one small file per limit, by descriptors that stay open (1-6 us each). What the page cache holds can
be had back and does not count; looking it up costs more and is done only for a limit that seems exceeded. Where the
kernel can tell that memory runs out, `alarms` gives descriptors to wait for besides: version 1 tells when a usage
crosses a number, PSI when processes stall for want of memory. Called by raylet/memory_monitor.py, which decides
nothing either (core/memory does).
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from typing import NamedTuple

from linckia.core.memory.thresholds import Usage
from linckia.host import cgroup

READ_MAX_BYTES = 8192
PSI_TRIGGER = b"some 150000 2000000\0"
"""Told when processes stalled 150 ms within 2 s; a shorter window needs privileges."""
_CACHE_V1 = (b"total_inactive_file", b"total_active_file")
_CACHE_V2 = (b"inactive_file", b"active_file")


class Alarm(NamedTuple):
    """A descriptor that becomes ready (``events`` of epoll) when memory runs short. ``rearm`` empties it."""

    fd: int
    events: int
    rearm: Callable[[], None]


class GroupSource:
    """A control group that has a limit."""

    def __init__(self, group: cgroup.MemoryGroup) -> None:
        self.group, self.limit_bytes = group, group.limit_bytes
        self.where = f"the limit of control group {group.name}"
        self._usage_fd = os.open(group.file("memory.current", "memory.usage_in_bytes"), os.O_RDONLY | os.O_CLOEXEC)

    def usage(self) -> Usage:
        """With the page cache."""
        return Usage(self.where, int(os.pread(self._usage_fd, READ_MAX_BYTES, 0)), self.limit_bytes)

    def usage_without_cache(self) -> Usage:
        """Without it."""
        used = self.usage().used_bytes
        wanted = _CACHE_V2 if self.group.unified else _CACHE_V1
        with open(os.path.join(self.group.path, "memory.stat"), "rb") as file:
            for line in file:
                name, _, count = line.partition(b" ")
                if name in wanted:
                    used -= int(count)
        return Usage(self.where, max(0, used), self.limit_bytes)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._usage_fd)


class MachineSource:
    """All memory of the machine; what could be had without swapping counts as free."""

    where = "the memory of this machine"

    def __init__(self) -> None:
        self._fd = os.open("/proc/meminfo", os.O_RDONLY | os.O_CLOEXEC)

    def usage(self) -> Usage:
        """MemTotal less MemAvailable, which are among the first lines."""
        total = available = 0
        for line in os.pread(self._fd, READ_MAX_BYTES, 0).split(b"\n", 4)[:4]:
            if line.startswith(b"MemTotal:"):
                total = int(line.split()[1]) * 1024
            elif line.startswith(b"MemAvailable:"):
                available = int(line.split()[1]) * 1024
        return Usage(self.where, total - available, total)

    usage_without_cache = usage

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)


class MemoryProbe:
    """The limits that hold for this process, from its own control group up to the machine."""

    def __init__(self, root: str = "/sys/fs/cgroup", own: str = "/proc/self/cgroup") -> None:
        self._root, self._own = root, own
        self.sources: list[GroupSource | MachineSource] = []
        self.refresh()
        self._kernel_kills = self._count_kernel_kills()

    def refresh(self) -> None:
        """Find the limits anew: somebody may have changed them."""
        self.close()
        self.sources = [MachineSource()]
        for group in cgroup.memory_groups(self._root, self._own):
            try:
                self.sources.append(GroupSource(group))
            except OSError:
                continue  # it has just gone, or is not ours to read: its parents are looked at too

    def close(self) -> None:
        """Let go of all files."""
        for source in self.sources:
            source.close()
        self.sources = []

    def read(self, threshold_bytes: Callable[[int], int]) -> list[Usage]:
        """What is used of each limit; above the threshold of a limit without the page cache."""
        found = []
        for source in self.sources:
            try:
                usage = source.usage()
                if usage.used_bytes > threshold_bytes(usage.limit_bytes):
                    usage = source.usage_without_cache()
            except (OSError, ValueError):
                continue  # the control group is gone: `refresh` will find what holds now
            found.append(usage)
        return found

    def kernel_killed(self) -> bool:
        """True once for each process that the kernel has ended for want of memory since the last time."""
        killed = self._count_kernel_kills()
        if killed <= self._kernel_kills:
            return False
        self._kernel_kills += 1
        return True

    def _count_kernel_kills(self) -> int:
        return _counter(cgroup.kill_counter(self._root, self._own), b"oom_kill")

    def tightest(self) -> str:
        """Where the kernel would run out first."""
        return min(self.sources, key=lambda each: each.usage().limit_bytes - each.usage().used_bytes).where

    def _groups(self) -> list[GroupSource]:
        return [each for each in self.sources if isinstance(each, GroupSource)]

    def alarms(self, threshold_bytes: Callable[[int], int]) -> list[Alarm]:
        """What the kernel is willing to tell by itself; the caller closes the descriptors."""
        found = [
            _crossing(each, threshold_bytes(each.limit_bytes)) for each in self._groups() if not each.group.unified
        ]
        found += [_stalls(os.path.join(each.group.path, "memory.pressure")) for each in self._groups()]
        found.append(_stalls("/proc/pressure/memory"))
        return [alarm for alarm in found if alarm is not None]


def _counter(path: str, name: bytes) -> int:
    try:
        with open(path, "rb") as file:
            for line in file:
                key, _, count = line.partition(b" ")
                if key == name:
                    return int(count)
    except (OSError, ValueError):
        pass  # kernels before 4.13 do not count
    return 0


def _crossing(source: GroupSource, threshold: int) -> Alarm | None:
    """Version 1: told when the usage of a group crosses the number. Needs the right to write there."""
    event_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    try:
        usage_fd = os.open(os.path.join(source.group.path, "memory.usage_in_bytes"), os.O_RDONLY | os.O_CLOEXEC)
        try:
            with open(os.path.join(source.group.path, "cgroup.event_control"), "w", encoding="ascii") as control:
                control.write(f"{event_fd} {usage_fd} {threshold}")
        finally:
            os.close(usage_fd)  # the registration lives as long as the eventfd
    except OSError:
        os.close(event_fd)
        return None
    return Alarm(event_fd, select.EPOLLIN, lambda: _empty(event_fd))


def _empty(event_fd: int) -> None:
    try:
        os.eventfd_read(event_fd)
    except BlockingIOError:
        pass  # somebody was quicker


def _stalls(path: str) -> Alarm | None:
    """PSI: told when processes stall. Needs a kernel that has it, and the right to write there."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        os.write(fd, PSI_TRIGGER)
    except OSError:
        os.close(fd)
        return None
    return Alarm(fd, select.EPOLLPRI, lambda: None)
