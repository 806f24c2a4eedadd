"""The life of a submitted job (R 8.33). One job is one entry through many attempts: RETRY leads to another run of its
entrypoint. Which of RETRY and FAILED follows an attempt is decided in `policy.py`.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from linckia.core.machine import Table


class JobState(Enum):
    """Where a job is."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    STOPPED = "STOPPED"


class JobEvent(Enum):
    """What happens to a job."""

    STARTED = "the process of its entrypoint runs"
    RETRY = "the attempt is over, and there is to be another one"
    SUCCEED = "the entrypoint exited with code 0"
    FAIL = "the attempt failed or cannot begin, and there is to be no other one"
    STOP = "a user has stopped it"


class AttemptCause(Enum):
    """Why an attempt is over."""

    SUCCEEDED = "succeeded"
    APPLICATION = "application"
    OUT_OF_MEMORY = "out_of_memory"
    SYSTEM = "system"
    STOPPED = "stopped"


S, E = JobState, JobEvent

JOB_TABLE: Final = Table(
    name="job",
    initial=S.PENDING,
    terminal=frozenset({S.SUCCEEDED, S.FAILED, S.STOPPED}),
    moves={
        S.PENDING: {E.STARTED: S.RUNNING, E.RETRY: S.PENDING, E.FAIL: S.FAILED, E.STOP: S.STOPPED},
        S.RUNNING: {E.RETRY: S.PENDING, E.SUCCEED: S.SUCCEEDED, E.FAIL: S.FAILED, E.STOP: S.STOPPED},
        S.SUCCEEDED: {},
        S.FAILED: {},
        S.STOPPED: {},
    },
)
