"""Which processes belong to whom: children of nodes, workers of zygotes, who carries a mark. Never by name alone."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from linckia.host import process

ZYGOTE = "linckia-zyg"
IDLE = b"linckia::IDLE"


def living_pid(pid: int) -> bool:
    """Whether there is such a process and it is no zombie."""
    return process.parent_and_state(pid)[1] not in ("", "Z")


def workers_of(node_pid: int) -> list[int]:
    """Children of a node's zygote that are alive."""
    zygotes = [pid for pid in process.children_of(node_pid) if _name(pid).startswith(ZYGOTE)]
    found = [pid for zygote in zygotes for pid in process.children_of(zygote)]
    return [pid for pid in found if living_pid(pid)]


def is_idle(pid: int) -> bool:
    """Whether a worker shows that it has nothing to do."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(IDLE)
    except OSError:
        return False


def below(pid: int) -> list[tuple[int, int]]:
    """(pid, start time) of all processes below one."""
    found, waiting = [], [pid]
    while waiting:
        for child in process.children_of(waiting.pop()):
            waiting.append(child)
            found.append((child, process.process_start_time(child)))
    return found


def living(processes: list[tuple[int, int]]) -> list[int]:
    """Those that have not ended."""
    return [pid for pid, start in processes if process.is_alive(pid, start) and living_pid(pid)]


def marked(name: str, mark: str) -> list[int]:
    """Living processes that were started with the mark in that variable, without this one."""
    wanted = f"{name}={mark}".encode()
    found = []
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        with contextlib.suppress(OSError):
            environment = Path(f"/proc/{pid}/environ").read_bytes()
            if pid != os.getpid() and wanted in environment.split(b"\0") and living_pid(pid):
                found.append(pid)
    return found


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
