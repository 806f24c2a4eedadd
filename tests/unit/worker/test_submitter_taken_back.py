"""A cancel that reaches the worker after the worker has given the task back: the owner ends the task by itself."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest

from linckia.base import errors
from linckia.protocol import messages as m
from linckia.worker.submitter import Submitter


class Runtime(SimpleNamespace):
    """Notes what failed."""

    def fail(self, record: Any, error: Exception) -> None:
        self.failed.append((record.task_id, type(error)))


def record(task_id: bytes, *, cancelled: bool) -> Any:
    return SimpleNamespace(task_id=task_id, cancelled=cancelled, peer="worker", queue=None)


@pytest.mark.row("4.23")
def test_what_was_cancelled_meanwhile_is_not_queued_again() -> None:
    runtime: Any = Runtime(failed=[])
    submitter = Submitter(runtime)
    tasks = {
        b"1": record(b"1", cancelled=False),
        b"2": record(b"2", cancelled=True),
        b"3": record(b"3", cancelled=False),
    }
    records = dict(tasks)
    key: Any = SimpleNamespace(queue=deque(), idle=[], leases=[], depth=1, spread=False, requests={1: None, 2: None})
    lease = SimpleNamespace(stalled=False, recalled=False, oldest_push_s=0.0, key=key)
    peer: Any = SimpleNamespace(lease=lease, tasks=tasks)
    submitter.on_taken_back(peer, m.TakenBack([b"2", b"3"], stalled=True))
    assert [queued.task_id for queued in key.queue] == [b"3"]
    assert runtime.failed == [(b"2", errors.TaskCancelledError)]
    assert list(peer.tasks) == [b"1"]
    assert records[b"2"].queue is None
