"""How a rate is taken: warm up, then call until the time is over, then divide. Used by every adapter and workload.

It refuses to measure nothing: a call that takes no time at all (an empty loop) is an error, not a record.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

WARM_UP_SHARE = 0.25


class WrongResultError(AssertionError):
    """A benchmark computed something else than it should have: its speed means nothing."""


class NothingMeasuredError(AssertionError):
    """The measured call was too short to be anything but an empty loop."""


@dataclass(frozen=True)
class Timing:
    """How long each rate is measured, and how large the long workloads are."""

    seconds: float = 1.0
    settle_s: float = 1.5
    growth_tasks: int = 1_000_000
    repeats: int = 5
    scale: float = 1.0
    """Of the cluster figures: their share of the nodes, tasks and bytes that the issue names."""


def expect(found: object, expected: object, what: str) -> None:
    """Compare a result with what it must be."""
    if found != expected:
        message = f"{what}: expected {str(expected)[:80]}, found {str(found)[:80]}"
        raise WrongResultError(message)


def rate(
    call: Callable[[], object],
    per_call: int,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Units per second of `call`, which does `per_call` units, measured over about `seconds` after a warm-up."""
    _calls_within(call, seconds * WARM_UP_SHARE, clock)
    calls, elapsed_s = _calls_within(call, seconds, clock)
    if elapsed_s / (calls * per_call) < 2e-9:
        message = f"{calls * per_call} units in {elapsed_s:.6f} s: no work was done, so there is nothing to measure"
        raise NothingMeasuredError(message)
    return calls * per_call / elapsed_s


def _calls_within(call: Callable[[], object], seconds: float, clock: Callable[[], float]) -> tuple[int, float]:
    calls, start = 0, clock()
    while True:
        call()
        calls += 1
        elapsed_s = clock() - start
        if elapsed_s >= seconds:
            return calls, elapsed_s
