"""`ObjectRefGenerator` in the hands of its consumer, and the old dynamic kind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from engine import better, exceptions, ray, wait_for

pytestmark = pytest.mark.usefixtures("cluster")


@ray.remote
def count(number: int) -> Any:
    for item in range(number):  # noqa: UP028 - real Ray sends into generators, which `yield from` does not survive
        yield item


@ray.remote
def fails_after(number: int) -> Any:
    for item in range(number):  # noqa: UP028 - as above
        yield item
    raise ValueError("at the end")


@pytest.mark.row("1.48", "2.19")
def test_a_generator_function_gives_a_generator_of_refs() -> None:
    generator = count.remote(3)
    assert isinstance(generator, ray.ObjectRefGenerator)
    refs = list(generator)
    assert all(isinstance(ref, ray.ObjectRef) for ref in refs)
    assert ray.get(refs) == [0, 1, 2]


@pytest.mark.row("1.48")
@better("Ray sends values into the generator, which `yield from` passes on to an iterator that has no `send`")
def test_a_generator_may_delegate_to_an_iterator() -> None:
    @ray.remote
    def delegates() -> Any:
        yield from range(3)

    assert ray.get(list(delegates.remote())) == [0, 1, 2]


@pytest.mark.row("1.48")
def test_next_ends_with_stop_iteration_again_and_again() -> None:
    generator = count.remote(1)
    assert ray.get(next(generator)) == 0
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(generator)


@pytest.mark.row("1.48")
def test_an_empty_generator_is_empty() -> None:
    assert list(count.remote(0)) == []


@pytest.mark.row("1.48", "14.24")
def test_items_can_be_read_while_the_producer_runs(new_gate: Any) -> None:
    gate = new_gate()

    @ray.remote
    def slow() -> Any:
        yield "early"
        gate.wait()
        yield "late"

    generator = slow.remote()
    assert ray.get(next(generator)) == "early"
    assert not gate.is_open()
    gate.open()
    assert ray.get(next(generator)) == "late"


@pytest.mark.row("1.48", "14.24", "4.28")
def test_the_producer_runs_to_its_end_without_a_consumer(new_channel: Any) -> None:
    channel = new_channel()

    @ray.remote
    def eager() -> Any:
        for item in range(5):  # noqa: UP028 - as above
            yield item
        channel.send("ended")

    generator = eager.remote()
    assert channel.receive() == "ended"
    assert ray.get(list(generator)) == [0, 1, 2, 3, 4]


@pytest.mark.row("1.48", "4.28")
def test_an_error_is_one_extra_ref() -> None:
    refs = list(fails_after.remote(2))
    assert len(refs) == 3
    assert ray.get(refs[:2]) == [0, 1]
    with pytest.raises(ValueError, match="at the end"):
        ray.get(refs[2])


@pytest.mark.row("1.48")
def test_async_iteration() -> None:
    async def consume() -> list[int]:
        return [await ref async for ref in count.remote(4)]

    assert asyncio.run(consume()) == [0, 1, 2, 3]


@pytest.mark.row("1.48")
def test_async_iteration_of_a_failing_generator() -> None:
    async def consume() -> int:
        good = 0
        async for ref in fails_after.remote(2):
            try:
                await ref
                good += 1
            except ValueError:
                return good
        return -1

    assert asyncio.run(consume()) == 2


@pytest.mark.row("1.48")
def test_completed_ref_tells_the_end(new_gate: Any) -> None:
    gate = new_gate()

    @ray.remote
    def held() -> Any:
        yield 1
        gate.wait()

    generator = held.remote()
    completed = generator.completed()
    assert isinstance(completed, ray.ObjectRef)
    assert ray.wait([completed], timeout=0.1) == ([], [completed])
    gate.open()
    assert ray.wait([completed], timeout=30) == ([completed], [])


@pytest.mark.row("1.48")
def test_completed_ref_of_a_failing_generator_is_ready_and_the_error_stays_an_item() -> None:
    generator = fails_after.remote(1)
    completed = generator.completed()
    assert ray.wait([completed], timeout=30) == ([completed], [])
    good, bad = generator
    assert ray.get(good) == 0
    with pytest.raises(ValueError, match="at the end"):
        ray.get(bad)


@pytest.mark.row("1.48")
def test_next_ready_and_is_finished(new_gate: Any) -> None:
    gate = new_gate()

    @ray.remote
    def held() -> Any:
        gate.wait()
        yield 1

    generator = held.remote()
    assert not generator.next_ready()
    assert not generator.is_finished()
    gate.open()
    wait_for(generator.next_ready)
    assert ray.get(next(generator)) == 1
    with pytest.raises(StopIteration):
        next(generator)
    assert generator.is_finished()


@pytest.mark.row("1.48", "4.30")
@pytest.mark.parametrize("call", [("send", None), ("throw", ValueError()), ("close",)], ids=lambda call: call[0])
def test_coroutine_calls_are_not_there(call: tuple[Any, ...]) -> None:
    with pytest.raises(NotImplementedError):
        getattr(count.remote(1), call[0])(*call[1:])


@pytest.mark.row("1.48", "4.30")
@pytest.mark.parametrize("call", [("asend", None), ("athrow", ValueError()), ("aclose",)], ids=lambda call: call[0])
def test_async_coroutine_calls_are_not_there(call: tuple[Any, ...]) -> None:
    async def use() -> None:
        await getattr(count.remote(1), call[0])(*call[1:])

    with pytest.raises(NotImplementedError):
        asyncio.run(use())


@pytest.mark.row("1.48", "4.30")
def test_a_generator_is_not_passed_to_a_task() -> None:
    @ray.remote
    def take(generator: Any) -> None:
        pass

    with pytest.raises(TypeError):
        take.remote(count.remote(1))


@pytest.mark.row("1.48")
def test_refs_of_a_generator_are_ordinary_arguments() -> None:
    @ray.remote
    def double(number: int) -> int:
        return 2 * number

    assert ray.get([double.remote(ref) for ref in count.remote(3)]) == [0, 2, 4]


@pytest.mark.row("1.48", "5.12")
def test_generator_methods_of_actors() -> None:
    @ray.remote
    class Plain:
        def items(self) -> Any:
            yield "p"

    @ray.remote
    class Asynchronous:
        async def items(self) -> Any:
            yield "a"
            await asyncio.sleep(0)
            yield "b"

    assert [ray.get(ref) for ref in Plain.remote().items.remote()] == ["p"]
    assert [ray.get(ref) for ref in Asynchronous.remote().items.remote()] == ["a", "b"]


@pytest.mark.row("1.48")
def test_large_items() -> None:
    @ray.remote
    def large() -> Any:
        for letter in b"abc":
            yield bytes([letter]) * 500_000

    assert [ray.get(ref)[:1] for ref in large.remote()] == [b"a", b"b", b"c"]


@pytest.mark.row("2.23")
def test_backpressure_stalls_the_producer(new_channel: Any) -> None:
    channel = new_channel()

    @ray.remote(_generator_backpressure_num_objects=2)
    def produce() -> Any:
        for item in range(5):
            channel.send(item)
            yield item

    generator = produce.remote()
    # At most two unconsumed items: items 0 and 1 are out, producing item 2 or later needs a consumer.
    assert channel.receive_many(2) == ["0", "1"]
    assert set(channel.settled()) <= {"2"}
    assert [ray.get(ref) for ref in generator] == [0, 1, 2, 3, 4]


@pytest.mark.row("2.19", "1.49")
def test_dynamic_returns_hide_a_generator_behind_one_ref() -> None:
    with pytest.warns(DeprecationWarning):

        @ray.remote(num_returns="dynamic")
        def split() -> Any:
            for letter in "abc":  # noqa: UP028 - as above
                yield letter

    ref = split.remote()
    assert isinstance(ref, ray.ObjectRef)
    generator = ray.get(ref)
    assert isinstance(generator, ray.DynamicObjectRefGenerator)
    assert len(generator) == 3
    assert ray.get(list(generator)) == ["a", "b", "c"]


@pytest.mark.row("1.48", "3.32")
def test_items_got_before_a_cancel_stay_readable(new_gate: Any) -> None:
    gate = new_gate()

    @ray.remote
    def held() -> Any:
        yield "kept"
        gate.wait()

    generator = held.remote()
    kept = next(generator)
    ray.cancel(generator)
    with pytest.raises(exceptions.TaskCancelledError):
        ray.get(next(generator))
    assert ray.get(kept) == "kept"
