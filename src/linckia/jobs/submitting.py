"""From what a user asks for to a job that is supervised: checks, uploads, writes down, makes the supervisor.

Called by client.py. The record comes before the supervisor, so that an id is taken in one step; a program that dies
between the two leaves a record that readers declare failed (core/jobs/life.seen).
"""

from __future__ import annotations

import json
import os
import re
import secrets
import string
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import linckia
from linckia.api.runtime_envs import of_job, uploaded
from linckia.base.limits import JOB_SPEC_MAX_BYTES
from linckia.host import environment
from linckia.jobs.ledger import NAMESPACE, Ledger
from linckia.model.jobs import JobNeeds, JobPolicy, JobRecord, JobSpec

if TYPE_CHECKING:
    from linckia.worker.runtime import Runtime

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_LETTERS = string.ascii_letters + string.digits


class Request(NamedTuple):
    """What `submit_job` was given."""

    entrypoint: str
    submission_id: str | None
    runtime_env: Mapping[str, Any] | None
    metadata: Mapping[str, str] | None
    needs: JobNeeds
    policy: JobPolicy


def submit(runtime: Runtime, request: Request) -> str:
    """The job's id. TypeError, ValueError: what cannot be; RuntimeError: there is a job of this id already."""
    submission_id = _checked_id(request.submission_id)
    entrypoint: object = request.entrypoint
    if not isinstance(entrypoint, str) or not entrypoint.strip():
        raise ValueError(f"submit_job(entrypoint={entrypoint!r}): a shell command was expected")
    metadata = _checked_metadata(request.metadata)
    _check_policy(request.policy)
    actor = _supervisor(submission_id, request.needs)
    env = of_job(dict(request.runtime_env or {}))
    env = uploaded(runtime, env) if env else {}
    spec = JobSpec(
        submission_id, entrypoint, _plain(env), metadata, request.needs, request.policy, os.getcwd(),
        environment.wall_time_s(),
    )  # fmt: skip
    _check_size(spec)
    if not Ledger(runtime).create(JobRecord(spec)):
        raise RuntimeError(
            f"there is a job {submission_id!r} already (`linckia job status {submission_id}`); delete it, or choose "
            "another submission id"
        )
    actor.remote(submission_id)
    return submission_id


def _supervisor(submission_id: str, needs: JobNeeds) -> Any:
    """The actor class with its options, which are checked here. Without needs it holds nothing, but its node must have
    a CPU: nodes that only carry somebody's driver have none, and go with it.
    """
    from linckia.jobs.supervisor import Supervisor  # noqa: PLC0415 - start-up time: asyncio, for who submits

    wanted: dict[str, Any] = {
        "num_cpus": needs.num_cpus or None,
        "num_gpus": needs.num_gpus or None,
        "memory": needs.memory or None,
        "resources": needs.resources or None,
        "label_selector": needs.label_selector or None,
    }
    given = {name: value for name, value in wanted.items() if value is not None}
    try:
        return linckia.remote(Supervisor).options(
            name=submission_id,
            namespace=NAMESPACE,
            lifetime="detached",
            max_restarts=-1,
            max_task_retries=-1,
            max_concurrency=1000,
            enable_task_events=False,
            **given,
        )
    except (TypeError, ValueError) as error:
        raise type(error)(f"what the entrypoint needs: {error}") from None


def _checked_id(submission_id: object) -> str:
    if submission_id is None:
        return "job_" + "".join(secrets.choice(_LETTERS) for _ in range(16))
    if not isinstance(submission_id, str) or not _ID.fullmatch(submission_id):
        raise ValueError(
            f"submission id {submission_id!r}: 1 to 100 letters, digits, dots, dashes and underscores were expected, "
            "the first a letter or digit"
        )
    return submission_id


def _checked_metadata(metadata: Mapping[str, Any] | None) -> dict[str, str]:
    given: dict[Any, Any] = dict(metadata or {})
    wrong = [key for key, value in given.items() if not isinstance(key, str) or not isinstance(value, str)]
    if wrong:
        raise TypeError(f"metadata: texts by name were expected; {wrong[0]!r} is {given[wrong[0]]!r}")
    return given


def _check_policy(policy: JobPolicy) -> None:
    for name in ("max_retries", "max_oom_retries"):
        value = getattr(policy, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < -1:
            raise ValueError(f"{name}={value!r}: a whole number was expected, -1 for no limit")
    for name in ("backoff_s", "max_backoff_s"):
        value = getattr(policy, name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
            raise ValueError(f"retry_{name}={value!r}: seconds were expected, 0 or more")
    codes: Sequence[Any] = policy.retry_exit_codes
    for code in codes:
        if isinstance(code, bool) or not isinstance(code, int) or not -64 <= code <= 255 or code == 0:
            raise ValueError(f"retry_exit_codes: {code!r} is no exit code of a failure (1 to 255, or -n for signal n)")


def _plain(env: dict[str, Any]) -> dict[str, Any]:
    """The environment as JSON can hold it: its fields go through the head and an environment variable."""
    try:
        plain: dict[str, Any] = json.loads(json.dumps(env))
    except (TypeError, ValueError) as error:
        raise ValueError(f"runtime_env: it can hold texts, numbers, lists and dicts only: {error}") from None
    return plain


def _check_size(spec: JobSpec) -> None:
    size = len(json.dumps([spec.entrypoint, spec.metadata, spec.runtime_env]))
    if size > JOB_SPEC_MAX_BYTES:
        raise ValueError(
            f"entrypoint, metadata and runtime_env of a job have {size} bytes together, and {JOB_SPEC_MAX_BYTES} is "
            "the limit: put what is large into the working directory"
        )
