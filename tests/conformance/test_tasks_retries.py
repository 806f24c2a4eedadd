"""What is run again and how often: crashes, exits, application errors, and `max_calls`."""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engine import exceptions, ray
from gates import Channel, Gate
from tools_tasks import Tally, wait_gone

pytestmark = pytest.mark.usefixtures("cluster")

NewGate = Callable[[], Gate]
NewChannel = Callable[[], Channel]


@pytest.fixture
def tally(tmp_path: Path) -> Tally:
    return Tally(tmp_path / "tally")


# ------------------------------------------------------------------------------------------ system failures


@pytest.mark.row("4.18", "7.1", "2.20")
def test_a_crash_is_retried_three_times_unless_told_otherwise(tally: Tally) -> None:
    @ray.remote
    def crash_until(attempt: int) -> int:
        number = tally.add()
        if number < attempt:
            os._exit(1)
        return number

    assert ray.get(crash_until.remote(4)) == 4
    assert tally.count() == 4


@pytest.mark.row("4.18", "7.1", "3.43")
@pytest.mark.parametrize(("max_retries", "runs"), [(0, 1), (1, 2)])
def test_the_last_crash_is_a_worker_crashed_error(tally: Tally, max_retries: int, runs: int) -> None:
    @ray.remote(max_retries=max_retries)
    def crash() -> None:
        tally.add()
        os._exit(1)

    with pytest.raises(exceptions.WorkerCrashedError) as caught:
        ray.get(crash.remote())
    assert isinstance(caught.value, exceptions.RayError)
    assert not isinstance(caught.value, exceptions.RayTaskError)
    assert tally.count() == runs


@pytest.mark.row("4.18", "2.20")
def test_minus_one_retries_for_ever_and_a_call_may_override_it(tally: Tally) -> None:
    @ray.remote(max_retries=0)
    def crash_until(attempt: int) -> int:
        number = tally.add()
        if number < attempt:
            os._exit(1)
        return number

    assert ray.get(crash_until.options(max_retries=-1).remote(6)) == 6


@pytest.mark.row("4.18", "7.1")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_task_whose_worker_is_killed_runs_again_elsewhere(
    number: signal.Signals, new_gate: NewGate, new_channel: NewChannel
) -> None:
    gate, pids = new_gate(), new_channel()

    @ray.remote
    def report() -> int:
        pids.send(os.getpid())
        gate.wait()
        return os.getpid()

    ref = report.remote()
    first = int(pids.receive())
    os.kill(first, number)
    second = int(pids.receive(timeout_s=40))
    gate.open()
    assert ray.get(ref) == second != first
    wait_gone(first)


@pytest.mark.row("4.18", "4.3")
def test_after_a_crash_every_cpu_is_used_again(new_gate: NewGate, new_channel: NewChannel) -> None:
    """The lease of the dead worker is given back, to the node and in the submitter's own books."""
    for _ in range(3):
        retry_gate, hold_gate, said = new_gate(), new_gate(), new_channel()

        @ray.remote
        def killed_once(gate: Gate, said: Channel) -> None:
            said.send(os.getpid())
            gate.wait()

        @ray.remote
        def hold(gate: Gate, said: Channel) -> None:
            said.send("holds")
            gate.wait()

        ref = killed_once.remote(retry_gate, said)
        os.kill(int(said.receive()), signal.SIGTERM)
        said.receive(timeout_s=40)
        retry_gate.open()
        ray.get(ref)
        held = [hold.remote(hold_gate, said) for _ in range(2)]
        assert said.receive_many(2) == ["holds"] * 2
        hold_gate.open()
        ray.get(held)


@pytest.mark.row("4.18")
def test_the_death_of_one_worker_fails_no_task_of_another(new_gate: NewGate, new_channel: NewChannel) -> None:
    gate, pids = new_gate(), new_channel()

    @ray.remote(max_retries=0)
    def hold(number: int) -> int:
        pids.send(f"{number} {os.getpid()}")
        gate.wait()
        return number

    refs = [hold.remote(0), hold.remote(1)]
    by_number = dict(line.split() for line in pids.receive_many(2))
    os.kill(int(by_number["0"]), signal.SIGKILL)
    with pytest.raises(exceptions.WorkerCrashedError):
        ray.get(refs[0])
    gate.open()
    assert ray.get(refs[1]) == 1


@pytest.mark.row("4.18", "7.1")
def test_tasks_queued_for_a_worker_that_dies_run_exactly_once(new_channel: NewChannel) -> None:
    """With max_retries=0 a task that never started has not used its only run."""
    ran = new_channel()

    @ray.remote(max_retries=0)
    def number(value: int) -> int:
        if value == 50:
            os._exit(1)
        ran.send(value)
        return value

    refs = [number.remote(value) for value in range(100)]
    outcomes: list[Any] = []
    for ref in refs:
        try:
            outcomes.append(ray.get(ref))
        except exceptions.WorkerCrashedError:
            outcomes.append("crashed")
    assert outcomes == [*range(50), "crashed", *range(51, 100)]
    assert sorted(map(int, ran.received())) == [value for value in range(100) if value != 50]


@pytest.mark.row("4.18")
def test_a_retry_finds_arguments_its_caller_has_dropped(tally: Tally) -> None:
    @ray.remote
    def make() -> bytes:
        return b"z" * 300_000

    @ray.remote
    def second_time_lucky(small: str, large: bytes, nested: list[Any]) -> int:
        if tally.add() == 1:
            os._exit(1)
        return len(small) + len(large) + len(ray.get(nested[0]))

    ref = second_time_lucky.remote(ray.put("abc"), make.remote(), [ray.put(b"y" * 200_000)])
    assert ray.get(ref) == 500_003


@pytest.mark.row("4.18", "4.31")
def test_all_returns_of_a_retried_task_come_from_one_run(tally: Tally) -> None:
    @ray.remote(num_returns=2)
    def pair() -> tuple[int, int]:
        attempt = tally.add()
        if attempt == 1:
            os._exit(1)
        return attempt, attempt

    assert ray.get(pair.remote()) == [2, 2]


@pytest.mark.row("4.22", "3.43")
@pytest.mark.parametrize("way", ["sys.exit", "sys.exit(3)", "os._exit(0)", "raise SystemExit"])
def test_leaving_the_process_counts_as_a_worker_death(tally: Tally, way: str) -> None:
    @ray.remote(max_retries=1)
    def leave() -> None:
        tally.add()
        if way == "sys.exit":
            sys.exit()
        elif way == "sys.exit(3)":
            sys.exit(3)
        elif way == "os._exit(0)":
            os._exit(0)
        raise SystemExit("by hand")

    with pytest.raises(exceptions.WorkerCrashedError):
        ray.get(leave.remote())
    assert tally.count() == 2


@pytest.mark.row("4.22")
def test_atexit_runs_when_a_task_calls_sys_exit(new_channel: NewChannel) -> None:
    said = new_channel()

    @ray.remote(max_retries=0)
    def leave() -> None:
        atexit.register(lambda: said.send("atexit ran"))
        sys.exit(0)

    with pytest.raises(exceptions.WorkerCrashedError):
        ray.get(leave.remote())
    assert said.receive() == "atexit ran"


@pytest.mark.row("4.22")
def test_a_segmentation_fault_in_native_code_is_a_worker_death(tally: Tally) -> None:
    @ray.remote(max_retries=1)
    def fault() -> str:
        if tally.add() == 1:
            ctypes.string_at(0)
        return "survived"

    assert ray.get(fault.remote()) == "survived"


# ----------------------------------------------------------------------------------------- application errors


@pytest.mark.row("4.19", "14.13")
def test_application_errors_are_not_retried_by_default(tally: Tally) -> None:
    @ray.remote(max_retries=5)
    def fail() -> None:
        tally.add()
        raise ValueError("once")

    with pytest.raises(ValueError, match="once"):
        ray.get(fail.remote())
    assert tally.count() == 1


@pytest.mark.row("4.19")
def test_retry_exceptions_uses_up_max_retries_and_the_last_error_is_raised(tally: Tally) -> None:
    @ray.remote(max_retries=2, retry_exceptions=True)
    def fail() -> None:
        raise ValueError(f"attempt {tally.add()}")

    with pytest.raises(ValueError, match="attempt 3"):
        ray.get(fail.remote())
    assert tally.count() == 3


@pytest.mark.row("4.19")
def test_retry_exceptions_stops_at_the_first_success(tally: Tally) -> None:
    @ray.remote(retry_exceptions=True)
    def third_time_lucky() -> int:
        number = tally.add()
        if number < 3:
            raise ValueError(number)
        return number

    assert ray.get(third_time_lucky.remote()) == 3


@pytest.mark.row("4.19", "2.21")
@pytest.mark.parametrize("container", [list, tuple])
def test_a_list_of_exceptions_retries_those_and_their_subclasses_only(
    tally: Tally, container: Callable[[list[type]], Any]
) -> None:
    @ray.remote(max_retries=2, retry_exceptions=container([LookupError, OSError]))
    def fail(kind: type[Exception]) -> None:
        tally.add()
        raise kind("listed?")

    with pytest.raises(KeyError):
        ray.get(fail.remote(KeyError))
    assert tally.count() == 3
    with pytest.raises(ValueError, match="listed"):
        ray.get(fail.remote(ValueError))
    assert tally.count() == 4


@pytest.mark.row("4.19")
def test_retrying_ends_when_an_attempt_raises_something_unlisted(tally: Tally) -> None:
    @ray.remote(max_retries=5, retry_exceptions=[KeyError])
    def fail() -> None:
        if tally.add() < 3:
            raise KeyError("retry me")
        raise ValueError("not me")

    with pytest.raises(ValueError, match="not me"):
        ray.get(fail.remote())
    assert tally.count() == 3


@pytest.mark.row("4.19", "2.21")
def test_retry_exceptions_may_be_chosen_per_call(tally: Tally) -> None:
    @ray.remote(max_retries=1)
    def fail() -> None:
        tally.add()
        raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        ray.get(fail.options(retry_exceptions=[ValueError], max_retries=3).remote())
    assert tally.count() == 4


@pytest.mark.row("4.18", "4.19")
def test_crashes_and_errors_draw_on_the_same_retries(tally: Tally) -> None:
    @ray.remote(max_retries=3, retry_exceptions=True)
    def fail_in_turn() -> None:
        if tally.add() % 2:
            os._exit(1)
        raise ValueError("even")

    with pytest.raises(ValueError, match="even"):
        ray.get(fail_in_turn.remote())
    assert tally.count() == 4


@pytest.mark.row("4.19")
def test_an_unhandled_base_exception_is_reported_and_the_worker_lives_on() -> None:
    class Odd(BaseException):
        pass

    @ray.remote(max_retries=0)
    def fail() -> None:
        raise Odd("odd")

    @ray.remote
    def fine() -> int:
        return 1

    with pytest.raises(exceptions.RayError):
        ray.get(fail.remote())
    assert ray.get(fine.remote()) == 1


# -------------------------------------------------------------------------------------------------- max_calls


@pytest.mark.row("2.22")
def test_max_calls_one_gives_every_call_a_new_process() -> None:
    @ray.remote(max_calls=1)
    def pid() -> int:
        return os.getpid()

    pids = [ray.get(pid.remote()) for _ in range(4)]
    assert len(set(pids)) == 4
    for number in pids:
        wait_gone(number)


@pytest.mark.row("2.22")
def test_max_calls_counts_per_worker_and_loses_no_task() -> None:
    @ray.remote(max_calls=3)
    def pid(number: int) -> tuple[int, int]:
        return number, os.getpid()

    answers = ray.get([pid.remote(number) for number in range(12)])
    assert [number for number, _ in answers] == list(range(12))
    by_pid = [sum(1 for _, other in answers if other == pid_) for pid_ in {pid_ for _, pid_ in answers}]
    assert max(by_pid) <= 3
    assert len(by_pid) >= 4


@pytest.mark.row("2.22")
def test_what_a_max_calls_worker_put_outlives_its_last_call() -> None:
    """The worker still owns an object somebody uses, so it must not leave before that use has ended."""

    @ray.remote(max_calls=1)
    def make() -> list[Any]:
        return [ray.put(b"x" * 300_000), ray.put("small")]

    large, small = ray.get(make.remote())
    assert len(ray.get(large)) == 300_000
    assert ray.get(small) == "small"
