"""The GCS's deadlock watch: workers report long waits, `core/tasks/deadlock` finds circles, the newest is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from linckia.core.tasks.deadlock import WaitGraph, Waiting
from linckia.protocol import messages as m


class WaitService:
    """``tell_drivers`` shows a message on the drivers' terminals."""

    def __init__(self, tell_drivers: Callable[[m.DriverMessage], None]) -> None:
        self.graph = WaitGraph()
        self._tell_drivers = tell_drivers

    def handlers(self) -> dict[type, Callable[[Any, Any], None]]:
        """Message type -> handler(peer, message)."""
        return {m.WaitEdge: self._on_edge}

    def worker_gone(self, worker_id: bytes) -> None:
        """A worker is dead."""
        self.graph.worker_gone(worker_id)

    def _on_edge(self, peer: Any, message: m.WaitEdge) -> None:
        if not message.waits_for:
            self.graph.goes_on(message.task_id)
            return
        waiting = Waiting(
            message.task_id, message.name, message.worker_id, tuple(message.waits_for), message.exclusive_actor
        )
        cycle = self.graph.waits(waiting)
        if not cycle:
            return
        self.graph.goes_on(message.task_id)  # it is about to fail, so that the others can go on
        peer.post(m.Deadlock(message.task_id, cycle))
        text = f"deadlock: {' waits for '.join([*cycle, cycle[0]])}; the get() of {cycle[0]} fails"
        self._tell_drivers(m.DriverMessage("error", f"deadlock-{message.task_id.hex()}", text))
