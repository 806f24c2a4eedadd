"""`Queue`: the interface of `queue.Queue` between processes."""

from __future__ import annotations

import asyncio
import queue
from typing import Any

import pytest
from engine import IS_LINCKIA, better, exceptions, module, ray

pytestmark = [pytest.mark.usefixtures("cluster"), pytest.mark.row("11.2")]
queues: Any = module("util.queue")
Queue, Empty, Full = queues.Queue, queues.Empty, queues.Full


@pytest.fixture
def shared() -> Any:
    return Queue()


@pytest.fixture
def pair() -> Any:
    return Queue(maxsize=2)


def test_first_in_first_out(shared: Any) -> None:
    for item in ("a", None, [1], {"k": 2}):
        shared.put(item)
    assert [shared.get() for _ in range(4)] == ["a", None, [1], {"k": 2}]


def test_errors_are_those_of_the_standard_module() -> None:
    assert issubclass(Empty, queue.Empty)
    assert issubclass(Full, queue.Full)


def test_sizes(pair: Any) -> None:
    assert pair.maxsize == 2
    assert (pair.empty(), pair.full(), pair.qsize(), pair.size(), len(pair)) == (True, False, 0, 0, 0)
    pair.put(1)
    assert (pair.empty(), pair.full(), pair.qsize(), pair.size(), len(pair)) == (False, False, 1, 1, 1)
    pair.put(2)
    assert (pair.empty(), pair.full(), pair.qsize(), pair.size(), len(pair)) == (False, True, 2, 2, 2)


@pytest.mark.parametrize("maxsize", [0, -1])
def test_no_limit(maxsize: int) -> None:
    unlimited = Queue(maxsize)
    unlimited.put_nowait_batch(list(range(100)))
    assert not unlimited.full()


def test_an_empty_queue(shared: Any) -> None:
    for take in (
        lambda: shared.get(block=False),
        lambda: shared.get(timeout=0.05),
        lambda: shared.get(timeout=0),
        shared.get_nowait,
        lambda: shared.get_nowait_batch(1),
    ):
        with pytest.raises(Empty):
            take()


def test_a_full_queue_refuses_and_keeps_its_items(pair: Any) -> None:
    pair.put_nowait_batch(["a", "b"])
    for add in (
        lambda: pair.put("c", block=False),
        lambda: pair.put("c", timeout=0.05),
        lambda: pair.put_nowait("c"),
        lambda: pair.put_nowait_batch(["c"]),
    ):
        with pytest.raises(Full):
            add()
    assert pair.get_nowait_batch(2) == ["a", "b"]


def test_a_batch_goes_in_and_out_whole_or_not_at_all(pair: Any) -> None:
    pair.put(1)
    with pytest.raises(Full):
        pair.put_nowait_batch([2, 3])
    with pytest.raises(Empty):
        pair.get_nowait_batch(2)
    assert pair.qsize() == 1
    pair.put_nowait_batch((2,))
    assert pair.get_nowait_batch(0) == []
    assert pair.get_nowait_batch(2) == [1, 2]


@better("Ray tries to pickle the generator")
def test_a_batch_may_be_any_iterable(shared: Any) -> None:
    shared.put_nowait_batch(n * n for n in range(3))
    assert shared.get_nowait_batch(3) == [0, 1, 4]


def test_wrong_arguments_are_refused(shared: Any) -> None:
    with pytest.raises(ValueError, match="negative"):
        shared.get(timeout=-1)
    with pytest.raises(ValueError, match="negative"):
        shared.put(1, timeout=-1)
    with pytest.raises(TypeError, match="(?i)itera"):
        shared.put_nowait_batch(5)
    with pytest.raises(TypeError, match="num_items"):
        shared.get_nowait_batch("2")
    with pytest.raises(ValueError, match="num_items"):
        shared.get_nowait_batch(-1)


def test_a_waiting_get_is_served_by_a_later_put(shared: Any) -> None:
    @ray.remote(num_cpus=0)
    def consume(source: Any, count: int) -> list[int]:
        return [source.get(timeout=60) for _ in range(count)]

    taken = consume.remote(shared, 3)
    for item in range(3):
        shared.put(item)
    assert ray.get(taken) == [0, 1, 2]


def test_a_waiting_put_is_served_by_a_later_get() -> None:
    @ray.remote(num_cpus=0)
    def produce(target: Any, count: int) -> str:
        for item in range(count):
            target.put(item, timeout=60)
        return "done"

    narrow = Queue(maxsize=1)
    produced = produce.remote(narrow, 5)
    assert [narrow.get(timeout=60) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert ray.get(produced) == "done"


def test_each_item_goes_to_one_of_several_consumers(shared: Any) -> None:
    @ray.remote(num_cpus=0)
    def consume_until_none(source: Any) -> list[int]:
        return list(iter(lambda: source.get(timeout=60), None))

    consumers = [consume_until_none.remote(shared) for _ in range(2)]
    shared.put_nowait_batch([*range(50), None, None])
    first, second = ray.get(consumers)
    assert sorted(first + second) == list(range(50))


def test_coroutines(pair: Any) -> None:
    async def scenario() -> list[object]:
        waiting = asyncio.ensure_future(pair.get_async(timeout=60))
        await pair.put_async("first")
        seen: list[object] = [await waiting]
        await pair.put_async("second", block=False)
        seen.append(await pair.get_async(block=False))
        with pytest.raises(Empty):
            await pair.get_async(block=False)
        with pytest.raises(Empty):
            await pair.get_async(timeout=0.05)
        pair.put_nowait_batch([1, 2])
        with pytest.raises(Full):
            await pair.put_async(3, block=False)
        with pytest.raises(Full):
            await pair.put_async(3, timeout=0.05)
        with pytest.raises(ValueError, match="negative"):
            await pair.get_async(timeout=-1)
        return seen

    assert asyncio.run(scenario()) == ["first", "second"]


@better("in Ray the call goes on waiting in the actor and takes the item")
def test_a_cancelled_get_takes_nothing(shared: Any) -> None:
    async def scenario() -> Any:
        leaving = asyncio.ensure_future(shared.get_async())
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(leaving, 0.05)
        # The actor hears of the cancellation after later calls at the worst; a round trip lets it through.
        await shared.actor.qsize.remote()
        await shared.put_async("kept")
        return await shared.get_async(timeout=30)

    assert asyncio.run(scenario()) == "kept"


def test_the_actor_gets_its_options() -> None:
    named = Queue(actor_options={"name": "named-queue", "num_cpus": 0})
    named.put(1)
    assert ray.get_actor("named-queue") == named.actor
    named.shutdown()


@pytest.mark.parametrize("force", [False, True])
def test_shutdown_ends_the_actor(shared: Any, force: bool) -> None:
    @ray.remote(num_cpus=0)
    def size(source: Any) -> int:
        return int(source.qsize())

    other = ray.get(ray.put(shared))
    shared.put(1)
    assert ray.get(size.remote(shared)) == 1
    shared.shutdown(force=force)
    shared.shutdown()
    with pytest.raises(RuntimeError if IS_LINCKIA else AttributeError):
        shared.qsize()
    with pytest.raises(exceptions.RayActorError):
        other.qsize()
