"""`LinckiaExecutor`, judged by what `concurrent.futures` promises. Ray has no such class."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from engine import IS_LINCKIA, exceptions, module, ray
from gates import Channel, Gate

if not IS_LINCKIA:
    pytest.skip("Ray has no concurrent.futures executor", allow_module_level=True)

pytestmark = pytest.mark.usefixtures("cluster")
Executor: Any = module("util").LinckiaExecutor
NewGate = Callable[[], Gate]
NewChannel = Callable[[], Channel]


@pytest.fixture
def executor() -> Iterator[Any]:
    with Executor(num_cpus=0) as made:
        yield made


def power(base: int, exponent: int = 2) -> int:
    return int(base**exponent)


def fail(message: str) -> None:
    raise ValueError(message)


def after(gate: Gate, value: Any) -> Any:
    assert gate.wait()
    return value


def test_submit(executor: Any) -> None:
    assert isinstance(executor, concurrent.futures.Executor)
    future = executor.submit(power, 3, exponent=3)
    assert isinstance(future, concurrent.futures.Future)
    assert future.result(timeout=60) == 27
    assert future.done()
    assert future.exception() is None
    assert not future.cancel()
    assert executor.submit(os.getpid).result(60) != os.getpid()


def test_any_callable(executor: Any) -> None:
    class Adder:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self, value: int) -> int:
            return value + 1

        def method(self, value: int) -> int:
            return value + 2

    assert executor.submit(functools.partial(power, exponent=3), 2).result(60) == 8
    assert executor.submit(Adder(), 1).result(60) == 2
    assert executor.submit(Adder().method, 1).result(60) == 3
    assert executor.submit(len, "four").result(60) == 4
    assert executor.submit(lambda: "lambda").result(60) == "lambda"
    with pytest.raises(TypeError, match="callable"):
        executor.submit(5)


def test_refs_among_the_arguments_arrive_as_values(executor: Any) -> None:
    assert executor.submit(power, ray.put(5)).result(60) == 25


def test_errors(executor: Any) -> None:
    future = executor.submit(fail, "on purpose")
    with pytest.raises(ValueError, match="on purpose"):
        future.result(60)
    assert isinstance(future.exception(), exceptions.RayTaskError)
    with pytest.raises(TypeError, match="lock"):
        executor.submit(power, threading.Lock()).result(60)
    with pytest.raises(TypeError, match="exponents"):
        executor.submit(power, 1, exponents=2).result(60)


def test_timeout_and_wait(executor: Any, new_gate: NewGate) -> None:
    gate = new_gate()
    slow, fast = executor.submit(after, gate, "slow"), executor.submit(power, 2)
    with pytest.raises(concurrent.futures.TimeoutError):
        slow.result(timeout=0.05)
    done, waiting = concurrent.futures.wait([slow, fast], 60, concurrent.futures.FIRST_COMPLETED)
    assert (done, waiting) == ({fast}, {slow})
    gate.open()
    assert [f.result() for f in concurrent.futures.as_completed([slow, fast], 60)] == [4, "slow"]


@pytest.mark.parametrize("chunksize", [1, 3, 100])
def test_map(executor: Any, chunksize: int) -> None:
    assert list(executor.map(power, range(7), chunksize=chunksize)) == [n * n for n in range(7)]
    assert list(executor.map(power, [2, 3], [3, 2], chunksize=chunksize)) == [8, 9]
    with pytest.raises(ValueError, match="chunksize"):
        executor.map(power, [1], chunksize=0)


def test_map_timeout(executor: Any, new_gate: NewGate) -> None:
    gate = new_gate()
    results = executor.map(after, [gate], ["value"], timeout=0.05)
    with pytest.raises(concurrent.futures.TimeoutError):
        next(results)


def test_max_workers_bounds_what_runs(new_gate: NewGate, new_channel: NewChannel) -> None:
    gate, channel = new_gate(), new_channel()

    def announce(place: int) -> int:
        channel.send(place)
        assert gate.wait()
        return place

    with Executor(max_workers=2, num_cpus=0) as executor:
        futures = [executor.submit(announce, place) for place in range(5)]
        assert set(channel.receive_many(2)) == {"0", "1"}
        assert executor.submit(power, 2).cancel()
        assert channel.received() == []
        gate.open()
        assert [future.result(60) for future in futures] == [0, 1, 2, 3, 4]


def test_cancel_before_it_starts(new_gate: NewGate) -> None:
    gate = new_gate()
    with Executor(max_workers=1, num_cpus=0) as executor:
        first, second, third = (executor.submit(after, gate, n) for n in range(3))
        assert second.cancel()
        assert second.cancel()
        assert second.cancelled()
        assert concurrent.futures.wait([second], 1).done == {second}
        gate.open()
        assert (first.result(60), third.result(60)) == (0, 2)
        with pytest.raises(concurrent.futures.CancelledError):
            second.result()


def test_cancel_interrupts_a_running_task(executor: Any, new_gate: NewGate, new_channel: NewChannel) -> None:
    gate, channel = new_gate(), new_channel()

    def hold() -> None:
        channel.send("began")
        try:
            gate.wait()
        except KeyboardInterrupt:
            channel.send("interrupted")
            raise

    future = executor.submit(hold)
    assert channel.receive() == "began"
    assert future.cancel()
    assert future.cancelled()
    assert channel.receive() == "interrupted"


def test_shutdown(new_gate: NewGate) -> None:
    gate = new_gate()
    executor = Executor(num_cpus=0)
    future = executor.submit(after, gate, "value")
    executor.shutdown(wait=False)
    with pytest.raises(RuntimeError, match="shutdown"):
        executor.submit(power, 1)
    assert not future.done()
    gate.open()
    executor.shutdown()
    assert future.done()


def test_shutdown_can_cancel(new_gate: NewGate) -> None:
    executor = Executor(max_workers=1, num_cpus=0)
    futures = [executor.submit(after, new_gate(), n) for n in range(3)]
    executor.shutdown(cancel_futures=True)
    assert all(future.cancelled() for future in futures)


def test_asyncio_can_use_it(executor: Any) -> None:
    async def scenario() -> int:
        return await asyncio.get_running_loop().run_in_executor(executor, power, 6)

    assert asyncio.run(scenario()) == 36


def test_wrong_options() -> None:
    with pytest.raises(ValueError, match="max_workers"):
        Executor(0)
    with pytest.raises(ValueError, match="num_returns"):
        Executor(num_returns=2)
    with pytest.raises(ValueError, match="no_such_option"):
        Executor(no_such_option=2).submit(power, 1)
