"""What the state API tells about tasks and actors in each stage of their life.

The usual oracle has no dashboard, so real Ray skips this file unless `LINCKIA_ORACLE_STATE_API=1` says that it was
installed as `ray[default]`. Linckia skips it for as long as it says that the state API is not in its version.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from engine import INIT_OPTIONS, IS_LINCKIA, exceptions, module, ray, wait_for
from gates import Channel, Gate
from tools_tasks import Tally, needs_state_api

pytestmark = [needs_state_api, pytest.mark.usefixtures("observed")]

NewGate = Callable[[], Gate]
NewChannel = Callable[[], Channel]


@pytest.fixture(scope="module")
def observed() -> Iterator[None]:
    ray.shutdown()
    context = ray.init(**(INIT_OPTIONS | {"include_dashboard": True}))
    if not IS_LINCKIA:  # Ray looks for any cluster of this machine otherwise, and there may be others
        api_address["address"] = f"http://{context.dashboard_url}"
    try:
        state_api("list_tasks")
        yield
    except NotImplementedError as error:
        pytest.skip(str(error))
    finally:
        ray.shutdown()


api_address: dict[str, str] = {}


def state_api(function: str, *args: Any, **options: Any) -> Any:
    return getattr(module("util.state"), function)(*args, **options, **api_address)


def tasks(name: str, **wanted: Any) -> list[Any]:
    """Records of all attempts of the tasks with this name, oldest first, once they are as `wanted`."""

    def look() -> list[Any]:
        found = state_api("list_tasks", filters=[("name", "=", name)], detail=True, limit=1000)
        found.sort(key=lambda record: (record.task_id, record.attempt_number))
        good = found and all(getattr(found[-1], key) == value for key, value in wanted.items())
        return list(found) if good else []

    return wait_for(look, what=f"a task {name} with {wanted}")


def actor_of(handle: Any, **wanted: Any) -> Any:
    """The record of an actor once it is as `wanted`."""

    def look() -> Any:
        record = state_api("get_actor", handle._actor_id.hex())
        good = record is not None and all(getattr(record, key) == value for key, value in wanted.items())
        return record if good else None

    return wait_for(look, what=f"an actor record with {wanted}")


@pytest.mark.row("4.1", "4.5")
def test_a_task_passes_through_its_states(new_gate: NewGate) -> None:
    argument_gate, gate = new_gate(), new_gate()

    @ray.remote(num_cpus=0)
    def argument() -> int:
        argument_gate.wait()
        return 1

    @ray.remote(num_cpus=2, name="watched")
    def watched(value: int) -> int:
        gate.wait()
        return value

    @ray.remote(num_cpus=2, name="behind")
    def behind() -> None: ...

    ref = watched.remote(argument.remote())
    tasks("watched", state="PENDING_ARGS_AVAIL")
    argument_gate.open()
    (record,) = tasks("watched", state="RUNNING")
    assert record.type == "NORMAL_TASK"
    assert record.attempt_number == 0
    assert record.worker_pid
    waiting = behind.remote()
    tasks("behind", state="PENDING_NODE_ASSIGNMENT")
    gate.open()
    assert ray.get(ref) == 1
    ray.get(waiting)
    (record,) = tasks("watched", state="FINISHED")
    assert record.start_time_ms <= record.end_time_ms
    assert record.task_id == ref.task_id().hex()
    tasks("behind", state="FINISHED")


@pytest.mark.row("4.1", "4.16")
def test_a_task_that_waits_for_another_counts_as_running(new_gate: NewGate) -> None:
    gate = new_gate()

    @ray.remote(name="child of get")
    def child() -> None:
        gate.wait()

    @ray.remote(name="blocked in get")
    def get() -> None:
        ray.get(child.remote())

    @ray.remote(name="blocked in wait")
    def wait() -> None:
        ray.wait([child.remote()])

    refs = [get.remote(), wait.remote()]
    tasks("child of get", state="RUNNING")
    # Ray's list says RUNNING; the finer states reach its metrics only.
    wait_for(lambda: tasks("blocked in get")[0].state in ("RUNNING", "RUNNING_IN_RAY_GET"))
    wait_for(lambda: tasks("blocked in wait")[0].state in ("RUNNING", "RUNNING_IN_RAY_WAIT"))
    gate.open()
    ray.get(refs)
    tasks("blocked in get", state="FINISHED")


@pytest.mark.row("4.2")
def test_every_record_has_its_type() -> None:
    @ray.remote
    class Typed:
        def method(self) -> None: ...

    actor = Typed.remote()
    ray.get(actor.method.remote())
    (creation,) = tasks("Typed.__init__", state="FINISHED")
    (method,) = tasks("Typed.method", state="FINISHED")
    assert (creation.type, method.type) == ("ACTOR_CREATION_TASK", "ACTOR_TASK")
    assert creation.actor_id == method.actor_id == actor._actor_id.hex()


@pytest.mark.row("4.1", "3.65")
def test_failures_carry_their_reason() -> None:
    @ray.remote(name="raises", max_retries=0)
    def raises() -> None:
        raise ValueError("the reason")

    @ray.remote(name="crashes", max_retries=0)
    def crashes() -> None:
        os._exit(1)

    @ray.remote(name="cancelled", resources={"unobtainium": 1})
    def cancelled() -> None: ...

    with pytest.raises(ValueError, match="the reason"):
        ray.get(raises.remote())
    with pytest.raises(exceptions.WorkerCrashedError):
        ray.get(crashes.remote())
    ref = cancelled.remote()
    ray.cancel(ref)
    with pytest.raises(exceptions.TaskCancelledError):
        ray.get(ref)
    (record,) = tasks("raises", state="FAILED")
    assert record.error_type == "TASK_EXECUTION_EXCEPTION"
    assert "the reason" in record.error_message
    assert tasks("crashes", state="FAILED")[0].error_type == "WORKER_DIED"
    assert tasks("cancelled", state="FAILED")[0].error_type == "TASK_CANCELLED"


@pytest.mark.row("4.18")
def test_each_attempt_has_its_own_record(tmp_path: Path) -> None:
    tally = Tally(tmp_path / "tally")

    @ray.remote(name="attempts", max_retries=3)
    def crash_twice() -> int:
        number = tally.add()
        if number < 3:
            os._exit(1)
        return number

    assert ray.get(crash_twice.remote()) == 3
    tasks("attempts", state="FINISHED")
    wait_for(lambda: len(tasks("attempts")) == 3)
    records = tasks("attempts")
    assert [record.attempt_number for record in records] == [0, 1, 2]
    assert [record.state for record in records] == ["FAILED", "FAILED", "FINISHED"]
    assert len({record.task_id for record in records}) == 1


@pytest.mark.row("2.17")
def test_task_events_may_be_switched_off() -> None:
    @ray.remote(name="hidden", enable_task_events=False)
    def hidden() -> None: ...

    @ray.remote(name="shown")
    def shown() -> None: ...

    ray.get([hidden.remote(), shown.remote()])
    tasks("shown", state="FINISHED")
    assert state_api("list_tasks", filters=[("name", "=", "hidden")]) == []


@pytest.mark.row("5.1", "5.35")
def test_an_actor_passes_through_its_states(new_gate: NewGate, new_channel: NewChannel) -> None:
    argument_gate, constructor_gate, said = new_gate(), new_gate(), new_channel()

    @ray.remote(num_cpus=0)
    def argument() -> int:
        argument_gate.wait()
        return 1

    @ray.remote(max_restarts=1)
    class Watched:
        def __init__(self, value: int) -> None:
            said.send(os.getpid())
            constructor_gate.wait()

        def __repr__(self) -> str:
            return "shown in the state API"

        def ping(self) -> str:
            return "pong"

    actor = Watched.options(name="watched actor").remote(argument.remote())
    record = actor_of(actor, state="DEPENDENCIES_UNREADY")
    assert record.class_name.endswith("Watched")
    assert record.name == "watched actor"
    argument_gate.open()
    actor_of(actor, state="PENDING_CREATION")
    first = int(said.receive())
    constructor_gate.open()
    record = actor_of(actor, state="ALIVE")
    assert record.pid == first
    assert record.repr_name == "shown in the state API"
    os.kill(first, signal.SIGKILL)
    second = int(said.receive(timeout_s=40))
    actor_of(actor, state="ALIVE", pid=second)
    os.kill(second, signal.SIGKILL)
    record = actor_of(actor, state="DEAD")
    assert "died" in str(record.death_cause)


@pytest.mark.row("5.35", "5.27")
def test_the_death_of_an_actor_names_its_cause() -> None:
    @ray.remote
    class Leaves:
        def leave(self) -> None:
            ray.actor.exit_actor()

        def ping(self) -> None: ...

    @ray.remote
    class Broken:
        def __init__(self) -> None:
            raise ValueError("complaint of the constructor")

    left, killed, broken = Leaves.remote(), Leaves.remote(), Broken.remote()
    with pytest.raises(exceptions.RayActorError):
        ray.get(left.leave.remote())
    ray.get(killed.ping.remote())
    ray.kill(killed)
    assert "exit_actor" in str(actor_of(left, state="DEAD").death_cause)
    assert "ray.kill" in str(actor_of(killed, state="DEAD").death_cause)
    assert "complaint of the constructor" in str(actor_of(broken, state="DEAD").death_cause)


@pytest.mark.row("5.27")
def test_workers_say_how_they_ended() -> None:
    @ray.remote
    class Leaves:
        def pid(self) -> int:
            return os.getpid()

        def leave(self) -> None:
            ray.actor.exit_actor()

    leaves, crashed = Leaves.remote(), Leaves.remote()
    left_pid, crashed_pid = ray.get([leaves.pid.remote(), crashed.pid.remote()])
    leaves.leave.remote()
    os.kill(crashed_pid, signal.SIGKILL)

    def exit_type(pid: int) -> Any:
        workers = state_api("list_workers", filters=[("pid", "=", pid)], detail=True)
        return workers[0].exit_type if workers and not workers[0].is_alive else None

    assert wait_for(lambda: exit_type(left_pid)) == "INTENDED_USER_EXIT"
    assert wait_for(lambda: exit_type(crashed_pid)) == "SYSTEM_ERROR"
