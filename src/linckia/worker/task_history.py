"""What this process remembers of tasks that have ended, for the state API. Nobody is told until somebody asks.

A worker appends one tuple per task it ran (``executor.py``, ``actor_host.py``): 0.1 us alone, 0.2 us of the 3 us of CPU
that an empty task takes there with cold caches; nothing in the owner; no message, no text, no look-up. Failures are
noted by the worker when user code raised, and by the owner whatever the reason: it outlives the worker. ``listing.py``
makes rows of them. Nothing here keeps arguments, results or references alive.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from linckia.base import errors
from linckia.base.limits import ERROR_TEXT_MAX_CHARS, FAILURES_KEPT_PER_PROCESS, TASKS_KEPT_PER_PROCESS

if TYPE_CHECKING:
    from linckia.protocol.messages import Push, TemplateDef
    from linckia.worker.runtime import Runtime
    from linckia.worker.tasks import TaskRecord

ENCODED_KEPT_MAX_BYTES = 4096
"""An error is described when it is asked for; a larger one at once, so that its payload need not be kept."""

Ended = tuple[bytes, str, tuple[int, str] | None, float, float]
"""(task id, label of its template, (attempt, own name) or None, start, end); times are those of ``time.perf_counter``.
Only what the garbage collector need not look into: ten thousand tuples that it had to visit made async actors 15 %
slower.
"""


def label_of(definition: TemplateDef) -> str:
    """Name and function of a template's tasks in one text; empty when they are not to be listed."""
    return f"{definition.name}\0{function_name(definition)}" if definition.listed else ""


def function_name(definition: TemplateDef) -> str:
    """``f`` or ``Class.method``, whatever the task calls itself."""
    if not definition.function_id:  # a method
        return definition.name
    return definition.qualified_name.rpartition(".")[2] or definition.name


class Failure(NamedTuple):
    """An attempt that failed. ``error`` is encoded, or described already. ``name``: its own, or empty."""

    task_id: bytes
    attempt: int
    name: str
    label: str
    error: bytes | tuple[str, str]
    end_s: float


class TaskHistory:
    """One per runtime. ``raised``: which of ``ended`` failed; as long, so that none of them ever seems to have
    succeeded. ``reasons``: why, of the last of them. ``failures``: failed attempts of our own tasks.
    """

    __slots__ = ("ended", "failures", "raised", "reasons")

    def __init__(self) -> None:
        self.ended: deque[Ended] = deque(maxlen=TASKS_KEPT_PER_PROCESS)
        self.raised: deque[tuple[bytes, int]] = deque(maxlen=TASKS_KEPT_PER_PROCESS)
        self.reasons: deque[Failure] = deque(maxlen=FAILURES_KEPT_PER_PROCESS)
        self.failures: deque[Failure] = deque(maxlen=FAILURES_KEPT_PER_PROCESS)

    def has_raised(self, push: Push, label: str, error: bytes) -> None:
        """User code of a task here has raised, or was cancelled."""
        extras = push.extras
        attempt, name = (extras.attempt, extras.name) if extras is not None else (0, "")
        self.raised.append((push.task_id, attempt))
        self.reasons.append(Failure(push.task_id, attempt, name, label, _kept(error), time.perf_counter()))

    def never_ran(self, push: Push, label: str, error: bytes) -> None:
        """It was cancelled while it waited here."""
        call = (push.extras.attempt, push.extras.name) if push.extras is not None else None
        now_s = time.perf_counter()
        self.has_raised(push, label, error)
        self.ended.append((push.task_id, label, call, now_s, now_s))

    def has_failed(self, record: TaskRecord, error: bytes) -> None:
        """An attempt of a task of ours has failed; whoever ran it, if anybody did, may be gone."""
        extras = record.extras
        name = extras.name if extras is not None else ""
        label = label_of(record.template.definition)
        self.failures.append(Failure(record.task_id, record.attempt, name, label, _kept(error), time.perf_counter()))

    def leave(self, runtime: Runtime) -> None:
        """This process ends by intention: its raylet keeps what ended here."""
        if self.ended or self.failures:
            from linckia.worker.listing import hand_over  # noqa: PLC0415  (start-up time)

            with runtime.mutex:
                hand_over(runtime)
            runtime.reactor.flush_dirty()


def _kept(error: bytes) -> bytes | tuple[str, str]:
    return error if len(error) <= ENCODED_KEPT_MAX_BYTES else described(error)


def described(error: bytes | tuple[str, str]) -> tuple[str, str]:
    """(type, text) of an error in either form; the end of a long text is what tells most."""
    kind, text = errors.describe_error(error) if isinstance(error, bytes) else error
    return kind, text if len(text) <= ERROR_TEXT_MAX_CHARS else f"...{text[-ERROR_TEXT_MAX_CHARS:]}"
