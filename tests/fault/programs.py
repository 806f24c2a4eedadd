"""Driver programs in processes of their own, that can be killed; used through the fixture ``programs``."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = str(ROOT / "src")


class Program:
    """One running driver: lines in, lines out."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process, self.pid = process, process.pid

    def line(self, timeout_s: float = 30.0) -> str:
        """The next line it prints. AssertionError, with what it complained, when none comes."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], timeout_s)
        text = self.process.stdout.readline() if ready else ""
        if not text:
            self.kill()
            assert self.process.stderr is not None
            raise AssertionError(f"no line within {timeout_s} s; stderr:\n{self.process.stderr.read()}")
        return text.rstrip("\n")

    def say(self, text: str = "") -> None:
        """One line to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def ask(self, text: str = "", timeout_s: float = 30.0) -> str:
        """One line in, one line out."""
        self.say(text)
        return self.line(timeout_s)

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        if self.process.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
        self.process.wait(10)

    def ended(self, timeout_s: float = 30.0) -> int:
        """Its exit code."""
        return self.process.wait(timeout_s)


class Programs:
    """Starts them, and kills what is left when the test ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._started: list[Program] = []

    def start(self, source: str, *arguments: str) -> Program:
        """Run a program's text. It reads and writes lines; its output must not be buffered by itself."""
        path = self.folder / f"program{len(self._started)}.py"
        path.write_text(textwrap.dedent(source))
        known = [SOURCE, os.environ.get("PYTHONPATH", "")]
        process = subprocess.Popen(
            [sys.executable, "-u", str(path), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, known))},
        )
        self._started.append(Program(process))
        return self._started[-1]

    def close(self) -> None:
        for program in self._started:
            self._end(program)
        self._started.clear()

    def _end(self, program: Program) -> None:
        program.kill()
        for stream in (program.process.stdin, program.process.stdout, program.process.stderr):
            if stream is not None:
                stream.close()

    def forget(self, program: Program) -> None:
        """It is done with: its pipes are closed now."""
        self._started.remove(program)
        self._end(program)


def linckia_command(*arguments: str, timeout_s: float = 60.0) -> str:
    """Run the command line to its end; what it printed. AssertionError when it fails."""
    known = [SOURCE, os.environ.get("PYTHONPATH", "")]
    began_s = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-m", "linckia.cli.main", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, known))},
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    assert ended.returncode == 0, f"after {time.monotonic() - began_s:.1f} s: {ended.stdout}\n{ended.stderr}"
    return ended.stdout
