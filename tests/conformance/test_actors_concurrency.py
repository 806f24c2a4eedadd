"""Actors that run several calls at once: async, threaded, and with concurrency groups."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Any

import pytest
from engine import better, exceptions, ray
from gates import Channel, Gate

pytestmark = pytest.mark.usefixtures("cluster")

NewGate = Callable[[], Gate]
NewChannel = Callable[[], Channel]


# ------------------------------------------------------------------------------------------------------ async


@ray.remote
class Meeting:
    """Calls of `arrive` return once `guests` of them are there: proof of real concurrency."""

    def __init__(self, guests: int) -> None:
        self.missing = guests
        self.complete = asyncio.Event()

    async def arrive(self) -> str:
        self.missing -= 1
        if self.missing == 0:
            self.complete.set()
        await self.complete.wait()
        return "met"

    async def thread(self) -> int:
        return threading.get_ident()

    def sync_thread(self) -> int:
        return threading.get_ident()

    async def fail(self) -> None:
        raise ValueError("in a coroutine")


@pytest.mark.row("5.8", "14.16")
def test_async_calls_run_together() -> None:
    meeting = Meeting.remote(200)
    assert ray.get([meeting.arrive.remote() for _ in range(200)]) == ["met"] * 200


@pytest.mark.row("5.8", "2.27", "14.16")
def test_an_async_actor_runs_a_thousand_calls_at_once_and_not_more() -> None:
    @ray.remote
    class Crowd:
        def __init__(self) -> None:
            self.inside = 0
            self.most = 0
            self.full = asyncio.Event()

        async def enter(self) -> None:
            self.inside += 1
            self.most = max(self.most, self.inside)
            if self.inside == 1000:
                self.full.set()
            await self.full.wait()
            await asyncio.sleep(0)
            self.inside -= 1

        async def seen(self) -> int:
            return self.most

    crowd = Crowd.remote()
    ray.get([crowd.enter.remote() for _ in range(1100)])
    assert ray.get(crowd.seen.remote()) == 1000


@pytest.mark.row("5.8", "2.27")
def test_max_concurrency_bounds_an_async_actor() -> None:
    @ray.remote(max_concurrency=3)
    class Bounded:
        def __init__(self) -> None:
            self.inside = 0
            self.most = 0

        async def work(self) -> int:
            self.inside += 1
            self.most = max(self.most, self.inside)
            for _ in range(5):
                await asyncio.sleep(0.001)  # sleep: it is the work that the test interrupts or overlaps
            self.inside -= 1
            return self.most

    actor = Bounded.remote()
    assert max(ray.get([actor.work.remote() for _ in range(20)])) == 3


@pytest.mark.row("5.8", "14.16")
def test_sync_methods_of_an_async_actor_run_on_its_loop() -> None:
    meeting = Meeting.remote(1)
    one, other = ray.get([meeting.thread.remote(), meeting.sync_thread.remote()])
    assert one == other


@pytest.mark.row("5.8")
def test_a_sync_method_blocks_the_loop(new_gate: NewGate, new_channel: NewChannel) -> None:
    gate, said = new_gate(), new_channel()

    @ray.remote
    class Mixed:
        async def ping(self) -> None:
            said.send("ping")

        def block(self) -> None:
            said.send("blocking")
            gate.wait()
            said.send("unblocked")

    actor = Mixed.remote()
    refs = [actor.block.remote()]
    assert said.receive() == "blocking"
    refs.append(actor.ping.remote())
    assert ray.wait(refs, timeout=0)[0] == []
    gate.open()
    ray.get(refs)
    assert said.received() == ["unblocked", "ping"]


@pytest.mark.row("5.8")
def test_an_error_in_a_coroutine_harms_nobody_else() -> None:
    meeting = Meeting.remote(2)
    first = meeting.arrive.remote()
    with pytest.raises(ValueError, match="in a coroutine"):
        ray.get(meeting.fail.remote())
    assert ray.get([first, meeting.arrive.remote()]) == ["met", "met"]


@pytest.mark.row("5.8")
def test_context_variables_belong_to_one_call() -> None:
    @ray.remote
    class Contexts:
        def __init__(self, guests: int) -> None:
            self.missing = guests
            self.complete = asyncio.Event()
            self.variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=-1)

        async def set_and_read(self, value: int) -> tuple[int, str]:
            self.variable.set(value)
            self.missing -= 1
            if self.missing == 0:
                self.complete.set()
            await self.complete.wait()
            return self.variable.get(), ray.get_runtime_context().get_task_id()

    actor = Contexts.remote(10)
    answers = ray.get([actor.set_and_read.remote(value) for value in range(10)])
    assert [value for value, _ in answers] == list(range(10))
    assert len({task_id for _, task_id in answers}) == 10


@pytest.mark.row("1.46", "5.8")
def test_async_methods_await_refs() -> None:
    @ray.remote
    def double(number: int) -> int:
        return number * 2

    @ray.remote
    def fail() -> None:
        raise KeyError("awaited")

    @ray.remote
    class Async:
        async def gather(self) -> list[int]:
            return list(await asyncio.gather(*[double.remote(number) for number in range(20)]))

        async def first_done(self, refs: list[Any]) -> int:
            done, _ = await asyncio.wait([asyncio.wrap_future(ref.future()) for ref in refs])
            return sum(future.result() for future in done)

        async def catch(self) -> str:
            try:
                await fail.remote()
            except KeyError as error:
                return type(error).__name__
            return "no error"

    actor = Async.remote()
    assert ray.get(actor.gather.remote()) == [number * 2 for number in range(20)]
    assert ray.get(actor.first_done.remote([double.remote(1), double.remote(2)])) == 6
    assert "KeyError" in ray.get(actor.catch.remote())


@pytest.mark.row("5.8")
def test_background_work_of_an_async_actor_goes_on_between_calls() -> None:
    @ray.remote
    class Background:
        def __init__(self) -> None:
            self.ticks = 0
            self.enough = asyncio.Event()

        async def start(self) -> None:
            self.task = asyncio.get_running_loop().create_task(self.tick())

        async def tick(self) -> None:
            while self.ticks < 5:
                await asyncio.sleep(0.001)  # sleep: it is the work that the test interrupts or overlaps
                self.ticks += 1
            self.enough.set()

        async def wait(self) -> int:
            await self.enough.wait()
            return self.ticks

    actor = Background.remote()
    ray.get(actor.start.remote())
    assert ray.get(actor.wait.remote()) == 5


# --------------------------------------------------------------------------------------------------- threaded


@pytest.mark.row("5.9", "2.27")
def test_a_plain_actor_runs_on_its_main_thread() -> None:
    @ray.remote
    class Plain:
        def __init__(self) -> None:
            self.made_on_main = threading.current_thread() is threading.main_thread()

        def on_main(self) -> tuple[bool, bool]:
            return self.made_on_main, threading.current_thread() is threading.main_thread()

    assert ray.get(Plain.remote().on_main.remote()) == (True, True)


@pytest.mark.row("5.9", "2.27")
def test_a_threaded_actor_runs_as_many_calls_as_it_may(new_gate: NewGate, new_channel: NewChannel) -> None:
    gate, said = new_gate(), new_channel()

    @ray.remote(max_concurrency=3)
    class Threaded:
        def __init__(self) -> None:
            self.made_on_main = threading.current_thread() is threading.main_thread()

        def hold(self) -> int:
            said.send("in")
            gate.wait()
            return threading.get_ident()

        def on_main(self) -> tuple[bool, bool]:
            return self.made_on_main, threading.current_thread() is threading.main_thread()

    actor = Threaded.remote()
    refs = [actor.hold.remote() for _ in range(4)]
    assert said.receive_many(3) == ["in"] * 3
    assert said.received() == []
    gate.open()
    assert len(set(ray.get(refs))) == 3
    assert ray.get(actor.on_main.remote()) == (True, False)


@pytest.mark.row("5.9")
def test_threads_of_one_actor_share_its_state_and_their_own_task_ids() -> None:
    @ray.remote(max_concurrency=4)
    class Threaded:
        def __init__(self) -> None:
            self.barrier = threading.Barrier(4)
            self.seen: list[int] = []

        def meet(self, number: int) -> str:
            self.barrier.wait(30)
            self.seen.append(number)
            return str(ray.get_runtime_context().get_task_id())

        def read(self) -> list[int]:
            return sorted(self.seen)

    actor = Threaded.remote()
    assert len(set(ray.get([actor.meet.remote(number) for number in range(4)]))) == 4
    assert ray.get(actor.read.remote()) == [0, 1, 2, 3]


@pytest.mark.row("5.9", "5.5")
def test_threads_of_an_actor_call_other_actors_and_tasks() -> None:
    @ray.remote
    def double(number: int) -> int:
        return number * 2

    @ray.remote(max_concurrency=4)
    class Threaded:
        def work(self, number: int) -> int:
            return int(ray.get(double.remote(number)))

    actor = Threaded.remote()
    assert ray.get([actor.work.remote(number) for number in range(20)]) == [number * 2 for number in range(20)]


# ----------------------------------------------------------------------------------------- concurrency groups


@ray.remote(concurrency_groups={"io": 2, "compute": 1})
class Grouped:
    @ray.method(concurrency_group="io")
    def io(self, said: Channel, gate: Gate) -> int:
        said.send("io")
        gate.wait()
        return threading.get_ident()

    @ray.method(concurrency_group="compute")
    def compute(self) -> int:
        return threading.get_ident()

    def default(self) -> int:
        return threading.get_ident()


@pytest.mark.row("5.10", "2.28")
def test_a_full_group_does_not_hold_up_another(new_gate: NewGate, new_channel: NewChannel) -> None:
    gate, said = new_gate(), new_channel()
    actor = Grouped.remote()
    refs = [actor.io.remote(said, gate) for _ in range(3)]
    assert said.receive_many(2) == ["io", "io"]
    compute, default = ray.get([actor.compute.remote(), actor.default.remote()], timeout=40)
    assert compute != default
    assert said.received() == [], "the third waits for its own group"
    chosen = actor.default.options(concurrency_group="io").remote()
    assert ray.wait([chosen], timeout=0)[0] == []
    gate.open()
    threads = set(ray.get(refs))
    assert len(threads) == 2
    assert threads.isdisjoint({compute, default})
    assert ray.get(chosen) in threads


@pytest.mark.row("5.10")
def test_groups_of_an_async_actor_have_their_own_limits_and_loops(new_channel: NewChannel) -> None:
    said = new_channel()

    @ray.remote(concurrency_groups={"io": 2})
    class Grouped:
        def __init__(self) -> None:
            self.inside = 0

        @ray.method(concurrency_group="io")
        async def io(self) -> tuple[int, int]:
            self.inside += 1
            most = self.inside
            await asyncio.sleep(0.01)  # sleep: it is the work that the test interrupts or overlaps
            self.inside -= 1
            return most, threading.get_ident()

        async def default(self) -> int:
            return threading.get_ident()

        @ray.method(concurrency_group="io")
        async def occupy(self) -> None:
            said.send("occupied")
            await asyncio.sleep(600)  # sleep: it is the work that the test interrupts or overlaps

    actor = Grouped.remote()
    answers = ray.get([actor.io.remote() for _ in range(10)])
    assert max(most for most, _ in answers) == 2
    assert len({thread for _, thread in answers}) == 1
    assert ray.get(actor.default.remote()) != answers[0][1]
    held = [actor.occupy.remote() for _ in range(2)]
    assert said.receive_many(2) == ["occupied"] * 2
    assert ray.get(actor.default.remote(), timeout=30) != answers[0][1]
    assert ray.wait(held, timeout=0)[0] == []
    ray.kill(actor)


@pytest.mark.row("5.10")
def test_an_undeclared_group_on_a_method_is_refused_at_creation() -> None:
    @ray.remote(concurrency_groups={"io": 1})
    class Wrong:
        @ray.method(concurrency_group="nothing")
        def ping(self) -> None: ...

    with pytest.raises(AssertionError):
        Wrong.remote()


@pytest.mark.row("5.10")
@better("Ray's worker process dies of it")
def test_an_undeclared_group_in_a_call_fails_that_call_only(new_gate: NewGate, new_channel: NewChannel) -> None:
    actor = Grouped.remote()
    with pytest.raises((ValueError, exceptions.RayError)):
        ray.get(actor.default.options(concurrency_group="nothing").remote(), timeout=20)
    assert isinstance(ray.get(actor.default.remote()), int)


@pytest.mark.row("5.10", "5.9")
def test_max_concurrency_is_the_limit_of_the_default_group(new_gate: NewGate, new_channel: NewChannel) -> None:
    gate, said = new_gate(), new_channel()

    @ray.remote(max_concurrency=2, concurrency_groups={"io": 1})
    class Both:
        def hold(self) -> None:
            said.send("in")
            gate.wait()

        @ray.method(concurrency_group="io")
        def ping(self) -> str:
            return "pong"

    actor = Both.remote()
    refs = [actor.hold.remote() for _ in range(3)]
    assert said.receive_many(2) == ["in"] * 2
    assert ray.get(actor.ping.remote(), timeout=30) == "pong"
    assert said.received() == []
    gate.open()
    ray.get(refs)
