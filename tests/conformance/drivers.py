"""Runs driver programs of the chosen engine in processes of their own, for what a driver inside pytest cannot show.

Used through the fixtures `run_script` and `private_tmp`, or directly by fixtures of a wider scope.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine import ENGINE, ray, settings

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class ScriptResult:
    returncode: int
    stdout: str
    stderr: str

    def ok(self) -> ScriptResult:
        """This result, or an AssertionError that shows what the script said."""
        assert self.returncode == 0, f"script exited {self.returncode}\n{self.stdout}\n{self.stderr}"
        return self


class ScriptRunner:
    """Runs driver programs in their own process. The line `import ray` in them means the chosen engine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[subprocess.Popen[str]] = []

    def start(self, source: str, *args: object, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """Start a script and return at once. Its process group is killed when the test ends."""
        text = textwrap.dedent(source)
        text = text.replace("import ray\n", f"import {ENGINE} as ray\n", 1)
        folder = self._folder / f"script{len(self._started)}"
        folder.mkdir()
        path = folder / "driver.py"
        path.write_text(text)
        # The engine of this process, wherever it was found: a relative PYTHONPATH means nothing in another folder.
        engine_folder = Path(ray.__file__).resolve().parents[1]
        known = [str(HERE), str(engine_folder), os.environ.get("PYTHONPATH", "")]
        full_env = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in known if p)} | (env or {})
        process = subprocess.Popen(
            [sys.executable, "-u", str(path), *map(str, args)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=full_env,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def __call__(
        self, source: str, *args: object, env: dict[str, str] | None = None, timeout_s: float = 100.0
    ) -> ScriptResult:
        """Run a script to its end."""
        process = self.start(source, *args, env=env)
        try:
            stdout, stderr = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            stdout, stderr = process.communicate()
            raise AssertionError(f"script did not end within {timeout_s} s\n{stdout}\n{stderr}") from None
        return ScriptResult(process.returncode, stdout, stderr)

    def close(self) -> None:
        for process in self._started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


@contextlib.contextmanager
def make_private_tmp() -> Iterator[dict[str, str]]:
    """Environment under which a driver neither finds another cluster of this machine nor shows its own to others."""
    with tempfile.TemporaryDirectory(prefix="lk-", ignore_cleanup_errors=True) as folder:
        yield settings(TMPDIR=folder)
