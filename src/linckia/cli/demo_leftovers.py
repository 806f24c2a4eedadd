"""Looks whether a cluster left anything behind: its processes and its session directory. Called by cli/demo.py.

The processes are those found below the node process while it lived, told apart by pid and start time. It only looks.
"""

from __future__ import annotations

import os
import time
from threading import Event

from linckia.host import process, session

GRACE_S = 2.0
_PAUSE_S = 0.02


class SessionWatch:
    """Remembers which processes belong to a session."""

    def __init__(self, session_dir: str) -> None:
        self.session_dir = session_dir
        self.node_pid: int = session.read_facts(session_dir)["pid"]
        self._seen: dict[int, int] = {}
        self.look()

    def look(self) -> None:
        """Take in the node process and everything below it now."""
        waiting = [self.node_pid]
        while waiting:
            pid = waiting.pop()
            self._seen[pid] = process.process_start_time(pid)
            waiting += process.children_of(pid)

    def owns(self, pid: int) -> bool:
        """Whether the process is below this session's node process now."""
        self.look()
        return self._seen.get(pid, 0) == process.process_start_time(pid) != 0

    def leftovers(self) -> list[str]:
        """What is still there once the kernel had a moment to end the killed."""
        deadline_s = time.monotonic() + GRACE_S
        while (left := self._alive()) and time.monotonic() < deadline_s:
            Event().wait(_PAUSE_S)
        return left + ([self.session_dir] if os.path.exists(self.session_dir) else [])

    def _alive(self) -> list[str]:
        return [
            f"process {pid}" for pid, born in self._seen.items() if process.is_alive(pid, born) and not _zombie(pid)
        ]


def _zombie(pid: int) -> bool:
    return process.parent_and_state(pid)[1] == "Z"
