"""The machine as it runs since its last start: a clock that goes on while it sleeps, and a name for its processes."""

from __future__ import annotations

import os
import time

from linckia.host.process import boot_id, parent_and_state, process_start_time

_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boottime_s() -> float:
    """Seconds since the machine started, sleep and suspension included (CLOCK_MONOTONIC stands still meanwhile).

    For whoever has promised something to another machine: leases there go on while this one sleeps.
    """
    return time.clock_gettime(_BOOTTIME)


def process_space() -> str:
    """This boot and pid namespace: within it a pid and a start time mean one process. Empty: unknown."""
    boot = boot_id()
    try:
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}" if boot else ""
    except OSError:
        return ""


def has_ended(pid: int, start_time: int) -> bool:
    """Whether that process of our ``process_space`` has certainly ended; a zombie has."""
    return start_time != 0 and (process_start_time(pid) != start_time or parent_and_state(pid)[1] in ("Z", "X"))
