"""A control group with little memory: programs that join it cannot endanger the machine. For tests and for chaos."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
PREFIX = "linckia-test-"
EMPTY_MAX_S = 30.0
LOOK_EVERY_S = 0.02
_serial = itertools.count()


@cache
def why_not() -> str:
    """Why no group can be made here; empty when one can."""
    try:
        MemoryGroup(64 << 20).remove()
    except OSError as error:
        return f"no control group for memory can be made here: {error}"
    return ""


class MemoryGroup:
    """Of version 1 or 2, whichever has the memory controller here. OSError when none can be made."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.unified = not (ROOT / "memory").is_dir()
        self.parent = ROOT if self.unified else ROOT / "memory"
        _remove_what_dead_runs_left(self.parent)
        self.path = self.parent / f"{PREFIX}{os.getpid()}-{next(_serial)}"
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

    def usage_bytes(self) -> int:
        """What it holds now, the page cache included."""
        return int((self.path / ("memory.current" if self.unified else "memory.usage_in_bytes")).read_text())

    def kernel_kills(self) -> int:
        """How many processes of it the kernel has ended for want of memory."""
        text = (self.path / ("memory.events" if self.unified else "memory.oom_control")).read_text()
        return int(dict(line.split() for line in text.splitlines())["oom_kill"])

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """This process is in the group meanwhile, and what it starts stays there."""
        home = _own_group(self.unified)
        Path(self.procs).write_text(str(os.getpid()))
        try:
            yield
        finally:
            home.write_text(str(os.getpid()))

    def remove(self) -> None:
        """When its last process is gone. TimeoutError when that does not come."""
        deadline_s = time.monotonic() + EMPTY_MAX_S
        while left := Path(self.procs).read_text().split():
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"the control group {self.path} still holds {left} after {EMPTY_MAX_S:g} s")
            time.sleep(LOOK_EVERY_S)
        self.path.rmdir()


def _own_group(unified: bool) -> Path:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if (unified and not controllers) or (not unified and "memory" in controllers.split(",")):
            return (ROOT if unified else ROOT / "memory") / path.lstrip("/") / "cgroup.procs"
    raise OSError("this process is in no control group for memory")


def _remove_what_dead_runs_left(parent: Path) -> None:
    for path in parent.glob(f"{PREFIX}*"):
        pid = path.name.removeprefix(PREFIX).partition("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            with contextlib.suppress(OSError):
                path.rmdir()
