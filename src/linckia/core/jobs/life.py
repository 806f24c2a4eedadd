"""What events make of a job's record. Pure: the next record, and whether another attempt follows it.

The supervisor (jobs/supervisor.py) writes a record down before it acts on it: an attempt is in the record before its
process exists. So whoever reads the record after a crash knows of each attempt that may have had effects.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from linckia.base.backoff import UnitRandom
from linckia.base.limits import JOB_ATTEMPTS_KEPT, JOB_HANDED_OVER_MAX_S, JOB_MESSAGE_MAX_CHARS
from linckia.core.jobs.policy import verdict
from linckia.core.jobs.states import JOB_TABLE, AttemptCause, JobEvent, JobState
from linckia.model.jobs import Attempt, JobRecord

C, E = AttemptCause, JobEvent
ENTRYPOINT_FAILED = "JOB_ENTRYPOINT_COMMAND_ERROR"
ENTRYPOINT_NOT_STARTED = "JOB_ENTRYPOINT_COMMAND_START_ERROR"
ENVIRONMENT_FAILED = "RUNTIME_ENV_SETUP_FAILURE"
SUPERVISOR_DIED = "JOB_SUPERVISOR_ACTOR_DIED"
SUPERVISOR_NOT_STARTED = "JOB_SUPERVISOR_ACTOR_START_FAILURE"
START_TIMEOUT = "JOB_SUPERVISOR_ACTOR_START_TIMEOUT"

_ORIGIN = {
    C.APPLICATION: "the application's failure",
    C.OUT_OF_MEMORY: "a lack of memory",
    C.SYSTEM: "the system's failure, not the application's",
}
_COUNTER = {
    C.APPLICATION: "application_failures",
    C.OUT_OF_MEMORY: "oom_failures",
    C.SYSTEM: "system_failures",
}


class Place(NamedTuple):
    """Where an attempt runs."""

    node_id: str
    node_ip: str
    supervisor_pid: int = 0


class End(NamedTuple):
    """How an attempt ended. ``detail`` is half a sentence: ``the entrypoint exited with code 3``."""

    cause: AttemptCause
    detail: str
    exit_code: int | None = None
    log_bytes: int = -1
    last_lines: str = ""


def is_over(record: JobRecord) -> bool:
    """Nothing will ever happen to it again."""
    return JOB_TABLE.is_terminal(JobState[record.state])


def mark_of(record: JobRecord) -> str:
    """Other for every change of the record that a reader cares for."""
    last = record.last
    return f"{record.state} {last.number if last else 0} {last.pid if last else 0} {last.cause if last else ''}"


def log_name(submission_id: str, number: int) -> str:
    """Of the file in the logs of its node."""
    return f"job-driver-{submission_id}-{number}.log"


def begin(record: JobRecord, place: Place, now_s: float) -> JobRecord:
    """Another attempt, whose process is about to be started."""
    number = record.attempts[-1].number + 1 if record.attempts else 1
    log = log_name(record.spec.submission_id, number)
    attempt = Attempt(number, place.node_id, place.node_ip, log, now_s, supervisor_pid=place.supervisor_pid)
    kept = [*record.attempts, attempt][-JOB_ATTEMPTS_KEPT:]
    where = f"attempt {number} is being started on {_node(attempt)}"
    return replace(record, attempts=kept, message=where, not_before_s=0.0)


def started(record: JobRecord, pid: int) -> JobRecord:
    """The process of the attempt runs."""
    attempt = replace(_running(record), pid=pid)
    message = f"attempt {attempt.number} runs on {_node(attempt)}, process {pid}"
    return _moved(replace(record, attempts=[*record.attempts[:-1], attempt], message=message), E.STARTED)


def ended(record: JobRecord, end: End, now_s: float, rng: UnitRandom) -> JobRecord:
    """The attempt is over. Another one follows, not before ``not_before_s``, unless the record is over."""
    attempt = replace(
        _running(record),
        end_s=now_s,
        exit_code=end.exit_code,
        cause=end.cause.value,
        detail=end.detail,
        log_bytes=end.log_bytes,
    )
    closed = replace(record, attempts=[*record.attempts[:-1], attempt])
    if end.cause is C.SUCCEEDED:
        return _over(closed, E.SUCCEED, f"succeeded in attempt {attempt.number} on {_node(attempt)}", now_s)
    if end.cause is C.STOPPED:
        return _over(closed, E.STOP, f"stopped by a user; {end.detail}", now_s)
    what = f"attempt {attempt.number} on {_node(attempt)} failed: {end.detail} ({_ORIGIN[end.cause]})"
    follows = verdict(record, end.cause, end.exit_code, rng)
    counter = _COUNTER[end.cause]
    counted = replace(closed, **{counter: getattr(record, counter) + 1})
    if follows.again:
        pause = f" after a pause of {follows.delay_s:.1f} s" if follows.delay_s else ""
        again = replace(counted, message=f"{what}; {follows.why}{pause}", not_before_s=now_s + follows.delay_s)
        return _moved(again, E.RETRY)
    kind = ENTRYPOINT_FAILED if end.cause is C.APPLICATION else SUPERVISOR_DIED
    lines = f"\nlast lines of its log:\n{end.last_lines}" if end.last_lines else ""
    return _over(counted, E.FAIL, f"{what}; {follows.why}{lines}", now_s, kind)


def stopped(record: JobRecord, now_s: float) -> JobRecord:
    """A user has stopped it while no attempt runs, or while one may have run whose supervisor is gone."""
    if record.running is not None:
        attempt = replace(record.attempts[-1], end_s=now_s, cause=C.STOPPED.value, detail="its supervisor was ended")
        record = replace(record, attempts=[*record.attempts[:-1], attempt])
    return _over(record, E.STOP, "stopped by a user", now_s)


def refused(record: JobRecord, why: str, error_type: str, now_s: float) -> JobRecord:
    """It cannot be run here or anywhere, and that is final."""
    cause = C.APPLICATION if error_type in (ENTRYPOINT_NOT_STARTED, ENVIRONMENT_FAILED) else C.SYSTEM
    if record.running is not None:
        attempt = replace(record.attempts[-1], end_s=now_s, cause=cause.value, detail=why, log_bytes=-1)
        record = replace(record, attempts=[*record.attempts[:-1], attempt])
    return _over(record, E.FAIL, f"{why} ({_ORIGIN[cause]})", now_s, error_type)


def seen(record: JobRecord, supervisor: str, death: str, now_s: float, start_max_s: float) -> JobRecord:
    """The record as a reader may believe it. ``supervisor`` is the state of that actor as it was *before* the record
    was read, empty when there is none that lives: then nobody will ever change this record again (P 5). ``death``: what
    is known of its end.
    """
    if is_over(record):
        return record
    spec, last = record.spec, record.last
    if not supervisor:
        if last is None and not death and now_s - spec.submitted_s < JOB_HANDED_OVER_MAX_S:
            return record
        if last is None:
            why = "who submitted it ended before its supervisor was made; submit it again"
            return refused(record, f"its supervisor is dead: {death}" if death else why, SUPERVISOR_NOT_STARTED, now_s)
        why = f"its supervisor is dead, after attempt {last.number} on {_node(last)}"
        return refused(record, f"{why}: {death}" if death else why, SUPERVISOR_DIED, now_s)
    if last is None and supervisor != "ALIVE" and now_s - spec.submitted_s > start_max_s:
        why = f"no node had room for its driver within {start_max_s:g} s; ask for less, or add nodes"
        return refused(record, why, START_TIMEOUT, now_s)
    if supervisor == "RESTARTING" and record.running is not None:
        attempt = record.attempts[-1]
        message = f"attempt {attempt.number} on {_node(attempt)} was lost with its supervisor, which is started again"
        return replace(record, state=JobState.PENDING.name, message=message)
    return record


def _running(record: JobRecord) -> Attempt:
    attempt = record.running
    if attempt is None:
        raise ValueError(f"job {record.spec.submission_id}: no attempt runs in state {record.state}")
    return attempt


def _node(attempt: Attempt) -> str:
    return f"node {attempt.node_id[:12]} ({attempt.node_ip})"


def _over(record: JobRecord, event: JobEvent, message: str, now_s: float, error_type: str = "") -> JobRecord:
    text = message if len(message) <= JOB_MESSAGE_MAX_CHARS else f"{message[:JOB_MESSAGE_MAX_CHARS]}..."
    return _moved(replace(record, message=text, error_type=error_type, end_s=now_s, not_before_s=0.0), event)


def _moved(record: JobRecord, event: JobEvent) -> JobRecord:
    after = JOB_TABLE.next(JobState[record.state], event, record.spec.submission_id)
    return replace(record, state=after.name)
