"""`cancel` of tasks in every stage of their life, by every kind of holder of the ref."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engine import better, exceptions, ray
from gates import Channel, Gate
from tools_tasks import Tally, wait_gone

# Ray 2.60 aborts the whole driver when the argument is ready later (`Check failed: submitted_task_ref_count > 0`).
aborts_ray = better("cancelling a task that waits for an argument never takes the driver down")

# It does so too, about once in six runs of this file, when a cancellation meets the end of its task.
racing_aborts_ray = better("cancelling a task in the instant it ends never takes the driver down")

pytestmark = [pytest.mark.usefixtures("cluster"), pytest.mark.row("1.33")]

NewGate = Callable[[], Gate]
NewChannel = Callable[[], Channel]


def occupy_both_cpus(gate: Gate) -> list[Any]:
    @ray.remote(max_retries=0)  # so that a kill meant for somebody else is seen
    def hold() -> None:
        said.send("held")
        gate.wait()

    said = Channel(Path(f"{gate.path}.held"))
    refs = [hold.remote() for _ in range(2)]
    said.receive_many(2)
    said.close()
    return refs


# ------------------------------------------------------------------------------------------------- not started


@pytest.mark.row("4.23", "14.14")
@pytest.mark.parametrize("force", [False, True])
def test_a_queued_task_never_runs(new_gate: NewGate, new_channel: NewChannel, force: bool) -> None:
    gate, ran = new_gate(), new_channel()
    holders = occupy_both_cpus(gate)

    @ray.remote
    def report(number: int) -> int:
        ran.send(number)
        return number

    refs = [report.remote(number) for number in range(4)]
    ray.cancel(refs[1], force=force)
    ray.cancel(refs[1], force=force)
    with pytest.raises(exceptions.TaskCancelledError):
        ray.get(refs[1], timeout=20)
    gate.open()
    ray.get(holders)
    assert ray.get([refs[0], refs[2], refs[3]]) == [0, 2, 3]
    assert sorted(ran.received()) == ["0", "2", "3"]


@pytest.mark.row("4.23")
@aborts_ray
def test_a_task_waiting_for_its_argument_never_runs(new_gate: NewGate, new_channel: NewChannel) -> None:
    gate, ran = new_gate(), new_channel()

    @ray.remote
    def slow() -> int:
        gate.wait()
        return 1

    @ray.remote
    def consume(value: int) -> int:
        ran.send("ran")
        return value

    unready = slow.remote()
    waiting = consume.remote(unready)
    ray.cancel(waiting)
    with pytest.raises(exceptions.TaskCancelledError):
        ray.get(waiting, timeout=20)
    gate.open()
    assert ray.get(unready) == 1, "the argument's own task is not touched"
    assert ran.received() == []


@pytest.mark.row("4.23", "4.5")
@aborts_ray
def test_a_chain_of_waiting_tasks_is_cancelled_from_its_root(new_gate: NewGate, new_channel: NewChannel) -> None:
    gate, ran = new_gate(), new_channel()

    @ray.remote
    def slow() -> int:
        gate.wait()
        return 1

    @ray.remote
    def consume(value: int) -> int:
        ran.send("ran")
        return value

    unready = slow.remote()
    first = consume.remote(unready)
    chain = [first, consume.remote(first)]
    chain.append(consume.remote(chain[-1]))
    ray.cancel(first)
    for ref in chain:
        with pytest.raises(exceptions.TaskCancelledError):
            ray.get(ref, timeout=20)
    gate.open()
    assert ray.get(unready) == 1
    assert ran.received() == []


@pytest.mark.row("4.23")
@racing_aborts_ray
def test_cancelling_right_after_submission_is_safe(new_channel: NewChannel) -> None:
    """Wherever the task is by then, the outcome is either its value or a cancellation, and nothing hangs."""

    @ray.remote
    def quick(number: int) -> int:
        return number

    refs = [quick.remote(number) for number in range(60)]
    for ref in refs[::2]:
        ray.cancel(ref)
    for number, ref in enumerate(refs):
        if number % 2:
            assert ray.get(ref, timeout=30) == number, "a neighbour was hit"
            continue
        try:
            assert ray.get(ref, timeout=30) == number
        except exceptions.TaskCancelledError:
            pass


# ----------------------------------------------------------------------------------------------------- running


@pytest.mark.row("4.24", "14.14", "3.32")
def test_a_running_task_sees_keyboard_interrupt(new_gate: NewGate, new_channel: NewChannel) -> None:
    gate, said = new_gate(), new_channel()

    @ray.remote(max_retries=3, retry_exceptions=True)
    def run() -> None:
        try:
            said.send("started")  # in here: the interrupt may come as soon as this is heard
            gate.wait()
        except KeyboardInterrupt:
            said.send("interrupted")
            raise
        finally:
            said.send("cleaned up")

    ref = run.remote()
    assert said.receive() == "started"
    ray.cancel(ref)
    with pytest.raises(exceptions.TaskCancelledError) as caught:
        ray.get(ref, timeout=30)
    assert isinstance(caught.value, exceptions.RayError)
    assert said.receive_many(2) == ["interrupted", "cleaned up"]
    assert said.received() == [], "a cancelled task is not retried"


@pytest.mark.row("4.24")
@pytest.mark.parametrize(
    "nap_s",
    [0.01, pytest.param(600.0, marks=better("Ray's interrupt waits for the end of a blocking system call"))],
)
def test_a_sleeping_task_wakes_up_to_be_cancelled(new_channel: NewChannel, nap_s: float) -> None:
    said = new_channel()

    @ray.remote
    def sleep() -> None:
        said.send("started")
        while True:
            time.sleep(nap_s)  # sleep: it is the work that the test interrupts or overlaps

    ref = sleep.remote()
    said.receive()
    ray.cancel(ref)
    with pytest.raises(exceptions.TaskCancelledError):
        ray.get(ref, timeout=30)


@pytest.mark.row("4.24")
def test_a_busy_loop_is_cancelled(new_channel: NewChannel) -> None:
    said = new_channel()

    @ray.remote
    def spin() -> None:
        said.send("started")
        while True:
            pass

    ref = spin.remote()
    said.receive()
    ray.cancel(ref)
    with pytest.raises(exceptions.TaskCancelledError):
        ray.get(ref, timeout=30)


@pytest.mark.row("4.24")
def test_the_worker_goes_on_to_the_next_task_after_a_cancellation(new_gate: NewGate, new_channel: NewChannel) -> None:
    gate, pids = new_gate(), new_channel()

    @ray.remote(num_cpus=2)
    def hold() -> None:
        pids.send(os.getpid())
        gate.wait()

    @ray.remote(num_cpus=2)
    def pid() -> int:
        return os.getpid()

    ref = hold.remote()
    first = int(pids.receive())
    ray.cancel(ref)
    with pytest.raises(exceptions.TaskCancelledError):
        ray.get(ref, timeout=30)
    assert ray.get(pid.remote()) == first, "without force the process survives"


@pytest.mark.row("4.24")
@racing_aborts_ray
def test_a_late_interrupt_never_hits_the_next_task(new_channel: NewChannel) -> None:
    """The cancellation races the end of its task many times; whoever runs next on that worker must not feel it."""
    started = new_channel()

    @ray.remote(num_cpus=2)
    def brief() -> None:
        started.send("started")

    @ray.remote(num_cpus=2)
    def innocent(number: int) -> int:
        return number

    for number in range(25):
        victim, next_one = brief.remote(), innocent.remote(number)
        started.receive()
        ray.cancel(victim)
        assert ray.get(next_one, timeout=30) == number
        try:
            ray.get(victim, timeout=30)
        except exceptions.TaskCancelledError:
            pass


@pytest.mark.row("4.24")
def test_a_task_that_swallows_the_interrupt_may_finish(new_gate: NewGate, new_channel: NewChannel) -> None:
    gate, said = new_gate(), new_channel()

    @ray.remote
    def stubborn() -> str:
        try:
            said.send("started")  # in here: the interrupt may come as soon as this is heard
            gate.wait()
        except KeyboardInterrupt:
            said.send("swallowed")
        return "finished anyway"

    ref = stubborn.remote()
    assert said.receive() == "started"
    ray.cancel(ref)
    assert ray.get(ref, timeout=30) == "finished anyway"
    assert said.receive() == "swallowed"


@pytest.mark.row("4.24", "4.16")
def test_a_task_blocked_in_get_is_cancelled(new_gate: NewGate, new_channel: NewChannel) -> None:
    gate, said = new_gate(), new_channel()

    @ray.remote
    def child() -> None:
        try:
            said.send("child started")  # in here: the interrupt may come as soon as this is heard
            gate.wait()
        except KeyboardInterrupt:
            said.send("child interrupted")
            raise

    @ray.remote
    def parent() -> None:
        ray.get(child.remote())

    ref = parent.remote()
    assert said.receive() == "child started"
    ray.cancel(ref)
    with pytest.raises(exceptions.TaskCancelledError):
        ray.get(ref, timeout=30)
    assert said.receive() == "child interrupted"


@pytest.mark.row("4.25")
def test_force_kills_the_process_even_in_native_code(new_channel: NewChannel) -> None:
    pids = new_channel()
    tally = Tally(Path(f"{pids.path}.tally"))

    @ray.remote(max_retries=3)
    def deaf() -> None:
        tally.add()
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])
        pids.send(os.getpid())
        time.sleep(600)  # sleep: it is the work that the test interrupts or overlaps

    ref = deaf.remote()
    pid = pids.receive()
    ray.cancel(ref, force=True)
    with pytest.raises((exceptions.TaskCancelledError, exceptions.WorkerCrashedError)):
        ray.get(ref, timeout=30)
    wait_gone(pid)
    assert tally.count() == 1, "a cancelled task is not retried"


@pytest.mark.row("4.25")
def test_force_after_a_polite_cancel_that_was_swallowed(new_gate: NewGate, new_channel: NewChannel) -> None:
    gate, said = new_gate(), new_channel()

    @ray.remote
    def stubborn() -> None:
        while not gate.is_open():
            try:
                said.send(os.getpid())
                gate.wait()
            except KeyboardInterrupt:
                said.send("swallowed")

    ref = stubborn.remote()
    pid = said.receive()
    ray.cancel(ref)
    assert said.receive_many(2) == ["swallowed", pid]
    assert ray.wait([ref], timeout=0)[0] == []
    ray.cancel(ref, force=True)
    with pytest.raises((exceptions.TaskCancelledError, exceptions.WorkerCrashedError)):
        ray.get(ref, timeout=30)
    wait_gone(pid)


@pytest.mark.row("4.24")
def test_cancelling_one_return_value_cancels_all(new_gate: NewGate, new_channel: NewChannel) -> None:
    gate, said = new_gate(), new_channel()

    @ray.remote(num_returns=3)
    def three() -> tuple[int, int, int]:
        said.send("started")
        gate.wait()
        return 1, 2, 3

    refs = three.remote()
    said.receive()
    ray.cancel(refs[2])
    for ref in refs:
        with pytest.raises(exceptions.TaskCancelledError):
            ray.get(ref, timeout=30)


# ------------------------------------------------------------------------------------------- finished or wrong


def test_cancelling_a_finished_task_changes_nothing() -> None:
    @ray.remote
    def one() -> int:
        return 1

    @ray.remote
    def fail() -> None:
        raise ValueError("kept")

    done, failed = one.remote(), fail.remote()
    ray.wait([done, failed], num_returns=2)
    for force in (False, True):
        ray.cancel(done, force=force)
        ray.cancel(failed, force=force)
    assert ray.get(done) == 1
    with pytest.raises(ValueError, match="kept"):
        ray.get(failed)


def test_cancel_refuses_what_is_not_a_ref() -> None:
    for wrong in (1, None, "ref", [ray.put(1)]):
        with pytest.raises(TypeError):
            ray.cancel(wrong)


# ------------------------------------------------------------------------------- children, and other holders


@pytest.mark.row("4.26")
@pytest.mark.parametrize("recursive", [True, False])
def test_recursive_reaches_grandchildren(new_gate: NewGate, new_channel: NewChannel, recursive: bool) -> None:
    gate, said = new_gate(), new_channel()

    @ray.remote(num_cpus=0)
    def grandchild() -> None:
        try:
            said.send("grandchild started")  # in here: the interrupt may come as soon as this is heard
            gate.wait()
        except KeyboardInterrupt:
            said.send("interrupted")
            raise
        said.send("ran to its end")

    @ray.remote(num_cpus=0)
    def child() -> None:
        ray.get(grandchild.remote())

    @ray.remote(num_cpus=0)
    def parent() -> None:
        ray.get(child.remote())

    ref = parent.remote()
    assert said.receive() == "grandchild started"
    ray.cancel(ref, recursive=recursive)
    with pytest.raises(exceptions.TaskCancelledError):
        ray.get(ref, timeout=30)
    if recursive:
        assert said.receive() == "interrupted"
    else:
        gate.open()
        assert said.receive() == "ran to its end"


@pytest.mark.row("4.26")
def test_recursive_removes_children_still_in_the_queue(new_gate: NewGate, new_channel: NewChannel) -> None:
    gate, said = new_gate(), new_channel()

    @ray.remote(num_cpus=2)
    def child() -> None:
        said.send("child ran")

    @ray.remote(num_cpus=1)
    def parent() -> None:
        kept.extend(child.remote() for _ in range(3))  # needs both CPUs, one of which this task holds
        said.send("submitted")
        gate.wait()

    kept: list[Any] = []
    ref = parent.remote()
    assert said.receive() == "submitted"
    ray.cancel(ref)
    with pytest.raises(exceptions.TaskCancelledError):
        ray.get(ref, timeout=30)

    @ray.remote(num_cpus=2)
    def after() -> str:
        return "ran"

    assert ray.get(after.remote(), timeout=30) == "ran"
    assert said.received() == []


@pytest.mark.row("4.26")
def test_recursive_reaches_calls_of_async_actors(new_gate: NewGate, new_channel: NewChannel) -> None:
    said = new_channel()

    @ray.remote(num_cpus=0)
    class Worker:
        async def work(self) -> None:
            said.send("working")
            try:
                await asyncio.sleep(600)  # sleep: it is the work that the test interrupts or overlaps
            except asyncio.CancelledError:
                said.send("cancelled")
                raise

        async def alive(self) -> bool:
            return True

    @ray.remote
    def parent(worker: Any) -> None:
        ray.get(worker.work.remote())

    worker = Worker.remote()
    ref = parent.remote(worker)
    assert said.receive() == "working"
    ray.cancel(ref)
    with pytest.raises(exceptions.TaskCancelledError):
        ray.get(ref, timeout=30)
    assert said.receive() == "cancelled"
    assert ray.get(worker.alive.remote()) is True


@pytest.mark.row("4.27")
@pytest.mark.parametrize("stage", ["running", "queued"])
def test_a_borrower_may_cancel(new_gate: NewGate, new_channel: NewChannel, stage: str) -> None:
    gate, said = new_gate(), new_channel()

    @ray.remote
    def run() -> None:
        said.send("started")
        gate.wait()

    @ray.remote(num_cpus=0)
    def cancel(refs: list[Any]) -> None:
        ray.cancel(refs[0])

    holders = occupy_both_cpus(gate) if stage == "queued" else []
    ref = run.remote()
    if stage == "running":
        assert said.receive() == "started"
    ray.get(cancel.remote([ref]))
    with pytest.raises(exceptions.TaskCancelledError):
        ray.get(ref, timeout=30)
    gate.open()
    ray.get(holders)
    assert said.received() == []


@pytest.mark.row("4.27")
def test_the_driver_may_cancel_what_a_task_submitted(new_gate: NewGate, new_channel: NewChannel) -> None:
    gate, said = new_gate(), new_channel()

    @ray.remote(num_cpus=0)
    def run() -> None:
        said.send("started")
        gate.wait()

    @ray.remote(num_cpus=0)
    def submit() -> list[Any]:
        return [run.remote()]

    (ref,) = ray.get(submit.remote())
    assert said.receive() == "started"
    ray.cancel(ref)
    with pytest.raises(exceptions.TaskCancelledError):
        ray.get(ref, timeout=30)


@pytest.mark.row("4.5", "4.24")
def test_the_consumer_of_a_cancelled_task_fails_without_running(new_gate: NewGate, new_channel: NewChannel) -> None:
    gate, said = new_gate(), new_channel()

    @ray.remote
    def run() -> int:
        said.send("started")
        gate.wait()
        return 1

    @ray.remote
    def consume(value: int) -> None:
        said.send("consumed")

    ref = run.remote()
    consumer = consume.remote(ref)
    assert said.receive() == "started"
    ray.cancel(ref)
    with pytest.raises(exceptions.TaskCancelledError):
        ray.get(consumer, timeout=30)
    assert said.received() == []


@pytest.mark.row("4.24", "1.43")
def test_a_task_may_ask_whether_it_is_cancelled() -> None:
    @ray.remote
    def ask() -> bool:
        return bool(ray.get_runtime_context().is_canceled())

    assert ray.get(ask.remote()) is False
    with pytest.raises(RuntimeError):
        ray.get_runtime_context().is_canceled()
