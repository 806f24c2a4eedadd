"""The fault of busy cores: other programs want more of them than there is (S 29)."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from linckia.testing.chaos.history import Deed
from linckia.testing.chaos.injecting import Doing, Injector
from linckia.testing.chaos.schedule import Fault

SPINNERS_PER_CORE = 4
SPIN = "import sys, time\nend_s = time.monotonic() + float(sys.argv[1])\nwhile time.monotonic() < end_s: pass"


class BusyFaults:
    """The kind `busy`."""

    def __init__(self, injector: Injector) -> None:
        self.injector = injector

    def kinds(self) -> dict[str, Doing]:
        """How it is done."""
        return {"busy": self._spin}

    def _spin(self, fault: Fault) -> Deed:
        """All at the priority of everybody else; they end by themselves, whatever becomes of us."""
        count = SPINNERS_PER_CORE * (os.cpu_count() or 1)
        at_ns = time.monotonic_ns()
        command = [sys.executable, "-I", "-S", "-c", SPIN, str(fault.lasts_s)]
        spinners = [subprocess.Popen(command, stdin=subprocess.DEVNULL) for _ in range(count)]

        def end() -> None:
            for each in spinners:
                each.kill()
                each.wait()

        self.injector.later(fault.lasts_s, end, "end what spins")
        return Deed(fault.kind, at_ns, f"{count} processes that spin", lasts_s=fault.lasts_s)
