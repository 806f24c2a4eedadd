"""Worker output on the driver's terminal: ``(name pid=123) line``, in order per worker, each line once (P 23, R 1.8).

Lines that many workers print alike are shown once with a count; nothing is hidden silently. Progress bars of tasks
(magic lines of ``linckia.util.tqdm``) are handed to the drawer.
"""

from __future__ import annotations

import importlib
import sys
import time
from typing import Any

from linckia.host import environment

AGGREGATE_S = 5.0
TQDM_MAGIC = "__linckia_tqdm__"


class LogPrinter:
    """Called in the thread that leads; writes whole lines."""

    def __init__(self, *, prefix: bool = True) -> None:
        self.prefix = prefix  # a LoggingConfig gives lines a form of their own
        self.dedup = environment.option_on("DEDUP_LOGS", default=True)
        self._seen: dict[str, list[Any]] = {}  # text -> [first time, pid, hidden count, source, stream]
        self._render: Any = None

    def print(self, message: Any) -> None:
        """Show a batch of lines."""
        now_s = time.monotonic()
        if message.dropped:
            sys.stderr.write(f"linckia: {message.dropped} lines of worker output were dropped\n")
        for line in message.lines:
            if TQDM_MAGIC in line.text:
                self._draw(line.text)
            elif not self._repeated(line, now_s):
                self._write(line.source, line.pid, line.stream, line.text)
        self._expire(now_s)

    def flush(self) -> None:
        """Show the counts of what was held back."""
        self._expire(float("inf"))
        sys.stdout.flush()
        sys.stderr.flush()

    def _repeated(self, line: Any, now_s: float) -> bool:
        if not self.dedup or not line.text.strip():
            return False
        entry = self._seen.get(line.text)
        if entry is None:
            self._seen[line.text] = [now_s, line.pid, 0, line.source, line.stream]
            return False
        if entry[1] == line.pid:  # the same worker says it again: that is its own business, show it
            return False
        entry[2] += 1
        return True

    def _expire(self, now_s: float) -> None:
        if not self._seen:
            return
        for text in [text for text, entry in self._seen.items() if now_s - entry[0] > AGGREGATE_S]:
            _, pid, hidden, source, stream = self._seen.pop(text)
            if hidden:
                self._write(
                    source, pid, stream, f"{text} [repeated {hidden}x across cluster; LINCKIA_DEDUP_LOGS=0 shows all]"
                )

    def _write(self, source: str, pid: int, stream: int, text: str) -> None:
        target = sys.stderr if stream == 2 else sys.stdout
        try:
            target.write(f"({source} pid={pid}) {text}\n" if self.prefix else f"{text}\n")
            target.flush()
        except (OSError, ValueError):
            return  # the terminal is gone; the lines are in the session's log files

    def _draw(self, text: str) -> None:
        if self._render is None:
            # By name: it stands above this room, and is loaded only when a task draws.
            self._render = importlib.import_module("linckia.util.tqdm").render_line
        self._render(text)
