"""What fault tests look with: conditions that come true, and everything that a session may leave behind.

Processes are found by a mark in the environment they were started with, so that other clusters of this machine are
never taken for ours. Nothing here decides anything about the engine.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SCALE = int(os.environ.get("LINCKIA_FAULT_SCALE", "1"))
"""Multiplies the number of faults of every fault test."""
MARK = "LINCKIA_TESTING_MARK"


def until(condition: Callable[[], Any], timeout_s: float = 10.0, what: str = "") -> Any:
    """The first true value of ``condition``; AssertionError after ``timeout_s``."""
    deadline_s = time.monotonic() + timeout_s
    tick = threading.Event()
    while time.monotonic() < deadline_s:
        value = condition()
        if value:
            return value
        tick.wait(0.01)
    raise AssertionError(f"{what or 'the condition'} did not come true within {timeout_s} s")


def is_gone(pid: int) -> bool:
    """No process, or a zombie that waits for its reaper."""
    return state_of(pid) in ("", "Z")


def state_of(pid: int) -> str:
    """The state letter of a process; empty when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def all_threads_in(pid: int, state: str) -> bool:
    """Every thread of the process has this state letter."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return all((thread / "stat").read_text().rpartition(")")[2].split()[0] == state for thread in threads)
    except OSError:
        return False


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """SIGSTOP, and in the end SIGCONT, if it is still there."""
    os.kill(pid, signal.SIGSTOP)
    until(lambda: all_threads_in(pid, "T"), what="all threads to have stopped: the main one does so first")
    try:
        yield
    finally:
        if not is_gone(pid):
            os.kill(pid, signal.SIGCONT)


def children_of(pid: int) -> list[int]:
    """Direct children, zombies included."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def cpu_s(pid: int) -> float:
    """CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def descriptors(pid: int) -> list[str]:
    """What a process has open, as the kernel names it."""
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
        except OSError:
            continue
    return found


def marked(mark: str) -> list[int]:
    """Living processes that were started with the mark, without this one."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            environment = Path(f"/proc/{name}/environ").read_bytes()
        except OSError:
            continue
        if wanted in environment.split(b"\0") and not is_gone(int(name)):
            found.append(int(name))
    return found


class Leftovers:
    """Counts what sessions left since this was made. ``folder`` is their temporary directory."""

    def __init__(self, folder: Path, mark: str) -> None:
        self.folder, self.mark = folder, mark
        self._before = self._look()

    def count(self, grace_s: float = 2.0) -> dict[str, int]:
        """By kind, once killed processes had their moment; empty when nothing is left."""
        deadline_s = time.monotonic() + grace_s
        while (found := self._more()) and time.monotonic() < deadline_s:
            threading.Event().wait(0.02)
        return found

    def again(self) -> Leftovers:
        """The same from now on."""
        return Leftovers(self.folder, self.mark)

    def _more(self) -> dict[str, int]:
        now = self._look()
        return {kind: count - self._before[kind] for kind, count in now.items() if count > self._before[kind]}

    def _look(self) -> dict[str, int]:
        mine = descriptors(os.getpid())
        return {
            "processes": len(marked(self.mark)),
            "session directories": len(list(self.folder.glob("linckia-*/session_*"))),
            "sockets": sum(1 for path in self.folder.rglob("*") if path.is_socket()),
            "files in /dev/shm": sum(1 for name in os.listdir("/dev/shm") if "linckia" in name),
            "memfds here": sum(1 for name in mine if "memfd:linckia" in name),
            "descriptors here": len(mine),
            "zombies": sum(1 for child in children_of(os.getpid()) if state_of(child) == "Z"),
        }
