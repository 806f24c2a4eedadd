"""The measured process, started by `runner.py`: run some steps of one engine, report each as a line of JSON.

Lines: {"event": "start", "step"}, {"event": "values", "step", "values"}, {"event": "error", "step", "error"}, and
{"event": "done"} or {"event": "unavailable", "error"} last. One step's failure does not end the others. What the engine
prints goes to the parent's log file, never into the report.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import signal
import traceback
from collections.abc import Callable
from functools import partial
from typing import Protocol

from bench.measure import Timing
from bench.workloads import Values

SHUTDOWN = "shutdown"


class Adapter(Protocol):
    """An engine in this process."""

    def run(self, step: str) -> Values:
        """Run one step and return its figures."""
        ...

    def shutdown(self) -> Values:
        """Stop the engine and return the figures of that."""
        ...


def adapter(engine: str, steps: list[str], timing: Timing) -> Adapter:
    """Build the adapter; only its own page is imported, so that no engine carries another one's modules."""
    if steps[0].startswith("store_"):
        from bench.store_rates import StoreRates  # noqa: PLC0415 (see above)

        return StoreRates(timing)
    if steps[0].startswith("cluster_"):
        return cluster_adapter(engine, timing)
    if engine == "limits":
        from bench.limits import Limits  # noqa: PLC0415 (see above)

        return Limits(timing)
    if engine == "prototype":
        from bench.floor import Floor  # noqa: PLC0415 (see above)

        return Floor(timing)
    if engine in {"futures", "multiprocessing", "loky", "dask"}:
        from bench.peers import PEERS  # noqa: PLC0415 (see above)

        return PEERS[engine](timing)
    from bench.session import Session  # noqa: PLC0415 (see above)

    return Session(engine, timing)


def cluster_adapter(engine: str, timing: Timing) -> Adapter:
    """Build the adapter for steps of several nodes, likewise."""
    if engine == "limits":
        from bench.cluster_limits import ClusterLimits  # noqa: PLC0415 (see above)

        return ClusterLimits(timing)
    from bench.cluster_session import ClusterSession  # noqa: PLC0415 (see above)

    return ClusterSession(engine, timing)


class Reporter:
    """Writes the lines."""

    def __init__(self, fd: int) -> None:
        os.set_inheritable(fd, False)
        self._fd = fd
        self._pid = os.getpid()

    def send(self, **fields: object) -> None:
        """Write one line; a forked copy of this process stays silent."""
        if os.getpid() == self._pid:
            os.write(self._fd, json.dumps(fields).encode() + b"\n")


def run_steps(engine: Adapter, steps: list[str], reporter: Reporter) -> None:
    """Run the steps in order, reporting each, and stop the engine last."""
    for step in steps:
        _report_step(step, partial(engine.run, step), reporter)
    if SHUTDOWN not in steps:
        _report_step(SHUTDOWN, partial(_stop_unmeasured, engine), reporter)
    reporter.send(event="done")


def _stop_unmeasured(engine: Adapter) -> Values:
    """Stop an engine whose shutdown nobody asked about: after a growth run it is no ordinary shutdown."""
    engine.shutdown()
    return {}


def _report_step(step: str, run: Callable[[], Values], reporter: Reporter) -> None:
    reporter.send(event="start", step=step)
    try:
        values = run()
    except Exception as error:  # noqa: BLE001 (whatever an engine raises is a result of the bench: reported, not hidden)
        traceback.print_exc()
        reporter.send(event="error", step=step, error=f"{type(error).__name__}: {error}")
    else:
        reporter.send(event="values", step=step, values=values)


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m bench.child")
    parser.add_argument("engine")
    parser.add_argument("--steps", required=True)
    parser.add_argument("--report-fd", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=Timing.seconds)
    parser.add_argument("--settle-s", type=float, default=Timing.settle_s)
    parser.add_argument("--growth-tasks", type=int, default=Timing.growth_tasks)
    parser.add_argument("--repeats", type=int, default=Timing.repeats)
    parser.add_argument("--scale", type=float, default=Timing.scale)
    options = parser.parse_args()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    timing = Timing(options.seconds, options.settle_s, options.growth_tasks, options.repeats, options.scale)
    steps = options.steps.split(",")
    reporter = Reporter(options.report_fd)
    try:
        engine = adapter(options.engine, steps, timing)
    except Exception as error:  # noqa: BLE001 (as above: an engine that cannot start is a result)
        traceback.print_exc()
        reporter.send(event="unavailable", error=f"{type(error).__name__}: {error}")
        return
    run_steps(engine, steps, reporter)


if __name__ == "__main__":
    main()
