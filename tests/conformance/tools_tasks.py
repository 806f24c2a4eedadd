"""Small observations shared by the task and actor tests: is a process gone, how often did something run.

Runs in the test process, except `Tally.add`, which tasks call; shipped to workers by value, like gates.py.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from engine import ENGINE, IS_LINCKIA, exceptions, wait_for

# The oracle's environment has no dashboard, which Ray's state API needs (`pip install ray[default]`).
needs_state_api = pytest.mark.skipif(
    not IS_LINCKIA and os.environ.get("LINCKIA_ORACLE_STATE_API") != "1", reason="this Ray has no dashboard installed"
)

# What a caller sees of an actor that left by itself. A busy Ray sometimes has no death record within its one second
# of patience and says ActorUnavailableError instead, although no later life will follow.
LEFT: Any = exceptions.ActorDiedError if IS_LINCKIA else exceptions.RayActorError


class Tally:
    """Counts across processes and crashes: one byte in a file per `add`, written before the process can die."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        path.touch()

    def add(self) -> int:
        """Count one more; the number so far, this one included."""
        with open(self.path, "ab") as out:
            out.write(b"x")
        return os.path.getsize(self.path)

    def count(self) -> int:
        return os.path.getsize(self.path)


def is_gone(pid: int | str) -> bool:
    """True when no such process runs; a zombie that nobody has reaped yet counts as gone."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in "ZX"


def wait_gone(pid: int | str, timeout_s: float = 30.0) -> None:
    wait_for(lambda: is_gone(pid), timeout_s, f"end of process {pid}")


def _ship_by_value(imported: Any) -> None:
    try:
        pickler = __import__(f"{ENGINE}.cloudpickle", fromlist=["cloudpickle"])
    except ImportError:
        import cloudpickle as pickler  # noqa: PLC0415 - as in conftest.py
    pickler.register_pickle_by_value(imported)


_ship_by_value(sys.modules[__name__])
