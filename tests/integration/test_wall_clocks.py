"""The clock of a chaos run: what the library that is preloaded does to a process, and what not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from linckia.testing.chaos import clocks
from linckia.testing.chaos.clock_faults import JUMP_S

LOOK = """
import sys, time
for _ in sys.stdin:
    began_s = time.monotonic()
    time.sleep(0.01)  # sleep: it is what is tried
    print(time.time(), time.monotonic() - began_s, time.monotonic(), flush=True)
"""


@pytest.mark.row("S28")
@pytest.mark.skipif(bool(clocks.why_not()), reason=clocks.why_not())
def test_a_wall_clock_jumps_and_monotonic_time_does_not(tmp_path: Path) -> None:
    clock = clocks.WallClock(tmp_path / "clock")
    more = {"LD_PRELOAD": str(clocks.build(tmp_path)), "LINCKIA_TESTING_CLOCK": str(clock.path)}
    with subprocess.Popen(
        [sys.executable, "-c", LOOK], env={**os.environ, **more}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for wrong_by_s in (0, JUMP_S, -JUMP_S, 0):
            clock.set(wrong_by_s)
            process.stdin.write(b"look\n")
            process.stdin.flush()
            wall_s, slept_s, monotonic_s = map(float, process.stdout.readline().split())
            assert abs(wall_s - time.time() - wrong_by_s) < 10
            assert 0.01 <= slept_s < 10
            assert abs(monotonic_s - time.monotonic()) < 10
        process.stdin.close()
