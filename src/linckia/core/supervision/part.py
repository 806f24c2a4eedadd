"""One supervised part: its state, what `linckia status` says of it, and how long to wait before it is tried again.

Used by node/part_child.py for a process, and by the raylet for work of its own (raylet/guard.py).
"""

from __future__ import annotations

from linckia.base.backoff import Backoff, UnitRandom
from linckia.core.supervision.states import PART_TABLE, PartEvent, PartState
from linckia.model.parts import PartFacts

E = PartEvent


class Part:
    """``steady_after_s``: a part that was up for so long has recovered; its next failure is a first one. ``barren``:
    the pauses, where they are longer, of one that fails again and again before it has done any work.
    """

    def __init__(self, name: str, backoff: Backoff, steady_after_s: float, barren: Backoff | None = None) -> None:
        self.name, self._backoff, self._steady_after_s, self._barren = name, backoff, steady_after_s, barren
        self.state = PART_TABLE.initial
        self.failures = 0
        self.why = ""
        self.down_since_s = 0.0  # on the wall clock; 0 while it is up
        self._attempt = self._barren_attempt = 0
        self._up_since_s: float | None = None

    @property
    def is_up(self) -> bool:
        """It works, or nothing else is known yet."""
        return not self.down_since_s

    def heard(self, now_s: float) -> None:
        """It has done some of its work."""
        if self.state is not PartState.UP:
            self._move(E.HEARD)
            self._up_since_s = now_s
            self.down_since_s = 0.0

    def failed(self, why: str, now_s: float, wall_s: float, rng: UnitRandom) -> float:
        """It is down. Seconds until it should be tried again."""
        if self._up_since_s is not None and now_s - self._up_since_s >= self._steady_after_s:
            self._attempt = 0
        if self._up_since_s is not None:
            self._barren_attempt = 0
        self._up_since_s = None
        self._move(E.FAILED)
        self.failures += 1
        self.why = why
        self.down_since_s = self.down_since_s or wall_s
        delay_s = self._backoff.delay_s(self._attempt, rng)
        if self._barren is not None:
            delay_s = max(delay_s, self._barren.delay_s(self._barren_attempt, rng))
        self._attempt += 1
        self._barren_attempt += 1
        return delay_s

    def tried(self) -> None:
        """It is started again; down until it is heard."""
        self._move(E.TRIED)

    def closed(self) -> None:
        """Nobody wants it any more."""
        self._move(E.CLOSED)

    def facts(self) -> PartFacts:
        """For `linckia status`."""
        return PartFacts(self.name, self.is_up, self.down_since_s, self.why, self.failures)

    def _move(self, event: PartEvent) -> None:
        self.state = PART_TABLE.next(self.state, event, self.name)
