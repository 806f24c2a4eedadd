"""The behaviours most often got wrong (ray-core.md section 14, corrected by section 15), one test per point.

Points that need placement groups (21), runtime environments (22) or an autoscaler (half of 11) are tested elsewhere.
"""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from drivers import ScriptRunner
from engine import IS_LINCKIA, exceptions, module, ray, wait_for
from gates import Channel, Gate
from tools_tasks import LEFT, Tally, wait_gone

NewGate = Callable[[], Gate]
NewChannel = Callable[[], Channel]
Init = Callable[..., Any]


@ray.remote
def one() -> int:
    return 1


@ray.remote
def same(value: Any) -> Any:
    return value


@ray.remote(num_cpus=0)
def hold(gate: Gate, value: Any = None) -> Any:
    gate.wait()
    return value


@ray.remote
class Counter:
    def __init__(self, said: Channel | None = None) -> None:
        self.value = 0
        if said is not None:
            said.send(os.getpid())

    def add(self, _: Any = None) -> int:
        self.value += 1
        return self.value

    def pid(self) -> int:
        return os.getpid()

    def leave(self, way: str) -> None:
        if way == "exit_actor":
            ray.actor.exit_actor()
        elif way == "sys.exit":
            raise SystemExit(0)
        os._exit(1)


@pytest.mark.row("14.1", "2.2")
def test_point_01_a_default_actor_holds_no_cpu_but_needs_a_node_with_one(fresh: Init) -> None:
    fresh(num_cpus=1, resources={"slot": 2})
    actors = [Counter.remote() for _ in range(3)]
    assert ray.get([actor.add.remote() for actor in actors]) == [1, 1, 1]
    assert ray.get(one.remote()) == 1
    with_resource = Counter.options(resources={"slot": 1}).remote()
    assert ray.get(with_resource.add.remote()) == 1
    waiting = one.remote()
    assert ray.wait([waiting], timeout=0.3)[0] == [], "any resource makes the lifetime CPU one"
    assert ray.get(Counter.remote().add.remote(), timeout=30) == 1, "a default actor starts on a full node"
    ray.kill(with_resource)
    assert ray.get(waiting, timeout=40) == 1

    fresh_without_cpu(fresh)
    nowhere = Counter.remote().add.remote()
    assert ray.get(Counter.options(num_cpus=0).remote().add.remote()) == 1
    assert ray.wait([nowhere], timeout=0.5)[0] == [], "its placement needs a node that has a CPU at all"


def fresh_without_cpu(init: Init) -> None:
    ray.shutdown()
    init(num_cpus=0)


@pytest.mark.row("14.2", "1.28", "1.31")
def test_point_02_wait_returns_at_most_what_was_asked_in_input_order(cluster: Any, new_gate: NewGate) -> None:
    @ray.remote
    def fail() -> None:
        raise ValueError("ready all the same")

    gate = new_gate()
    done = [one.remote() for _ in range(3)]
    ray.get(done)
    unready = hold.remote(gate)
    for wanted in (1, 2):
        given = [done[2], unready, done[0], done[1]]
        ready, rest = ray.wait(given, num_returns=wanted)
        assert len(ready) == wanted
        assert unready in rest
        assert ready == [ref for ref in given if ref in ready], "input order"
        assert rest == [ref for ref in given if ref not in ready], "input order"
    failed = fail.remote()
    assert ray.wait([unready, failed], timeout=30) == ([failed], [unready])
    with pytest.raises(TypeError):
        ray.wait((done[0],))
    with pytest.raises(TypeError):
        ray.wait(done[0])


@pytest.mark.row("14.3", "1.24")
def test_point_03_get_takes_a_ref_or_a_list_and_an_available_error_ends_it(cluster: Any, new_gate: NewGate) -> None:
    @ray.remote
    def fail() -> None:
        raise ValueError("already there")

    gate = new_gate()
    ref, failed, never = one.remote(), fail.remote(), hold.remote(gate)
    assert ray.get(ref) == 1
    assert ray.get([ref, ref]) == [1, 1]
    assert ray.get([]) == []
    with pytest.raises(ValueError):
        ray.get((ref, ref))
    ray.wait([failed])
    with pytest.raises(ValueError, match="already there"):
        ray.get([never, failed], timeout=30)


@pytest.mark.row("14.4", "3.27")
def test_point_04_errors_are_of_the_users_class_and_of_ray_task_error(cluster: Any) -> None:
    class WithAttributes(KeyError):
        def __init__(self, code: int) -> None:
            super().__init__(f"code {code}")
            self.code = code

    @ray.remote
    def fail() -> None:
        raise WithAttributes(7)

    @ray.remote
    def fail_in_a_group() -> None:
        raise ExceptionGroup("several", [ValueError("first"), TypeError("second")])

    with pytest.raises(WithAttributes) as caught:
        ray.get(fail.remote())
    error = caught.value
    assert isinstance(error, exceptions.RayTaskError)
    assert isinstance(error.cause, WithAttributes)
    assert error.args == (error.cause,)
    assert error.code == 7
    assert "code 7" in str(error)
    assert "fail" in str(error)
    again = module("cloudpickle").loads(module("cloudpickle").dumps(error))
    assert isinstance(again, exceptions.RayTaskError)
    assert isinstance(again, KeyError)
    if IS_LINCKIA:
        plain = pickle.loads(pickle.dumps(ray_error(ValueError)))
        assert isinstance(plain, ValueError)
    with pytest.raises(ExceptionGroup) as group:
        ray.get(fail_in_a_group.remote())
    assert [type(error) for error in group.value.exceptions] == [ValueError, TypeError]


def ray_error(kind: type[Exception]) -> BaseException:
    @ray.remote
    def fail() -> None:
        raise kind("x")

    try:
        ray.get(fail.remote())
    except kind as error:
        return error
    raise AssertionError("no error")


@pytest.mark.row("14.5", "4.5", "3.28")
def test_point_05_a_failed_dependency_fails_the_consumer_unrun(cluster: Any, new_channel: NewChannel) -> None:
    ran = new_channel()

    @ray.remote
    def fail() -> int:
        raise KeyError("origin")

    @ray.remote
    def consume(value: int) -> int:
        ran.send("ran")
        return value

    ref = consume.remote(consume.remote(consume.remote(fail.remote())))
    with pytest.raises(KeyError) as caught:
        ray.get(ref)
    assert caught.value.cause.args == ("origin",)
    assert ran.received() == []


@pytest.mark.row("14.6", "3.4", "3.5", "3.6")
def test_point_06_nested_refs_stay_refs_and_keep_their_objects(cluster: Any) -> None:
    @ray.remote
    class Borrower:
        def borrow(self, plain: Any, nested: list[Any]) -> bool:
            self.nested = nested
            return isinstance(plain, bytes) and isinstance(nested[0], ray.ObjectRef)

        def read(self) -> int:
            return len(ray.get(self.nested[0]))

    borrower = Borrower.remote()
    inner = ray.put(b"x" * 300_000)
    outer = ray.put([inner])
    assert ray.get(borrower.borrow.remote(inner, [inner]))
    del inner
    gc.collect()
    assert ray.get(borrower.read.remote()) == 300_000, "the borrower keeps it"
    assert len(ray.get(ray.get(outer)[0])) == 300_000, "the outer object keeps it"
    del borrower
    assert len(ray.get(ray.get(outer)[0])) == 300_000


@pytest.mark.row("14.7", "3.35", "7.5", "7.4")
def test_point_07_the_death_of_the_owner_loses_its_objects(cluster: Any) -> None:
    @ray.remote
    class Owner:
        def make(self) -> list[Any]:
            self.kept = [same.remote(b"y" * 300_000), ray.put(b"x" * 300_000)]
            ray.wait(self.kept, num_returns=2)
            return self.kept

        def pid(self) -> int:
            return os.getpid()

    owner = Owner.remote()
    refs, pid = ray.get([owner.make.remote(), owner.pid.remote()])
    ray.kill(owner)
    wait_gone(pid)
    for ref in refs:
        with pytest.raises(exceptions.OwnerDiedError) as caught:
            wait_for(lambda ref=ref: ray.get(ref, timeout=40) and None)  # the news of the death needs its time
        assert isinstance(caught.value, exceptions.ObjectLostError)


@pytest.mark.row("14.8", "3.9", "3.10")
def test_point_08_arrays_are_read_only_views_that_pin_their_object(cluster: Any) -> None:
    numpy = pytest.importorskip("numpy")
    ref = ray.put(numpy.arange(1_000_000))
    first, second = ray.get(ref), ray.get(ref)
    assert not first.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 5
    assert first.ctypes.data == second.ctypes.data, "both look at the same memory"
    del ref, second
    gc.collect()
    others = [ray.put(numpy.full(1_000_000, number)) for number in range(5)]
    del others
    gc.collect()
    ray.put(numpy.zeros(1_000_000))
    assert int(first.sum()) == 499_999_500_000


@pytest.mark.row("14.9", "3.7")
def test_point_09_small_values_stay_with_their_owner(cluster: Any) -> None:
    @ray.remote
    def make(size: int) -> bytes:
        return bytes(size)

    limit = 100 * 1024
    small, large = make.remote(limit - 4096), make.remote(limit + 1)
    ray.wait([small, large], num_returns=2)
    if hasattr(module("experimental"), "get_object_locations"):  # comes to Linckia with clusters of many machines
        locations = module("experimental").get_object_locations([small, large])
        assert list(locations[small]["node_ids"]) == []
        assert len(locations[large]["node_ids"]) == 1
    put_small, put_large = ray.put(bytes(limit - 4096)), ray.put(bytes(limit + 4096))
    assert ray.get([same.remote(put_small), same.remote(put_large)]) == [bytes(limit - 4096), bytes(limit + 4096)]
    many = [bytes([number]) * 90_000 for number in range(150)]
    assert ray.get(count_bytes.remote(*many)) == 150 * 90_000, "beyond 10 MiB in total they go another way"


@ray.remote
def count_bytes(*values: bytes) -> int:
    return sum(map(len, values))


@pytest.mark.row("14.10", "4.16")
def test_point_10_a_blocked_task_lends_its_cpu(fresh: Init) -> None:
    fresh(num_cpus=1)

    @ray.remote
    def descend(depth: int) -> int:
        return 1 + int(ray.get(descend.remote(depth - 1))) if depth else 0

    @ray.remote(num_cpus=1)
    class Holder:
        def ask(self) -> int:
            return int(ray.get(one.remote(), timeout=1))

    assert ray.get(descend.remote(4)) == 4
    with pytest.raises(exceptions.GetTimeoutError):
        ray.get(Holder.remote().ask.remote())


@pytest.mark.row("14.11", "4.6")
def test_point_11_infeasible_work_waits(cluster: Any) -> None:
    task, actor = one.options(num_cpus=99).remote(), Counter.options(resources={"unobtainium": 1}).remote()
    call = actor.add.remote()
    assert ray.get(one.remote()) == 1
    assert ray.wait([task, call], timeout=0.5)[0] == []
    ray.cancel(task)
    ray.kill(actor)
    with pytest.raises(exceptions.TaskCancelledError):
        ray.get(task, timeout=30)
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(call, timeout=30)


@pytest.mark.row("14.12", "4.10", "3.51", "3.52")
def test_point_12_node_affinity_waits_for_a_living_node_and_refuses_a_dead_one(
    cluster: Any, new_gate: NewGate, new_channel: NewChannel
) -> None:
    affinity = module("util.scheduling_strategies").NodeAffinitySchedulingStrategy
    gate, said = new_gate(), new_channel()

    @ray.remote
    def occupy() -> None:
        said.send("occupied")
        gate.wait()

    here, nowhere = ray.get_runtime_context().get_node_id(), "ab" * 28
    held = [occupy.remote() for _ in range(2)]
    said.receive_many(2)
    waiting = [one.options(scheduling_strategy=affinity(here, soft=soft)).remote() for soft in (False, True)]
    assert ray.wait(waiting, timeout=0.3)[0] == []
    gate.open()
    ray.get(held)
    assert ray.get(waiting) == [1, 1]
    assert ray.get(one.options(scheduling_strategy=affinity(nowhere, soft=True)).remote()) == 1
    with pytest.raises(exceptions.TaskUnschedulableError):
        ray.get(one.options(scheduling_strategy=affinity(nowhere, soft=False)).remote(), timeout=40)
    with pytest.raises(exceptions.ActorUnschedulableError):
        ray.get(Counter.options(scheduling_strategy=affinity(nowhere, soft=False)).remote().add.remote(), timeout=40)


@pytest.mark.row("14.13", "4.18", "4.19", "4.24")
def test_point_13_crashes_are_retried_errors_and_cancellations_are_not(
    cluster: Any, new_gate: NewGate, new_channel: NewChannel, tmp_path: Path
) -> None:
    crashes, errors, runs = (Tally(tmp_path / name) for name in ("crashes", "errors", "runs"))
    gate, said = new_gate(), new_channel()

    @ray.remote
    def crash() -> int:
        if crashes.add() < 4:
            os._exit(1)
        return crashes.count()

    @ray.remote
    def fail() -> None:
        errors.add()
        raise ValueError("x")

    @ray.remote(retry_exceptions=True)
    def run() -> None:
        runs.add()
        said.send("runs")
        gate.wait()

    assert ray.get(crash.remote()) == 4
    with pytest.raises(ValueError, match="x"):
        ray.get(fail.remote())
    assert errors.count() == 1
    with pytest.raises(ValueError, match="x"):
        ray.get(fail.options(retry_exceptions=[ValueError], max_retries=1).remote())
    assert errors.count() == 3
    ref = run.remote()
    said.receive()
    ray.cancel(ref)
    with pytest.raises(exceptions.TaskCancelledError):
        ray.get(ref, timeout=30)
    assert runs.count() == 1


@pytest.mark.row("14.14", "4.24", "4.25", "5.26")
def test_point_14_each_kind_of_work_is_cancelled_in_its_own_way(
    cluster: Any, new_gate: NewGate, new_channel: NewChannel
) -> None:
    gate, said = new_gate(), new_channel()

    @ray.remote
    def task() -> None:
        try:
            said.send(os.getpid())
            gate.wait()
        except BaseException as error:
            said.send(type(error).__name__)
            raise

    @ray.remote
    class Plain:
        def work(self) -> None:
            said.send("runs")
            while not ray.get_runtime_context().is_canceled() and not gate.wait(0.01):
                pass
            said.send("saw the flag")

    @ray.remote
    class Async:
        async def work(self) -> None:
            said.send("runs")
            try:
                await asyncio.sleep(600)  # sleep: it is the work that the test interrupts or overlaps
            except asyncio.CancelledError:
                said.send("CancelledError")
                raise

    plain, async_actor = Plain.remote(), Async.remote()
    for submit, heard in (
        (task, "KeyboardInterrupt"),
        (plain.work, "saw the flag"),
        (async_actor.work, "CancelledError"),
    ):
        ref = submit.remote()
        said.receive()
        ray.cancel(ref)
        assert said.receive() == heard
        with pytest.raises(exceptions.TaskCancelledError):
            ray.get(ref, timeout=30)
    ref = task.remote()
    pid = said.receive()
    ray.cancel(ref, force=True)
    with pytest.raises((exceptions.TaskCancelledError, exceptions.WorkerCrashedError)):
        ray.get(ref, timeout=30)
    wait_gone(pid)
    call = plain.work.remote()
    with pytest.raises(ValueError, match="force"):
        ray.cancel(call, force=True)
    gate.open()
    ray.get(call)


@pytest.mark.row("14.15", "5.5", "5.6")
def test_point_15_order_is_per_caller(cluster: Any, new_gate: NewGate) -> None:
    gate = new_gate()

    @ray.remote(num_cpus=0)
    def call(actor: Any) -> int:
        return int(ray.get(actor.add.remote()))

    actor = Counter.remote()
    blocked, behind = actor.add.remote(hold.remote(gate)), actor.add.remote()
    assert ray.get(call.remote(actor), timeout=40) == 1
    assert ray.wait([behind], timeout=0)[0] == []
    gate.open()
    assert ray.get([blocked, behind]) == [2, 3]


@pytest.mark.row("14.16", "5.8")
def test_point_16_one_async_method_makes_the_whole_actor_async(cluster: Any) -> None:
    @ray.remote
    class Mixed:
        def __init__(self) -> None:
            self.inside = 0
            self.complete = asyncio.Event()

        async def meet(self, guests: int) -> int:
            self.inside += 1
            if self.inside == guests:
                self.complete.set()
            await self.complete.wait()
            return self.inside

        def on_the_loop(self) -> bool:
            return asyncio.get_running_loop().is_running()

    actor = Mixed.remote()
    assert ray.get(actor.on_the_loop.remote()) is True
    assert ray.get([actor.meet.remote(300) for _ in range(300)]) == [300] * 300


@pytest.mark.row("14.17", "5.13", "5.14")
def test_point_17_weak_handles_keep_no_actor(cluster: Any, new_gate: NewGate, new_channel: NewChannel) -> None:
    gate, said = new_gate(), new_channel()
    actor = Counter.options(name="weakly known").remote(said)
    weak, pid = ray.get_actor("weakly known"), said.receive()
    last = actor.add.remote(hold.remote(gate, "argument"))
    del actor
    gc.collect()
    gate.open()
    assert ray.get(last) == 1, "submitted calls are done first"
    wait_gone(pid)
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(weak.add.remote(), timeout=40)


@pytest.mark.row("14.18", "5.15")
def test_point_18_an_actor_dies_with_its_creator_unless_detached(cluster: Any, new_channel: NewChannel) -> None:
    said = new_channel()

    @ray.remote
    class Creator:
        def create(self) -> list[Any]:
            plain = Counter.options(max_restarts=-1).remote(said)
            ray.get(plain.add.remote())
            detached = Counter.options(lifetime="detached", name="outlives").remote()
            return [plain, detached]

    creator = Creator.remote()
    plain, detached = ray.get(creator.create.remote())
    pid = said.receive()
    ray.kill(creator)
    wait_gone(pid)
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(plain.add.remote(), timeout=40)
    assert ray.get(detached.add.remote()) == 1
    ray.kill(detached)


@pytest.mark.row("14.19", "5.3", "5.19")
def test_point_19_some_ends_are_never_followed_by_a_restart(cluster: Any, new_channel: NewChannel) -> None:
    said = new_channel()

    @ray.remote(max_restarts=5)
    class Broken:
        def __init__(self) -> None:
            said.send("constructor")
            raise ValueError("complaint")

        def ping(self) -> None: ...

    with pytest.raises(exceptions.ActorDiedError, match="complaint") as caught:
        ray.get(Broken.remote().ping.remote(), timeout=40)
    assert caught.value.actor_init_failed
    assert said.receive_many(1) == ["constructor"]
    for way in ("exit_actor", "sys.exit"):
        actor = Counter.options(max_restarts=5).remote(said)
        pid = said.receive()
        with pytest.raises(LEFT):
            ray.get(actor.leave.remote(way), timeout=40)
        wait_gone(pid)
        with pytest.raises(LEFT):
            ray.get(actor.add.remote(), timeout=40)
    assert said.received() == []


@pytest.mark.row("14.20", "5.21", "5.25", "2.26")
def test_point_20_unavailable_is_transient_and_died_is_final(cluster: Any, new_channel: NewChannel) -> None:
    said = new_channel()
    actor = Counter.options(max_restarts=1).remote(said)
    first = int(said.receive())
    with pytest.raises(exceptions.ActorUnavailableError):
        ray.get(actor.leave.remote("os._exit"), timeout=40)

    def pid() -> Any:
        try:
            return ray.get(actor.pid.remote(), timeout=30)
        except exceptions.ActorUnavailableError:
            return None

    second = wait_for(pid)
    assert second == int(said.receive()) != first
    os.kill(second, signal.SIGKILL)
    with pytest.raises(exceptions.ActorDiedError):
        wait_for(lambda: pid() and None)
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(actor.add.remote(), timeout=40)


@pytest.mark.row("14.23", "1.6", "5.17", "5.30")
def test_point_23_every_job_has_its_own_anonymous_namespace(fresh: Init, run_script: ScriptRunner) -> None:
    context = fresh(num_cpus=2)
    mine = Counter.options(name="only here", get_if_exists=True).remote()
    again = Counter.options(name="only here", get_if_exists=True).remote()
    assert mine == again
    assert ray.get([mine.add.remote(), again.add.remote()]) == [1, 2]
    with pytest.raises(exceptions.ActorAlreadyExistsError):
        Counter.options(name="only here").remote()
    script = """
        import sys
        import ray
        ray.init(address=sys.argv[1], log_to_driver=False)
        try:
            ray.get_actor("only here")
        except ValueError:
            print("not found")
        print(ray.get_runtime_context().namespace != sys.argv[2])
        """
    namespace = ray.get_runtime_context().namespace
    result = run_script(script, context.address_info["address"], namespace).ok()
    assert result.stdout.split("\n")[:2] == ["not found", "True"]


@pytest.mark.row("14.24", "4.28", "2.23")
def test_point_24_generators_run_eagerly_and_an_error_is_one_more_ref(cluster: Any, new_channel: NewChannel) -> None:
    said = new_channel()

    @ray.remote
    def produce() -> Iterator[int]:
        for number in range(3):
            said.send(number)
            yield number
        raise ValueError("the fourth")

    generator = produce.remote()
    assert said.receive_many(3) == ["0", "1", "2"]
    refs = list(generator)
    assert ray.get(refs[:3]) == [0, 1, 2]
    assert len(refs) == 4
    with pytest.raises(ValueError, match="the fourth"):
        ray.get(refs[3])
    stalled = produce.options(_generator_backpressure_num_objects=1).remote()
    assert said.receive() == "0"
    ray.get([one.remote() for _ in range(5)])
    assert said.received() == []
    assert len(list(stalled)) == 4


@pytest.mark.row("14.25", "1.37")
def test_point_25_available_resources_omits_what_is_used_up(
    cluster: Any, new_gate: NewGate, new_channel: NewChannel
) -> None:
    gate, said = new_gate(), new_channel()

    @ray.remote(num_cpus=2)
    def occupy() -> None:
        said.send("occupied")
        gate.wait()

    wait_for(lambda: ray.available_resources().get("CPU") == 2)
    ref = occupy.remote()
    said.receive()
    wait_for(lambda: "CPU" not in ray.available_resources())
    assert ray.cluster_resources()["CPU"] == 2
    gate.open()
    ray.get(ref)
    wait_for(lambda: ray.available_resources().get("CPU") == 2)
