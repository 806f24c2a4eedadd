"""Cancelling tasks, the owner's side, in stages (R 4.23-4.27): drop it, tell the worker, kill the worker.

Called through worker/runtime.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from linckia.base import errors
from linckia.protocol import messages as m
from linckia.worker.refs import ObjectRef
from linckia.worker.tasks import TaskRecord

if TYPE_CHECKING:
    from linckia.worker.runtime import Runtime


def cancel(runtime: Runtime, ref: Any, *, force: bool, recursive: bool) -> None:
    """Stages of R 4.23-4.27: drop it from its queue; tell the worker; kill the worker."""
    with runtime.mutex:
        if isinstance(ref, ObjectRef):
            extra = ref.extra
            if extra is not None and extra.owner is not None:
                runtime.peer(extra.owner).conn.send(m.CancelRemote(ref._id, force, recursive))
                return
        record = ref.value if isinstance(ref, ObjectRef) else ref._stream.record
        if not isinstance(record, TaskRecord) or (ref.state and isinstance(ref, ObjectRef)):
            return
        cancel_record(runtime, record, force=force, recursive=recursive)


def cancel_record(runtime: Runtime, record: TaskRecord, *, force: bool, recursive: bool) -> None:
    """See :meth:`cancel`."""
    record.cancelled = True
    record.retries_left = 0
    peer = record.peer
    if peer is None:
        if record.actor is not None:
            record.actor.remove_queued(record)
        elif record.queue is not None:
            runtime.submitter.remove_queued(record)
        runtime.fail(
            record,
            errors.TaskCancelledError(error_message=f"task {record.template.name} was cancelled before it started"),
        )
        return
    if peer.closed:
        return
    waits_behind = next(iter(peer.tasks), b"") != record.task_id  # then killing would hit its neighbour
    if force and peer.actor is None and not waits_behind:
        raylet = peer.lease.raylet.conn if peer.lease is not None else runtime.raylet
        raylet.send(m.KillWorker(peer.address.worker_id, f"task {record.template.name} was cancelled with force=True"))
    else:
        peer.conn.send(m.CancelTask(record.task_id, recursive))
