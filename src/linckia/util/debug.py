"""`log_once` and its switches: print a message the first time only, or once a minute.

User programs and libraries call it around their own logging. It counts per process and never logs anything itself.
"""

from __future__ import annotations

import threading
import time

_PERIOD_S = 60.0


class _Memory:
    """Which keys were seen, and whether they are forgotten again after a while."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.seen: set[str] = set()
        self.disabled = False
        self.periodic = False
        self.last_forgotten_s = 0.0

    def first_time(self, key: str, now_s: float) -> bool:
        with self.lock:
            if self.disabled:
                return False
            if key not in self.seen:
                if not self.seen:
                    self.last_forgotten_s = now_s
                self.seen.add(key)
                return True
            if self.periodic and now_s - self.last_forgotten_s >= _PERIOD_S:
                self.seen = {key}
                self.last_forgotten_s = now_s
                return True
            return False

    def forget(self, key: str | None) -> None:
        with self.lock:
            if key is None:
                self.seen.clear()
            else:
                self.seen.discard(key)


_memory = _Memory()


def log_once(key: str) -> bool:
    """True for the first call with `key` in this process, False after that.

    After `enable_periodic_logging()`, True again for each key about once a minute; after
    `disable_log_once_globally()`, always False.
    """
    return _memory.first_time(key, time.monotonic())


def disable_log_once_globally() -> None:
    """From now on `log_once` says False for every key in this process."""
    _memory.disabled = True


def enable_periodic_logging() -> None:
    """From now on every key is new again once a minute."""
    _memory.periodic = True


def reset_log_once(key: str | None = None) -> None:
    """Forget `key`, or all keys, so that the next `log_once` says True."""
    _memory.forget(key)
