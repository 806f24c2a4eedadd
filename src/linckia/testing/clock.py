"""Virtual time: the clock, the timers and the reactor of everything in a simulation.

Nothing waits: when all that is due has run, time jumps to the next timer. It has the surface of ``rpc/reactor.py`` that
services use (``call_later``, ``call_soon``) and that of the ``time`` module (``monotonic``), so that real services run
on it by ``installed_in``. Single-threaded; equal schedules give equal orders.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
from collections.abc import Callable, Iterator
from types import ModuleType

from linckia.rpc.reactor import Timer


class VirtualClock:
    """Time that moves only by ``step``."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()

    def monotonic(self) -> float:
        """The virtual time in seconds, for code that asks the ``time`` module."""
        return self.now_s

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Call once after ``delay_s`` of virtual time."""
        return self.call_at(self.now_s + max(0.0, delay_s), callback)

    def call_at(self, due_s: float, callback: Callable[[], None]) -> Timer:
        """Call once at ``due_s``; what is due at one time runs in the order it was asked for."""
        timer = Timer(due_s, callback)
        heapq.heappush(self._timers, (timer.due_s, next(self._order), timer))
        return timer

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call at the present time, after what is due already."""
        self.call_later(0.0, callback)

    def step(self) -> bool:
        """Run the next callback, at its time. False when there is none."""
        while self._timers:
            due_s, _, timer = heapq.heappop(self._timers)
            if not timer.cancelled:
                self.now_s = max(self.now_s, due_s)
                timer.callback()
                return True
        return False

    def pass_time(self, for_s: float) -> None:
        """Run what falls due in so many seconds, and be there."""
        until_s = self.now_s + for_s
        while (due_s := self.next_due_s) is not None and due_s <= until_s:
            self.step()
        self.now_s = until_s

    @property
    def next_due_s(self) -> float | None:
        """When the next callback is due."""
        while self._timers and self._timers[0][2].cancelled:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    @contextlib.contextmanager
    def installed_in(self, *modules: ModuleType) -> Iterator[None]:
        """Modules that ``import time`` see this clock instead."""
        real = [(module, module.__dict__["time"]) for module in modules]
        for module in modules:
            module.__dict__["time"] = self
        try:
            yield
        finally:
            for module, time in real:
                module.__dict__["time"] = time
