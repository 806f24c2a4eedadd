"""A get inside a task that lasts: tell the GCS who waits for whom, and fail when it finds a circle (S 33).

Nothing here runs before a wait has lasted ``REPORT_AFTER_S``; the hot path does not know of it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from linckia.base.errors import RaySystemError
from linckia.protocol import messages as m
from linckia.worker.group_deadlock import never_fits

if TYPE_CHECKING:
    from linckia.worker.executor import Executor
    from linckia.worker.progress import Target

REPORT_AFTER_S = 1.0


class Watched:
    """Wait target: the real one, or the news of a deadlock."""

    __slots__ = ("cycle", "target", "task_id")

    def __init__(self, target: Target, task_id: bytes) -> None:
        self.target, self.task_id = target, task_id
        self.cycle: list[str] | None = None

    @property
    def state(self) -> object:
        return self.target.state or self.cycle is not None


def awaited_tasks(target: Any) -> list[bytes]:
    """The tasks that make what ``target`` waits for; empty when it is not one object or stream."""
    ref = getattr(target, "ref", target)
    object_id = getattr(ref, "_id", None)
    if object_id is not None:
        return [object_id[:24]]
    record = getattr(ref, "record", None)
    return [record.task_id] if record is not None else []


def wait_long(executor: Executor, target: Target, deadline_s: float | None) -> bool:
    """Wait in the main thread of a task. RaySystemError names the circle when this wait closes one, or the
    placement group that this actor fills.
    """
    progress = executor.runtime.progress
    report_s = time.monotonic() + REPORT_AFTER_S
    if deadline_s is not None and deadline_s <= report_s:
        return progress.wait_for(target, deadline_s)
    if progress.wait_for(target, report_s):
        return True
    context, awaited = executor.context(), awaited_tasks(target)
    if context is None or not awaited:
        return progress.wait_for(target, deadline_s)
    reason = never_fits(executor, target)
    if reason:
        raise RaySystemError(reason)
    watched = executor.watched = Watched(target, context.task_id)
    exclusive = executor.actor.actor_id if executor.actor is not None else b""
    runtime = executor.runtime
    me = runtime.address.worker_id
    runtime.raylet.send(m.WaitEdge(context.task_id, awaited, me, context.name, exclusive))
    try:
        done = progress.wait_for(watched, deadline_s)
    finally:
        executor.watched = None
        if not runtime.raylet.closed:
            runtime.raylet.send(m.WaitEdge(context.task_id, [], me))
    if watched.cycle is not None and not target.state:
        raise RaySystemError(
            f"deadlock: {' waits for '.join([*watched.cycle, watched.cycle[0]])}. Make one actor async or give it "
            "max_concurrency > 1, or pass the ObjectRef on instead of calling get() on it"
        )
    return done


def on_deadlock(executor: Executor, message: m.Deadlock) -> None:
    """The GCS found a circle."""
    watched = executor.watched
    if watched is not None and watched.task_id == message.task_id:
        watched.cycle = message.cycle
