"""The environment, wall-clock time and facts of this machine: the only place that reads them. Configuration is passed
down from here.
"""

from __future__ import annotations

import os
import re
import time

from linckia.host.cgroup import memory_limit_bytes

JOB_CONFIG_OPTION = "JOB_CONFIG_JSON_ENV_VAR"
"""``LINCKIA_...`` and ``RAY_...`` of a job's entrypoint: runtime environment and metadata, which ``init`` in the driver
adopts (R 8.34)."""
SUPERVISOR_VARIABLE = "LINCKIA_JOB_SUPERVISOR_PID"
SUBMISSION_VARIABLE, ATTEMPT_VARIABLE = "LINCKIA_SUBMISSION_ID", "LINCKIA_JOB_ATTEMPT"
"""In the environment of a job's entrypoint: its supervisor's worker; the job; the number of its attempt, from 1."""


def process_environment() -> dict[str, str]:
    """A copy of the environment variables."""
    return dict(os.environ)


def setting(name: str, default: str = "") -> str:
    """The environment variable ``name``."""
    return os.environ.get(name, default)


def flag(name: str) -> bool:
    """True when the environment variable is set to something that means yes."""
    return os.environ.get(name, "").strip().lower() in {"1", "true", "yes", "on"}


def wall_time_s() -> float:
    """Seconds since 1970."""
    return time.time()


def wall_clock_stamp() -> str:
    """``20250131_235959``, for names of directories."""
    return time.strftime("%Y%m%d_%H%M%S")


def wall_clock_text(at_s: float) -> str:
    """``2025-01-31 23:59:59``, local time, of seconds since 1970."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_s))


def cpu_count() -> int:
    """CPUs this process may use."""
    try:
        return max(1, len(os.sched_getaffinity(0)))
    except AttributeError:
        return os.cpu_count() or 1


def total_memory_bytes() -> int:
    """Memory of this machine, or of this container when that has less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = memory_limit_bytes()
    return total if limit is None else min(total, limit)


def available_memory_bytes() -> int:
    """Memory that could be had without swapping."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return min(total_memory_bytes(), int(line.split()[1]) * 1024)
    except (OSError, ValueError):
        pass  # not Linux: assume it is free
    return total_memory_bytes()


def host_name() -> str:
    """Name of this machine."""
    return os.uname().nodename


def temporary_directory() -> str:
    """Where sessions live unless told otherwise (not tempfile's: that module costs 10 ms of import)."""
    return os.environ.get("LINCKIA_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"


def expand(text: str) -> str:
    """``${NAME}`` replaced by the variable's value, by nothing when it is not set."""
    return re.sub(r"\$\{(\w+)\}", lambda match: os.environ.get(match.group(1), ""), text)


def update(variables: dict[str, str]) -> None:
    """Set environment variables of this process and its children."""
    os.environ.update(variables)


def set_default(name: str, value: str) -> None:
    """Set an environment variable for this process and its children unless it is set."""
    os.environ.setdefault(name, value)


def option(name: str, default: str = "") -> str:
    """``LINCKIA_<name>``, or ``RAY_<name>`` so that programs written for Ray keep their settings."""
    return os.environ.get(f"LINCKIA_{name}", os.environ.get(f"RAY_{name}", default))


def option_on(name: str, *, default: bool) -> bool:
    """The option as yes or no."""
    value = option(name).strip().lower()
    return default if not value else value in {"1", "true", "yes", "on"}


def address_towards(address: str) -> str:
    """The address of this machine that ``address`` (host:port) is reached from: what others can reach us by."""
    import socket  # noqa: PLC0415  (only nodes that join)

    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        family, kind, proto, _, where = socket.getaddrinfo(host, int(port), type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, proto) as probe:
            probe.connect(where)  # sends nothing: it only chooses a route
            return str(probe.getsockname()[0])
    except OSError:
        return "127.0.0.1"  # it cannot be reached at all: joining will say so
