"""The history of a store that nobody trims by itself: the head that leads forgets what is old. Used by head_process.py.

etcd keeps every version of every key until it is told otherwise, and refuses all writes when it has outgrown its space
(2 GB by default). That holds for an etcd that others use too: Kubernetes forgets there what is older than five minutes.
"""

from __future__ import annotations

from collections.abc import Callable

from linckia.base.limits import HISTORY_KEPT_S
from linckia.host.own_log import say
from linckia.store.errors import CompactedError, StoreError
from linckia.store.interface import Store


class Compaction:
    """From ``start`` to ``stop``. ``revision()``: the last one that this head has written or read."""

    def __init__(
        self, store: Store, call_later: Callable[[float, Callable[[], None]], object], revision: Callable[[], int]
    ) -> None:
        self._store, self._call_later, self._revision = store, call_later, revision
        self._then = 0  # the revision of the last look
        self._is_over = False

    def start(self) -> None:
        """What is older than HISTORY_KEPT_S goes, that often."""
        self._then = self._revision()
        self._call_later(HISTORY_KEPT_S, self._look)

    def stop(self) -> None:
        """Another head may lead. Idempotent."""
        self._is_over = True

    def _look(self) -> None:
        if self._is_over:
            return
        self._store.compact(self._then, self._done)
        self.start()

    def _done(self, answer: object) -> None:
        """A failure is no reason to end: the next look includes this one."""
        if isinstance(answer, StoreError) and not isinstance(answer, CompactedError):
            say(f"the history of the store could not be compacted, and will be tried again: {answer}")
