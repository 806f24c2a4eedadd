"""Who was killed from outside is started at once; who fails waits longer each time."""

from __future__ import annotations

import signal
from random import Random

import pytest

from linckia.node.head_restarts import RestartPauses

KILLED, CRASHED, EXITED = int(signal.SIGKILL), int(signal.SIGSEGV), 1 << 8


def after_ends(count: int, status: int | None, *, lived_s: float = 0.1, worked: bool = True) -> list[float]:
    pauses = RestartPauses(Random(1))
    return [pauses.after_end(status, lived_s=lived_s, worked=worked) for _ in range(count)]


def test_kills_from_outside_cost_no_pause_however_many() -> None:
    assert after_ends(219, KILLED) == [0.0] * 219


@pytest.mark.parametrize("status", [CRASHED, EXITED, None])
def test_who_ends_by_itself_waits_longer_each_time(status: int | None) -> None:
    pauses = after_ends(12, status)
    assert pauses[0] <= 0.01
    assert 1.0 <= pauses[-1] <= 2.0
    assert after_ends(12, status, lived_s=6.0) == [0.0] * 12, "it had lived for long"


def test_who_is_killed_before_it_works_waits_too() -> None:
    """Perhaps there is no memory for it."""
    assert after_ends(12, KILLED, worked=False)[-1] >= 1.0


def test_a_kill_ends_the_waiting() -> None:
    pauses = RestartPauses(Random(1))
    for _ in range(12):
        pauses.after_end(EXITED, lived_s=0.1, worked=True)
    pauses.after_end(KILLED, lived_s=0.1, worked=True)
    assert pauses.after_end(EXITED, lived_s=0.1, worked=True) <= 0.01
