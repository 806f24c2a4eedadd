"""Draws progress bars at the foot of a terminal, or as occasional lines where there is no terminal.

Called by tqdm.py in drivers, from any thread. It writes to stderr; it measures speed by when reports arrive and knows
nothing of who sends them.
"""

from __future__ import annotations

import shutil
import sys
import threading
from dataclasses import dataclass, replace
from typing import TextIO

_REDRAW_S = 0.05
_PLAIN_LINE_S = 10.0
_CELLS = 20
_EIGHTHS = " ▏▎▍▌▋▊▉█"


@dataclass
class BarState:
    """What a bar reports about itself."""

    key: str
    desc: str
    done: int
    total: int | None
    unit: str
    closed: bool


@dataclass
class _Bar:
    state: BarState
    started_s: float
    last_plain_line_s: float


class Screen:
    """All bars of one driver."""

    def __init__(self, out: TextIO | None = None) -> None:
        """`out` is for tests; None means whatever `sys.stderr` is at the time."""
        self._given_out = out
        self._lock = threading.RLock()
        self._bars: dict[str, _Bar] = {}
        self._lines_on_screen = 0
        self._hidden = 0
        self._last_drawn_s = 0.0

    def show(self, state: BarState, now_s: float) -> None:
        """Take in a report and draw, at most 20 times a second. A closed bar leaves its last line standing."""
        with self._lock:
            bar = self._bars.get(state.key)
            if bar is None:
                # A short bar may be over before anything was drawn: its one line is still worth showing.
                bar = _Bar(state, now_s, now_s)
                self._bars[state.key] = bar
            bar.state = replace(state)  # the caller goes on changing its own
            if not self._on_terminal():
                self._show_plainly(bar, now_s)
            elif state.closed:
                self._leave_standing(bar, now_s)
            elif now_s - self._last_drawn_s >= _REDRAW_S:
                self._draw(now_s)
            if state.closed:
                del self._bars[state.key]

    def drop(self, key_prefix: str) -> None:
        """Forget the bars whose key begins so."""
        with self._lock:
            self._erase()
            for key in [key for key in self._bars if key.startswith(key_prefix)]:
                del self._bars[key]
            if self._on_terminal():
                self._draw(self._last_drawn_s)

    def hide_bars(self) -> None:
        """Take the bars off the terminal until as many `unhide_bars` have been called."""
        with self._lock:
            self._hidden += 1
            self._erase()

    def unhide_bars(self) -> None:
        """Undo one `hide_bars`."""
        with self._lock:
            self._hidden = max(0, self._hidden - 1)
            if self._on_terminal():
                self._draw(self._last_drawn_s)

    def _out(self) -> TextIO:
        return sys.stderr if self._given_out is None else self._given_out

    def _on_terminal(self) -> bool:
        return self._out().isatty()

    def _write(self, text: str) -> None:
        out = self._out()
        try:
            out.write(text)
            out.flush()
        except (OSError, ValueError):
            return  # the terminal is gone; the work goes on without its picture

    def _erase(self) -> None:
        if self._lines_on_screen:
            self._write(f"\x1b[{self._lines_on_screen}F\x1b[J")  # up to the first bar, clear to the end
            self._lines_on_screen = 0

    def _draw(self, now_s: float) -> None:
        self._last_drawn_s = now_s
        if self._hidden:
            return
        self._erase()
        width, height = shutil.get_terminal_size()
        lines = [_line(bar, now_s, width) for bar in self._bars.values()]
        room = max(1, height - 2)
        if len(lines) > room:
            lines = [*lines[: room - 1], f"... and {len(lines) - room + 1} more"]
        if lines:
            self._write("".join(f"{line}\n" for line in lines))
        self._lines_on_screen = len(lines)

    def _leave_standing(self, bar: _Bar, now_s: float) -> None:
        self._erase()
        self._write(f"{_line(bar, now_s, shutil.get_terminal_size().columns)}\n")
        remaining = {key: other for key, other in self._bars.items() if other is not bar}
        everything, self._bars = self._bars, remaining
        self._draw(now_s)
        self._bars = everything

    def _show_plainly(self, bar: _Bar, now_s: float) -> None:
        if bar.state.closed or now_s - bar.last_plain_line_s >= _PLAIN_LINE_S:
            bar.last_plain_line_s = now_s
            self._write(f"{_line(bar, now_s, 100)}\n")


def _line(bar: _Bar, now_s: float, width: int) -> str:
    """`desc:  45%|#########           | 45/100 [00:05<00:06, 9.0it/s]`, cut to `width`."""
    state, elapsed_s = bar.state, max(0.0, now_s - bar.started_s)
    speed = state.done / elapsed_s if elapsed_s > 0 else 0.0
    label = f"{state.desc}: " if state.desc else ""
    pace = f"{speed:.3g}{state.unit}/s" if speed else f"?{state.unit}/s"
    if not state.total:
        text = f"{label}{state.done}{state.unit} [{_clock(elapsed_s)}, {pace}]"
    else:
        part = min(1.0, max(0.0, state.done / state.total))
        rest = _clock((state.total - state.done) / speed) if speed else "?"
        text = f"{label}{part:4.0%}|{_blocks(part)}| {state.done}/{state.total} [{_clock(elapsed_s)}<{rest}, {pace}]"
    return text if len(text) < width else text[: max(1, width - 1)]


def _blocks(part: float) -> str:
    eighths = int(part * _CELLS * 8)
    full, left_over = divmod(eighths, 8)
    bar = "█" * full + (_EIGHTHS[left_over] if left_over else "")
    return bar.ljust(_CELLS)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"
