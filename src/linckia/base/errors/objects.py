"""Errors of objects: lost, freed, timed out, not reconstructable, and a store or disk that is full."""

from __future__ import annotations

from linckia.base.errors.codes import ErrorType
from linckia.base.errors.root import Origin, RayError
from linckia.base.errors.tasks import id_text


class GetTimeoutError(RayError, TimeoutError):
    """`get(timeout=...)` expired. The work goes on; `except TimeoutError` catches it too."""

    origin: Origin = "application"
    retryable = True
    _summary = "Some objects were not ready within the timeout."
    _advice = "The work goes on: get() again with a longer timeout, or take what is ready with wait()."


class ObjectStoreFullError(RayError):
    """The object does not fit into shared memory, and spilling or fallback could not help."""

    retryable = True
    _summary = "The object store of this node is full."
    _advice = (
        "Its objects are still referenced: drop refs and zero-copy arrays you no longer need (`del ref`) or start with "
        "a larger object_store_memory."
    )


class OutOfDiskError(RayError):
    """The disk that takes spilled objects is over its limit."""

    retryable = True
    _summary = "The object store is full and the disk for spilled objects is over its limit."
    _advice = "Free space on that disk (`df` shows it), point object_spilling_directory elsewhere, or drop refs."


class ObjectLostError(RayError):
    """All copies of the object are gone and it was not rebuilt. Base of the more exact losses."""

    _reason = "All its copies were lost with the nodes or processes that held them."
    _advice = "Run the task again that made it; max_retries > 0 lets the cluster do so by itself."
    detail = ""  # what exactly was tried and found

    def __init__(self, object_ref_hex: object = "", owner_address: object = None, call_site: str = "") -> None:
        self.object_ref_hex = id_text(object_ref_hex)
        self.owner_address = owner_address
        self.call_site = call_site.replace(" | ", "\n  ")

    def _told(self) -> str:
        name = f"Object {self.object_ref_hex}" if self.object_ref_hex else "An object"
        told = f"{name} cannot be retrieved. {self._why()}"
        if self.detail:
            told = f"{told} {self.detail[0].upper()}{self.detail[1:]}."
        return f"{told}\nIts ObjectRef was created at: {self.call_site}" if self.call_site else told

    def _why(self) -> str:
        return self._reason


class ObjectFetchTimedOutError(ObjectLostError):
    """No node that holds the object was found in time."""

    retryable = True
    _reason = "No place that holds it was found in time."
    _advice = "Try again; if it stays so, look at the node list for machines that left."


class ReferenceCountingAssertionError(ObjectLostError, AssertionError):
    """The object was deleted while references to it existed: an error in Linckia."""

    _reason = "It was deleted although references to it still exist."
    _advice = "This is an error in Linckia: please report it together with the session's logs."


class ObjectFreedError(ObjectLostError):
    """The application freed the object explicitly."""

    origin: Origin = "application"
    _reason = "It was freed by an explicit call."
    _advice = "Free an object only when nobody reads it any more."


class OwnerDiedError(ObjectLostError):
    """The process that created the ref, by `.remote()` or `put`, has ended."""

    _advice = (
        "Create objects that must outlive a task or actor in a process that lives longer, such as the driver or a "
        "detached actor. Its log tells why it ended."
    )

    def _why(self) -> str:
        where = f" ({self.owner_address})" if self.owner_address else ""
        return f"Its owner{where}, the process that created its ObjectRef, has exited."


class ObjectReconstructionFailedError(ObjectLostError):
    """The object was lost and could not be rebuilt by running its task again; `reason` says why."""

    REASON_MESSAGES = {  # noqa: RUF012  (a constant; Ray's users read it from the class)
        ErrorType.OBJECT_UNRECONSTRUCTABLE_MAX_ATTEMPTS_EXCEEDED: (
            "Its task has used up its retries; raise max_retries if it may run more often."
        ),
        ErrorType.OBJECT_UNRECONSTRUCTABLE_LINEAGE_EVICTED: (
            "The description of its task was dropped to save memory; raise the limit of lineage bytes."
        ),
        ErrorType.OBJECT_UNRECONSTRUCTABLE_PUT: (
            "It was created by put(), so there is no task to run again; return the value from a task instead."
        ),
        ErrorType.OBJECT_UNRECONSTRUCTABLE_RETRIES_DISABLED: (
            "Its task must not run again: it has max_retries=0, or max_task_retries=0 for an actor's method."
        ),
        ErrorType.OBJECT_UNRECONSTRUCTABLE_BORROWED: (
            "Only its owner can rebuild it, and this process merely borrowed it."
        ),
        ErrorType.OBJECT_UNRECONSTRUCTABLE_REF_NOT_FOUND: (
            "Its reference is unknown here; this is an error in Linckia, please report it."
        ),
        ErrorType.OBJECT_UNRECONSTRUCTABLE_TASK_CANCELLED: "The task that would make it was cancelled.",
        ErrorType.OBJECT_UNRECONSTRUCTABLE_LINEAGE_DISABLED: (
            "Reconstruction is switched off for this cluster; enable it, or run the task again yourself."
        ),
    }
    _advice = ""  # each reason names its own next step

    def __init__(
        self,
        object_ref_hex: object = "",
        reason: ErrorType | int | None = None,
        reason_message: str | None = None,
        owner_address: object = None,
        call_site: str = "",
    ) -> None:
        super().__init__(object_ref_hex, owner_address, call_site)
        self.reason = ErrorType(reason) if reason is not None else None
        known = self.REASON_MESSAGES.get(self.reason) if self.reason is not None else None
        self.reason_message = reason_message or known or "The reason is not known; please report this."

    def _why(self) -> str:
        name = self.reason.name if self.reason is not None else "UNKNOWN"
        return f"[{name}] {self.reason_message}"
