"""What this process tells the state API when somebody asks: its tasks, as owner and as worker, and its references.

Everything is derived from what the process has anyhow (queues, pushed tasks, the running one, `task_history.py`,
Python's own references), under ``Runtime.mutex``, in the leading thread; nobody keeps books for it. A row that another
process may know better is sent unfiltered: filters are applied again where rows of one task come together.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from linckia.base import errors
from linckia.base.limits import STATE_ROWS_MAX
from linckia.core.listing.filters import matches, on_columns
from linckia.core.listing.merging import count_of
from linckia.host import environment
from linckia.model.listing import Filter, Part, Row, encode_part
from linckia.protocol import messages as m
from linckia.worker.living_refs import living_refs
from linckia.worker.refs import BLOCK, ERROR, INLINE, PENDING, ObjectRef
from linckia.worker.task_history import Failure, described, label_of
from linckia.worker.tasks import TaskRecord
from linckia.worker.unfinished import all_unfinished

if TYPE_CHECKING:
    from linckia.worker.runtime import Runtime
    from linckia.worker.tasks import Peer

SURE_COLUMNS = ("task_id", "attempt_number", "name", "func_or_class_name", "job_id", "actor_id", "type")
"""Of a task, what all who know it agree on."""
RECENT = 256
"""So many of the tasks that ended last are sent whatever the filters: their owners may not know it yet."""
NO_ACTOR = b"\xff" * 12
ACTOR_SCOPE = b"\xff" * 4
"""End of the ids of references that stand for handles of actors."""


def answer(runtime: Runtime, peer: Peer, message: m.StateCollect) -> None:
    """Tell the raylet (and nobody else) what was asked."""
    if peer is not runtime.raylet_peer:
        return
    telling = Telling(message.filters, min(message.limit, STATE_ROWS_MAX))
    if message.what == "tasks":
        _tell_tasks(runtime, telling)
    elif message.what == "objects":
        for row in object_rows(runtime):
            telling.add(row)
    peer.conn.post(m.StatePart(message.number, encode_part(telling.part())))


def hand_over(runtime: Runtime) -> None:
    """This process ends by intention: its raylet keeps what ended here."""
    if runtime.raylet.closed or not (runtime.history.ended or runtime.history.failures):
        return
    rows = [*ended_rows(runtime), *failure_rows(runtime)]
    runtime.raylet.post(m.TaskHistory(len(rows), encode_part(Part(rows, total=len(rows), matched=len(rows)))))


class Telling:
    """Rows until there are enough of them; the rest is counted."""

    def __init__(self, filters: list[Filter], limit: int) -> None:
        self.filters, self.limit = filters, limit
        self.sure = on_columns(filters, SURE_COLUMNS)
        self.rows: list[Row] = []
        self.total = self.unsure = 0
        self.counts: dict[tuple[str, str, str], int] = {}

    def add(self, row: Row, *, unsure: bool = False) -> None:
        """One more. ``unsure``: somebody else may know better, so it is told whatever its state."""
        self.total += 1
        if not matches(row, self.sure if unsure else self.filters):
            return
        if len(self.rows) - self.unsure < self.limit or (unsure and len(self.rows) < STATE_ROWS_MAX):
            self.rows.append(row)
            self.unsure += unsure
        else:
            name, kind, state, _ = count_of(row)
            self.counts[name, kind, state] = self.counts.get((name, kind, state), 0) + 1

    def part(self) -> Part:
        """As it travels."""
        counts = [(*key, number) for key, number in self.counts.items()]
        return Part(self.rows, counts, self.total, len(self.rows) + sum(self.counts.values()))


# --- tasks ------------------------------------------------------------------------------------------------------------


def _tell_tasks(runtime: Runtime, telling: Telling) -> None:
    if runtime.executor is not None:
        for row in running_rows(runtime):
            telling.add(row, unsure=True)
    for row in owned_rows(runtime):
        telling.add(row, unsure=row["state"] == "SUBMITTED_TO_WORKER")
    for row in failure_rows(runtime):
        telling.add(row)
    for position, row in enumerate(ended_rows(runtime)):
        telling.add(row, unsure=position < RECENT)


def task_row(task_id: bytes, attempt: int, own_name: str, label: str, state: str) -> Row:
    """What is known from a task's id and its template's label; the rest is None."""
    name, _, function = label.partition("\0")
    is_actor_task = task_id[8:20] != NO_ACTOR
    return {
        "task_id": task_id.hex(),
        "attempt_number": attempt,
        "name": own_name or name,
        "state": state,
        "job_id": task_id[20:24].hex(),
        "actor_id": task_id[8:24].hex() if is_actor_task else None,
        "type": "ACTOR_TASK" if is_actor_task else "NORMAL_TASK",
        "func_or_class_name": function,
        "parent_task_id": None,
        "node_id": None,
        "worker_id": None,
        "worker_pid": None,
        "error_type": None,
        "error_message": None,
        "error_origin": None,
        "start_time_ms": None,
        "end_time_ms": None,
        "language": "PYTHON",
        "required_resources": None,
        "runtime_env_info": None,
    }


def owned_rows(runtime: Runtime) -> Iterator[Row]:
    """Tasks that this process has submitted and that are not answered."""
    for record in all_unfinished(runtime):
        if record.template.definition.listed and (record.ref is None or not record.ref.state):
            yield _owned_row(runtime, record)


def _owned_row(runtime: Runtime, record: TaskRecord) -> Row:
    label = label_of(record.template.definition)
    name = record.extras.name if record.extras is not None else ""
    row = task_row(record.task_id, record.attempt, name, label, owner_state(record))
    row["parent_task_id"] = _parent(runtime, record)
    if record.peer is not None:
        row["worker_id"] = record.peer.address.worker_id.hex()
    if record.template.key is not None:
        row["required_resources"] = record.template.key.resources
        row["runtime_env_info"] = {"serialized_runtime_env": record.template.key.runtime_env.decode() or "{}"}
    return row


def owner_state(record: TaskRecord) -> str:
    """As far as the owner knows."""
    if record.peer is not None:
        return "SUBMITTED_TO_WORKER"
    return "PENDING_ARGS_AVAIL" if record.waiting else "PENDING_NODE_ASSIGNMENT"


def _parent(runtime: Runtime, record: TaskRecord) -> str | None:
    if record.parent is not None and record.parent.task_id:
        return str(record.parent.task_id.hex())
    if runtime.executor is None:  # the driver's own task
        return (b"\xff" * 20 + runtime.job_id).hex()
    return None


def running_rows(runtime: Runtime) -> Iterator[Row]:
    """Tasks that were pushed to this process and have not ended."""
    executor = runtime.executor
    actor = executor.actor
    offset_s = wall_offset_s()
    current, peer = executor.current, executor.current_peer
    if current is not None and peer is not None:
        yield from _pushed(runtime, peer, current, "RUNNING", executor.started_s + offset_s)
    queued = "SUBMITTED_TO_WORKER" if actor is None else "PENDING_ACTOR_TASK_ORDERING_OR_CONCURRENCY"
    for peer, push in list(executor.queue):
        yield from _pushed(runtime, peer, push, queued)
    if actor is None:
        return
    for context in list(actor.running.values()):
        yield from _pushed(runtime, context.peer, context.push, "RUNNING", context.started_s + offset_s)
    for group in {id(group): group for group in actor.groups.values()}.values():
        for peer, push in list(group.waiting):
            yield from _pushed(runtime, peer, push, queued)


def _pushed(runtime: Runtime, peer: Peer, push: m.Push, state: str, started_s: float = 0.0) -> Iterator[Row]:
    template = peer.templates.get(push.template)
    if template is None or not template.label:
        return
    attempt, name = (push.extras.attempt, push.extras.name) if push.extras is not None else (0, "")
    row = here(runtime, task_row(push.task_id, attempt, name, template.label, state))
    if started_s:
        row["start_time_ms"] = round(started_s * 1000)
    yield row


def here(runtime: Runtime, row: Row) -> Row:
    """It runs, or ran, in this process."""
    row["node_id"], row["worker_id"] = runtime.node_id.hex(), runtime.address.worker_id.hex()
    row["worker_pid"] = os.getpid()
    return row


def ended_rows(runtime: Runtime) -> Iterator[Row]:
    """Tasks that this process has run, the latest first."""
    history, offset_s = runtime.history, wall_offset_s()
    raised = set(history.raised)
    reasons = {(failure.task_id, failure.attempt): failure for failure in list(history.reasons)}
    for task_id, label, call, started_s, ended_s in reversed(list(history.ended)):
        if not label:
            continue
        attempt, name = call or (0, "")
        key = (task_id, attempt)
        state = "FAILED" if key in raised else "FINISHED"
        row = here(runtime, task_row(task_id, attempt, name, label, state))
        row["start_time_ms"], row["end_time_ms"] = (round((at_s + offset_s) * 1000) for at_s in (started_s, ended_s))
        if state == "FAILED":
            row["error_type"], row["error_origin"] = "TASK_EXECUTION_EXCEPTION", "application"
            if key in reasons:
                _tell_error(row, reasons[key].error)
        yield row


def _tell_error(row: Row, error: bytes | tuple[str, str]) -> None:
    row["error_type"], row["error_message"] = described(error)
    row["error_origin"] = errors.origin_of(row["error_type"])


def failure_rows(runtime: Runtime) -> Iterator[Row]:
    """Attempts of this process's own tasks that failed, the latest first."""
    offset_s = wall_offset_s()
    for failure in reversed(list(runtime.history.failures)):
        if failure.label:
            yield _failure_row(failure, offset_s)


def _failure_row(failure: Failure, offset_s: float) -> Row:
    row = task_row(failure.task_id, failure.attempt, failure.name, failure.label, "FAILED")
    _tell_error(row, failure.error)
    row["end_time_ms"] = round((failure.end_s + offset_s) * 1000)
    return row


def wall_offset_s() -> float:
    """From ``time.perf_counter`` to the clock on the wall."""
    return environment.wall_time_s() - time.perf_counter()


# --- objects ----------------------------------------------------------------------------------------------------------


def object_rows(runtime: Runtime) -> Iterator[Row]:
    """One row per reference in this process: Python itself is asked for all of them."""
    records = all_unfinished(runtime)
    used = {id(ref) for record in records for ref in record.holds or ()}
    kind = "DRIVER" if runtime.executor is None else "WORKER"
    refs = [ref for ref in living_refs(records) if not _is_blank(ref)]
    for ref in sorted(refs, key=_size, reverse=True):  # of too many, those that fill the memory are told
        reference_type = "USED_BY_PENDING_TASK" if id(ref) in used else "LOCAL_REFERENCE"
        yield {
            "object_id": ref.hex(),
            "object_size": _size(ref),
            "task_status": _task_status(ref),
            "attempt_number": ref.value.attempt + 1 if isinstance(ref.value, TaskRecord) else 1,
            "reference_type": "ACTOR_HANDLE" if ref._id.endswith(ACTOR_SCOPE) else reference_type,
            "call_site": ref.call_site() or "disabled",
            "type": kind,
            "pid": os.getpid(),
            "ip": runtime.node_ip,
        }


def _is_blank(ref: ObjectRef[Any]) -> bool:
    """Made from bytes by somebody, for no object that this process would ever have."""
    return ref.state == PENDING and ref.value is None and ref.extra is None


def _size(ref: ObjectRef[Any]) -> int:
    if ref.state in (INLINE, ERROR):
        return len(ref.value)
    return int(ref.value.size) if ref.state == BLOCK else -1


def _task_status(ref: ObjectRef[Any]) -> str:
    if isinstance(ref.value, TaskRecord):
        return owner_state(ref.value)
    if ref.state == ERROR:
        return "FAILED"
    return "FINISHED" if ref.state else "NIL"
