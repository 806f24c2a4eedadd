"""How long to wait before the next attempt: doubling, capped, spread by chance that the caller supplies.

Pure arithmetic for retry loops in `rpc`, `worker` and `gcs`; whoever waits owns the clock and the generator.
"""

from __future__ import annotations

from typing import Protocol


class UnitRandom(Protocol):
    """What this module needs of `random.Random`."""

    def random(self) -> float:
        """A number from 0 up to 1, 1 excluded."""
        ...


class Backoff:
    """A schedule of delays: `first_s * factor**attempt`, at most `cap_s`, each shortened by up to `jitter` of itself.

    Immutable, so that one schedule serves many retry loops. With `jitter` 0 the generator is never asked.
    """

    __slots__ = ("cap_s", "factor", "first_s", "jitter")

    def __init__(self, first_s: float, cap_s: float, factor: float = 2.0, jitter: float = 0.0) -> None:
        """ValueError unless 0 < first_s <= cap_s, factor >= 1 and 0 <= jitter <= 1."""
        if not 0 < first_s <= cap_s:
            raise ValueError(f"backoff needs 0 < first_s <= cap_s, got first_s={first_s}, cap_s={cap_s}")
        if factor < 1:
            raise ValueError(f"backoff factor must be at least 1, got {factor}")
        if not 0 <= jitter <= 1:
            raise ValueError(f"backoff jitter must be between 0 and 1, got {jitter}")
        self.first_s = first_s
        self.cap_s = cap_s
        self.factor = factor
        self.jitter = jitter

    def delay_s(self, attempt: int, rng: UnitRandom) -> float:
        """Seconds to wait after failed attempt number `attempt`, counted from 0."""
        if attempt < 0:
            raise ValueError(f"attempts are counted from 0, got {attempt}")
        whole_s = self._capped_s(attempt)
        return whole_s if self.jitter == 0 else whole_s * (1 - self.jitter * rng.random())

    def _capped_s(self, attempt: int) -> float:
        try:
            return min(self.cap_s, self.first_s * self.factor**attempt)
        except OverflowError:  # attempt 1100 and beyond
            return self.cap_s
