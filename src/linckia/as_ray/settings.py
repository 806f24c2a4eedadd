"""Ray's environment variables for a program that runs as Ray.

`as_ray.install` calls `adopt` once. Most settings need no help: `linckia.host.environment` reads `RAY_<name>` when
`LINCKIA_<name>` is absent. Here are those that are read under Linckia's name only, also by child processes.
"""

from __future__ import annotations

from collections.abc import MutableMapping

ADOPTED = (
    "ADDRESS",
    "AUTH_TOKEN",
    "AUTH_TOKEN_PATH",
    "CLOUD_INSTANCE_ID",
    "DEDUP_LOGS",
    "ENABLE_AUTO_CONNECT",
    "LOG_TO_DRIVER",
    "TASK_MAX_RETRIES",
    "TMPDIR",
)


def adopt(environment: MutableMapping[str, str]) -> list[str]:
    """Set `LINCKIA_<name>` from `RAY_<name>` where only the latter is set. Returns the names that were set."""
    adopted = []
    for name in ADOPTED:
        ours, theirs = f"LINCKIA_{name}", f"RAY_{name}"
        if theirs in environment and ours not in environment:
            environment[ours] = environment[theirs]
            adopted.append(ours)
    return adopted
