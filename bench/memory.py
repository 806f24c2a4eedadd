"""Who belongs to a session and how much memory they hold, read from /proc. For parent and measured process.

A process belongs to a session when it descends from the session's driver or carries the session's marker in its
environment (a daemon that cut its ties to the parent still does). Never by name: other clusters may run on the same
machine.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

MARKER_VARIABLE = "LINCKIA_BENCH_SESSION"
PROC = Path("/proc")


@dataclass(frozen=True)
class Footprint:
    """Memory of one process: PSS shares shared pages among their users, USS counts only its own."""

    pss_bytes: int
    uss_bytes: int


def parse_smaps_rollup(text: str) -> Footprint:
    """Read /proc/PID/smaps_rollup."""
    kilobytes: dict[str, int] = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        if rest.endswith(" kB"):
            kilobytes[name] = int(rest[:-3])
    uss_kb = kilobytes.get("Private_Clean", 0) + kilobytes.get("Private_Dirty", 0)
    return Footprint(pss_bytes=kilobytes.get("Pss", 0) * 1024, uss_bytes=uss_kb * 1024)


def parse_stat_parent(text: str) -> int:
    """Read the parent's process id from /proc/PID/stat; the command name in it may contain blanks and parentheses."""
    return int(text[text.rindex(")") + 1 :].split()[1])


def parse_stat_state(text: str) -> str:
    """Read the state letter (R, S, Z ...) from /proc/PID/stat."""
    return text[text.rindex(")") + 1 :].split()[0]


def descendants(root: int, parents: Mapping[int, int]) -> set[int]:
    """Return every process below `root`, given each process's parent."""
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)
    found: set[int] = set()
    todo = [root]
    while todo:
        for pid in children.get(todo.pop(), []):
            if pid not in found and pid != root:
                found.add(pid)
                todo.append(pid)
    return found


def session_processes(root: int, marker: str | None = None) -> set[int]:
    """Return the live processes of the session, its driver `root` left out."""
    marker = marker or os.environ.get(MARKER_VARIABLE)
    wanted = f"{MARKER_VARIABLE}={marker}".encode() if marker else None
    parents: dict[int, int] = {}
    marked: set[int] = set()
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        stat = _read(entry / "stat").decode(errors="replace")
        if not stat or parse_stat_state(stat) == "Z":
            continue
        pid = int(entry.name)
        parents[pid] = parse_stat_parent(stat)
        if wanted and wanted in _read(entry / "environ").split(b"\0"):
            marked.add(pid)
    return (descendants(root, parents) | marked) - {root}


def footprint(pid: int) -> Footprint:
    """Return the memory of one process; zero when it is gone."""
    return parse_smaps_rollup(_read(PROC / str(pid) / "smaps_rollup").decode())


def total_pss_bytes(pids: Iterable[int]) -> int:
    """Return the sum of the PSS of the processes."""
    return sum(footprint(pid).pss_bytes for pid in pids)


def anonymous_bytes() -> int:
    """Return this process's own anonymous resident memory: what a copy of an object would be made into."""
    for line in _read(PROC / "self" / "status").decode().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


def wait_until_gone(list_pids: Callable[[], set[int]], timeout_s: float) -> set[int]:
    """Wait until the session has no process left; return those that are still there when the time is over."""
    deadline = time.monotonic() + timeout_s
    while True:
        left = list_pids()
        if not left or time.monotonic() >= deadline:
            return left
        time.sleep(0.01)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""
