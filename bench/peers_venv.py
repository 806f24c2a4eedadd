"""The virtual environment of the peers: made once, found again by a stamp file. Called by `__main__.py`.

Ray and its dependencies must not be in the environment of Linckia. `LINCKIA_BENCH_PEERS_PYTHON` names a prepared
interpreter instead.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

VARIABLE = "LINCKIA_BENCH_PEERS_PYTHON"
DIRECTORY = ".venv-peers"
REQUIREMENTS = ("ray==2.60.0", "dask[distributed]", "loky", "numpy")
STAMP = "linckia-bench-stamp"


class PeersUnavailableError(RuntimeError):
    """The peers' environment could not be made; the message says why."""


def stamp_text(requirements: tuple[str, ...], python: str) -> str:
    """Return what the stamp of a finished environment says; another text means that it has to be made anew."""
    return "\n".join([f"python {python}", *requirements]) + "\n"


def peers_python(root: Path, say: Callable[[str], None]) -> str:
    """Return the interpreter of the peers' environment, making it when there is none; two runs at once take turns."""
    if prepared := os.environ.get(VARIABLE):
        if not os.access(prepared, os.X_OK):
            message = f"{VARIABLE}={prepared}: expected an executable Python"
            raise PeersUnavailableError(message)
        return prepared
    directory = root / DIRECTORY
    directory.mkdir(exist_ok=True)
    (directory / ".gitignore").write_text("*\n")
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        python = directory / "env" / "bin" / "python"
        stamp = directory / STAMP
        wanted = stamp_text(REQUIREMENTS, sys.version.split()[0])
        with contextlib.suppress(FileNotFoundError):
            if stamp.read_text() == wanted and python.exists():
                return str(python)
        say(f"making {directory} with {', '.join(REQUIREMENTS)} (once)")
        _make(directory / "env", python)
        stamp.write_text(wanted)
        return str(python)


def _make(environment: Path, python: Path) -> None:
    shutil.rmtree(environment, ignore_errors=True)
    for command in (
        [sys.executable, "-m", "venv", str(environment)],
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *REQUIREMENTS],
    ):
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        if finished.returncode:
            message = f"{' '.join(command[:6])} failed: {(finished.stderr or finished.stdout).strip()[-600:]}"
            raise PeersUnavailableError(message)
