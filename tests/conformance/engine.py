"""Chooses the engine that the conformance suite judges: Linckia, or real Ray as the oracle.

Every conformance test says `from engine import ray`; nothing else in this folder imports an engine by name, so that
one suite can be run against both. `LINCKIA_ORACLE=ray` selects real Ray. This module holds no fixtures (see
conftest.py) and nothing that runs inside tasks (see gates.py).
"""

from __future__ import annotations

import importlib
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest

ENGINE: str = os.environ.get("LINCKIA_ORACLE", "linckia")
IS_LINCKIA: bool = ENGINE != "ray"

# Any on purpose: the same source runs against two engines, and many tests make wrong calls to see them refused.
ray: Any = importlib.import_module(ENGINE)
exceptions: Any = importlib.import_module(f"{ENGINE}.exceptions")

# Every cluster of the suite is started from these; `address` keeps it away from any other cluster of this machine.
INIT_OPTIONS: dict[str, Any] = {
    "address": "local",
    "num_cpus": 2,
    "include_dashboard": False,
    "log_to_driver": False,
}

T = TypeVar("T")


def module(name: str) -> Any:
    """Import a submodule of the chosen engine: `module("util.queue")`."""
    return importlib.import_module(f"{ENGINE}.{name}")


def better(reason: str) -> pytest.MarkDecorator:
    """Mark a test of behaviour that Linckia promises and real Ray does not have; it is skipped on Ray.

    Inside a test, `if IS_LINCKIA:` does the same for a single assertion.
    """
    return pytest.mark.skipif(not IS_LINCKIA, reason=f"better than Ray: {reason}")


def settings(**values: str) -> dict[str, str]:
    """Environment variables for settings that both engines know: `settings(ADDRESS="auto")`.

    Ray reads `RAY_ADDRESS`. Linckia may read either prefix, so it is given both.
    """
    env = {f"RAY_{name}": value for name, value in values.items()}
    if IS_LINCKIA:
        env |= {f"LINCKIA_{name}": value for name, value in values.items()}
    return env


def stop(pid: int) -> None:
    """SIGSTOP; returns when no thread of the process runs any more: its main thread stops first, on busy cores some
    milliseconds before the others, which may still answer.
    """

    def states() -> set[str]:
        threads = Path(f"/proc/{pid}/task").iterdir()
        return {(thread / "stat").read_text().rpartition(")")[2].split()[0] for thread in threads}

    os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: states() == {"T"}, what=f"all threads of process {pid} to have stopped")


def wait_for(condition: Callable[[], T], timeout_s: float = 20.0, what: str = "") -> T:
    """Poll `condition` until it returns something true, and return that. For state that nobody announces.

    Use gates.Gate and gates.Channel wherever the thing awaited can speak for itself.
    """
    deadline = time.monotonic() + timeout_s
    pause_s = 0.002
    never = threading.Event()
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what or condition} not true within {timeout_s} s; last value: {value!r}")
        never.wait(pause_s)
        pause_s = min(pause_s * 1.5, 0.1)


def error_after_death(method: Any) -> Exception:
    """Call a method of an actor that was told to die until a call fails, and return that error: death takes time."""

    def failed() -> Exception | None:
        try:
            ray.get(method.remote())
        except exceptions.RayActorError as error:
            return cast("Exception", error)
        return None

    return cast("Exception", wait_for(failed, what="actor dead"))
