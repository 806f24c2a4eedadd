"""What the code that runs now may know of its task: ids, children, cancellation. One per running task, made when
asked for.
"""

from __future__ import annotations

import contextvars
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from linckia.protocol.messages import Push
    from linckia.worker.tasks import Peer, TaskRecord


class TaskContext:
    """A running task. ``children`` are its unfinished submissions (recursive cancel)."""

    __slots__ = (
        "actor_id",
        "attempt",
        "cancelled",
        "children",
        "handle",
        "name",
        "peer",
        "push",
        "qualified_name",
        "started_s",
        "task_id",
        "thread",
    )

    def __init__(self, peer: Peer | None, push: Push | None, template: Any, actor_id: bytes | None) -> None:
        self.peer, self.push = peer, push
        self.task_id = push.task_id if push is not None else b""
        extras = push.extras if push is not None else None
        self.name = (extras.name if extras is not None and extras.name else None) or (
            template.name if template is not None else ""
        )
        self.qualified_name = template.qualified_name if template is not None else ""
        self.attempt = extras.attempt if extras is not None else 0
        self.actor_id = actor_id
        self.children: dict[bytes, TaskRecord] = {}
        self.cancelled = False
        self.thread = threading.get_ident()
        self.handle: Any = None  # asyncio task of an async method
        self.started_s = 0.0


active: contextvars.ContextVar[TaskContext | None] = contextvars.ContextVar("linckia_task", default=None)
"""Set for tasks in threads and coroutines; the main thread's is ``Executor.context()``."""
