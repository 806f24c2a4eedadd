"""A driver that was started by a job takes over what the job was submitted with: runtime environment and metadata
(R 8.34, 9.15). Called by session_options.py.
"""

from __future__ import annotations

import json
from typing import Any

from linckia.host import environment


def submitted_with() -> dict[str, Any]:
    """``runtime_env`` and ``metadata`` of the submitted job this process belongs to; empty when there is none."""
    text = environment.option(environment.JOB_CONFIG_OPTION)
    if not text:
        return {}
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ValueError(
            f"LINCKIA_{environment.JOB_CONFIG_OPTION} is not JSON: {error}; a submitted job sets it, nobody else should"
        ) from None
    return found if isinstance(found, dict) else {}


def merged(of_job: dict[str, Any], of_driver: dict[str, Any]) -> dict[str, Any]:
    """The union, by field and by environment variable. ValueError when both say different things about the same, unless
    LINCKIA_OVERRIDE_JOB_RUNTIME_ENV=1: then the driver has its way.
    """
    driver_wins = environment.option_on("OVERRIDE_JOB_RUNTIME_ENV", default=False)
    whole = {**of_job, **of_driver}
    variables = {**(of_job.get("env_vars") or {}), **(of_driver.get("env_vars") or {})}
    if variables:
        whole["env_vars"] = variables
    if driver_wins:
        return whole
    for field in sorted(set(of_job) & set(of_driver) - {"env_vars"}):
        if of_job[field] != of_driver[field]:
            raise _conflict(f"runtime_env[{field!r}]")
    for name in sorted(set(of_job.get("env_vars") or {}) & set(of_driver.get("env_vars") or {})):
        if of_job["env_vars"][name] != of_driver["env_vars"][name]:
            raise _conflict(f"the environment variable {name}")
    return whole


def _conflict(what: str) -> ValueError:
    return ValueError(
        f"{what} is given to init() and was given when the job was submitted, with another value: leave one of them "
        "out, or set LINCKIA_OVERRIDE_JOB_RUNTIME_ENV=1 to let init() have its way"
    )
