"""How long users waited: shares, pauses and recoveries. Pure.

A client that waits asks nothing, so shares of operations flatter (one answer may be late while a thousand were not
asked). Beside them stands the share of *time*: what an operation takes beyond its limit counts as not available.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise

import msgspec

from linckia.testing.chaos.history import AVAILABLE_WITHIN_S, Op, limit_s

SLOT_NS = 100_000_000


class Spread(msgspec.Struct, frozen=True):
    """Of some seconds."""

    count: int = 0
    min: float = 0.0
    median: float = 0.0
    p99: float = 0.0
    max: float = 0.0

    def text(self) -> str:
        """min / median / p99 / max."""
        if not self.count:
            return "-"
        return " / ".join(f"{value:.3f}" for value in (self.min, self.median, self.p99, self.max))


def spread(values: Sequence[float]) -> Spread:
    """Nearest ranks; an empty sequence has count 0."""
    if not values:
        return Spread()
    ordered = sorted(values)
    last = len(ordered) - 1

    def at(share: float) -> float:
        return ordered[min(last, max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1))]

    return Spread(len(ordered), ordered[0], at(0.5), at(0.99), ordered[-1])


class Service(msgspec.Struct, frozen=True):
    """What a class of operations gave to its users between two moments."""

    operations: int
    within: float
    """Share of operations that succeeded within the limit."""
    time: float
    """Share of time in which nobody waited beyond the limit."""
    slots: float
    """Share of slots of 100 ms in which nobody waited beyond the limit throughout."""
    longest_s: float
    """The longest pause between two successes."""
    within_1s: float = 0.0
    """Share of operations that succeeded within 1 s."""
    time_1s: float = 0.0
    """Share of time in which nobody waited for more than 1 s."""


def service(ops: Sequence[Op], from_ns: int, to_ns: int) -> Service:
    """Of the operations of one class."""
    ops = [op for op in ops if op.ended_ns > from_ns and op.began_ns < to_ns]
    if not ops or to_ns <= from_ns:
        return Service(0, 0.0, 0.0, 0.0, (to_ns - from_ns) / 1e9)
    limit_ns, second_ns = int(limit_s(ops[0].kind) * 1e9), int(AVAILABLE_WITHIN_S * 1e9)
    late = _waits(ops, limit_ns, from_ns, to_ns)
    slots = max(1, (to_ns - from_ns) // SLOT_NS)
    bad = sum(max(0, (end - from_ns) // SLOT_NS - -((from_ns - begin) // SLOT_NS)) for begin, end in late)
    return Service(
        operations=len(ops),
        within=_share_within(ops, limit_ns),
        time=1 - _length(late) / (to_ns - from_ns),
        slots=1 - bad / slots,
        longest_s=Successes(ops).longest_pause_s(from_ns, to_ns),
        within_1s=_share_within(ops, second_ns),
        time_1s=1 - _length(_waits(ops, second_ns, from_ns, to_ns)) / (to_ns - from_ns),
    )


def slow_ones(ops: Sequence[Op]) -> list[Op]:
    """Those of which `lost_s` knows something."""
    return [op for op in ops if op.outcome != "ok" or op.took_s > AVAILABLE_WITHIN_S]


def lost_s(ops: Sequence[Op], from_ns: int, to_ns: int) -> float:
    """Seconds in which somebody waited for more than 1 s."""
    return _length(_waits(ops, int(AVAILABLE_WITHIN_S * 1e9), from_ns, to_ns)) / 1e9


def _share_within(ops: Sequence[Op], limit_ns: int) -> float:
    return sum(op.outcome == "ok" and op.ended_ns - op.began_ns <= limit_ns for op in ops) / len(ops)


def _waits(ops: Sequence[Op], limit_ns: int, from_ns: int, to_ns: int) -> list[tuple[int, int]]:
    return _joined([_late(op, limit_ns, from_ns, to_ns) for op in ops])


def _length(spans: Sequence[tuple[int, int]]) -> int:
    return sum(end - begin for begin, end in spans)


def _late(op: Op, limit_ns: int, from_ns: int, to_ns: int) -> tuple[int, int]:
    """The time in which its caller waited too long; of a failed one, the whole."""
    begin = op.began_ns + (limit_ns if op.outcome == "ok" else 0)
    return max(begin, from_ns), min(op.ended_ns, to_ns)


def _joined(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for begin, end in sorted(span for span in spans if span[0] < span[1]):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((begin, end))
    return joined


class Successes:
    """Those of one class, prepared for many questions."""

    def __init__(self, ops: Sequence[Op]) -> None:
        good = sorted((op.began_ns, op.ended_ns) for op in ops if op.outcome == "ok")
        self._begins = [begin for begin, _ in good]
        self._ends = sorted(end for _, end in good)
        self._first_end_from: list[int] = []
        for _, end in reversed(good):
            self._first_end_from.append(min(end, self._first_end_from[-1]) if self._first_end_from else end)
        self._first_end_from.reverse()

    def longest_pause_s(self, from_ns: int, to_ns: int) -> float:
        """Of the pauses between two successes that were not over at the first moment and were over at the second. If
        there was no success at all in between, the one that spans both.
        """
        first, last = bisect_right(self._ends, from_ns), bisect_left(self._ends, to_ns)
        before = self._ends[first - 1] if first else from_ns
        inside = self._ends[first:last] or [self._ends[last] if last < len(self._ends) else to_ns]
        marks = [before, *inside]
        return max(later - earlier for earlier, later in pairwise(marks)) / 1e9

    def recovery_s(self, at_ns: int) -> float | None:
        """From a fault to the first end among the successes that began after it; None without one."""
        place = bisect_left(self._begins, at_ns)
        return (self._first_end_from[place] - at_ns) / 1e9 if place < len(self._begins) else None
