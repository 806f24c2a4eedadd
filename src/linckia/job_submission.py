"""Submit programs to a cluster and watch them: ``from linckia.job_submission import JobSubmissionClient``. As Ray's
module of that name; see docs/jobs.md.
"""

from __future__ import annotations

from linckia.core.jobs.details import DriverInfo, JobAttempt, JobDetails, JobErrorType, JobInfo, JobStatus, JobType
from linckia.jobs.client import JobSubmissionClient

__all__ = [
    "DriverInfo",
    "JobAttempt",
    "JobDetails",
    "JobErrorType",
    "JobInfo",
    "JobStatus",
    "JobSubmissionClient",
    "JobType",
]
