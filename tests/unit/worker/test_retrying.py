"""Retries that wait: where their budget is set, and who ends the wait early."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from linckia.core.tasks.retry_pauses import backoff
from linckia.worker.retrying import Means, Retrying
from linckia.worker.tasks import TaskRecord


class World:
    """A runtime whose timers the test sees."""

    def __init__(self, **env_vars: str) -> None:
        self.timers: list[tuple[float, Callable[[], None]]] = []
        runtime: Any = SimpleNamespace(
            mutex=threading.RLock(),
            closing=False,
            job_config=SimpleNamespace(env_vars=env_vars),
            reactor=SimpleNamespace(call_later=lambda delay_s, call: self.timers.append((delay_s, call))),
        )
        self.runtime = runtime
        self.retrying = Retrying(runtime)
        self.again: list[TaskRecord] = []

    def fails(self, means: Means | None = None, actor: Any = None) -> TaskRecord:
        """A task that has failed once and is to run again."""
        template = SimpleNamespace(means=means, max_retries=9, name="f")
        record = TaskRecord(b"t" * 24, template, 9, actor=actor, attempt=1)
        if not self.retrying.pauses(record, self.again.append):
            self.again.append(record)
        return record


PAUSE = Means(backoff(8.0, 60.0), None, 1, ())


def test_most_retries_begin_at_once() -> None:
    world = World()
    record = world.fails()
    assert (world.again, world.timers, world.retrying.paused) == ([record], [], {})


def test_a_pause_ends_by_its_timer() -> None:
    world = World()
    record = world.fails(PAUSE)
    ((delay_s, call),) = world.timers
    assert 4.0 <= delay_s <= 8.0 and world.again == []
    call()
    assert world.again == [record] and not world.retrying.paused


@pytest.mark.parametrize("why", ["cancelled", "closing", "actor dead"])
def test_it_does_not_run_when_it_is_not_wanted_any_more(why: str) -> None:
    actor: Any = SimpleNamespace()
    world = World()
    record = world.fails(PAUSE, actor)
    other = world.fails(PAUSE, SimpleNamespace())
    if why == "cancelled":
        record.cancelled = True
    elif why == "closing":
        world.runtime.closing = True
    else:
        assert world.retrying.take(actor) == [record]
    for _, call in world.timers:
        call()
    assert world.again == ([] if why == "closing" else [other])


def test_the_jobs_budget_wins_over_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINCKIA_retry_budget_per_s", "1000")
    monkeypatch.setenv("LINCKIA_retry_budget_burst", "2")
    world = World(LINCKIA_retry_budget_per_s="0.5")
    for _ in range(4):
        world.fails()
    assert [delay_s for delay_s, _ in world.timers] == pytest.approx([2.0, 4.0], abs=0.2)


def test_a_budget_that_is_no_number_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    world = World(LINCKIA_retry_budget_per_s="many")
    world.fails()
    assert len(world.again) == 1
    assert "LINCKIA_retry_budget_per_s='many'" in capsys.readouterr().err
