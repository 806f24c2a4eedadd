"""Task events for ``timeline()``: (name, start, end, ids), sent to the GCS when the worker is idle or enough have
gathered.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from linckia.host import environment
from linckia.protocol import messages as m

if TYPE_CHECKING:
    from linckia.worker.executor import Executor
    from linckia.worker.runtime import Runtime

EVENTS_PER_MESSAGE = 256


class Profile:
    """Made only for jobs that ask for it (LINCKIA_PROFILING=1)."""

    def __init__(self, runtime: Runtime, executor: Executor) -> None:
        self.runtime, self.executor = runtime, executor
        self.events: list[tuple[str, float, float, bytes, bytes, int, str]] = []

    def task(self, name: str, took_s: float, task_id: bytes) -> None:
        """A task has ended now."""
        end_s = environment.wall_time_s()
        self.events.append(
            (name, end_s - took_s, end_s, task_id, self.runtime.address.worker_id, os.getpid(), "task::execute")
        )
        if not self.executor.queue or len(self.events) >= EVENTS_PER_MESSAGE:
            events, self.events = self.events, []
            self.runtime.raylet.post(m.ProfileEvents(events))
