"""Facts that a reader needs to judge the figures: machine, kernel, interpreters, versions, load."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import cast

VERSION_PROGRAM = """
import importlib.metadata, json, platform, sys
found = {"python": platform.python_version()}
for name in sys.argv[1:]:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        found[name] = "not installed"
print(json.dumps(found))
"""


def cpu_model(cpuinfo: str) -> str:
    """Return the first model name in the text of /proc/cpuinfo."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in {"model name", "Model"}:
            return value.strip()
    return "unknown"


def facts() -> dict[str, str]:
    """Return what this machine is and how busy it is."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": f"{cpu_model(Path('/proc/cpuinfo').read_text())}, {os.cpu_count()} cores",
        "memory": f"{memory_gib:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "commit": _commit(),
        "load before": load(),
    }


def load() -> str:
    """Return the load averages: a machine that others use shows here."""
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


def versions(python: str, distributions: list[str]) -> Mapping[str, str]:
    """Return the versions that an interpreter has of itself and of the distributions."""
    output = subprocess.run(
        [python, "-c", VERSION_PROGRAM, *distributions], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    return cast("dict[str, str]", json.loads(output))


def _commit() -> str:
    root = Path(__file__).resolve().parent.parent
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "not a git checkout"
