"""When periodic work that is not urgent is done: at the pulse, the whole seconds of the machine's monotonic clock.

A process that wakes pays for what it touches anew (caches, page tables: a millisecond and more), so what may wait a
moment waits for the pulse and shares one wake-up. All nodes of one machine have the same pulse, so they wake together,
and a head among them reads what they say at once; machines have clocks of their own, so clusters do not beat in step.
Pure.
"""

from __future__ import annotations

from typing import Final

PULSE_S: Final = 1.0


def until_pulse_s(now_s: float, least_s: float = 0.0) -> float:
    """Seconds from ``now_s`` (monotonic) to the first pulse that is at least ``least_s`` away."""
    return least_s + -(now_s + least_s) % PULSE_S


def shared_wait_s(now_s: float, wait_s: float) -> float:
    """``wait_s``, or less, so that it ends with a pulse; what is due before the next pulse stays as it is."""
    return wait_s if wait_s < PULSE_S else wait_s - (now_s + wait_s) % PULSE_S
