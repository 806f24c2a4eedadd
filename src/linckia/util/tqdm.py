"""Progress bars that work from tasks: made anywhere, drawn by the driver.

User programs call `tqdm(...)`, in Ray's way or instead of the tqdm package. In a worker, a bar reports itself by lines
with `MAGIC` on stderr; the driver's log printer gives such lines to `render_line`. In a driver it is drawn directly.
The drawing is in progress_screen.py; nothing here waits or starts a thread.
"""

from __future__ import annotations

import builtins
import contextlib
import itertools
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from dataclasses import asdict
from types import TracebackType
from typing import Any, Generic, TypeVar, cast

import linckia
from linckia.util.progress_screen import BarState, Screen

MAGIC = "__linckia_tqdm__"
_FLUSH_INTERVAL_S = 0.1

_T = TypeVar("_T")
_numbers = itertools.count()


class tqdm(Generic[_T]):
    """A progress bar. Iterate over it, or call `update`; `close` it (or use `with`) to leave its last state standing.

    `total` is the length of `iterable` when that has one. `position` is accepted for compatibility: bars stand in the
    order in which they appear. A bar reports at most every `flush_interval_s` seconds, however often it is updated.
    """

    def __init__(
        self,
        iterable: Iterable[_T] | None = None,
        desc: str | None = None,
        total: int | None = None,
        unit: str | None = None,
        position: int | None = None,
        flush_interval_s: float | None = None,
    ) -> None:
        if total is None and hasattr(iterable, "__len__"):
            total = len(cast("Sized", iterable))
        self._iterable = iterable
        self._interval_s = _FLUSH_INTERVAL_S if flush_interval_s is None else flush_interval_s
        self._state = BarState(
            key=f"{_process_name()}-{next(_numbers)}",
            desc=desc or "",
            done=0,
            total=total,
            unit=unit or "it",
            closed=False,
        )
        self._last_report_s = 0.0
        self._remote = _in_worker()
        self._report(time.monotonic())

    @property
    def n(self) -> int:
        """How much is done."""
        return self._state.done

    @property
    def total(self) -> int | None:
        """How much there is to do, if that is known."""
        return self._state.total

    @total.setter
    def total(self, value: int | None) -> None:
        self._state.total = value

    def set_description(self, desc: str) -> None:
        """Change the text before the bar."""
        self._state.desc = desc
        self._report_now_and_then()

    def update(self, n: int = 1) -> None:
        """`n` more are done."""
        self._state.done += n
        self._report_now_and_then()

    def refresh(self) -> None:
        """Show the present state even if the last report was a moment ago."""
        self._report(time.monotonic())

    def close(self) -> None:
        """Show the last state and forget the bar. A second call does nothing."""
        if not self._state.closed:
            self._state.closed = True
            self._report(time.monotonic())

    def __iter__(self) -> Iterator[_T]:
        if self._iterable is None:
            raise ValueError("this progress bar was made without an iterable; call update() instead of iterating")
        try:
            for item in self._iterable:
                yield item
                self.update()
        finally:
            self.close()

    def __enter__(self) -> tqdm[_T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _report_now_and_then(self) -> None:
        now_s = time.monotonic()
        if now_s - self._last_report_s >= self._interval_s:
            self._report(now_s)

    def _report(self, now_s: float) -> None:
        self._last_report_s = now_s
        if self._remote:
            # One write, so that the line stays whole among those of other threads.
            sys.stderr.write(f"{MAGIC}{json.dumps(asdict(self._state))}\n")
            sys.stderr.flush()
        else:
            _screen.show(self._state, now_s)


def render_line(line: str) -> bool:
    """Draw the bar that a worker reported in `line`. False when it is not such a line: then it is to be printed."""
    _, magic, report = line.partition(MAGIC)
    if not magic:
        return False
    try:
        fields = json.loads(report)
        state = BarState(**fields)
    except (ValueError, TypeError):
        return False  # somebody prints our magic word, or the line was cut
    render(state)
    return True


def render(state: BarState) -> None:
    """Draw the bar of some process. For drivers."""
    _screen.show(state, time.monotonic())


def drop_process(name: str) -> None:
    """Remove the bars of a worker that died, by its hex worker id."""
    _screen.drop(f"{name}-")


def instance() -> Screen:
    """The bars of this driver: `hide_bars()` before writing to the terminal, `unhide_bars()` after it."""
    return _screen


@contextlib.contextmanager
def hidden() -> Iterator[None]:
    """Bars are off the terminal inside the block, so that what is printed there stands above them."""
    _screen.hide_bars()
    try:
        yield
    finally:
        _screen.unhide_bars()


def safe_print(*args: Any, **kwargs: Any) -> None:
    """`print` that does not damage the bars."""
    with hidden():
        builtins.print(*args, **kwargs)  # noqa: T201 - this is the function for it


_screen = Screen()


def _in_worker() -> bool:
    if not linckia.is_initialized():
        return False
    context = linckia.get_runtime_context()
    return context.get_task_id() is not None or context.get_actor_id() is not None


def _process_name() -> str:
    """Unique in the cluster, and known to the driver when the process dies."""
    if linckia.is_initialized():
        return str(linckia.get_runtime_context().get_worker_id())
    return str(os.getpid())


__all__ = ["MAGIC", "drop_process", "hidden", "instance", "render", "render_line", "safe_print", "tqdm"]
