"""How much memory and how many processes the control groups of this process allow; read by ``environment.py``,
``memory.py`` and ``exhaustion.py``.
"""

from __future__ import annotations

import os
from typing import NamedTuple

UNLIMITED_FROM_BYTES = 1 << 60  # what version 1 says when there is no limit


class MemoryGroup(NamedTuple):
    """A control group with a limit of memory. ``unified``: of version 2."""

    path: str
    name: str
    limit_bytes: int
    unified: bool

    def file(self, unified: str, legacy: str) -> str:
        """Path of the file with the name of its version."""
        return os.path.join(self.path, unified if self.unified else legacy)


def memory_groups(root: str = "/sys/fs/cgroup", own: str = "/proc/self/cgroup") -> list[MemoryGroup]:
    """Our group and those above it, as far as they have limits; each once."""
    found: dict[str, MemoryGroup] = {}
    for directory, name in _groups(root, own, "memory", "memory.max", "memory.limit_in_bytes"):
        for parent in _upwards(directory, root):
            limit = _limit(os.path.join(parent, name))
            if limit is not None:
                shown = parent.removeprefix(root) or "/"
                found.setdefault(parent, MemoryGroup(parent, shown, limit, name == "memory.max"))
    return list(found.values())


def kill_counter(root: str = "/sys/fs/cgroup", own: str = "/proc/self/cgroup") -> str:
    """The file that counts the kernel's kills in our own group; the machine's when there is no group of ours."""
    for directory, name in reversed(_groups(root, own, "memory", "memory.events", "memory.oom_control")):
        path = os.path.join(directory, name)
        if os.path.exists(path):
            return path
    return "/proc/vmstat"


def memory_limit_bytes(root: str = "/sys/fs/cgroup", own: str = "/proc/self/cgroup") -> int | None:
    """The smallest limit from our own group up to the root, of either version; None without one."""
    return _smallest(root, _groups(root, own, "memory", "memory.max", "memory.limit_in_bytes"))


def pids_limit(root: str = "/sys/fs/cgroup", own: str = "/proc/self/cgroup") -> int | None:
    """The smallest limit of processes and threads, likewise."""
    return _smallest(root, _groups(root, own, "pids", "pids.max", "pids.max"))


def _smallest(root: str, groups: list[tuple[str, str]]) -> int | None:
    found = []
    for directory, name in groups:
        for parent in _upwards(directory, root):
            limit = _limit(os.path.join(parent, name))
            if limit is not None:
                found.append(limit)
    return min(found, default=None)


def _limit(path: str) -> int | None:
    try:
        with open(path, encoding="ascii") as file:
            limit = int(file.read())
    except (OSError, ValueError):
        return None  # no such file on this level, or "max"
    return limit if limit < UNLIMITED_FROM_BYTES else None


def _groups(root: str, own: str, controller: str, unified: str, legacy: str) -> list[tuple[str, str]]:
    """Directories of our groups with the name of the limit's file; first as containers see it."""
    groups = [(root, unified), (os.path.join(root, controller), legacy)]
    try:
        with open(own, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except OSError:
        return groups
    for line in lines:
        _number, controllers, path = line.split(":", 2)
        path = path.lstrip("/")
        if not controllers:
            groups += [(os.path.join(base, path), unified) for base in (root, os.path.join(root, "unified"))]
        elif controller in controllers.split(","):
            groups.append((os.path.join(root, controller, path), legacy))
    return groups


def _upwards(directory: str, root: str) -> list[str]:
    directory = os.path.normpath(directory)
    levels = [directory]
    while directory != root and directory.startswith(root):
        directory = os.path.dirname(directory)
        levels.append(directory)
    return levels
