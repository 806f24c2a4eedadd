"""`kill`, `cancel`, `get_actor` and `exit_actor` as API calls; the depths are in test_actors_* and test_tasks_*."""

from __future__ import annotations

import os
from typing import Any

import pytest
from engine import exceptions, module, ray, wait_for

pytestmark = pytest.mark.usefixtures("cluster")


@ray.remote
class Actor:
    def pid(self) -> int:
        return os.getpid()

    def hold(self, channel: Any, gate: Any) -> str:
        channel.send("holding")
        gate.wait()
        return "held"

    def leave(self) -> None:
        module("actor").exit_actor()


@ray.remote
def passes() -> None:
    pass


@pytest.mark.row("1.32", "3.48")
def test_killed_actor_fails_pending_and_later_calls(new_gate: Any, new_channel: Any) -> None:
    actor, gate, channel = Actor.remote(), new_gate(), new_channel()
    pending = [actor.hold.remote(channel, gate), actor.pid.remote()]
    channel.receive()
    assert ray.kill(actor) is None
    for ref in pending:
        with pytest.raises(exceptions.ActorDiedError):
            ray.get(ref)
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(actor.pid.remote())


@pytest.mark.row("1.32")
def test_kill_needs_no_cooperation_and_skips_atexit(new_channel: Any) -> None:
    channel = new_channel()

    @ray.remote
    class Stubborn:
        def __init__(self) -> None:
            import atexit  # noqa: PLC0415 - inside the worker

            atexit.register(channel.send, "atexit ran")

        def __ray_shutdown__(self) -> None:
            channel.send("shutdown ran")

        def pid(self) -> int:
            return os.getpid()

    actor = Stubborn.remote()
    pid = ray.get(actor.pid.remote())
    ray.kill(actor)
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"), what="process gone")
    assert channel.received() == []


@pytest.mark.row("1.32")
@pytest.mark.parametrize("value", [None, "name", 5, Actor], ids=repr)
def test_kill_of_something_else_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="(?i)actor"):
        ray.kill(value)


@pytest.mark.row("1.32")
def test_kill_twice_is_harmless() -> None:
    actor = Actor.remote()
    ray.get(actor.pid.remote())
    ray.kill(actor)
    ray.kill(actor)


@pytest.mark.row("1.32", "2.25")
def test_kill_with_restart_uses_one_restart() -> None:
    actor = Actor.options(max_restarts=1, max_task_retries=-1).remote()
    first = ray.get(actor.pid.remote())
    ray.kill(actor, no_restart=False)
    second = wait_for(lambda: (pid := ray.get(actor.pid.remote())) != first and pid)
    assert second != first
    ray.kill(actor, no_restart=False)
    with pytest.raises(exceptions.ActorDiedError):
        wait_for(lambda: ray.get(actor.pid.remote()) != second)


@pytest.mark.row("1.32", "3.60")
def test_handle_of_an_earlier_session_is_not_found(fresh: Any) -> None:
    fresh()
    actor = Actor.remote()
    ray.get(actor.pid.remote())
    ray.shutdown()
    fresh()
    with pytest.raises(exceptions.ActorHandleNotFoundError) as caught:
        ray.kill(actor)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, exceptions.RayError)


@pytest.mark.row("1.33", "3.32", "4.23")
def test_cancel_of_a_queued_task_means_it_never_runs(new_gate: Any, new_channel: Any) -> None:
    gate, ran = new_gate(), new_channel()

    @ray.remote
    def blocks() -> None:
        gate.wait()

    @ray.remote
    def queued() -> None:
        ran.send("ran")

    blockers = [blocks.remote() for _ in range(2)]
    ref = queued.remote()
    assert ray.cancel(ref) is None
    with pytest.raises(exceptions.TaskCancelledError):
        ray.get(ref)
    gate.open()
    ray.get(blockers)
    assert ran.received() == []


@pytest.mark.row("1.33", "4.24")
def test_cancel_of_a_running_task_interrupts_it(new_gate: Any, new_channel: Any) -> None:
    gate, channel = new_gate(), new_channel()

    @ray.remote
    def runs() -> None:
        channel.send("running")
        gate.wait()

    ref = runs.remote()
    channel.receive()
    ray.cancel(ref)
    with pytest.raises(exceptions.TaskCancelledError) as caught:
        ray.get(ref)
    assert isinstance(caught.value, exceptions.RayError)


@pytest.mark.row("1.33", "4.25")
def test_cancel_by_force_ends_a_task_that_swallows_interrupts(new_gate: Any, new_channel: Any) -> None:
    gate, channel = new_gate(), new_channel()

    @ray.remote
    def stubborn() -> None:
        channel.send("running")
        while not gate.is_open():
            try:
                gate.wait()
            except KeyboardInterrupt:
                channel.send("swallowed")

    ref = stubborn.remote()
    channel.receive()
    ray.cancel(ref, force=True)
    with pytest.raises((exceptions.TaskCancelledError, exceptions.WorkerCrashedError)):
        ray.get(ref)


@pytest.mark.row("1.33")
def test_cancel_of_a_finished_task_changes_nothing() -> None:
    @ray.remote
    def quick() -> int:
        return 3

    ref = quick.remote()
    assert ray.get(ref) == 3
    ray.cancel(ref)
    assert ray.get(ref) == 3


@pytest.mark.row("1.33", "14.13")
def test_cancelled_tasks_are_not_retried(new_gate: Any, new_channel: Any) -> None:
    gate, channel = new_gate(), new_channel()

    @ray.remote(max_retries=5, retry_exceptions=True)
    def runs() -> None:
        channel.send("attempt")
        gate.wait()

    ref = runs.remote()
    channel.receive()
    ray.cancel(ref)
    with pytest.raises(exceptions.TaskCancelledError):
        ray.get(ref)
    ray.get([passes.remote() for _ in range(4)])  # what is submitted after a retry runs after it
    assert channel.received() == []


@pytest.mark.row("1.33")
@pytest.mark.parametrize("value", [None, "ref", 5, []], ids=repr)
def test_cancel_of_something_else_is_a_type_error(value: object) -> None:
    with pytest.raises(TypeError):
        ray.cancel(value)


@pytest.mark.row("1.33", "14.14")
def test_cancel_by_force_is_refused_for_actor_tasks(new_gate: Any, new_channel: Any) -> None:
    gate, channel = new_gate(), new_channel()
    ref = Actor.remote().hold.remote(channel, gate)
    channel.receive()
    with pytest.raises(ValueError, match="force"):
        ray.cancel(ref, force=True)
    gate.open()
    assert ray.get(ref) == "held"


@pytest.mark.row("1.33")
def test_cancel_of_a_generator(new_gate: Any) -> None:
    gate = new_gate()

    @ray.remote
    def items() -> Any:
        yield 1
        gate.wait()
        yield 2

    generator = items.remote()
    assert ray.get(next(generator)) == 1
    ray.cancel(generator)
    with pytest.raises(exceptions.TaskCancelledError):
        ray.get(next(generator))


@pytest.mark.row("1.34")
def test_get_actor_finds_by_name() -> None:
    actor = Actor.options(name="found").remote()
    found = ray.get_actor("found")
    assert found == actor
    assert ray.get(found.pid.remote()) == ray.get(actor.pid.remote())


@pytest.mark.row("1.34")
@pytest.mark.parametrize("name", ["", "nobody has this name"])
def test_get_actor_of_nobody_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="(?i)actor|name"):
        ray.get_actor(name)


@pytest.mark.row("1.34", "2.31")
def test_get_actor_in_another_namespace() -> None:
    actor = Actor.options(name="there", namespace="elsewhere").remote()
    with pytest.raises(ValueError, match="there"):
        ray.get_actor("there")
    assert ray.get_actor("there", namespace="elsewhere") == actor


@pytest.mark.row("1.34")
def test_a_name_is_free_again_after_death() -> None:
    actor = Actor.options(name="reused").remote()
    first = ray.get(actor.pid.remote())
    ray.kill(actor)

    def create_again() -> Any:
        try:
            return Actor.options(name="reused").remote()
        except ValueError:
            return None

    again = wait_for(create_again, what="name free again")
    assert ray.get(again.pid.remote()) != first


@pytest.mark.row("1.34", "14.17", "5.14")
def test_a_looked_up_handle_does_not_keep_the_actor_alive() -> None:
    actor = Actor.options(name="weak").remote()
    pid = ray.get(actor.pid.remote())
    weak = ray.get_actor("weak")
    assert ray.get(weak.pid.remote()) == pid
    del actor
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"), what="actor gone with its last strong handle")
    with pytest.raises(exceptions.RayActorError):
        ray.get(weak.pid.remote())


@pytest.mark.row("1.54", "5.27")
def test_exit_actor_ends_the_actor_on_purpose() -> None:
    actor = Actor.options(max_restarts=-1, max_task_retries=-1).remote()
    ray.get(actor.pid.remote())
    refs = [actor.leave.remote(), actor.pid.remote()]
    for ref in refs:
        with pytest.raises(exceptions.ActorDiedError):
            ray.get(ref)


@pytest.mark.row("1.54")
def test_exit_actor_runs_atexit(new_channel: Any) -> None:
    channel = new_channel()

    @ray.remote
    class Tidy:
        def __init__(self) -> None:
            import atexit  # noqa: PLC0415 - inside the worker

            atexit.register(channel.send, "atexit ran")

        def leave(self) -> None:
            module("actor").exit_actor()

    actor = Tidy.remote()
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(actor.leave.remote())
    assert channel.receive() == "atexit ran"


@pytest.mark.row("1.54")
def test_exit_actor_of_an_async_actor() -> None:
    @ray.remote
    class Asynchronous:
        async def leave(self) -> None:
            module("actor").exit_actor()

    with pytest.raises(exceptions.ActorDiedError):
        ray.get(Asynchronous.remote().leave.remote())


@pytest.mark.row("1.54")
def test_exit_actor_outside_an_actor_is_a_type_error() -> None:
    @ray.remote
    def task() -> None:
        module("actor").exit_actor()

    with pytest.raises(TypeError):
        module("actor").exit_actor()
    with pytest.raises(TypeError):
        ray.get(task.remote())


@pytest.mark.row("1.54")
def test_running_calls_finish_when_another_thread_of_the_actor_exits(new_gate: Any, new_channel: Any) -> None:
    gate, channel = new_gate(), new_channel()
    actor = Actor.options(max_concurrency=2).remote()
    running = actor.hold.remote(channel, gate)
    channel.receive()
    leaving = actor.leave.remote()
    gate.open()
    assert ray.get(running) == "held"
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(leaving)
