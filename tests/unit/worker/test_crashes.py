"""A task whose worker was ended for want of memory: tried again after a growing pause, for free, unless it may not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from linckia.base import errors
from linckia.base.limits import OOM_RETRY_CAP_S
from linckia.protocol import messages as m
from linckia.worker.crashes import after_oom, oom_backoff
from linckia.worker.retrying import Retrying
from linckia.worker.submitter import Submitter
from linckia.worker.tasks import TaskRecord


class World:
    """A submitter whose timers and failures the test sees."""

    def __init__(self) -> None:
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.failed: list[tuple[TaskRecord, errors.RayError]] = []
        reactor = SimpleNamespace(call_later=lambda delay_s, callback: self.timers.append((delay_s, callback)))
        runtime: Any = SimpleNamespace(
            executor=None,
            reactor=reactor,
            mutex=threading.RLock(),
            closing=False,
            job_config=None,
            retried_tasks=0,
            fail=lambda record, error: self.failed.append((record, error)),
        )
        runtime.retrying = Retrying(runtime)
        self.submitter: Any = Submitter(runtime)
        self.queued: list[TaskRecord] = []
        setattr(self.submitter, "enqueue", self.queued.append)  # noqa: B010

    def oom(self, record: TaskRecord, *, is_final: bool = False) -> None:
        after_oom(self.submitter, record, m.LeaseBroken(1, b"w", "NODE_OUT_OF_MEMORY: why", False, True, is_final))


def task(max_retries: int) -> TaskRecord:
    return TaskRecord(b"t" * 24, SimpleNamespace(max_retries=max_retries, name="eat"), max_retries)


@pytest.mark.row("4.20", "7.20")
def test_it_runs_again_however_often_and_keeps_its_retries() -> None:
    world, record = World(), task(1)
    for number in range(1, 12):
        world.oom(record)
        assert (record.retries_left, record.attempt, record.extras.attempt) == (1, number, number)
        delay_s, again = world.timers.pop()
        whole_s = min(OOM_RETRY_CAP_S, 2.0 ** (number - 1))
        assert whole_s / 2 <= delay_s <= whole_s, "doubling, capped, with jitter"
        assert world.queued == []
        again()
        assert world.queued.pop() is record
    assert world.failed == []


@pytest.mark.row("4.20", "7.20", "3.46")
def test_a_task_that_may_not_run_again_fails_with_the_reason() -> None:
    world, record = World(), task(0)
    world.oom(record)
    ((failed, error),) = world.failed
    assert failed is record
    assert isinstance(error, errors.OutOfMemoryError)
    assert "task eat" in str(error) and "NODE_OUT_OF_MEMORY: why" in str(error)
    assert world.timers == []


@pytest.mark.row("7.19")
def test_the_last_of_a_group_fails_under_the_old_policy() -> None:
    world, record = World(), task(3)
    world.oom(record, is_final=True)
    assert len(world.failed) == 1


def test_a_task_that_is_cancelled_in_the_pause_does_not_run() -> None:
    world, record = World(), task(3)
    world.oom(record)
    record.cancelled = True
    world.timers.pop()[1]()
    assert world.queued == []


@pytest.mark.row("4.20")
@pytest.mark.parametrize(("given", "first_s"), [("", 1.0), ("250", 0.25), ("0", 0.001), ("9999999", 60.0)])
def test_the_first_pause_is_a_setting(monkeypatch: pytest.MonkeyPatch, given: str, first_s: float) -> None:
    monkeypatch.setenv("RAY_task_oom_retry_delay_base_ms", given)
    assert oom_backoff().first_s == first_s
