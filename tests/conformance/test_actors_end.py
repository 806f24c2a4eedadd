"""The ways an actor or one of its calls ends on request: cancel, exit, terminate, kill."""

from __future__ import annotations

import asyncio
import atexit
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engine import IS_LINCKIA, exceptions, ray
from gates import Channel, Gate
from tools_tasks import LEFT, Tally, wait_gone

pytestmark = pytest.mark.usefixtures("cluster")

NewGate = Callable[[], Gate]
NewChannel = Callable[[], Channel]


@ray.remote
class Worker:
    """Says what happens to it."""

    def __init__(self, said: Channel) -> None:
        self.said = said
        atexit.register(lambda: said.send("atexit"))

    def __ray_shutdown__(self) -> None:
        self.said.send("shutdown")

    def pid(self) -> int:
        return os.getpid()

    def ping(self, line: str = "") -> str:
        if line:
            self.said.send(line)
        return "pong"

    def hold(self, gate: Gate) -> str:
        self.said.send("held")
        gate.wait()
        return "released"

    def large(self, gate: Gate) -> bytes:
        self.said.send("large")
        gate.wait()
        return bytes(10 * 2**20)

    def run_until_told(self, patience_s: float = 30.0) -> str:
        self.said.send("running")
        deadline = time.monotonic() + patience_s
        try:
            while not ray.get_runtime_context().is_canceled() and time.monotonic() < deadline:
                time.sleep(0.005)  # sleep: it is the work that the test interrupts or overlaps
        except BaseException as error:
            self.said.send(f"interrupted by {error!r}")
            raise
        self.said.send(f"is_canceled: {ray.get_runtime_context().is_canceled()}")
        return "ended by itself"

    def leave(self, way: str) -> None:
        if way == "exit_actor":
            ray.actor.exit_actor()
        elif way == "sys.exit":
            sys.exit(0)
        os._exit(1)


@ray.remote
class Async:
    def __init__(self, said: Channel) -> None:
        self.said = said
        self.event = asyncio.Event()

    async def sleep(self, swallow: bool = False) -> str:
        self.said.send("sleeping")
        try:
            await asyncio.sleep(600)  # sleep: it is the work that the test interrupts or overlaps
        except asyncio.CancelledError:
            self.said.send("cancelled")
            if not swallow:
                raise
        return "slept"

    async def wait(self) -> str:
        self.said.send("waiting")
        await self.event.wait()
        return "waited"

    async def release(self) -> None:
        self.event.set()

    async def is_canceled(self) -> bool:
        return bool(ray.get_runtime_context().is_canceled())

    async def leave(self) -> None:
        ray.actor.exit_actor()

    async def leave_then_release(self) -> None:
        asyncio.get_running_loop().call_later(0.05, self.event.set)
        ray.actor.exit_actor()

    async def pid(self) -> int:
        return os.getpid()


# ------------------------------------------------------------------------------------------------------ cancel


@pytest.mark.row("5.26", "14.14", "1.43")
@pytest.mark.parametrize("max_concurrency", [1, 2])
def test_a_running_sync_call_is_only_told_that_it_is_cancelled(new_channel: NewChannel, max_concurrency: int) -> None:
    said = new_channel()
    worker = Worker.options(max_concurrency=max_concurrency).remote(said)
    ref = worker.run_until_told.remote()
    assert said.receive() == "running"
    if max_concurrency > 1:
        assert ray.get(worker.ping.remote()) == "pong", "the other thread is free"
    ray.cancel(ref)
    assert said.receive() == "is_canceled: True"
    with pytest.raises(exceptions.TaskCancelledError):
        ray.get(ref)
    assert ray.get(worker.ping.remote()) == "pong"
    again = worker.run_until_told.remote(0.0)
    assert ray.get(again) == "ended by itself"
    assert said.receive_many(2) == ["running", "is_canceled: False"], "the flag belongs to one call"


@pytest.mark.row("5.26", "3.4")
def test_a_large_result_of_a_cancelled_call_takes_no_memory(new_gate: NewGate, new_channel: NewChannel) -> None:
    gate, said = new_gate(), new_channel()
    worker = Worker.remote(said)
    before = ray.get(worker.ping.remote()) and ray.available_resources()["object_store_memory"]
    ref = worker.large.remote(gate)
    assert said.receive() == "large"
    ray.cancel(ref)
    gate.open()
    with pytest.raises(exceptions.TaskCancelledError):
        ray.get(ref, timeout=30)
    until_store_holds(before)


def until_store_holds(free_bytes: float) -> None:
    deadline_s = time.monotonic() + 30
    while (now := ray.available_resources()["object_store_memory"]) != free_bytes:
        assert time.monotonic() < deadline_s, f"memory of results is not free again: {free_bytes - now:.0f} bytes"
        time.sleep(0.02)  # sleep: the view of a cluster has no event for its users


@ray.remote
class Loop:
    """An async actor: its answers leave at the end of the event loop's turn, results are in the store before."""

    async def ping(self) -> str:
        return "pong"

    async def large(self) -> bytes:
        return bytes(2**20)

    async def crash(self) -> None:
        os._exit(1)


@pytest.mark.row("3.4", "5.13")
@pytest.mark.parametrize("restarts", [0, 1])
def test_a_result_whose_process_died_before_it_could_answer_takes_no_memory(restarts: int) -> None:
    loop = Loop.options(max_restarts=restarts).remote()
    before = ray.get(loop.ping.remote()) and ray.available_resources()["object_store_memory"]
    refs = [*(loop.large.remote() for _ in range(5)), loop.crash.remote()]
    with pytest.raises(exceptions.RayActorError):
        ray.get(refs[-1], timeout=30)
    del refs
    until_store_holds(before)


@pytest.mark.row("5.26")
def test_a_queued_call_of_a_plain_actor_is_cancelled(new_gate: NewGate, new_channel: NewChannel) -> None:
    gate, said = new_gate(), new_channel()
    worker = Worker.remote(said)
    held = worker.hold.remote(gate)
    assert said.receive() == "held"
    queued, after = worker.ping.remote("queued ran"), worker.ping.remote()
    ray.cancel(queued)
    if IS_LINCKIA:
        with pytest.raises(exceptions.TaskCancelledError):
            ray.get(queued, timeout=10)
    gate.open()
    assert ray.get(held) == "released"
    with pytest.raises(exceptions.TaskCancelledError):
        ray.get(queued, timeout=30)
    if IS_LINCKIA:  # on Ray the call may run all the same, or leave a gap that fails the calls behind it after 30 s
        assert ray.get(after) == "pong"
        assert said.received() == []


@pytest.mark.row("5.26")
def test_a_call_waiting_for_its_argument_is_cancelled_and_the_next_runs(
    new_gate: NewGate, new_channel: NewChannel
) -> None:
    gate, said = new_gate(), new_channel()

    @ray.remote(num_cpus=0)
    def later() -> str:
        gate.wait()
        return "ran"

    worker = Worker.remote(said)
    ray.get(worker.ping.remote())
    waiting, behind = worker.ping.remote(later.remote()), worker.ping.remote()
    ray.cancel(waiting)
    with pytest.raises(exceptions.TaskCancelledError):
        ray.get(waiting, timeout=20)
    if IS_LINCKIA:  # Ray waits 30 s for the missing sequence number, then fails the calls behind it
        assert ray.get(behind, timeout=20) == "pong"
    gate.open()
    assert said.received() == []


@pytest.mark.row("5.26", "14.14")
@pytest.mark.parametrize("swallow", [False, True])
def test_a_running_async_call_gets_an_asyncio_cancel(new_channel: NewChannel, swallow: bool) -> None:
    said = new_channel()
    actor = Async.remote(said)
    ref, other = actor.sleep.remote(swallow), actor.wait.remote()
    assert sorted(said.receive_many(2)) == ["sleeping", "waiting"]
    ray.cancel(ref)
    with pytest.raises(exceptions.TaskCancelledError):
        ray.get(ref, timeout=30)
    assert said.receive() == "cancelled"
    ray.get(actor.release.remote())
    assert ray.get(other) == "waited", "the other call goes on"


@pytest.mark.row("5.26", "14.14")
def test_force_is_refused_for_actor_calls(new_gate: NewGate, new_channel: NewChannel) -> None:
    gate, said = new_gate(), new_channel()
    worker = Worker.remote(said)
    ref = worker.hold.remote(gate)
    assert said.receive() == "held"
    with pytest.raises(ValueError, match="force"):
        ray.cancel(ref, force=True)
    gate.open()
    assert ray.get(ref) == "released"


@pytest.mark.row("5.26", "1.43")
def test_is_canceled_is_not_for_async_actors(new_channel: NewChannel) -> None:
    with pytest.raises(RuntimeError):
        ray.get(Async.remote(new_channel()).is_canceled.remote())


@pytest.mark.row("5.26")
def test_cancelling_a_finished_call_changes_nothing(new_channel: NewChannel) -> None:
    worker = Worker.remote(new_channel())
    ref = worker.ping.remote()
    assert ray.get(ref) == "pong"
    ray.cancel(ref)
    assert ray.get(ref) == "pong"
    assert ray.get(worker.ping.remote()) == "pong"


# -------------------------------------------------------------------------------------------- leaving by itself


@pytest.mark.row("5.27", "1.54", "5.19", "14.19")
@pytest.mark.parametrize("way", ["exit_actor", "sys.exit"])
@pytest.mark.parametrize("max_restarts", [0, 3])
def test_leaving_on_purpose_is_final(new_gate: NewGate, new_channel: NewChannel, way: str, max_restarts: int) -> None:
    gate, said = new_gate(), new_channel()
    worker = Worker.options(max_restarts=max_restarts, max_task_retries=2).remote(said)
    pid = ray.get(worker.pid.remote())
    held = worker.hold.remote(gate)
    leaving = worker.leave.remote(way)
    queued = worker.ping.remote("ran after leaving")
    assert said.receive() == "held"
    gate.open()
    assert ray.get(held) == "released", "earlier calls finish"
    for ref in (leaving, queued, worker.ping.remote()):
        with pytest.raises(LEFT):
            ray.get(ref, timeout=40)
    wait_gone(pid)
    assert said.received() == ["shutdown", "atexit"]


@pytest.mark.row("1.54")
def test_exit_actor_is_for_actors_only() -> None:
    @ray.remote
    def leave() -> None:
        ray.actor.exit_actor()

    with pytest.raises(TypeError):
        ray.actor.exit_actor()
    with pytest.raises(TypeError):
        ray.get(leave.remote())


@pytest.mark.row("1.54", "5.27")
def test_exit_actor_unwinds_the_stack_it_is_called_from(new_channel: NewChannel) -> None:
    @ray.remote
    class Nested:
        def leave(self) -> None:
            try:
                self._really_leave()
            finally:
                said.send("finally")

        def _really_leave(self) -> None:
            ray.actor.exit_actor()

    said = new_channel()
    with pytest.raises(LEFT):
        ray.get(Nested.remote().leave.remote(), timeout=40)
    assert said.receive() == "finally"


@pytest.mark.row("1.54", "5.27", "5.8")
def test_exit_actor_in_an_async_actor_lets_running_calls_finish(new_channel: NewChannel) -> None:
    said = new_channel()
    actor = Async.options(max_restarts=2).remote(said)
    pid = ray.get(actor.pid.remote())
    waiting = actor.wait.remote()
    assert said.receive() == "waiting"
    leaving = actor.leave_then_release.remote()
    assert ray.get(waiting, timeout=40) == "waited"
    with pytest.raises(LEFT):
        ray.get(leaving, timeout=40)
    wait_gone(pid)
    with pytest.raises(LEFT):
        ray.get(actor.pid.remote(), timeout=40)


@pytest.mark.row("5.28", "1.22")
def test_terminate_waits_its_turn(new_gate: NewGate, new_channel: NewChannel) -> None:
    gate, said = new_gate(), new_channel()
    worker = Worker.options(max_restarts=3).remote(said)
    pid = ray.get(worker.pid.remote())
    earlier = [worker.hold.remote(gate), worker.ping.remote("second")]
    terminating = worker.__ray_terminate__.remote()
    later = worker.ping.remote("never")
    assert said.receive() == "held"
    gate.open()
    assert ray.get(earlier) == ["released", "pong"]
    for ref in (terminating, later):
        with pytest.raises(LEFT):
            ray.get(ref, timeout=40)
    wait_gone(pid)
    assert said.received() == ["second", "shutdown", "atexit"]


@pytest.mark.row("5.28", "5.8")
def test_terminate_of_an_async_actor(new_channel: NewChannel) -> None:
    actor = Async.remote(new_channel())
    pid = ray.get(actor.pid.remote())
    earlier = actor.pid.remote()
    actor.__ray_terminate__.remote()
    assert ray.get(earlier) == pid
    wait_gone(pid)


# -------------------------------------------------------------------------------------------------------- kill


@pytest.mark.row("1.32", "5.19", "14.20")
def test_kill_is_immediate_and_runs_no_farewell(new_gate: NewGate, new_channel: NewChannel) -> None:
    gate, said = new_gate(), new_channel()
    worker = Worker.options(max_restarts=3, max_task_retries=3).remote(said)
    pid = ray.get(worker.pid.remote())
    held, queued = worker.hold.remote(gate), worker.ping.remote("queued")
    assert said.receive() == "held"
    ray.kill(worker)
    for ref in (held, queued, worker.ping.remote()):
        with pytest.raises(exceptions.ActorDiedError) as caught:
            ray.get(ref, timeout=40)
        assert "Worker" in str(caught.value)
    wait_gone(pid)
    assert said.received() == []
    ray.kill(worker)


@pytest.mark.row("1.32", "5.18")
def test_kill_with_restart_uses_up_a_restart(new_channel: NewChannel) -> None:
    said = new_channel()
    worker = Worker.options(max_restarts=1, max_task_retries=-1).remote(said)
    first = ray.get(worker.pid.remote())
    ray.kill(worker, no_restart=False)
    wait_gone(first)
    second = ray.get(worker.pid.remote(), timeout=40)
    assert second != first
    ray.kill(worker, no_restart=False)
    wait_gone(second)
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(worker.pid.remote(), timeout=40)
    assert said.received() == []


@pytest.mark.row("5.29", "3.48")
def test_an_actor_killed_before_it_started_never_starts(new_channel: NewChannel) -> None:
    said = new_channel()
    occupant = Worker.options(num_cpus=2).remote(said)
    ray.get(occupant.ping.remote())

    @ray.remote(num_cpus=1)
    class Pending:
        def __init__(self) -> None:
            said.send("started")

        def ping(self) -> None: ...

    pending = Pending.remote()
    ref = pending.ping.remote()
    ray.kill(pending)
    with pytest.raises(exceptions.ActorDiedError, match="never ran"):
        ray.get(ref, timeout=40)
    ray.kill(occupant)

    @ray.remote(num_cpus=2)
    def after() -> str:
        return "ran"

    assert ray.get(after.remote(), timeout=40) == "ran"
    assert said.received() == []


@pytest.mark.row("5.29", "1.32")
def test_an_actor_killed_in_its_constructor(new_gate: NewGate, new_channel: NewChannel) -> None:
    gate, said = new_gate(), new_channel()

    @ray.remote
    class Slow:
        def __init__(self) -> None:
            said.send(os.getpid())
            gate.wait()

        def ping(self) -> None: ...

    slow = Slow.remote()
    ref = slow.ping.remote()
    pid = said.receive()
    ray.kill(slow)
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(ref, timeout=40)
    wait_gone(pid)


@pytest.mark.row("1.32")
def test_kill_from_another_process_and_with_a_looked_up_handle(new_channel: NewChannel) -> None:
    @ray.remote
    def kill(handle: Any) -> None:
        ray.kill(handle)

    worker = Worker.options(name="to be killed").remote(new_channel())
    pid = ray.get(worker.pid.remote())
    ray.get(kill.remote(ray.get_actor("to be killed")))
    wait_gone(pid)
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(worker.ping.remote(), timeout=40)


@pytest.mark.row("1.32")
@pytest.mark.parametrize("wrong", [None, "name", 5])
def test_kill_refuses_what_is_no_handle(wrong: Any) -> None:
    with pytest.raises(ValueError):
        ray.kill(wrong)


@pytest.mark.row("5.19", "5.26", "7.21")
def test_processes_started_by_a_killed_actor_end_with_it() -> None:
    @ray.remote
    class Parent:
        def start(self) -> int:
            self.child = subprocess.Popen(["sleep", "600"])
            return self.child.pid

    parent = Parent.remote()
    pid = ray.get(parent.start.remote())
    ray.kill(parent)
    wait_gone(pid)


@pytest.mark.row("7.3", "5.23")
def test_a_call_is_executed_at_most_once_by_default(new_channel: NewChannel, tmp_path: Path) -> None:
    tally = Tally(tmp_path / "tally")

    @ray.remote(max_restarts=2)
    class Crashing:
        def crash(self) -> None:
            tally.add()
            os._exit(1)

    with pytest.raises(exceptions.RayActorError):
        ray.get(Crashing.remote().crash.remote(), timeout=40)
    assert tally.count() == 1
