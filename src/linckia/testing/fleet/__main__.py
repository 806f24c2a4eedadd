"""Run scenarios by hand: ``make sim NODES=2000 SCENARIO=churn SEED=7``, with figures; exit code 1 when one fails."""

from __future__ import annotations

import gc
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from linckia.core.scheduling.policy import Scheduler
from linckia.testing.fleet.scenarios import SCENARIOS
from linckia.testing.fleet.world import Fleet, FleetFailure

NODES = 60


class Stopwatch:
    """Times the scheduler's decisions, reasons included, while a fleet runs."""

    def __init__(self) -> None:
        self.took_us: list[float] = []
        self._decide: Callable[..., Any] = Scheduler.decide
        decide = self._decide

        def timed(*args: Any, **options: Any) -> Any:
            began_s = time.perf_counter()
            decision = decide(*args, **options)
            _ = decision.reason
            self.took_us.append((time.perf_counter() - began_s) * 1e6)
            return decision

        Scheduler.decide = timed  # type: ignore[method-assign]

    def stop(self) -> None:
        """Time no more."""
        Scheduler.decide = self._decide  # type: ignore[method-assign]

    def text(self) -> str:
        """Median and 99th percentile."""
        if len(self.took_us) < 2:
            return "no decisions"
        high = statistics.quantiles(self.took_us, n=100)[98]
        return f"{len(self.took_us)} decisions, median {statistics.median(self.took_us):.0f} us, p99 {high:.0f} us"


def main() -> int:
    """One line per life."""
    names = os.environ.get("SCENARIO") or "all"
    if names != "all" and names not in SCENARIOS:
        print(f"unknown SCENARIO {names!r}: choose one of {sorted(SCENARIOS)}, or all", file=sys.stderr)  # noqa: T201
        return 2
    nodes = int(os.environ.get("NODES") or NODES)
    first, count = int(os.environ.get("SEED") or 0), int(os.environ.get("SEEDS") or 1)
    failures = 0
    for name in sorted(SCENARIOS) if names == "all" else [names]:
        for seed in range(first, first + count):
            failures += not live(name, seed, nodes)
    return min(1, failures)


def live(name: str, seed: int, nodes: int) -> bool:
    """One life; False when it failed."""
    watch, began_s = Stopwatch(), time.process_time()
    gc.collect()
    gc.disable()  # a fleet is one heap that lives to its end: looking for circles in it costs a quarter of the time
    fleet = Fleet(SCENARIOS[name], seed, nodes)
    try:
        fleet.run()
    except FleetFailure as failure:
        print(failure)  # noqa: T201
        return False
    finally:
        watch.stop()
    real_s, virtual_s = time.process_time() - began_s, fleet.clock.now_s - fleet.began_s
    print(  # noqa: T201
        f"{name}, seed {seed}: {nodes} nodes, {fleet.steps:,} events, {virtual_s:.0f} s virtual in {real_s:.1f} s of "
        f"processor time, {fleet.without_heartbeats():,} messages; {watch.text()}; digest {fleet.digest:08x}"
    )
    return True


if __name__ == "__main__":
    sys.exit(main())
