"""`why_pending(ref)`: what a ref that is not ready waits for, as one sentence; for users when something seems stuck."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from linckia.base.errors import RaySystemError
from linckia.worker import current

if TYPE_CHECKING:
    from linckia.worker.refs import ObjectRef
    from linckia.worker.why import PendingReason


def why_pending(ref: ObjectRef[Any]) -> PendingReason:
    """(kind, text) for `ref`, at once: arguments, resources, a worker's start, tasks before it, or running since; for a
    call whose actor is not there, or the `ready` of a placement group, what the head knows of it.

    `str()` of the result is the sentence. Takes up to five seconds where nobody answers, and says so. TypeError for
    other objects, RaySystemError when not connected.
    """
    from linckia.worker.refs import ObjectRef  # noqa: PLC0415  (start-up time)
    from linckia.worker.why import why_pending as ask  # noqa: PLC0415  (start-up time)

    if not isinstance(ref, ObjectRef):
        raise TypeError(f"why_pending() takes an ObjectRef, got {type(ref).__name__}")
    if current.runtime is None:
        raise RaySystemError("why_pending: not connected to a cluster; call linckia.init() first")
    return ask(current.runtime, ref)
