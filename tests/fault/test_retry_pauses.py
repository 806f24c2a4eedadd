"""Retries on a real cluster: pauses, filters that are functions, and the budget."""

from __future__ import annotations

import itertools
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from watching import until

import linckia
from linckia import exceptions
from linckia.util import why_pending
from linckia.worker import current

pytestmark = pytest.mark.fault


def note(path: Path) -> int:
    """One more attempt at this moment; how many there were."""
    with path.open("a") as file:
        file.write(f"{time.monotonic()}\n")
    return len(path.read_text().splitlines())


def pauses(path: Path) -> list[float]:
    """Between the attempts."""
    times = [float(line) for line in path.read_text().splitlines()]
    return [later - earlier for earlier, later in itertools.pairwise(times)]


@pytest.mark.parametrize("kind", ["application", "system"])
def test_pauses_double(cluster: Any, tmp_path: Path, kind: str) -> None:
    @linckia.remote(max_retries=3, retry_exceptions=True, retry_backoff_s=0.2, max_backoff_s=0.4)
    def fails() -> str:
        if note(tmp_path / "tries") <= 3:
            if kind == "system":
                os.kill(os.getpid(), signal.SIGKILL)
            raise ValueError
        return "done"

    assert linckia.get(fails.remote(), timeout=30) == "done"
    found = pauses(tmp_path / "tries")
    for pause_s, whole_s in zip(found, (0.2, 0.4, 0.4), strict=True):
        assert pause_s >= whole_s / 2, found


def test_without_the_option_there_is_no_pause(cluster: Any, tmp_path: Path) -> None:
    @linckia.remote(max_retries=5, retry_exceptions=True)
    def fails() -> str:
        if note(tmp_path / "tries") <= 5:
            raise ValueError
        return "done"

    assert linckia.get(fails.remote(), timeout=30) == "done"
    assert min(pauses(tmp_path / "tries")) < 0.1


@pytest.mark.parametrize("kind", ["application", "system"])
def test_actor_calls_pause_as_the_method_says(cluster: Any, tmp_path: Path, kind: str) -> None:
    @linckia.remote(max_restarts=-1)
    class Flaky:
        @linckia.method(max_task_retries=-1, retry_exceptions=True, retry_backoff_s=0.3)
        def work(self) -> str:
            if note(tmp_path / "tries") <= 2:
                if kind == "system":
                    os.kill(os.getpid(), signal.SIGKILL)
                raise ValueError
            return "done"

        def other(self) -> str:
            return "in between"

    actor = Flaky.remote()
    ref = actor.work.remote()
    until(lambda: (tmp_path / "tries").exists())
    assert linckia.get(ref, timeout=30) == "done"
    assert min(pauses(tmp_path / "tries")) >= 0.15


def test_a_pausing_call_ends_with_its_actor(cluster: Any) -> None:
    @linckia.remote
    class Actor:
        @linckia.method(max_task_retries=-1, retry_exceptions=True, retry_backoff_s=30)
        def fails(self) -> None:
            raise ValueError

    actor = Actor.remote()
    ref = actor.fails.remote()
    until(lambda: why_pending(ref).kind == "retry")
    linckia.kill(actor)
    with pytest.raises(exceptions.ActorDiedError):
        linckia.get(ref, timeout=10)


def test_a_pausing_task_can_be_looked_at_and_cancelled(cluster: Any, tmp_path: Path) -> None:
    @linckia.remote(max_retries=-1, retry_exceptions=True, retry_backoff_s=30)
    def fails() -> None:
        note(tmp_path / "tries")
        raise ValueError

    ref = fails.remote()
    until(lambda: why_pending(ref).kind == "retry")
    assert "tried again" in str(why_pending(ref))
    linckia.cancel(ref)
    with pytest.raises(exceptions.TaskCancelledError):
        linckia.get(ref, timeout=5)


def test_a_pausing_task_fails_when_the_program_leaves() -> None:
    linckia.init(address="local", num_cpus=1, log_to_driver=False)
    try:

        @linckia.remote(max_retries=-1, retry_exceptions=True, retry_backoff_s=30)
        def fails() -> None:
            raise ValueError

        ref = fails.remote()
        until(lambda: why_pending(ref).kind == "retry")
    finally:
        linckia.shutdown()
    assert ref.state, "it has its error"


def test_a_function_decides_what_is_tried_again(cluster: Any, tmp_path: Path) -> None:
    def busy(error: BaseException) -> bool:
        return isinstance(error, OSError) and error.errno == 11

    @linckia.remote(max_retries=3, retry_exceptions=busy)
    def fails(number: int) -> None:
        note(tmp_path / str(number))
        raise OSError(number, "no")

    for number, attempts in ((11, 4), (5, 1)):
        with pytest.raises(OSError, match="no"):
            linckia.get(fails.remote(number))
        assert note(tmp_path / str(number)) == attempts + 1

    @linckia.remote
    class Actor:
        def fails(self, number: int) -> None:
            note(tmp_path / f"actor {number}")
            raise OSError(number, "no")

    call = Actor.remote().fails.options(max_task_retries=2, retry_exceptions=busy)
    for number, attempts in ((11, 3), (5, 1)):
        with pytest.raises(OSError, match="no"):
            linckia.get(call.remote(number))
        assert note(tmp_path / f"actor {number}") == attempts + 1


def test_a_filter_that_fails_hides_nothing(cluster: Any, tmp_path: Path) -> None:
    @linckia.remote(max_retries=3, retry_exceptions=lambda error: error.nothing_like_that)
    def fails() -> None:
        note(tmp_path / "tries")
        raise ValueError("the real one")

    with pytest.raises(ValueError, match="the real one") as caught:
        linckia.get(fails.remote())
    assert "retry_exceptions could not judge" in str(caught.value)
    assert note(tmp_path / "tries") == 2


@pytest.mark.parametrize("set_by", ["job", "environment"])
def test_the_budget_slows_a_broken_job_down_and_loses_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, set_by: str
) -> None:
    budget = {"LINCKIA_retry_budget_per_s": "20", "LINCKIA_retry_budget_burst": "10"}
    for name, value in budget.items() if set_by == "environment" else ():
        monkeypatch.setenv(name, value)
    of_job = {"env_vars": budget if set_by == "job" else {}}
    linckia.init(address="local", num_cpus=2, log_to_driver=False, runtime_env=of_job)
    try:

        @linckia.remote(max_retries=1, retry_exceptions=True)
        def fails(number: int) -> int:
            if not (tmp_path / str(number)).exists():
                (tmp_path / str(number)).touch()
                raise ValueError
            return number

        begun_s = time.monotonic()
        refs = [fails.remote(number) for number in range(40)]
        assert linckia.get(refs, timeout=30) == list(range(40))
        assert time.monotonic() - begun_s >= 30 / 20 * 0.9, "ten at once, thirty at twenty a second"
        assert current.runtime is not None and current.runtime.retried_tasks == 40
    finally:
        linckia.shutdown()
