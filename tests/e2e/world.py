"""A private world in which programs and the `linckia` command run as a user's would; made by conftest.py for each test.

A world has its own temporary directory, so no test sees another's cluster or a developer's.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from linckia.host import session

ROOT = Path(__file__).resolve().parent.parent.parent
TIMEOUT_S = 100.0


class World:
    """Runs processes that know only this world's clusters."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._started: list[subprocess.Popen[str]] = []

    def start(self, *command: str, cwd: Path | None = None) -> subprocess.Popen[str]:
        """A Python process with these arguments."""
        hidden = ("LINCKIA_ADDRESS", "RAY_ADDRESS", "COLUMNS", "FORCE_COLOR", "TTY_COMPATIBLE")
        env = {name: value for name, value in os.environ.items() if name not in hidden}
        env |= {"LINCKIA_TMPDIR": self.folder, "PYTHONUNBUFFERED": "1", "COLUMNS": "200"}
        env.setdefault("LINCKIA_JOIN_TIMEOUT_S", "1.5")
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            [sys.executable, *command], stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=env, cwd=cwd or self.folder
        )
        self._started.append(process)
        return process

    def python(self, *command: str, cwd: Path | None = None, code: int = 0) -> str:
        """Run to the end; what it printed, both streams. AssertionError when the exit code is another."""
        process = self.start(*command, cwd=cwd)
        out, err = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == code, f"exit code {process.returncode}, not {code}\n{out}\n{err}"
        return out + err

    def linckia(self, *arguments: str, code: int = 0) -> str:
        """Run the command line."""
        return self.python("-m", "linckia.cli.main", *arguments, code=code)

    def script(self, text: str, name: str = "program.py") -> str:
        """Write a program; its path."""
        path = Path(self.folder, name)
        path.write_text(text)
        return str(path)

    def sessions(self) -> list[str]:
        """Session directories, of the living and the dead."""
        return session.session_names(session.base_directory(self.folder))

    def close(self) -> list[str]:
        """End what still runs; what was found is for the test to be ashamed of."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.communicate()
        left = self.sessions()
        for _path, facts in session.live_sessions(self.folder):
            os.kill(facts["pid"], signal.SIGKILL)
        return left
