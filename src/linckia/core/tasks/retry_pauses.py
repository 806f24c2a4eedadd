"""How long a task waits before it runs again: its own back-off, and the budget of the process that owns it.

Called by ``worker/retrying.py``, which owns the clock and the timer. Whether a task may run again at all is decided
elsewhere; want of memory has waits of its own (``worker/crashes.py``).
"""

from __future__ import annotations

from linckia.base.backoff import Backoff, UnitRandom

JITTER = 0.5
"""A pause is shortened by up to this share of it, so that tasks that failed together do not come back together."""


def backoff(first_s: float, cap_s: float) -> Backoff | None:
    """The schedule that the options ask for; None for no pause. The first pause is never longer than the cap."""
    return Backoff(min(first_s, cap_s), cap_s, jitter=JITTER) if first_s > 0 and cap_s > 0 else None


class RetryBudget:
    """A token bucket: ``burst`` retries at once, then ``per_s`` each second. A retry that finds it empty is not refused
    but told how long to wait, so that nothing fails that would have succeeded.
    """

    __slots__ = ("_at_s", "_tokens", "burst", "per_s")

    def __init__(self, per_s: float, burst: float) -> None:
        """``per_s`` 0 or less: no limit. ``burst`` is at least 1."""
        self.per_s, self.burst = per_s, max(1.0, burst)
        self._tokens = self.burst
        self._at_s: float | None = None

    def take(self, now_s: float) -> float:
        """One retry. Seconds that it has to wait for its token; those that come later wait longer."""
        if self.per_s <= 0:
            return 0.0
        if self._at_s is not None and now_s > self._at_s:
            self._tokens = min(self.burst, self._tokens + (now_s - self._at_s) * self.per_s)
        self._at_s = now_s if self._at_s is None else max(now_s, self._at_s)
        self._tokens -= 1
        return -self._tokens / self.per_s if self._tokens < 0 else 0.0


def pause_s(schedule: Backoff | None, failures: int, budget_s: float, rng: UnitRandom) -> float:
    """How long to wait after failure number ``failures`` (the first is 1), when the budget says ``budget_s``."""
    own_s = schedule.delay_s(max(0, failures - 1), rng) if schedule is not None else 0.0
    return max(own_s, budget_s)
