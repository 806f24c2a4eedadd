"""What actor options do at run time: lifetime resources, names, restarts, concurrency, limits of pending calls."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any

import pytest
from engine import exceptions, ray, wait_for

pytestmark = pytest.mark.usefixtures("cluster")


@ray.remote
class Actor:
    def __init__(self, value: Any = None) -> None:
        self.value = value

    def get(self) -> Any:
        return self.value

    def pid(self) -> int:
        return os.getpid()

    def die(self) -> None:
        os._exit(1)

    def hold(self, channel: Any, gate: Any, value: Any = None) -> Any:
        channel.send(value)
        gate.wait()
        return value


@pytest.mark.row("2.2", "14.1")
def test_default_actors_hold_no_cpu() -> None:
    actors = [Actor.remote(i) for i in range(5)]
    assert ray.get([actor.get.remote() for actor in actors]) == list(range(5))
    wait_for(lambda: ray.available_resources().get("CPU") == 2.0)


@pytest.mark.row("2.2", "14.1")
def test_a_default_actor_starts_on_a_full_node(new_gate: Any, new_channel: Any) -> None:
    gate, channel = new_gate(), new_channel()
    holders = [Actor.options(num_cpus=1).remote() for _ in range(2)]
    refs = [holder.hold.remote(channel, gate) for holder in holders]
    channel.receive_many(2)
    assert ray.get(Actor.remote("started").get.remote()) == "started"
    gate.open()
    ray.get(refs)


@pytest.mark.row("2.2")
def test_an_explicit_cpu_is_held_for_life() -> None:
    actor = Actor.options(num_cpus=2).remote()
    ray.get(actor.pid.remote())
    wait_for(lambda: "CPU" not in ray.available_resources())
    ray.kill(actor)
    wait_for(lambda: ray.available_resources().get("CPU") == 2.0)


@pytest.mark.row("2.2", "14.1")
def test_any_other_resource_makes_the_actor_hold_one_cpu(fresh: Any) -> None:
    fresh(resources={"disk": 1}, num_gpus=1, _memory=10**9)

    @ray.remote
    class Asks:
        def granted(self) -> Any:
            return ray.get_runtime_context().get_assigned_resources()

    def granted(**options: Any) -> Any:
        actor = Asks.options(**options).remote()
        result = ray.get(actor.granted.remote())
        del actor
        wait_for(lambda: ray.available_resources().get("CPU") == 2.0)
        return result

    assert granted(resources={"disk": 0.5}) == {"CPU": 1, "disk": 0.5}
    assert granted(num_gpus=1) == {"CPU": 1, "GPU": 1}
    assert granted(num_gpus=0.5, num_cpus=0) == {"GPU": 0.5}
    assert granted(memory=10**6) == {"memory": 10**6}


@pytest.mark.row("2.2", "14.1")
def test_a_default_actor_waits_on_a_node_without_cpus_and_an_explicit_zero_runs(fresh: Any) -> None:
    fresh(num_cpus=0)
    waiting = Actor.remote("default").get.remote()
    assert ray.get(Actor.options(num_cpus=0).remote("zero").get.remote()) == "zero"
    assert ray.wait([waiting], timeout=0.2) == ([], [waiting])


@pytest.mark.row("2.25", "5.18")
def test_a_crashed_actor_is_restarted_with_its_first_arguments() -> None:
    actor = Actor.options(max_restarts=1, max_task_retries=1).remote("original")
    before = ray.get(actor.pid.remote())
    actor.die.options(max_task_retries=0).remote()
    assert wait_for(lambda: ray.get(actor.pid.remote()) != before)
    assert ray.get(actor.get.remote()) == "original"


@pytest.mark.row("2.25", "5.25")
def test_restarts_run_out() -> None:
    actor = Actor.options(max_restarts=0).remote()
    with pytest.raises(exceptions.RayActorError):
        ray.get(actor.die.remote())
    with pytest.raises(exceptions.ActorDiedError):
        wait_for(lambda: ray.get(actor.pid.remote()) is None)


@pytest.mark.row("2.26", "14.20", "5.24")
def test_precedence_of_task_retries(new_channel: Any) -> None:
    channel = new_channel()

    @ray.remote(max_task_retries=1)
    class Fails:
        @ray.method(retry_exceptions=True)
        def by_class(self) -> None:
            channel.send("attempt")
            raise ValueError

        @ray.method(max_task_retries=2, retry_exceptions=True)
        def by_method(self) -> None:
            channel.send("attempt")
            raise ValueError

    def attempts(method: Any) -> int:
        with pytest.raises(ValueError):
            ray.get(method.remote())
        return len(channel.received())

    assert attempts(Fails.remote().by_class) == 2
    assert attempts(Fails.options(max_task_retries=0).remote().by_class) == 1
    assert attempts(Fails.remote().by_method) == 3
    assert attempts(Fails.options(max_task_retries=0).remote().by_method) == 3
    assert attempts(Fails.remote().by_method.options(max_task_retries=0)) == 1


@pytest.mark.row("2.26", "5.24")
def test_application_errors_of_methods_are_retried_when_allowed(new_channel: Any) -> None:
    channel = new_channel()

    @ray.remote
    class Fails:
        @ray.method(max_task_retries=2, retry_exceptions=[ValueError])
        def fails(self, kind: type[Exception]) -> None:
            channel.send("attempt")
            raise kind("each time")

    actor = Fails.remote()
    with pytest.raises(ValueError, match="each time"):
        ray.get(actor.fails.remote(ValueError))
    assert len(channel.received()) == 3
    with pytest.raises(KeyError):
        ray.get(actor.fails.remote(KeyError))
    assert len(channel.received()) == 1


@pytest.mark.row("2.27")
def test_plain_actors_run_one_call_at_a_time() -> None:
    @ray.remote
    class Watches:
        running = 0
        most = 0

        def enter(self) -> int:
            self.running += 1
            self.most = max(self.most, self.running)
            os.sched_yield()
            self.running -= 1
            return self.most

    actor = Watches.remote()
    assert ray.get([actor.enter.remote() for _ in range(50)]) == [1] * 50


@pytest.mark.row("2.27", "5.9")
def test_threaded_actors_run_several_calls_at_once() -> None:
    @ray.remote(max_concurrency=3)
    class Threaded:
        def __init__(self) -> None:
            self.barrier = threading.Barrier(3)

        def meet(self) -> int:
            return self.barrier.wait(timeout=30)

    actor = Threaded.remote()
    assert sorted(ray.get([actor.meet.remote() for _ in range(3)])) == [0, 1, 2]


@pytest.mark.row("2.27")
def test_threads_are_limited_to_max_concurrency(new_gate: Any, new_channel: Any) -> None:
    gate, channel = new_gate(), new_channel()
    actor = Actor.options(max_concurrency=2).remote()
    refs = [actor.hold.remote(channel, gate, i) for i in range(3)]
    assert len(channel.receive_many(2)) == 2
    assert ray.wait(refs, timeout=0.2) == ([], refs)
    assert channel.received() == []
    gate.open()
    assert ray.get(refs) == [0, 1, 2]


@pytest.mark.row("2.27", "14.16")
def test_async_actors_run_many_calls_at_once() -> None:
    @ray.remote
    class Asynchronous:
        def __init__(self) -> None:
            self.here = 0
            self.full = asyncio.Event()

        async def meet(self, size: int) -> int:
            self.here += 1
            if self.here == size:
                self.full.set()
            await self.full.wait()
            return self.here

    actor = Asynchronous.remote()
    assert ray.get([actor.meet.remote(100) for _ in range(100)]) == [100] * 100


@pytest.mark.row("2.27")
def test_async_concurrency_can_be_limited(new_channel: Any) -> None:
    channel = new_channel()

    @ray.remote(max_concurrency=2)
    class Asynchronous:
        def __init__(self) -> None:
            self.open = asyncio.Event()

        async def enter(self) -> None:
            channel.send("in")
            await self.open.wait()

    actor = Asynchronous.remote()
    refs = [actor.enter.remote() for _ in range(3)]
    channel.receive_many(2)
    assert ray.wait(refs, timeout=0.2) == ([], refs)
    assert channel.received() == []
    ray.kill(actor)


@pytest.mark.row("2.28", "5.10")
def test_concurrency_groups_do_not_block_each_other(new_gate: Any, new_channel: Any) -> None:
    gate, channel = new_gate(), new_channel()

    @ray.remote(concurrency_groups={"io": 1, "compute": 1})
    class Grouped:
        @ray.method(concurrency_group="io")
        def hold(self) -> str:
            channel.send("holding")
            gate.wait()
            return "io"

        @ray.method(concurrency_group="compute")
        def compute(self) -> str:
            return "compute"

        def default(self) -> str:
            return "default"

    actor = Grouped.remote()
    held = actor.hold.remote()
    channel.receive()
    assert ray.get([actor.compute.remote(), actor.default.remote()]) == ["compute", "default"]
    moved = actor.default.options(concurrency_group="io").remote()
    assert ray.wait([moved], timeout=0.1) == ([], [moved])
    gate.open()
    assert ray.get([held, moved]) == ["io", "default"]


@pytest.mark.row("2.29", "3.55")
def test_too_many_pending_calls_are_refused_in_the_caller(new_gate: Any, new_channel: Any) -> None:
    gate, channel = new_gate(), new_channel()
    actor = Actor.options(max_pending_calls=3).remote()
    refs = [actor.hold.remote(channel, gate, i) for i in range(3)]
    channel.receive()
    with pytest.raises(exceptions.PendingCallsLimitExceeded) as caught:
        actor.get.remote()
    assert isinstance(caught.value, exceptions.RayError)
    gate.open()
    assert ray.get(refs) == [0, 1, 2]
    assert ray.get(actor.get.remote()) is None


@pytest.mark.row("2.30", "3.59")
def test_a_taken_name_is_refused() -> None:
    actor = Actor.options(name="taken").remote()
    with pytest.raises(exceptions.ActorAlreadyExistsError) as caught:
        Actor.options(name="taken").remote()
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, exceptions.RayError)
    assert "taken" in str(caught.value)
    assert Actor.options(name="taken", namespace="another place").remote() != actor


@pytest.mark.row("2.31")
def test_a_named_actor_is_found_in_its_namespace_from_a_task() -> None:
    actor = Actor.options(name="shared", namespace="common").remote("value")

    @ray.remote
    def find() -> Any:
        return ray.get(ray.get_actor("shared", namespace="common").get.remote())

    assert ray.get(find.remote()) == "value"
    ray.kill(actor)


@pytest.mark.row("2.32", "5.30")
def test_get_if_exists_ignores_the_arguments_of_the_second() -> None:
    options = {"name": "get or create", "get_if_exists": True}
    first = Actor.options(**options).remote("first")
    second = Actor.options(**options).remote("second")
    assert first == second
    assert ray.get(second.get.remote()) == "first"


@pytest.mark.row("2.32", "14.23")
def test_get_if_exists_survives_a_race() -> None:
    @ray.remote(num_cpus=0)
    def create(value: int) -> Any:
        actor = Actor.options(name="raced", get_if_exists=True, lifetime="detached").remote(value)
        return ray.get([actor.pid.remote(), actor.get.remote()])

    results = ray.get([create.remote(i) for i in range(6)])
    assert len({tuple(result) for result in results}) == 1
    ray.kill(ray.get_actor("raced"))


@pytest.mark.row("2.33", "14.18")
def test_a_detached_actor_outlives_its_creator_and_a_plain_one_does_not() -> None:
    @ray.remote
    def create() -> list[int]:
        actors = [
            Actor.options(name="kept", lifetime="detached").remote(),
            Actor.options(name="lost", lifetime="non_detached").remote(),
        ]
        pids: list[int] = ray.get([actor.pid.remote() for actor in actors])
        return pids

    kept, lost = ray.get(create.remote())
    wait_for(lambda: not os.path.exists(f"/proc/{lost}"), what="plain actor gone")
    assert ray.get(ray.get_actor("kept").pid.remote()) == kept
    ray.kill(ray.get_actor("kept"))


@pytest.mark.row("2.34", "14.15")
def test_calls_of_a_plain_actor_keep_their_order() -> None:
    @ray.remote
    class Log:
        def __init__(self) -> None:
            self.seen: list[int] = []

        def add(self, item: int) -> None:
            self.seen.append(item)

        def read(self) -> list[int]:
            return self.seen

    log = Log.remote()
    for item in range(200):
        log.add.remote(item)
    assert ray.get(log.read.remote()) == list(range(200))


@pytest.mark.row("2.34", "5.6")
def test_out_of_order_execution_lets_ready_calls_overtake(new_gate: Any) -> None:
    gate = new_gate()

    @ray.remote
    def late() -> str:
        gate.wait()
        return "late"

    @ray.remote(allow_out_of_order_execution=True)
    class Unordered:
        def echo(self, value: str) -> str:
            return value

    actor = Unordered.remote()
    first = actor.echo.remote(late.remote())
    assert ray.get(actor.echo.remote("early")) == "early"
    assert not gate.is_open()
    gate.open()
    assert ray.get(first) == "late"


@pytest.mark.row("2.34", "14.15", "5.5")
def test_a_call_with_unready_arguments_blocks_later_calls_of_the_same_caller(new_gate: Any) -> None:
    gate = new_gate()

    @ray.remote
    def late() -> str:
        gate.wait()
        return "late"

    actor = Actor.remote()
    first = actor.__ray_call__.remote(lambda self, value: value, late.remote())
    second = actor.pid.remote()
    assert ray.wait([second], timeout=0.2) == ([], [second])
    gate.open()
    assert ray.get(first) == "late"
    ray.get(second)


@pytest.mark.row("2.36")
def test_actor_wide_generator_backpressure(new_channel: Any) -> None:
    channel = new_channel()

    @ray.remote(_actor_generator_backpressure_num_objects=2)
    class Produces:
        def items(self) -> Any:
            for item in range(4):
                channel.send(item)
                yield item

    actor = Produces.remote()
    generator = actor.items.remote()
    assert channel.receive_many(2) == ["0", "1"]
    assert set(channel.settled()) <= {"2"}
    assert [ray.get(ref) for ref in generator] == [0, 1, 2, 3]


@pytest.mark.row("2.37")
def test_method_options_apply_to_one_call() -> None:
    @ray.remote
    class Pair:
        def pair(self) -> tuple[int, int]:
            return 1, 2

    actor = Pair.remote()
    assert ray.get(actor.pair.options(num_returns=2).remote()) == [1, 2]
    assert ray.get(actor.pair.remote()) == (1, 2)


@pytest.mark.row("2.15", "9.1")
def test_env_vars_of_an_actor() -> None:
    @ray.remote
    class Looks:
        def look(self) -> str:
            return os.environ.get("CONFORMANCE_VARIABLE", "unset")

    options = {"runtime_env": {"env_vars": {"CONFORMANCE_VARIABLE": "actor"}}}
    assert ray.get(Looks.options(**options).remote().look.remote()) == "actor"
