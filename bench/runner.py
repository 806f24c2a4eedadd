"""The parent's side: start one process per engine and round, read its report, end what hangs. Called by `__main__.py`.

Each process gets its own session id, log file and environment marker. When it dies or stays silent for too long, the
step it was in becomes a failure, everything that carries its marker is killed (nothing else: other clusters may run
here) and a new process does the steps that are left.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

from bench.engines import Run
from bench.measure import Timing
from bench.memory import MARKER_VARIABLE, session_processes, wait_until_gone
from bench.records import Failure, Record, Value, unfinished

ROOT = Path(__file__).resolve().parent.parent
STEP_TIMEOUT_S = 180.0
CLUSTER_STEP_TIMEOUT_S = 600.0
LONG_STEP_TIMEOUT_S = 3600.0
END_TIMEOUT_S = 20.0
LOG_TAIL_LINES = 12
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "PYTHONUNBUFFERED": "1",
    "PYTHONDONTWRITEBYTECODE": "",  # or a checkout compiles itself in every process, which installed peers do not
}


@dataclass
class _Process:
    """One measured process and what it has reported so far."""

    popen: subprocess.Popen[bytes]
    report: IO[bytes]
    log: Path
    marker: str
    began: list[str] = field(default_factory=list)
    is_done: bool = False


class Runner:
    """Runs the plan."""

    def __init__(self, pythons: Mapping[str, str], timing: Timing) -> None:
        self._pythons = pythons
        self._timing = timing

    def run(self, run: Run) -> Iterator[Record]:
        """Do the steps of one run, in as many processes as it takes."""
        steps = run.steps
        while steps:
            began: list[str] = []
            yield from self._one_process(run, steps, began)
            steps = unfinished(steps, began) if began else ()

    def _one_process(self, run: Run, steps: tuple[str, ...], began: list[str]) -> Iterator[Record]:
        """Run one process and note in `began` which steps it took on: what it left goes to the next one."""
        timeout_s = LONG_STEP_TIMEOUT_S if run.is_long else CLUSTER_STEP_TIMEOUT_S if run.is_cluster else STEP_TIMEOUT_S
        with tempfile.TemporaryDirectory(prefix="linckia-bench-") as directory:
            process = self._start(run, steps, Path(directory))
            try:
                yield from _records(process, run, timeout_s)
                if not process.is_done:
                    step = process.began[-1] if process.began else "start"
                    yield Failure(run.engine.name, run.round, step, _epitaph(process, timeout_s))
                began += process.began
            finally:
                _end(process)

    def _start(self, run: Run, steps: tuple[str, ...], directory: Path) -> _Process:
        marker = uuid.uuid4().hex
        log = directory / "log"
        report_fd, child_fd = os.pipe()
        timing = self._timing
        command = [self._pythons[run.engine.name], "-m", "bench.child", run.engine.name, "--steps", ",".join(steps)]
        command += ["--report-fd", str(child_fd), "--seconds", str(timing.seconds), "--settle-s", str(timing.settle_s)]
        command += ["--growth-tasks", str(timing.growth_tasks), "--repeats", str(timing.repeats)]
        command += ["--scale", str(timing.scale)]
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        with log.open("wb") as output:
            popen = subprocess.Popen(
                command,
                env={**os.environ, **QUIET, MARKER_VARIABLE: marker, "PYTHONPATH": path},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[child_fd],
                start_new_session=True,
            )
        os.close(child_fd)
        return _Process(popen, os.fdopen(report_fd, "rb", buffering=0), log, marker)


def _records(process: _Process, run: Run, timeout_s: float) -> Iterator[Record]:
    for line in _lines(process, timeout_s):
        event = cast("dict[str, object]", json.loads(line))
        step = str(event.get("step", ""))
        match event["event"]:
            case "start":
                process.began.append(step)
            case "values":
                for figure, value in cast("dict[str, float]", event["values"]).items():
                    yield Value(run.engine.name, run.round, figure, value)
            case "error":
                yield Failure(run.engine.name, run.round, step, str(event["error"]))
            case "unavailable":
                process.is_done = True
                yield Failure(run.engine.name, run.round, "start", str(event["error"]))
            case _:
                process.is_done = True
        if process.is_done:
            return


def _lines(process: _Process, timeout_s: float) -> Iterator[bytes]:
    """Yield the lines of the report until the process ends, or stays silent for too long.

    The end of the process is what counts, not the end of the pipe: a daemon that outlives it may hold the pipe open.
    """
    buffer = b""
    pidfd = os.pidfd_open(process.popen.pid)
    try:
        while True:
            report_fd = process.report.fileno()
            readable, _, _ = select.select([report_fd, pidfd], [], [], timeout_s)
            if report_fd in readable:
                data = os.read(report_fd, 1 << 16)
                buffer += data
                *complete, buffer = buffer.split(b"\n")
                yield from complete
                if data:
                    continue
            return
    finally:
        os.close(pidfd)


def _epitaph(process: _Process, timeout_s: float) -> str:
    """Say how the process ended, with the last lines it printed."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.popen.wait(1)
    code = process.popen.returncode
    if code is None:
        process.popen.send_signal(signal.SIGUSR1)  # faulthandler: the log then ends with every thread's stack
        time.sleep(0.5)
        end = f"silent for {timeout_s:g} s"
    else:
        end = f"died with exit code {code}"
    tail = " | ".join(process.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])
    return f"{end}; last output: {tail or 'none'}"


def _end(process: _Process) -> None:
    """End the process and every process that carries its marker."""
    process.report.close()
    if process.is_done:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.popen.wait(END_TIMEOUT_S)

    def left() -> set[int]:
        return session_processes(process.popen.pid, process.marker)

    if process.popen.poll() is None:
        process.popen.kill()
    process.popen.wait()
    for pid in left():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_until_gone(left, END_TIMEOUT_S)
