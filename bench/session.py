"""One session of an engine with Ray's API: fresh-process figures, idle memory, workloads, shutdown.

The caller picks the steps and their order. Every step returns `{figure id: value}`. The session itself is started by
the first step that needs it and ended by `shutdown`, whether or not the figures of that were asked for.
"""

from __future__ import annotations

import os
import time
from typing import cast

from bench.fresh import import_time, startup
from bench.growth import GROWTH_WORKLOADS
from bench.measure import Timing, expect
from bench.memory import footprint, session_processes, total_pss_bytes, wait_until_gone
from bench.ray_api import OBJECT_STORE_BYTES, Api, function, load
from bench.workloads import WORKLOADS, Values, Workload

CPUS = 2
WORKERS_TIMEOUT_S = 30
GONE_TIMEOUT_S = 10


class Session:
    """The engine `name` in this process."""

    def __init__(self, name: str, timing: Timing) -> None:
        self._name = name
        self._timing = timing
        self._ray: Api | None = None

    def run(self, step: str) -> Values:
        """Run one step; steps that need a running engine start it."""
        if step == "startup":
            return startup(self._name)
        if step == "import":
            return import_time(self._name, self._timing)
        if step == "shutdown":
            self.start()
            return self.shutdown()
        if step == "idle":
            return self._idle()
        return _workload(step)(self.start(), self._timing)

    def start(self) -> Api:
        """Start the engine once."""
        if self._ray is None:
            ray = load(self._name)
            ray.init(address="local", num_cpus=CPUS, object_store_memory=OBJECT_STORE_BYTES)
            self._ray = ray
        return self._ray

    def shutdown(self) -> Values:
        """Stop the engine, if it runs: how long until the call returns and until all is gone; how many stay."""
        if (ray := self._ray) is None:
            return {}
        self._ray = None
        if not self._pids():
            message = f"{self._name}: a running session has no process but the driver: the search for them is broken"
            raise RuntimeError(message)
        start = time.perf_counter()
        ray.shutdown()
        returned_s = time.perf_counter() - start
        left = wait_until_gone(self._pids, GONE_TIMEOUT_S)
        gone_s = time.perf_counter() - start
        return {"shutdown_call_s": returned_s, "shutdown_s": gone_s, "left_behind": float(len(left))}

    def _idle(self) -> Values:
        """Memory of a session that has run a few tasks on two workers and now does nothing."""
        workers = self._two_workers(self.start())
        time.sleep(self._timing.settle_s)
        pids = self._pids()
        if not workers <= pids:
            message = f"workers {sorted(workers)} are not among the session's processes {sorted(pids)}"
            raise RuntimeError(message)
        return {
            "idle_pss_mb": total_pss_bytes(pids) / 1e6,
            "idle_processes": float(len(pids)),
            "idle_worker_uss_mb": sum(footprint(pid).uss_bytes for pid in workers) / len(workers) / 1e6,
        }

    def _two_workers(self, ray: Api) -> set[int]:
        def where(seconds: float) -> int:
            time.sleep(seconds)
            return os.getpid()

        remote_where = function(ray, where)
        deadline = time.monotonic() + WORKERS_TIMEOUT_S
        while True:
            pids = set(cast("list[int]", ray.get([remote_where.remote(0.2) for _ in range(CPUS)])))
            if len(pids) == CPUS:
                expect(os.getpid() in pids, False, "a task ran in the driver")
                return pids
            if time.monotonic() > deadline:
                message = f"two tasks of 0.2 s at once always ran in one process {pids}, expected {CPUS} workers"
                raise TimeoutError(message)

    @staticmethod
    def _pids() -> set[int]:
        return session_processes(os.getpid())


def _workload(step: str) -> Workload:
    if step in WORKLOADS:
        return WORKLOADS[step]
    if step in GROWTH_WORKLOADS:
        return GROWTH_WORKLOADS[step]
    # numpy is imported only now: an idle worker that was forked from this process's engine must not have it
    from bench.large_objects import LARGE_WORKLOADS  # noqa: PLC0415 (see above)

    return LARGE_WORKLOADS[step]
