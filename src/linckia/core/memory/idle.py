"""How fat an idle worker may be (P 13, P 14), and what to do with one that is fatter. Called by
raylet/memory_monitor.py.

First it is asked to give back what its allocator keeps; if it is still too large it ends, and a new one is forked in
milliseconds when there is work.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from linckia.base.limits import (
    IDLE_WORKER_LOOK_AFTER_S,
    IDLE_WORKER_MAX_BYTES,
    IDLE_WORKER_MIN_BYTES,
    IDLE_WORKER_TRIM_BYTES,
)

SHARE_OF_ALL_IDLE = 10  # a tenth of the node's memory


class Step(Enum):
    """What becomes of an idle worker now."""

    WAIT = "not idle for long enough, or looked at already"
    KEEP = "small enough"
    TRIM = "ask it to give memory back"
    RETIRE = "end it"


class Looked(NamedTuple):
    """The last look at a worker: since when it was idle then, and what was done."""

    idle_since_s: float
    step: Step
    at_s: float


def idle_max_bytes(limit_bytes: int, idle_workers: int) -> int:
    """Private memory that one of so many idle workers may keep on a node with this much memory."""
    share = limit_bytes // SHARE_OF_ALL_IDLE // max(1, idle_workers)
    return max(IDLE_WORKER_MIN_BYTES, min(IDLE_WORKER_MAX_BYTES, share))


def is_due(last: Looked | None, idle_since_s: float, now_s: float) -> bool:
    """It has been idle for a while and was not looked at since, or was asked to give memory back a while ago."""
    if now_s - idle_since_s < IDLE_WORKER_LOOK_AFTER_S:
        return False
    if last is None or last.idle_since_s != idle_since_s:
        return True
    return last.step is Step.TRIM and now_s - last.at_s >= IDLE_WORKER_LOOK_AFTER_S


def next_step(last: Looked | None, idle_since_s: float, private_bytes: int, max_bytes: int) -> Step:
    """What to do with a worker that `is_due`."""
    was_trimmed = last is not None and last.idle_since_s == idle_since_s and last.step is Step.TRIM
    if not was_trimmed and private_bytes > min(IDLE_WORKER_TRIM_BYTES, max_bytes):
        return Step.TRIM
    return Step.RETIRE if private_bytes > max_bytes else Step.KEEP
