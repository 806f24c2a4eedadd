"""How long a node waits before it starts a head again that has ended. Used by node/head_child.py.

A head that was at work and then was killed from outside is started at once, however often: nothing is wrong with it.
One that ends by itself, or never came to work, waits longer each time, so that a fault does not become a busy loop.
"""

from __future__ import annotations

import os
import signal

from linckia.base.backoff import Backoff, UnitRandom

STEADY_AFTER_S = 5.0
FROM_OUTSIDE = frozenset({signal.SIGKILL, signal.SIGTERM})
"""Of a fault of its own a process dies by other signals."""


class RestartPauses:
    """Of one head after the other."""

    def __init__(self, rng: UnitRandom) -> None:
        self._rng, self._attempt = rng, 0
        self._backoff = Backoff(0.01, 2.0, jitter=0.5)

    def after_end(self, status: int | None, *, lived_s: float, worked: bool) -> float:
        """Seconds. ``status`` is the wait status, None when unknown; ``worked``: it had read its store."""
        killed = status is not None and os.WIFSIGNALED(status) and os.WTERMSIG(status) in FROM_OUTSIDE
        if lived_s > STEADY_AFTER_S or (worked and killed):
            self._attempt = 0
            return 0.0
        return self.after_failure()

    def after_failure(self) -> float:
        """Seconds, when it could not even be started. The first time there is no pause after an end."""
        pause_s = self._backoff.delay_s(self._attempt, self._rng)
        self._attempt += 1
        return pause_s
