"""Who waits for whom, and is it a circle? Pure; the GCS feeds it what workers report after a second of waiting (S
33).

An edge leads from a waiting task to each task it waits for. A call that a one-at-a-time actor has not started is held
up by the call that runs, and waits, in that actor. Normal tasks give their CPU back while they wait, so that nothing
else can close a circle. Work per report: what is reachable from the new edge.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Waiting:
    """A task that waits. ``exclusive_actor``: the one-at-a-time actor it runs in, or empty."""

    task_id: bytes
    name: str
    worker_id: bytes
    waits_for: tuple[bytes, ...]
    exclusive_actor: bytes = b""


class WaitGraph:
    """All tasks that have waited for long."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, Waiting] = {}
        self._in_actor: dict[bytes, bytes] = {}  # actor -> the waiting call that occupies it
        self._of_worker: dict[bytes, set[bytes]] = {}

    def waits(self, waiting: Waiting) -> list[str]:
        """Note it; the names along the circle it closes, the newest first, or nothing."""
        self.goes_on(waiting.task_id)
        self._waiting[waiting.task_id] = waiting
        if waiting.exclusive_actor:
            self._in_actor[waiting.exclusive_actor] = waiting.task_id
        self._of_worker.setdefault(waiting.worker_id, set()).add(waiting.task_id)
        return [self._waiting[task_id].name for task_id in self._circle(waiting.task_id)]

    def goes_on(self, task_id: bytes) -> None:
        """It does not wait any more. Idempotent."""
        gone = self._waiting.pop(task_id, None)
        if gone is None:
            return
        if self._in_actor.get(gone.exclusive_actor) == task_id:
            del self._in_actor[gone.exclusive_actor]
        tasks = self._of_worker.get(gone.worker_id, set())
        tasks.discard(task_id)
        if not tasks:
            self._of_worker.pop(gone.worker_id, None)

    def worker_gone(self, worker_id: bytes) -> None:
        """A worker is dead: what waited in it waits no more."""
        for task_id in sorted(self._of_worker.get(worker_id, ())):
            self.goes_on(task_id)

    def __len__(self) -> int:
        return len(self._waiting)

    def _held_up_by(self, task_id: bytes) -> list[bytes]:
        """The waiting tasks that must go on before this one can."""
        found = []
        for awaited in self._waiting[task_id].waits_for:
            if awaited in self._waiting:
                found.append(awaited)
            else:
                occupant = self._in_actor.get(awaited[8:24])
                if occupant is not None:
                    found.append(occupant)
        return found

    def _circle(self, start: bytes) -> list[bytes]:
        path, seen = [start], {start}
        branches = [iter(self._held_up_by(start))]
        while branches:
            following = next(branches[-1], None)
            if following is None:
                branches.pop()
                path.pop()
            elif following == start:
                return path
            elif following not in seen:
                seen.add(following)
                path.append(following)
                branches.append(iter(self._held_up_by(following)))
        return []
