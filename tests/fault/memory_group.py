"""A control group with little memory for a fault test: programs that join it cannot endanger the machine."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from watching import until

ROOT = Path("/sys/fs/cgroup")


class MemoryGroup:
    """Of version 1 or 2, whichever has the memory controller here. OSError when none can be made."""

    def __init__(self, limit_bytes: int) -> None:
        self.unified = not (ROOT / "memory").is_dir()
        self.parent = ROOT if self.unified else ROOT / "memory"
        self.path = self.parent / f"linckia-test-{os.getpid()}"
        if self.unified:
            (ROOT / "cgroup.subtree_control").write_text("+memory")
        self.path.mkdir()
        try:
            (self.path / ("memory.max" if self.unified else "memory.limit_in_bytes")).write_text(str(limit_bytes))
            with contextlib.suppress(OSError):  # a machine without swap may not have it
                swap = ("memory.swap.max", "0") if self.unified else ("memory.memsw.limit_in_bytes", str(limit_bytes))
                (self.path / swap[0]).write_text(swap[1])
        except OSError:
            self.path.rmdir()
            raise

    @property
    def procs(self) -> str:
        """Who writes its pid there joins, with all it starts from then on."""
        return str(self.path / "cgroup.procs")

    def kernel_kills(self) -> int:
        """How many processes of it the kernel has ended for want of memory."""
        text = (self.path / ("memory.events" if self.unified else "memory.oom_control")).read_text()
        return int(dict(line.split() for line in text.splitlines())["oom_kill"])

    def remove(self) -> None:
        """When its last process is gone."""
        until(lambda: not Path(self.procs).read_text(), 30, "an empty control group")
        self.path.rmdir()
