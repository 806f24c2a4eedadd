"""Fallbacks on a real cluster: what takes the place of a result after the last failure, whoever's it was."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy
import pytest
from watching import until

import linckia
from linckia import exceptions
from linckia.util import state

pytestmark = pytest.mark.fault


@linckia.remote(max_retries=0)
def broken(kind: str, payload: Any = None) -> Any:
    """Fails, in several ways."""
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "raise":
        raise ValueError("broken on purpose", payload)
    return kind


def told(error: BaseException) -> tuple[str, bool, int]:
    """A fallback: what it was given, and where it ran."""
    return type(error).__name__, isinstance(error, ValueError), os.getpid()


@linckia.remote(max_restarts=0)
class Fragile:
    """An actor that fails."""

    def fail(self, kind: str) -> str:
        """As `broken`."""
        if kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise ValueError("broken on purpose")


@pytest.mark.parametrize("kind", ["raise", "kill"])
@pytest.mark.parametrize("value", [None, 0, "text", [1, {"a": 2}], (1, 2)])
def test_a_value_takes_the_place_of_any_failure(shared_cluster: Any, kind: str, value: Any) -> None:
    assert linckia.get(broken.options(fallback=value).remote(kind)) == value


def test_a_success_needs_no_fallback(shared_cluster: Any) -> None:
    assert linckia.get(broken.options(fallback="other").remote("fine")) == "fine"


@pytest.mark.parametrize("kind", ["raise", "kill"])
def test_a_function_is_called_with_the_exception_in_another_process(shared_cluster: Any, kind: str) -> None:
    name, is_value_error, pid = linckia.get(broken.options(fallback=told).remote(kind))
    assert (name, is_value_error) == (
        ("RayTaskError(ValueError)", True) if kind == "raise" else ("WorkerCrashedError", False)
    )
    assert pid != os.getpid()


def test_a_remote_function_with_options_of_its_own(shared_cluster: Any, tmp_path: Path) -> None:
    @linckia.remote(num_cpus=2, max_retries=2, retry_exceptions=True)
    def careful(error: Exception) -> str:
        with (tmp_path / "tries").open("a") as file:
            file.write("x")
        if (tmp_path / "tries").stat().st_size < 3:
            raise RuntimeError("not yet")
        return f"{linckia.get_runtime_context().get_assigned_resources()['CPU']:g} CPUs after {error.args[0].args[0]}"

    assert linckia.get(broken.options(fallback=careful).remote("raise")) == "2 CPUs after broken on purpose"


def test_actor_calls_fall_back_when_the_method_raises_and_when_the_actor_dies(shared_cluster: Any) -> None:
    actor = Fragile.remote()
    assert linckia.get(actor.fail.options(fallback="raised").remote("raise")) == "raised"
    assert linckia.get(actor.fail.options(fallback=told).remote("raise"))[1]
    assert linckia.get(actor.fail.options(fallback="died").remote("kill")) == "died"
    name, _, pid = linckia.get(actor.fail.options(fallback=told).remote("raise"))
    assert name == "ActorDiedError" and pid != os.getpid(), "the actor is dead"


def test_several_returns(shared_cluster: Any) -> None:
    def both(error: BaseException) -> list[Any]:
        return [str(type(error).__mro__[1].__name__), 2]

    first, second = broken.options(num_returns=2, fallback=(1, None)).remote("raise")
    assert linckia.get([first, second]) == [1, None]
    first, second = broken.options(num_returns=2, fallback=both).remote("kill")
    assert linckia.get(second) == 2
    actor = Fragile.remote()
    first, second = actor.fail.options(num_returns=2, fallback=both).remote("raise")
    assert linckia.get(second) == 2
    with pytest.raises(ValueError, match="2 values"):
        broken.options(num_returns=2, fallback=None).remote("raise")


def test_no_return_at_all(shared_cluster: Any, tmp_path: Path) -> None:
    def clean_up(_error: BaseException) -> None:
        (tmp_path / "cleaned").touch()

    assert broken.options(num_returns=0, fallback=clean_up).remote("raise") is None
    until(lambda: (tmp_path / "cleaned").exists())
    with pytest.raises(ValueError, match="num_returns=0"):
        broken.options(num_returns=0, fallback=1).remote("raise")


def test_large_values_and_references(shared_cluster: Any) -> None:
    large = numpy.arange(10**6)
    actor = Fragile.remote()
    for call in (broken, actor.fail):
        found = linckia.get(call.options(fallback=large).remote("raise"))
        assert (found == large).all()
        assert linckia.get(call.options(fallback=linckia.put("by reference")).remote("raise")) == "by reference"
        (inner,) = linckia.get(call.options(fallback=[linckia.put("inside")]).remote("raise"))
        assert linckia.get(inner) == "inside"


def test_a_large_result_of_a_fallback(shared_cluster: Any) -> None:
    actor = Fragile.remote()
    for call in (broken, actor.fail):
        ref = call.options(fallback=lambda _error: numpy.ones(10**6)).remote("raise")
        assert linckia.get(ref).sum() == 10**6


def test_when_the_fallback_fails_too_its_error_counts_and_tells_of_the_first(shared_cluster: Any) -> None:
    def worse(_error: BaseException) -> None:
        raise KeyError("worse")

    with pytest.raises(KeyError) as caught:
        linckia.get(broken.options(fallback=worse).remote("raise"))
    assert "broken on purpose" in str(caught.value) and "fallback" in str(caught.value)

    def dies(_error: BaseException) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(exceptions.WorkerCrashedError):
        linckia.get(broken.options(fallback=linckia.remote(max_retries=0)(dies)).remote("raise"))

    def again(error: BaseException) -> None:
        raise error

    with pytest.raises(ValueError, match="broken on purpose"):
        linckia.get(broken.options(fallback=again).remote("raise"))


def test_fallbacks_can_be_chained(shared_cluster: Any) -> None:
    def again(error: BaseException) -> None:
        raise error

    second = linckia.remote(again).options(fallback="third", max_retries=0)
    assert linckia.get(broken.options(fallback=second).remote("raise")) == "third"


def test_a_failed_argument_falls_back_too(shared_cluster: Any) -> None:
    @linckia.remote
    def double(number: int) -> int:
        return 2 * number

    failed = broken.remote("raise")
    assert linckia.get(double.options(fallback=-1).remote(failed)) == -1
    assert linckia.get(double.options(fallback=told).remote(failed))[1]
    assert linckia.get(double.remote(broken.options(fallback=21).remote("raise"))) == 42


def test_only_after_the_last_retry(shared_cluster: Any, tmp_path: Path) -> None:
    @linckia.remote(max_retries=2, retry_exceptions=True, fallback="gave up")
    def count() -> None:
        with (tmp_path / "tries").open("a") as file:
            file.write("x")
        raise ValueError

    assert linckia.get(count.remote()) == "gave up"
    assert (tmp_path / "tries").stat().st_size == 3


@pytest.mark.parametrize("force", [False, True])
def test_cancelled_tasks_do_not_fall_back(shared_cluster: Any, tmp_path: Path, force: bool) -> None:
    @linckia.remote(fallback="never")
    def wait() -> None:
        (tmp_path / "runs").touch()
        while True:
            time.sleep(0.01)  # sleep: work that goes on

    running = wait.remote()
    until(lambda: (tmp_path / "runs").exists())
    linckia.cancel(running, force=force)
    with pytest.raises(exceptions.TaskCancelledError):
        linckia.get(running, timeout=10)
    hog = wait.options(num_cpus=2).remote()
    queued = wait.options(num_cpus=2).remote()
    linckia.cancel(queued)
    with pytest.raises(exceptions.TaskCancelledError):
        linckia.get(queued, timeout=10)
    linckia.cancel(hog, force=True)


def test_a_running_fallback_can_be_cancelled(shared_cluster: Any, tmp_path: Path) -> None:
    def long(_error: BaseException) -> None:
        (tmp_path / "runs").touch()
        while True:
            time.sleep(0.01)  # sleep: work that goes on

    ref = broken.options(fallback=long).remote("raise")
    until(lambda: (tmp_path / "runs").exists())
    linckia.cancel(ref)
    with pytest.raises(exceptions.TaskCancelledError):
        linckia.get(ref, timeout=10)


def test_what_cannot_have_a_fallback_says_so(shared_cluster: Any) -> None:
    @linckia.remote
    def items() -> Any:
        yield 1

    async def waits(_error: BaseException) -> None:
        return None

    with pytest.raises(ValueError, match="generator"):
        items.options(fallback=None).remote()
    with pytest.raises(ValueError, match="async"):
        broken.options(fallback=waits).remote("raise")
    with pytest.raises(ValueError, match="method"):
        broken.options(fallback=Fragile.remote().fail).remote("raise")


def test_tasks_inside_tasks_fall_back(shared_cluster: Any) -> None:
    @linckia.remote
    def outer() -> Any:
        refs = [broken.options(fallback=told).remote("raise"), broken.options(fallback="value").remote("kill")]
        return linckia.get(refs), os.getpid()

    (told_of, value), pid = linckia.get(outer.remote())
    assert told_of[1] and told_of[2] != pid and value == "value"


def test_an_error_that_cannot_be_unpickled_reaches_the_fallback_as_text(shared_cluster: Any) -> None:
    class Strange(Exception):
        def __reduce__(self) -> Any:
            return int, ("no number",)

    @linckia.remote
    def raises() -> None:
        raise Strange("odd")

    found = linckia.get(raises.options(fallback=lambda error: str(error)).remote())
    assert "odd" in found


def test_the_state_api_shows_the_failure_and_what_replaced_it(shared_cluster: Any) -> None:
    def replaced(_error: BaseException) -> int:
        return 1

    ref = broken.options(fallback=replaced).remote("kill")
    assert linckia.get(ref) == 1
    rows = [row for row in state.list_tasks(detail=True) if row.task_id == ref.task_id().hex()]
    assert {(row.attempt_number, row.state) for row in rows} >= {(0, "FAILED"), (1, "FINISHED")}, rows
    assert {row.error_origin for row in rows if row.state == "FAILED"} == {"system"}
    raised = broken.options(fallback=1).remote("raise")
    assert linckia.get(raised) == 1
    (row,) = [row for row in state.list_tasks(detail=True) if row.task_id == raised.task_id().hex()]
    assert (row.error_type, row.error_origin) == ("TASK_EXECUTION_EXCEPTION", "application")


def test_many_at_once(shared_cluster: Any) -> None:
    refs = [broken.options(fallback=lambda error: error.cause.args[1]).remote("raise", number) for number in range(300)]
    assert linckia.get(refs, timeout=60) == list(range(300))
