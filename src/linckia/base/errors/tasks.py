"""Errors of tasks other than `RayTaskError`: cancelled, crashed, not schedulable, exceptions that could not travel."""

from __future__ import annotations

from linckia.base.errors.root import Origin, RayError


class TaskCancelledError(RayError):
    """`get` on a task or actor call that was cancelled. Cancelled work is never retried."""

    origin: Origin = "application"
    _summary = "The task was cancelled."

    def __init__(self, task_id: object = None, error_message: str | None = None) -> None:
        self.task_id = task_id
        self.error_message = error_message

    def _told(self) -> str:
        told = f"Task {id_text(self.task_id)} was cancelled." if self.task_id is not None else self._summary
        return f"{told} {self.error_message}" if self.error_message else told


class WorkerCrashedError(RayError):
    """The process that ran a normal task ended, and no retry was left."""

    retryable = True
    _summary = "The worker process died while it ran this task."
    _advice = (
        "Look for the reason at the end of the worker's log (session directory, logs/); if the task may safely run "
        "again, allow it with max_retries."
    )


class _UnschedulableError(RayError):
    """The work asks for a place that does not exist."""

    origin: Origin = "application"
    _subject = "work"
    _advice = "Relax its scheduling strategy (for example soft=True), or add a node that satisfies it."

    def __init__(self, error_message: str = "no node can ever take it") -> None:
        self.error_message = error_message

    def _told(self) -> str:
        return f"The {self._subject} is not schedulable: {self.error_message}"


class TaskUnschedulableError(_UnschedulableError):
    """The task asks for a place that does not exist, such as a dead node by hard affinity."""

    _subject = "task"


class ActorUnschedulableError(_UnschedulableError):
    """The actor asks for a place that does not exist, such as a dead node by hard affinity."""

    _subject = "actor"


class TaskPlacementGroupRemoved(RayError):
    """The placement group was removed while the task waited in it."""

    origin: Origin = "application"
    _summary = "The placement group of this task was removed before the task could run."
    _advice = "Keep the group until the results are there, or submit the task without it."


class ActorPlacementGroupRemoved(RayError):
    """The placement group was removed while the actor waited or lived in it."""

    origin: Origin = "application"
    _summary = "The placement group of this actor was removed."
    _advice = "Create the actor again in another group, or remove the group only after its actors are done."


class PendingCallsLimitExceeded(RayError):
    """The handle has as many unfinished calls as `max_pending_calls` allows."""

    origin: Origin = "application"
    retryable = True
    _summary = "The actor handle has reached its max_pending_calls."
    _advice = "Wait for some of the earlier calls with get() or wait(), or raise max_pending_calls."


class RuntimeEnvSetupError(RayError):
    """The runtime environment of the task, actor or job could not be built."""

    origin: Origin = "application"
    _summary = "The runtime environment could not be set up."
    _advice = "Correct the named field of runtime_env and submit again; nothing of the work has run."

    def __init__(self, error_message: str | None = None) -> None:
        self.error_message = error_message

    def _told(self) -> str:
        return f"{self._summary}\n{self.error_message}" if self.error_message else self._summary


class UserCodeException(RayError):
    """Libraries raise it `from` an error in a function they were given; `retry_exceptions` looks at that error."""

    origin: Origin = "application"
    _summary = "A function given to the library raised an exception."


class CrossLanguageError(RayError):
    """An exception from a worker written in another language, as text."""

    origin: Origin = "application"
    _summary = "A worker written in another language raised an exception."

    def __init__(self, ray_exception: object = None) -> None:
        if ray_exception is None or isinstance(ray_exception, str):
            self.args = (ray_exception,) if ray_exception else ()
            return
        text = getattr(ray_exception, "formatted_exception_string", None) or str(ray_exception)
        language = getattr(ray_exception, "language", "another language")
        self.args = (f"An exception raised from {language}:\n{text}",)


class UnserializableException(RayError):
    """The exception arrived as a pickle that cannot be read here; the original's own text and traceback are kept."""

    origin: Origin = "application"
    _advice = (
        "The usual reason is an __init__ with required arguments: let it call super().__init__ with the same ones, or "
        "define __reduce__. Another is a module that cannot be imported here."
    )

    def __init__(self, original_stack_trace: str = "") -> None:
        self._original_stack_trace = original_stack_trace

    def _told(self) -> str:
        return f"The exception could not be unpickled in this process. The original:\n{self._original_stack_trace}"


class OufOfBandObjectRefSerializationException(RayError):
    """An ObjectRef was pickled outside a task argument or result while that is forbidden. (The name is Ray's.)"""

    origin: Origin = "application"
    _summary = "An ObjectRef was serialized out of band."
    _advice = (
        "Pass the ref as an argument, return it, or put it inside a value given to put(); a ref hidden in a closure or "
        "a file keeps its object alive for as long as the process lives."
    )


class AsyncioActorExit(RayError):
    """Control flow of `exit_actor()` in an async actor. User code never sees it."""

    origin: Origin = "application"
    _summary = "exit_actor() was called in an async actor."


class PlasmaObjectNotAvailable(RayError):
    """Placeholder for a value that is in shared memory. User code never sees it."""

    retryable = True
    _summary = "The object is not available locally yet."
    _advice = "Wait for it with get() or wait()."


class ObjectRefStreamEndOfStreamError(RayError):
    """End mark of a generator's stream of refs. User code never sees it."""

    origin: Origin = "application"
    _summary = "The generator has no more items."


def id_text(value: object) -> str:
    """An id as people see it: hex, whether it comes as an id object, bytes or text already."""
    to_hex = getattr(value, "hex", None)
    return str(to_hex()) if callable(to_hex) else str(value)
