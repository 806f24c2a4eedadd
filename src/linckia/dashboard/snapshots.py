"""Answers of the cluster, shared by all who look: asked for at most once at a time, shown for a moment, and shown with
their age while nobody leads. Nothing is asked unless somebody looks.

Runs in the dashboard's event loop. Who asks is a function that blocks (asking.py); it runs on few threads.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import anyio
import anyio.to_thread

from linckia.base.limits import (
    DASHBOARD_CACHE_MAX_BYTES,
    DASHBOARD_FRESH_S,
    DASHBOARD_QUESTIONS_MAX,
    DASHBOARD_SHARE,
)
from linckia.dashboard.questions import Question

ENTRIES_MAX = 256
PATIENCE_S = 0.5
"""Who has an old answer waits so long for a new one."""


class NothingKnownError(Exception):
    """The cluster does not answer, and never has; the text says why."""


class Snapshot(NamedTuple):
    """An answer as it came. ``as_of_s`` is when it was asked for; it is shown for ``fresh_s`` without asking again."""

    body: bytes
    as_of_s: float
    fresh_s: float


class _Entry:
    """One question. ``took_s``: the last answer. ``refused_s``: when it was last asked in vain, and ``why``."""

    def __init__(self) -> None:
        self.snapshot: Snapshot | None = None
        self.took_s = 0.0
        self.running: asyncio.Task[None] | None = None
        self.refused_s, self.why = float("-inf"), ""


class Snapshots:
    """``ask(question)`` blocks, and raises OSError or ValueError; ``group`` is where its tasks live."""

    def __init__(self, ask: Callable[[Question], bytes], now_s: Callable[[], float], group: asyncio.TaskGroup) -> None:
        self._ask, self._now_s, self._group = ask, now_s, group
        self._limiter = anyio.CapacityLimiter(DASHBOARD_QUESTIONS_MAX)
        self._entries: OrderedDict[Question, _Entry] = OrderedDict()
        self.asked = 0

    async def get(self, question: Question, *, patience_s: float = PATIENCE_S) -> Snapshot:
        """A fresh one; or the last one when the cluster does not answer within ``patience_s``; or the first one,
        however long it takes. Raises NothingKnownError.
        """
        entry = self._entries.setdefault(question, _Entry())
        self._entries.move_to_end(question)
        now_s = self._now_s()
        if entry.snapshot is not None and now_s - entry.snapshot.as_of_s < entry.snapshot.fresh_s:
            return entry.snapshot
        if entry.running is None and now_s - entry.refused_s >= DASHBOARD_FRESH_S:
            entry.running = self._group.create_task(self._refresh(question, entry))
        if entry.running is not None:
            await asyncio.wait([entry.running], timeout=patience_s if entry.snapshot is not None else None)
        if entry.snapshot is None:
            raise NothingKnownError(entry.why)
        return entry.snapshot

    def age_s(self, snapshot: Snapshot) -> float:
        """How old it is now."""
        return max(0.0, self._now_s() - snapshot.as_of_s)

    async def _refresh(self, question: Question, entry: _Entry) -> None:
        asked_s = 0.0

        def ask() -> bytes:
            nonlocal asked_s
            asked_s = self._now_s()  # the wait for a thread is not the cluster's
            return self._ask(question)

        self.asked += 1
        try:
            body = await anyio.to_thread.run_sync(ask, limiter=self._limiter)
        except (OSError, ValueError) as error:
            entry.refused_s, entry.why = self._now_s(), str(error)
        else:
            took_s = self._now_s() - asked_s
            entry.snapshot = Snapshot(body, asked_s, _fresh_s(took_s, entry.took_s))
            entry.took_s = took_s
            self._forget_some()
        finally:
            entry.running = None

    def _forget_some(self) -> None:
        """Those that nobody has looked at for longest, while they take too much memory."""
        held = sum(len(entry.snapshot.body) for entry in self._entries.values() if entry.snapshot is not None)
        for question, entry in list(self._entries.items())[:-1]:
            if held <= DASHBOARD_CACHE_MAX_BYTES and len(self._entries) <= ENTRIES_MAX:
                return
            if entry.running is None:
                held -= len(entry.snapshot.body) if entry.snapshot is not None else 0
                del self._entries[question]


def _fresh_s(took_s: float, before_s: float) -> float:
    """For how long an answer is shown. One that took long once waited for a head, and is no more work than others."""
    return max(DASHBOARD_FRESH_S, min(took_s, before_s) / DASHBOARD_SHARE)
