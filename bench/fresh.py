"""What has to be measured in a fresh process: start-up and import. Called by `session.py` and `peers.py`."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import cast

from bench.measure import Timing
from bench.workloads import Values

STARTUP = Path(__file__).with_name("startup.py")
TIMEOUT_S = 120
LOG_TAIL_LINES = 12
HEAVY_MODULES = ("numpy",)
IMPORT_PROGRAM = """
import sys, time
start = time.perf_counter()
import {module}
elapsed = time.perf_counter() - start
print("\\n%r %d" % (elapsed, sum(name in sys.modules for name in {heavy!r})))
"""


def last_json(text: str) -> dict[str, float]:
    """Return the last line that is a JSON object: engines may print before and after it."""
    for line in reversed(text.splitlines()):
        if line.startswith("{"):
            return cast("dict[str, float]", json.loads(line))
    message = f"no JSON line in the output: {text[-300:]!r}"
    raise ValueError(message)


def startup(engine: str) -> Values:
    """Import, start, first result, in a fresh process: by its own clock, and as seen by whoever started the process."""
    start = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-P", str(STARTUP), engine],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    ) as process:
        lines: list[str] = []
        seen_s = 0.0
        for line in process.stdout or ():
            lines.append(line)
            if line.startswith("{"):
                seen_s = time.perf_counter() - start
        returncode = process.wait(TIMEOUT_S)
    if returncode:
        tail = " | ".join(text.strip() for text in lines[-LOG_TAIL_LINES:])
        raise RuntimeError(f"{STARTUP.name} {engine}: exit code {returncode}, expected 0; last output: {tail}")
    return {"startup_s": last_json("".join(lines))["startup_s"], "startup_process_s": seen_s}


def import_time(module: str, timing: Timing) -> Values:
    """Milliseconds of a bare `import`, median of fresh processes, and how many heavy modules it pulled in."""
    program = IMPORT_PROGRAM.format(module=module, heavy=HEAVY_MODULES)
    samples: list[float] = []
    heavy = 0
    for number in range(timing.repeats + 1):
        output = subprocess.run(
            [sys.executable, "-P", "-c", program], check=True, capture_output=True, text=True, timeout=TIMEOUT_S
        ).stdout
        elapsed, found = output.split()[-2:]
        heavy = int(found)
        if number:  # the first one may have had to compile the modules
            samples.append(float(elapsed) * 1e3)
    return {"import_ms": sorted(samples)[len(samples) // 2], "import_heavy": float(heavy)}
