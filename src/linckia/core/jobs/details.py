"""What users see of a submitted job: Ray's names, and the attempts. No behaviour but reading a record."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any

from linckia.core.jobs.states import JOB_TABLE, JobState
from linckia.model.jobs import CLIENT_KEY, SUBMISSION_ID_KEY, Attempt, JobRecord
from linckia.model.listing import Row


class JobStatus(StrEnum):
    """The state of a job. Compares equal to its name."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"

    def is_terminal(self) -> bool:
        """True for STOPPED, SUCCEEDED and FAILED, which never change."""
        return JOB_TABLE.is_terminal(JobState[self.value])


class JobErrorType(StrEnum):
    """Why a job is FAILED."""

    RUNTIME_ENV_SETUP_FAILURE = "RUNTIME_ENV_SETUP_FAILURE"
    JOB_SUPERVISOR_ACTOR_START_TIMEOUT = "JOB_SUPERVISOR_ACTOR_START_TIMEOUT"
    JOB_SUPERVISOR_ACTOR_START_FAILURE = "JOB_SUPERVISOR_ACTOR_START_FAILURE"
    JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE = "JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE"
    JOB_SUPERVISOR_ACTOR_UNKNOWN_FAILURE = "JOB_SUPERVISOR_ACTOR_UNKNOWN_FAILURE"
    JOB_SUPERVISOR_ACTOR_DIED = "JOB_SUPERVISOR_ACTOR_DIED"
    JOB_ENTRYPOINT_COMMAND_START_ERROR = "JOB_ENTRYPOINT_COMMAND_START_ERROR"
    JOB_ENTRYPOINT_COMMAND_ERROR = "JOB_ENTRYPOINT_COMMAND_ERROR"


class JobType(StrEnum):
    """SUBMISSION: by `submit_job`. DRIVER: a program that called `init` by itself."""

    SUBMISSION = "SUBMISSION"
    DRIVER = "DRIVER"


@dataclasses.dataclass(frozen=True)
class DriverInfo:
    """The process of the last driver. ``id`` is its job id."""

    id: str
    node_ip_address: str
    pid: str


@dataclasses.dataclass(frozen=True)
class JobAttempt:
    """One run of the entrypoint. Times in ms since 1970, 0 while it runs. ``origin``: "application" or "system" for one
    that failed; ``cause``: succeeded, application, out_of_memory, system, stopped, or empty while it runs.
    """

    number: int
    node_id: str
    node_ip: str
    pid: int
    start_time: int
    end_time: int
    exit_code: int | None
    cause: str
    detail: str

    @property
    def origin(self) -> str:
        """Whose failure it was; empty when it was none."""
        return {"application": "application", "out_of_memory": "system", "system": "system"}.get(self.cause, "")


@dataclasses.dataclass(frozen=True)
class JobDetails:
    """A job. Times in ms since 1970; ``message`` says in words what ``status`` and ``error_type`` mean here."""

    type: JobType
    status: JobStatus
    entrypoint: str
    submission_id: str | None = None
    job_id: str | None = None
    driver_info: DriverInfo | None = None
    message: str | None = None
    error_type: str | None = None
    start_time: int | None = None
    end_time: int | None = None
    metadata: dict[str, str] = dataclasses.field(default_factory=dict)
    runtime_env: dict[str, Any] = dataclasses.field(default_factory=dict)
    driver_agent_http_address: str | None = None
    driver_node_id: str | None = None
    driver_exit_code: int | None = None
    entrypoint_num_cpus: float | None = None
    entrypoint_num_gpus: float | None = None
    entrypoint_memory: int | None = None
    entrypoint_resources: dict[str, float] | None = None
    attempts: list[JobAttempt] = dataclasses.field(default_factory=list)

    def dict(self) -> dict[str, Any]:
        """As plain values, fit for JSON."""
        plain = dataclasses.asdict(self)
        return {**plain, "type": self.type.value, "status": self.status.value}


JobInfo = JobDetails
"""Ray has two classes with nearly the same fields; here they are one."""


def details_of(record: JobRecord, job_id: str | None) -> JobDetails:
    """``job_id`` is that of the last driver that connected."""
    spec, needs, last = record.spec, record.spec.needs, record.last
    driver = DriverInfo(job_id or "", last.node_ip, str(last.pid)) if last is not None and last.pid else None
    return JobDetails(
        type=JobType.SUBMISSION,
        status=JobStatus(record.state),
        entrypoint=spec.entrypoint,
        submission_id=spec.submission_id,
        job_id=job_id,
        driver_info=driver,
        message=record.message or _waits(record),
        error_type=record.error_type or None,
        start_time=_ms(spec.submitted_s),
        end_time=_ms(record.end_s) or None,
        metadata=dict(spec.metadata),
        runtime_env=dict(spec.runtime_env),
        driver_node_id=last.node_id if last is not None else None,
        driver_exit_code=last.exit_code if last is not None else None,
        entrypoint_num_cpus=needs.num_cpus or None,
        entrypoint_num_gpus=needs.num_gpus or None,
        entrypoint_memory=needs.memory or None,
        entrypoint_resources=dict(needs.resources) or None,
        attempts=[_attempt(each) for each in record.attempts],
    )


def details_of_driver(row: dict[str, Any]) -> JobDetails:
    """Of a job of the state API."""
    return JobDetails(
        type=JobType.DRIVER,
        status=JobStatus(row["status"]),
        entrypoint=row["entrypoint"],
        job_id=row["job_id"],
        driver_info=DriverInfo(**row["driver_info"]),
        message=row["message"],
        start_time=row["start_time"],
        end_time=row["end_time"] or None,
        metadata=row["metadata"],
        runtime_env=row["runtime_env"],
        driver_node_id=row["driver_node_id"],
    )


def listed(records: Iterable[JobRecord], rows: Sequence[Row]) -> list[JobDetails]:
    """Submitted jobs, then programs that connected by themselves: ``rows`` are all drivers' runs."""
    ids = job_ids(rows)
    submitted = [details_of(record, ids.get(record.spec.submission_id)) for record in records]
    own = [row for row in rows if submission_of(row) is None and CLIENT_KEY not in row["metadata"]]
    return [*submitted, *map(details_of_driver, own)]


def job_ids(rows: Iterable[Row]) -> dict[str, str]:
    """Submission id -> job id of the last driver that connected."""
    found = sorted(rows, key=lambda row: row["start_time"])
    return {submission_id: row["job_id"] for row in found if (submission_id := submission_of(row)) is not None}


def submission_of(row: Row) -> str | None:
    """The submission that a driver's run belongs to."""
    found = row["metadata"].get(SUBMISSION_ID_KEY)
    return str(found) if found else None


def _attempt(attempt: Attempt) -> JobAttempt:
    return JobAttempt(
        attempt.number,
        attempt.node_id,
        attempt.node_ip,
        attempt.pid,
        _ms(attempt.start_s),
        _ms(attempt.end_s),
        attempt.exit_code,
        attempt.cause,
        attempt.detail,
    )


def _waits(record: JobRecord) -> str:
    """Of a job that has no message yet: no supervisor has begun with it."""
    needs = record.spec.needs
    wants = needs.num_cpus or needs.num_gpus or needs.memory or needs.resources or needs.label_selector
    return "it waits for a node" + (" with the resources and labels that its entrypoint asks for" if wants else "")


def _ms(at_s: float) -> int:
    return round(at_s * 1000)
