"""A submitted job as the head keeps it: what was asked for, its attempts, its state. Frozen; `core/jobs` makes the next
one of an event. Kept as a map with names, so that an older or newer program can read it.
"""

from __future__ import annotations

from typing import Any

import msgspec

SUBMISSION_ID_KEY, JOB_NAME_KEY = "job_submission_id", "job_name"
"""Of the metadata of a submitted job's driver, as in Ray."""
CLIENT_KEY = "linckia_job_client"
"""Of the metadata of a program that connected only to ask about jobs: it is not listed."""
RECORDS, SUPERVISORS = "linckia.jobs", "linckia.jobs"
"""Namespaces: of the key-value store, id -> record; of the supervisors, whose names are the submission ids."""


class JobPolicy(msgspec.Struct, frozen=True):
    """What follows a failed attempt. -1: without a limit.

    ``max_retries`` is for failures of the application, and only for exit codes in ``retry_exit_codes`` unless that is
    empty; ``max_oom_retries`` for a lack of memory. ``failover``: a lost node or supervisor costs nothing of either.
    """

    max_retries: int = 0
    retry_exit_codes: list[int] = []
    backoff_s: float = 1.0
    max_backoff_s: float = 60.0
    max_oom_retries: int = -1
    failover: bool = True


class JobNeeds(msgspec.Struct, frozen=True):
    """What the driver's process holds, besides its tasks; and the labels its node must have."""

    num_cpus: float = 0
    num_gpus: float = 0
    memory: int = 0
    resources: dict[str, float] = {}
    label_selector: dict[str, str] = {}


class JobSpec(msgspec.Struct, frozen=True):
    """What was submitted. ``cwd`` is the directory of who submitted it, for jobs without a ``working_dir``."""

    submission_id: str
    entrypoint: str
    runtime_env: dict[str, Any] = {}
    metadata: dict[str, str] = {}
    needs: JobNeeds = JobNeeds()
    policy: JobPolicy = JobPolicy()
    cwd: str = ""
    submitted_s: float = 0.0


class Attempt(msgspec.Struct, frozen=True):
    """One run of the entrypoint. ``cause``: succeeded | application | out_of_memory | system | stopped; empty while it
    runs. ``exit_code`` is -n after signal n. ``log_bytes`` is where its log ends; -1: nobody knows.
    """

    number: int
    node_id: str
    node_ip: str
    log: str
    start_s: float
    pid: int = 0
    supervisor_pid: int = 0
    end_s: float = 0.0
    exit_code: int | None = None
    cause: str = ""
    detail: str = ""
    log_bytes: int = -1


class JobRecord(msgspec.Struct, frozen=True):
    """``state`` is core/jobs' state name. The counters are of all attempts, of which the last are kept."""

    spec: JobSpec
    state: str = "PENDING"
    message: str = ""
    error_type: str = ""
    attempts: list[Attempt] = []
    application_failures: int = 0
    oom_failures: int = 0
    system_failures: int = 0
    not_before_s: float = 0.0  # the next attempt
    end_s: float = 0.0

    @property
    def last(self) -> Attempt | None:
        """The attempt that runs, or ran last."""
        return self.attempts[-1] if self.attempts else None

    @property
    def running(self) -> Attempt | None:
        """The attempt that has begun and not ended."""
        last = self.last
        return last if last is not None and not last.cause else None


encode_job = msgspec.msgpack.Encoder().encode
"""JobRecord -> bytes of the key-value store."""
decode_job = msgspec.msgpack.Decoder(JobRecord).decode
"""Bytes of the key-value store -> JobRecord. msgspec.DecodeError when it is none."""
