"""What a task's caller is told when the worker that ran it is gone. Used by submitter.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from linckia.base import errors

if TYPE_CHECKING:
    from linckia.worker.tasks import Lease, TaskRecord


def crash_error(record: TaskRecord, reason: str, lease: Lease) -> errors.RayError:
    """The error of a task without retries left."""
    if lease.broken is not None and lease.broken.oom:
        return errors.OutOfMemoryError(reason)
    task = f"task {record.template.name} ({record.task_id.hex()[:16]})"
    if lease.node_died:
        return errors.NodeDiedError(f"{task}: {reason}")
    return errors.WorkerCrashedError(
        f"the worker running {task} died: {reason}; attempts made: {record.attempt + 1}; raise max_retries to try again"
    )
