"""What an entrypoint finds around it: its working directory and its environment variables. Used by the supervisor."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, NamedTuple

from linckia.host import environment
from linckia.model.jobs import JOB_NAME_KEY, SUBMISSION_ID_KEY, JobRecord
from linckia.worker import packages

if TYPE_CHECKING:
    from linckia.worker.runtime import Runtime


class Surroundings(NamedTuple):
    """For the process of an attempt."""

    variables: dict[str, str]
    cwd: str


def of_attempt(runtime: Runtime, record: JobRecord, number: int) -> Surroundings:
    """RuntimeEnvSetupError when a package of the runtime environment cannot be had. Blocks while it is fetched."""
    spec = record.spec
    env = spec.runtime_env
    folders = [packages.folder(runtime, uri) for uri in env.get("py_modules") or ()]
    cwd = spec.cwd if os.path.isdir(spec.cwd) else os.path.expanduser("~")
    if env.get("working_dir"):
        cwd = packages.folder(runtime, env["working_dir"])
        folders.insert(0, cwd)
    variables = environment.process_environment()
    variables |= {name: os.path.expandvars(value) for name, value in (env.get("env_vars") or {}).items()}
    metadata = {SUBMISSION_ID_KEY: spec.submission_id, JOB_NAME_KEY: spec.submission_id, **spec.metadata}
    config = json.dumps({"runtime_env": env, "metadata": metadata})
    address = runtime.raylet_peer.address.endpoint
    for prefix in ("LINCKIA", "RAY"):
        variables |= {f"{prefix}_ADDRESS": address, f"{prefix}_{environment.JOB_CONFIG_OPTION}": config}
    variables |= {environment.SUBMISSION_VARIABLE: spec.submission_id, environment.ATTEMPT_VARIABLE: str(number)}
    variables[environment.SUPERVISOR_VARIABLE] = str(os.getpid())
    variables.setdefault("PYTHONUNBUFFERED", "1")  # what was printed before a SIGKILL shall be in the log
    _put_first(variables, "PYTHONPATH", folders)
    _put_first(variables, "PATH", [os.path.dirname(sys.executable)])  # `python` and `linckia` are the cluster's
    return Surroundings(variables, cwd)


def _put_first(variables: dict[str, str], name: str, folders: list[str]) -> None:
    known = [part for part in variables.get(name, "").split(os.pathsep) if part]
    if folders:
        variables[name] = os.pathsep.join([*folders, *(part for part in known if part not in folders)])
