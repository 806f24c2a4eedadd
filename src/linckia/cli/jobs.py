"""`linckia job`: from words on the command line to one call of the client, and its answer as text. Called by
cli/job_commands.py. What cannot be is one sentence on standard error, and exit code 1.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from linckia.base import errors
from linckia.cli.listing import table
from linckia.cli.script_run import INTERRUPTED
from linckia.cli.starting import refuse
from linckia.host import environment
from linckia.job_submission import JobDetails, JobStatus, JobSubmissionClient

FAILED = 1
SIGNAL_BASE = 128


def submit(address: str, command: Sequence[str], given: dict[str, Any], fields: dict[str, str], *, wait: bool) -> int:
    """The exit code of the entrypoint; 1 when the job failed otherwise or was stopped, or cannot be submitted."""

    def submitted(client: JobSubmissionClient) -> int:
        entrypoint = command[0] if len(command) == 1 else shlex.join(command)
        submission_id = client.submit_job(entrypoint=entrypoint, **given, **_parsed(fields))
        if not wait:
            print(submission_id)
            _say(f"job {submission_id} is submitted: `linckia job logs -f {submission_id}` shows what it prints")
            return 0
        _say(f"job {submission_id} is submitted; Ctrl-C leaves it running")
        try:
            _follow(client, submission_id)
        except KeyboardInterrupt:
            watch, end = f"linckia job logs -f {submission_id}", f"linckia job stop {submission_id}"
            _say(f"\njob {submission_id} goes on: `{watch}` shows the rest, `{end}` ends it")
            return INTERRUPTED
        return _ended(client.get_job_info(submission_id))

    return _asked(address, submitted)


def show_list(address: str, *, as_json: bool) -> int:
    """Print all jobs."""

    def listed(client: JobSubmissionClient) -> int:
        found = client.list_jobs()
        rows = [_row(job) for job in found]
        print(_json([job.dict() for job in found]) if as_json else table(rows) if rows else "no jobs")
        return 0

    return _asked(address, listed)


def show_status(address: str, submission_id: str, *, as_json: bool) -> int:
    """Print one job."""

    def shown(client: JobSubmissionClient) -> int:
        job = client.get_job_info(submission_id)
        print(_json(job.dict()) if as_json else _described(job))
        return 0

    return _asked(address, shown)


def show_logs(address: str, submission_id: str, *, follow: bool) -> int:
    """Print what the job has printed, and with ``follow`` what it prints until it is over."""

    def shown(client: JobSubmissionClient) -> int:
        if not follow:
            _write(client.get_job_logs(submission_id))
            return 0
        try:
            _follow(client, submission_id)
        except KeyboardInterrupt:
            return INTERRUPTED
        return 0

    return _asked(address, shown)


def stop(address: str, submission_id: str, *, wait: bool) -> int:
    """0 also when it was over already."""

    def stopped(client: JobSubmissionClient) -> int:
        was_running = client.stop_job(submission_id, wait=wait)
        if was_running and not wait:
            print(f"job {submission_id} is being stopped")
        elif was_running:
            print(f"job {submission_id} is STOPPED")
        else:
            print(f"job {submission_id} was over already: {client.get_job_status(submission_id)}")
        return 0

    return _asked(address, stopped)


def delete(address: str, submission_id: str) -> int:
    """Forget it."""

    def deleted(client: JobSubmissionClient) -> int:
        client.delete_job(submission_id)
        print(f"job {submission_id} is forgotten")
        return 0

    return _asked(address, deleted)


def _asked(address: str, act: Callable[[JobSubmissionClient], int]) -> int:
    try:
        with JobSubmissionClient(address or None) as client:
            return act(client)
    except (OSError, ValueError, TypeError, RuntimeError, errors.RayError) as error:
        return refuse(str(error))


# --- words in ---------------------------------------------------------------------------------------------------------


def _parsed(fields: dict[str, str]) -> dict[str, Any]:
    """ValueError names the option."""
    if fields["runtime_env"] and fields["runtime_env_json"]:
        raise ValueError("--runtime-env and --runtime-env-json say the same: give one of them")
    env = _object("--runtime-env-json", fields["runtime_env_json"])
    if fields["runtime_env"]:
        env = _yaml(fields["runtime_env"])
    if fields["working_dir"]:
        env["working_dir"] = fields["working_dir"]
    return {
        "runtime_env": env,
        "metadata": _object("--metadata-json", fields["metadata_json"]),
        "entrypoint_resources": _object("--entrypoint-resources", fields["entrypoint_resources"]),
        "entrypoint_label_selector": _object("--entrypoint-label-selector", fields["entrypoint_label_selector"]),
        "retry_exit_codes": _codes(fields["retry_exit_codes"]),
    }


def _object(option: str, text: str) -> dict[str, Any]:
    if not text:
        return {}
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{option} {text!r} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f'{option} {text!r}: a JSON object was expected, as \'{{"name": "value"}}\'')
    return found


def _yaml(path: str) -> dict[str, Any]:
    import yaml  # noqa: PLC0415 - start-up time

    try:
        found = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"--runtime-env {path!r} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"--runtime-env {path!r} is not YAML: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"--runtime-env {path!r}: fields of a runtime environment were expected, as `env_vars: ...`")
    return found


def _codes(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise ValueError(f"--retry-exit-codes {text!r}: numbers were expected, as 1,75") from None


# --- words out --------------------------------------------------------------------------------------------------------


def _follow(client: JobSubmissionClient, submission_id: str) -> None:
    for piece in client.follow_job_logs(submission_id):
        _write(piece)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _say(text: str) -> None:
    """Standard output is the job's."""
    print(text, file=sys.stderr, flush=True)


def _ended(job: JobDetails) -> int:
    _say(f"job {job.submission_id} is {job.status}: {str(job.message).partition(chr(10))[0]}")
    if job.status is JobStatus.SUCCEEDED:
        return 0
    code = job.driver_exit_code
    if job.status is not JobStatus.FAILED or not code or job.attempts[-1].cause != "application":
        return FAILED
    return code if code > 0 else SIGNAL_BASE - code


def _row(job: JobDetails) -> dict[str, Any]:
    return {
        "submission_id": job.submission_id,
        "job_id": job.job_id,
        "status": str(job.status),
        "attempts": len(job.attempts) or None,
        "submitted": environment.wall_clock_text((job.start_time or 0) / 1000),
        "entrypoint": job.entrypoint,
    }


def _described(job: JobDetails) -> str:
    lines = [
        f"{job.submission_id or job.job_id}: {job.status}" + (f" ({job.error_type})" if job.error_type else ""),
        f"  {str(job.message or '').replace(chr(10), chr(10) + '  ')}",
        f"  entrypoint  {job.entrypoint}",
        f"  submitted   {environment.wall_clock_text((job.start_time or 0) / 1000)}",
    ]
    if job.end_time:
        lines.append(f"  ended       {environment.wall_clock_text(job.end_time / 1000)}")
    if job.job_id:
        lines.append(f"  job id      {job.job_id}")
    if job.metadata:
        lines.append(f"  metadata    {json.dumps(job.metadata)}")
    if job.attempts:
        lines += ["", *(f"  {line}" for line in table([_attempt(each) for each in job.attempts]).splitlines())]
    return "\n".join(lines)


def _attempt(attempt: Any) -> dict[str, Any]:
    end_ms = attempt.end_time
    return {
        "attempt": attempt.number,
        "node": attempt.node_id[:12],
        "ip": attempt.node_ip,
        "pid": attempt.pid or None,
        "seconds": round((end_ms - attempt.start_time) / 1000, 1) if end_ms else None,
        "exit_code": attempt.exit_code,
        "ended": attempt.cause or "runs",
        "why": attempt.detail or None,
    }


def _json(told: Any) -> str:
    return json.dumps(told, indent=2)
