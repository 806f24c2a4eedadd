"""Work of a raylet that nothing else may depend on (watching memory, passing on output): a mistake in it is written
down, shown by `linckia status`, and tried again with back-off; tasks, leases and the raylet go on.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from typing import Final

from linckia.base.backoff import Backoff
from linckia.base.limits import PART_RETRY_CAP_S, PART_RETRY_FIRST_S, PART_STEADY_AFTER_S
from linckia.core.supervision.part import Part
from linckia.host import environment
from linckia.host.entropy import random_generator
from linckia.host.own_log import say

SAY_EVERY_S: Final = 10.0


class Guard:
    """Of one part."""

    def __init__(self, name: str) -> None:
        backoff = Backoff(PART_RETRY_FIRST_S, PART_RETRY_CAP_S, jitter=0.5)
        self.part = Part(name, backoff, PART_STEADY_AFTER_S)
        self._said_s = float("-inf")

    def run(self, work: Callable[[], None]) -> float:
        """0.0 when it was done; else how long to wait before it is tried again."""
        if not self.part.is_up:
            self.part.tried()
        try:
            work()
        except Exception as error:  # noqa: BLE001 - whatever it is, only this part is down
            return self._failed(error)
        self.part.heard(time.monotonic())
        return 0.0

    def _failed(self, error: Exception) -> float:
        now_s = time.monotonic()
        why = f"{type(error).__name__}: {error}"
        if now_s - self._said_s >= SAY_EVERY_S:
            self._said_s = now_s
            say(f"{self.part.name} failed and is tried again: {why}")
            traceback.print_exc()
        return self.part.failed(why, now_s, environment.wall_time_s(), random_generator())
