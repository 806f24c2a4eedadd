# ruff: noqa: UP028 - `yield from` a plain iterator fails on the oracle, see test_yield_from_a_plain_iterator
"""Generator tasks: one ref per yielded value, while the producer runs, and what their errors and deaths look like."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from engine import better, exceptions, ray, wait_for
from gates import Channel, Gate
from tools_tasks import Tally, wait_gone

pytestmark = [pytest.mark.usefixtures("cluster"), pytest.mark.row("1.48")]

NewGate = Callable[[], Gate]
NewChannel = Callable[[], Channel]


def nothing_happens(channel: Channel) -> None:
    """Give the cluster every chance to do something wrong: several round trips through the same workers' node."""

    @ray.remote(num_cpus=0)
    def fence() -> None: ...

    for _ in range(5):
        ray.get(fence.remote())
    assert channel.received() == []


# ------------------------------------------------------------------------------------------------- the good case


@pytest.mark.row("4.28", "2.19")
def test_a_generator_function_streams_by_default() -> None:
    @ray.remote
    def count(number: int) -> Iterator[int]:
        for item in range(number):
            yield item

    generator = count.remote(4)
    assert isinstance(generator, ray.ObjectRefGenerator)
    refs = list(generator)
    assert all(isinstance(ref, ray.ObjectRef) for ref in refs)
    assert ray.get(refs) == [0, 1, 2, 3]
    assert list(count.remote(0)) == []
    assert [ray.get(ref) for ref in count.options(num_returns="streaming").remote(2)] == [0, 1]


@pytest.mark.row("4.28", "14.24")
def test_it_runs_to_its_end_though_nobody_consumes(new_channel: NewChannel) -> None:
    said = new_channel()

    @ray.remote
    def produce() -> Iterator[int]:
        for number in range(50):
            yield number
        said.send("end")

    generator = produce.remote()
    assert said.receive() == "end"
    assert ray.get(list(generator)) == list(range(50))


@pytest.mark.row("4.28")
def test_items_arrive_while_the_producer_still_runs(new_gate: NewGate) -> None:
    gate = new_gate()

    @ray.remote
    def produce() -> Iterator[int]:
        yield 1
        gate.wait()
        yield 2

    generator = produce.remote()
    assert ray.get(next(generator)) == 1
    assert not generator.is_finished()
    assert ray.wait([generator], timeout=0) == ([], [generator])
    gate.open()
    assert ray.get(next(generator)) == 2
    with pytest.raises(StopIteration):
        next(generator)


@pytest.mark.row("4.28")
def test_refs_outlive_the_generator_and_large_items_too() -> None:
    @ray.remote
    def produce() -> Iterator[bytes]:
        yield b"a" * 500_000
        yield b"b"

    first, second = list(produce.remote())
    assert ray.get(first) == b"a" * 500_000
    assert ray.get(second) == b"b"
    assert ray.get(first) == b"a" * 500_000, "a ref may be read again"


@pytest.mark.row("4.28")
def test_items_are_ordinary_refs_for_other_tasks(new_gate: NewGate) -> None:
    @ray.remote
    def produce() -> Iterator[int]:
        for item in range(5):
            yield item

    @ray.remote
    def double(number: int) -> int:
        return number * 2

    @ray.remote
    def consume_inside() -> list[int]:
        return [ray.get(ref) for ref in produce.remote()]

    assert ray.get([double.remote(ref) for ref in produce.remote()]) == [0, 2, 4, 6, 8]
    assert ray.get(consume_inside.remote()) == [0, 1, 2, 3, 4]


@pytest.mark.row("4.29")
def test_wait_mixes_generators_and_refs(new_gate: NewGate) -> None:
    gate = new_gate()

    @ray.remote
    def produce() -> Iterator[int]:
        gate.wait()
        yield 1

    @ray.remote
    def one() -> int:
        return 1

    generator, ref = produce.remote(), one.remote()
    assert ray.wait([generator, ref]) == ([ref], [generator])
    gate.open()
    assert ray.wait([generator, ref], num_returns=2, timeout=30) == ([generator, ref], [])
    assert ray.get(next(generator)) == 1
    assert ray.wait([generator], timeout=30) == ([generator], []), "the end is ready too"
    with pytest.raises(StopIteration):
        next(generator)


@pytest.mark.row("4.29")
def test_async_for_in_the_driver_and_in_an_async_actor() -> None:
    @ray.remote
    def produce() -> Iterator[int]:
        for item in range(4):
            yield item

    @ray.remote
    class Consumer:
        async def consume(self) -> list[int]:
            return [await ref async for ref in produce.remote()]

    async def consume() -> list[int]:
        return [await ref async for ref in produce.remote()]

    assert asyncio.run(consume()) == [0, 1, 2, 3]
    assert ray.get(Consumer.remote().consume.remote()) == [0, 1, 2, 3]


@pytest.mark.row("1.48")
def test_a_generator_knows_its_state(new_gate: NewGate) -> None:
    gate = new_gate()

    @ray.remote
    def produce() -> Iterator[int]:
        yield 1
        gate.wait()

    generator = produce.remote()
    wait_for(generator.next_ready)
    completed = generator.completed()
    assert isinstance(completed, ray.ObjectRef)
    assert ray.wait([completed], timeout=0)[0] == []
    assert ray.get(next(generator)) == 1
    gate.open()
    assert ray.get(completed) is None
    assert list(generator) == []
    assert generator.is_finished()
    assert not generator.next_ready()


@pytest.mark.row("1.26")
def test_get_returns_a_generator_unchanged() -> None:
    @ray.remote
    def produce() -> Iterator[int]:
        yield 1

    generator = produce.remote()
    assert ray.get(generator) is generator


@pytest.mark.row("4.28")
@better("Ray resumes the producer with `send(value)`, which `yield from` a plain iterator does not survive")
def test_yield_from_a_plain_iterator() -> None:
    @ray.remote
    def produce() -> Iterator[int]:
        yield from range(3)
        got = yield 3
        yield 4 if got is None else -1

    assert ray.get(list(produce.remote())) == [0, 1, 2, 3, 4]


# -------------------------------------------------------------------------------------------- actors as producers


@pytest.mark.row("5.12")
def test_actor_methods_may_be_generators() -> None:
    @ray.remote
    class Producer:
        def __init__(self) -> None:
            self.calls = 0

        def count(self, number: int) -> Iterator[int]:
            self.calls += 1
            for item in range(number):
                yield item

        def seen(self) -> int:
            return self.calls

    producer = Producer.remote()
    assert [ray.get(ref) for ref in producer.count.remote(3)] == [0, 1, 2]
    assert [ray.get(ref) for ref in producer.count.remote(0)] == []
    assert ray.get(producer.seen.remote()) == 2


@pytest.mark.row("5.12", "4.29", "5.8")
def test_async_generators_of_one_actor_interleave(new_channel: NewChannel) -> None:
    @ray.remote
    class Producer:
        def __init__(self) -> None:
            self.turn = asyncio.Event()

        async def first(self) -> AsyncIterator[str]:
            yield "first 1"
            await self.turn.wait()
            yield "first 2"

        async def second(self) -> AsyncIterator[str]:
            yield "second 1"
            self.turn.set()
            yield "second 2"

        async def fail(self) -> AsyncIterator[int]:
            yield 1
            raise ValueError("async")

    producer = Producer.remote()
    first, second = producer.first.remote(), producer.second.remote()
    assert ray.get(list(second)) == ["second 1", "second 2"]
    assert ray.get(list(first)) == ["first 1", "first 2"]
    good, bad = list(producer.fail.remote())
    assert ray.get(good) == 1
    with pytest.raises(ValueError, match="async"):
        ray.get(bad)


@pytest.mark.row("5.12", "4.28")
def test_the_death_of_an_actor_ends_its_streams(new_gate: NewGate) -> None:
    gate = new_gate()

    @ray.remote
    class Producer:
        def count(self) -> Iterator[int]:
            yield 1
            gate.wait()
            yield 2

    producer = Producer.remote()
    generator = producer.count.remote()
    assert ray.get(next(generator)) == 1
    ray.kill(producer)
    with pytest.raises(exceptions.RayActorError):
        ray.get(list(generator))


# --------------------------------------------------------------------------------------------------------- errors


@pytest.mark.row("4.28", "14.24")
@pytest.mark.parametrize("good", [0, 2])
def test_an_error_is_one_more_ref_in_order(good: int) -> None:
    @ray.remote
    def produce() -> Iterator[int]:
        for item in range(good):
            yield item
        raise ValueError("after the good ones")

    generator = produce.remote()
    refs = list(generator)
    assert len(refs) == good + 1
    assert ray.get(refs[:good]) == list(range(good))
    with pytest.raises(ValueError, match="after the good ones"):
        ray.get(refs[good])
    with pytest.raises(StopIteration):
        next(generator)


@pytest.mark.row("4.28")
def test_an_item_that_cannot_be_serialised_is_an_error_ref() -> None:
    @ray.remote
    def produce() -> Iterator[Any]:
        yield 1
        yield threading.Lock()
        yield 3

    refs = list(produce.remote())
    assert ray.get(refs[0]) == 1
    with pytest.raises((TypeError, exceptions.RayTaskError)):
        ray.get(refs[1])


@pytest.mark.row("4.28")
def test_a_failed_argument_gives_one_error_ref(new_channel: NewChannel) -> None:
    ran = new_channel()

    @ray.remote
    def fail() -> int:
        raise KeyError("argument")

    @ray.remote
    def produce(value: int) -> Iterator[int]:
        ran.send("ran")
        yield value

    refs = list(produce.remote(fail.remote()))
    assert len(refs) == 1
    with pytest.raises(KeyError):
        ray.get(refs[0])
    assert ran.received() == []


@pytest.mark.row("4.28", "4.18")
def test_a_crash_without_retries_ends_the_stream_with_an_error() -> None:
    @ray.remote(max_retries=0)
    def produce() -> Iterator[int]:
        yield 0
        yield 1
        os._exit(1)

    refs = list(produce.remote())
    assert 1 <= len(refs) <= 3, "a system error may overtake what was yielded"
    assert ray.get(refs[:-1]) == list(range(len(refs) - 1))
    with pytest.raises(exceptions.WorkerCrashedError):
        ray.get(refs[-1])


@pytest.mark.row("4.28", "4.18", "3.23")
def test_a_crash_with_retries_gives_every_item_once(tmp_path: Path) -> None:
    tally = Tally(tmp_path / "tally")

    @ray.remote(max_retries=2)
    def produce() -> Iterator[int]:
        attempt = tally.add()
        for number in range(6):
            if attempt == 1 and number == 3:
                os._exit(1)
            yield number

    assert ray.get(list(produce.remote())) == [0, 1, 2, 3, 4, 5]
    assert tally.count() == 2


@pytest.mark.row("4.28", "4.19")
def test_retry_exceptions_starts_the_stream_again(tmp_path: Path) -> None:
    tally = Tally(tmp_path / "tally")

    @ray.remote(max_retries=2, retry_exceptions=[ValueError])
    def produce() -> Iterator[int]:
        yield 0
        if tally.add() == 1:
            raise ValueError("once")
        yield 1

    assert ray.get(list(produce.remote())) == [0, 1]
    assert tally.count() == 2


@pytest.mark.row("4.28", "4.24", "1.33")
def test_a_cancelled_generator_ends_with_the_cancellation(new_gate: NewGate) -> None:
    gate = new_gate()

    @ray.remote
    def produce() -> Iterator[int]:
        yield 1
        gate.wait()
        yield 2

    generator = produce.remote()
    first = next(generator)
    ray.cancel(generator)
    rest = list(generator)
    assert ray.get(first) == 1
    assert len(rest) == 1
    with pytest.raises(exceptions.TaskCancelledError):
        ray.get(rest[0])


# --------------------------------------------------------------------------------------------------------- limits


@pytest.mark.row("4.30")
def test_what_a_remote_generator_does_not_offer() -> None:
    @ray.remote
    def produce() -> Iterator[int]:
        yield 1
        return "ignored"

    @ray.remote
    def take(anything: Any) -> None: ...

    generator = produce.remote()
    for call in (
        lambda: generator.send(None),
        lambda: generator.throw(ValueError("x")),
        lambda: generator.close(),
        lambda: asyncio.run(generator.asend(None)),
        lambda: asyncio.run(generator.athrow(ValueError("x"))),
        lambda: asyncio.run(generator.aclose()),
    ):
        with pytest.raises(NotImplementedError):
            call()
    for argument in (generator, [generator]):
        with pytest.raises(TypeError):
            take.remote(argument)
    with pytest.raises(TypeError):
        ray.put(generator)
    assert ray.get(list(generator)) == [1], "the return value is no item"


@pytest.mark.row("2.23", "4.28", "14.24")
def test_backpressure_pauses_the_producer(new_channel: NewChannel) -> None:
    said = new_channel()

    @ray.remote(_generator_backpressure_num_objects=2)
    def produce() -> Iterator[int]:
        for number in range(5):
            said.send(number)
            yield number
        said.send("end")

    generator = produce.remote()
    assert said.receive_many(2) == ["0", "1"]
    nothing_happens(said)
    assert ray.wait([generator], timeout=0) == ([generator], [])
    first = next(generator)
    assert said.receive() == "2"
    nothing_happens(said)
    assert ray.get([first, *generator]) == [0, 1, 2, 3, 4]
    assert said.receive_many(3) == ["3", "4", "end"]


@pytest.mark.row("2.23", "5.12")
def test_backpressure_of_an_actor_method(new_channel: NewChannel) -> None:
    said = new_channel()

    @ray.remote
    class Producer:
        @ray.method(_generator_backpressure_num_objects=1)
        def produce(self) -> Iterator[int]:
            for number in range(3):
                said.send(number)
                yield number

    producer = Producer.remote()
    generator = producer.produce.remote()
    assert said.receive() == "0"
    nothing_happens(said)
    assert ray.get(list(generator)) == [0, 1, 2]


@pytest.mark.row("2.23")
def test_dropping_a_stalled_generator_lets_its_worker_go(new_channel: NewChannel) -> None:
    said = new_channel()

    @ray.remote(num_cpus=2, _generator_backpressure_num_objects=1)
    def produce() -> Iterator[int]:
        said.send("started")
        for number in range(1000):
            yield number

    @ray.remote(num_cpus=2)
    def after() -> str:
        return "ran"

    generator = produce.remote()
    assert said.receive() == "started"
    del generator
    assert ray.get(after.remote(), timeout=40) == "ran"


def free_store_bytes() -> float:
    return float(ray.available_resources().get("object_store_memory", 0))


@pytest.mark.row("4.28", "14.24")
@pytest.mark.parametrize("consumed", [0, 1])
def test_dropping_a_generator_frees_what_was_not_consumed(new_channel: NewChannel, consumed: int) -> None:
    said, item_bytes = new_channel(), 20_000_000

    @ray.remote
    def produce() -> Iterator[bytes]:
        for _ in range(4):
            yield bytes(item_bytes)
        said.send("end")

    before = free_store_bytes()
    generator = produce.remote()
    assert said.receive() == "end"
    wait_for(lambda: free_store_bytes() <= before - 3.5 * item_bytes, what="four items in the store")
    kept = [next(generator) for _ in range(consumed)]
    del generator
    wait_for(lambda: free_store_bytes() >= before - (consumed + 0.5) * item_bytes, what="unconsumed items freed")
    assert all(len(ray.get(ref)) == item_bytes for ref in kept)


@pytest.mark.row("4.28", "5.14")
@better("Ray keeps the actor of a handle in an unconsumed item for ever")
def test_an_actor_handle_in_an_unconsumed_item_is_dropped_with_it(new_channel: NewChannel) -> None:
    pids = new_channel()

    @ray.remote(num_cpus=0)
    class Actor:
        def pid(self) -> int:
            return os.getpid()

    @ray.remote
    def produce() -> Iterator[Any]:
        actor = Actor.remote()
        pids.send(ray.get(actor.pid.remote()))
        yield actor

    generator = produce.remote()
    pid = pids.receive()
    ray.get(generator.completed())
    del generator
    wait_gone(pid)


# -------------------------------------------------------------------------------------------------------- dynamic


@pytest.mark.row("1.49", "2.19")
@pytest.mark.filterwarnings("ignore")
def test_dynamic_returns_are_one_ref_to_a_list_of_refs() -> None:
    @ray.remote(num_returns="dynamic")
    def produce(count: int) -> Iterator[int]:
        for item in range(count):
            yield item

    ref = produce.remote(3)
    assert isinstance(ref, ray.ObjectRef)
    dynamic = ray.get(ref)
    assert isinstance(dynamic, ray.DynamicObjectRefGenerator)
    assert len(dynamic) == 3
    assert ray.get(list(dynamic)) == [0, 1, 2]


@pytest.mark.row("1.49")
@pytest.mark.filterwarnings("ignore")
def test_an_error_in_a_dynamic_generator_fails_its_last_ref() -> None:
    @ray.remote(num_returns="dynamic")
    def produce() -> Iterator[int]:
        yield 1
        raise ValueError("dynamic")

    refs = list(ray.get(produce.remote()))
    assert ray.get(refs[:-1]) == [1]
    with pytest.raises(ValueError, match="dynamic"):
        ray.get(refs[-1])
