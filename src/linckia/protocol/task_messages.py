"""Between callers and executors: pushing tasks, answers, streams, cancel (tags 1-29). See ``protocol/messages.py``."""

from __future__ import annotations

from linckia.model.wire import PushExtras, Result
from linckia.protocol.message import Message


class FunctionDef(Message, tag=1):
    """A pickled function or class, sent once per connection before its first use."""

    function_id: bytes
    blob: bytes


class TemplateDef(Message, tag=2):
    """The constant part of a task, sent once per connection; ``Push.template`` refers to it."""

    template: int
    function_id: bytes  # empty for actor methods
    name: str  # function or method name
    num_returns: int  # -1 streaming, -2 dynamic
    retry_exceptions: bytes = b""  # pickled tuple of classes or function, b"*" for all, empty for none
    max_calls: int = 0
    backpressure: int = -1
    concurrency_group: str = ""
    objects_per_yield: int = 1
    careful: bool = False  # max_retries=0: answer earlier tasks before this one starts, and this one at once
    qualified_name: str = ""
    capture_child_tasks: bool = False  # in a placement group: its children stay there
    listed: bool = True  # enable_task_events: the state API tells of its tasks


class Push(Message, tag=3, gc=False):
    """Run this task. Empty ``args`` means no arguments."""

    task_id: bytes
    template: int
    args: bytes
    extras: PushExtras | None = None


class Done(Message, tag=4, gc=False):
    """The hot answer: one inline result without nested references."""

    task_id: bytes
    inline: bytes


class DoneMany(Message, tag=5):
    """The general answer. ``borrowing`` lists argument references the worker still holds; ``retryable`` says that the
    application error matches the template's ``retry_exceptions``; ``cancelled`` that the task ended by cancellation."""

    task_id: bytes
    results: list[Result]
    borrowing: list[bytes] = []
    failed: bool = False
    retryable: bool = False
    cancelled: bool = False
    stream_length: int = -1


class BatchTime(Message, tag=6):
    """How long the tasks since the last report ran: ``count`` tasks took ``total_s`` together (adapts pipelining)."""

    count: int
    total_s: float


class TakeBack(Message, tag=7):
    """Owner to worker: give back up to ``count`` tasks that have not started, newest first."""

    count: int


class TakenBack(Message, tag=8):
    """Worker to owner: these were not started and will not be; run them elsewhere. ``stalled``: the running task
    waits.
    """

    task_ids: list[bytes]
    stalled: bool = False


class Resumed(Message, tag=9):
    """Worker to owner: the running task no longer waits; push again."""


class Yielded(Message, tag=10):
    """One item of a streaming generator (index from 0)."""

    task_id: bytes
    index: int
    result: Result


class StreamConsumed(Message, tag=11):
    """Owner to worker: so many items were consumed (backpressure); ``dropped`` when nobody will consume the rest."""

    task_id: bytes
    consumed: int
    dropped: bool = False


class CancelTask(Message, tag=12):
    """Owner to executing worker. The forced variant goes to the raylet as KillWorker."""

    task_id: bytes
    recursive: bool


class CancelRemote(Message, tag=13):
    """A borrower asks the owner of a reference to cancel its task."""

    object_id: bytes
    force: bool
    recursive: bool


class WorkerExiting(Message, tag=14):
    """Worker to owner: I end after this (max_calls, sys.exit, idle); unstarted tasks are given back."""

    task_ids: list[bytes]
    intended: bool
    reason: str


class LeaseInfo(Message, tag=16):
    """Owner to a worker it was granted, before the first push: what its tasks hold; GPUs by id, as ``GPU/3``."""

    assigned: dict[str, float]
