"""Retries on a real cluster: pauses, and filters that are functions."""

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
def test_pauses_double(shared_cluster: Any, tmp_path: Path, kind: str) -> None:
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


def test_without_the_option_there_is_no_pause(shared_cluster: Any, tmp_path: Path) -> None:
    @linckia.remote(max_retries=5, retry_exceptions=True)
    def fails() -> str:
        if note(tmp_path / "tries") <= 5:
            raise ValueError
        return "done"

    assert linckia.get(fails.remote(), timeout=30) == "done"
    assert min(pauses(tmp_path / "tries")) < 0.1


@pytest.mark.parametrize("kind", ["application", "system"])
def test_actor_calls_pause_as_the_method_says(shared_cluster: Any, tmp_path: Path, kind: str) -> None:
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


def test_a_pausing_call_ends_with_its_actor(shared_cluster: Any) -> None:
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


def test_a_pausing_task_can_be_looked_at_and_cancelled(shared_cluster: Any, tmp_path: Path) -> None:
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


def test_a_function_decides_what_is_tried_again(shared_cluster: Any, tmp_path: Path) -> None:
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


def test_a_filter_that_fails_hides_nothing(shared_cluster: Any, tmp_path: Path) -> None:
    @linckia.remote(max_retries=3, retry_exceptions=lambda error: error.nothing_like_that)
    def fails() -> None:
        note(tmp_path / "tries")
        raise ValueError("the real one")

    with pytest.raises(ValueError, match="the real one") as caught:
        linckia.get(fails.remote())
    assert "retry_exceptions could not judge" in str(caught.value)
    assert note(tmp_path / "tries") == 2
