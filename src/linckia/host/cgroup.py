"""How much memory the control groups of this process allow; read by ``environment.py``."""

from __future__ import annotations

import os

UNLIMITED_FROM_BYTES = 1 << 60  # what version 1 says when there is no limit


def memory_limit_bytes(root: str = "/sys/fs/cgroup", own: str = "/proc/self/cgroup") -> int | None:
    """The smallest limit from our own group up to the root, of either version; None without one."""
    found = []
    for directory, name in _groups(root, own):
        for parent in _upwards(directory, root):
            try:
                with open(os.path.join(parent, name), encoding="ascii") as file:
                    limit = int(file.read())
            except (OSError, ValueError):
                continue  # no such file on this level, or "max"
            if limit < UNLIMITED_FROM_BYTES:
                found.append(limit)
    return min(found, default=None)


def _groups(root: str, own: str) -> list[tuple[str, str]]:
    groups = [(root, "memory.max"), (os.path.join(root, "memory"), "memory.limit_in_bytes")]  # as containers see it
    try:
        with open(own, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except OSError:
        return groups
    for line in lines:
        _number, controllers, path = line.split(":", 2)
        path = path.lstrip("/")
        if not controllers:
            groups += [(os.path.join(base, path), "memory.max") for base in (root, os.path.join(root, "unified"))]
        elif "memory" in controllers.split(","):
            groups.append((os.path.join(root, "memory", path), "memory.limit_in_bytes"))
    return groups


def _upwards(directory: str, root: str) -> list[str]:
    directory = os.path.normpath(directory)
    levels = [directory]
    while directory != root and directory.startswith(root):
        directory = os.path.dirname(directory)
        levels.append(directory)
    return levels
