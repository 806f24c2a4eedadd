"""What becomes of a task that gets no worker, or whose worker is gone. Used by submitter.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from linckia.base import errors
from linckia.base.backoff import Backoff
from linckia.base.limits import OOM_RETRY_CAP_S, OOM_RETRY_FIRST_S
from linckia.host import entropy, environment

if TYPE_CHECKING:
    from linckia.protocol.messages import LeaseBroken
    from linckia.worker.submitter import Submitter
    from linckia.worker.tasks import Lease, TaskRecord

REFUSALS: dict[str, type[errors.RayError]] = {
    "unschedulable": errors.TaskUnschedulableError,
    "runtime_env": errors.RuntimeEnvSetupError,
    "placement_group_removed": errors.TaskPlacementGroupRemoved,
}
"""By kind of LeaseRefused: what becomes of a task that no worker will ever run."""

OOM_RETRY_JITTER = 0.5
_rng = entropy.random_generator()


def crash_error(record: TaskRecord, reason: str, lease: Lease) -> errors.RayError:
    """The error of a task without retries left."""
    task = _named(record)
    if lease.node_died:
        return errors.NodeDiedError(f"{task}: {reason}")
    return errors.WorkerCrashedError(
        f"the worker running {task} died: {reason}; attempts made: {record.attempt + 1}; raise max_retries to try again"
    )


def after_oom(submitter: Submitter, record: TaskRecord, broken: LeaseBroken) -> None:
    """The node had too little memory: the task runs again after a while, however often, unless it never may (R 4.20).
    That costs none of its retries. The wait doubles, so that a task that always eats too much leaves room for others.
    """
    runtime = submitter.runtime
    if record.template.max_retries == 0 or broken.is_final:
        made = f"attempts made: {record.attempt + 1}"
        runtime.fail(record, errors.OutOfMemoryError(f"{_named(record)}, {made}: {broken.reason}"))
        return
    submitter.note_retry(record, counted=False)
    record.oom_deaths += 1
    runtime.retrying.later(record, oom_backoff().delay_s(record.oom_deaths - 1, _rng), submitter.enqueue)


def oom_backoff() -> Backoff:
    """How long to wait after an OOM; the first wait is ``task_oom_retry_delay_base_ms``."""
    first_s = float(environment.option("task_oom_retry_delay_base_ms") or OOM_RETRY_FIRST_S * 1000) / 1000
    return Backoff(min(OOM_RETRY_CAP_S, max(1e-3, first_s)), OOM_RETRY_CAP_S, jitter=OOM_RETRY_JITTER)


def _named(record: TaskRecord) -> str:
    return f"task {record.template.name} ({record.task_id.hex()[:16]})"
