"""When a node has too little memory, how much must become free, and when to look again (R 7.17).

`Watch` is told what is used (by raylet/memory_monitor.py, from host/memory.py) and answers with a `Verdict`. Between
the threshold that starts a round of kills and the target that the round aims at lies a buffer: without it one page
more would start the next round at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from linckia.base.limits import (
    MEMORY_BUFFER_FRACTION,
    MEMORY_BUFFER_MAX_BYTES,
    MEMORY_FASTEST_BYTES_PER_CPU_S,
    MEMORY_LOOK_MIN_S,
    MEMORY_REFRESH_FAR_S,
    MEMORY_REFRESH_S,
    MEMORY_USAGE_THRESHOLD,
)


class MemorySettings(NamedTuple):
    """What the user may set. ``refresh_s`` 0: nobody looks."""

    usage_threshold: float = MEMORY_USAGE_THRESHOLD
    min_free_bytes: int = -1  # -1: not set
    refresh_s: float = MEMORY_REFRESH_S
    by_group: bool = False
    idle_max_bytes: int = -1  # -1: by the size of the node; 0: idle workers of any size stay

    def threshold_bytes(self, limit_bytes: int) -> int:
        """Usage above this is too much. Of the two settings the one that allows more counts: on a large machine five
        percent free would be much.
        """
        by_share = int(limit_bytes * self.usage_threshold)
        return by_share if self.min_free_bytes < 0 else max(by_share, limit_bytes - self.min_free_bytes)


class Usage(NamedTuple):
    """What is used of one limit: the machine's memory, or a control group's."""

    where: str  # "this machine", "the control group /x"
    used_bytes: int
    limit_bytes: int


class Verdict(NamedTuple):
    """``need_bytes`` 0: enough is free. ``usage`` is the tightest limit."""

    usage: Usage
    threshold_bytes: int
    need_bytes: int
    look_again_s: float


def target_bytes(threshold_bytes: int, limit_bytes: int) -> int:
    """Usage at which a round of kills may end."""
    return max(0, threshold_bytes - min(int(limit_bytes * MEMORY_BUFFER_FRACTION), MEMORY_BUFFER_MAX_BYTES))


class Watch:
    """Remembers the last look, to see how quickly memory goes. ``cpus`` of the machine bound how quickly it can go."""

    def __init__(self, settings: MemorySettings, cpus: int) -> None:
        self.settings = settings
        self._fastest = MEMORY_FASTEST_BYTES_PER_CPU_S * max(1, cpus)
        self._seen: tuple[str, float, int] | None = None  # which limit, when, headroom

    def look(self, usages: Sequence[Usage], now_s: float) -> Verdict:
        """Judge what is used now. ``usages`` has at least one limit."""
        settings = self.settings
        usage = max(usages, key=lambda each: each.used_bytes - settings.threshold_bytes(each.limit_bytes))
        threshold = settings.threshold_bytes(usage.limit_bytes)
        headroom = threshold - usage.used_bytes
        need = usage.used_bytes - target_bytes(threshold, usage.limit_bytes) if headroom < 0 else 0
        again_s = self._look_again_s(usage.where, headroom, now_s)
        self._seen = (usage.where, now_s, headroom)
        return Verdict(usage, threshold, need, again_s)

    def _look_again_s(self, where: str, headroom: int, now_s: float) -> float:
        """The usual time; half of what is left at the pace since the last look; or, when much is free, half of the time
        in which the machine could use it at most: twenty idle nodes must cost next to nothing.
        """
        refresh_s = self.settings.refresh_s
        most_s = max(refresh_s, min(MEMORY_REFRESH_FAR_S, headroom / self._fastest / 2))
        if self._seen is None or self._seen[0] != where:
            return most_s
        lost, passed_s = self._seen[2] - headroom, now_s - self._seen[1]
        if lost <= 0 or passed_s <= 0:
            return most_s
        left_s = max(0, headroom) / (lost / passed_s)
        return min(most_s, max(MEMORY_LOOK_MIN_S, left_s / 2))
