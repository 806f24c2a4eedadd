"""In which order an actor executes the calls of its callers."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from engine import better, ray, wait_for
from gates import Channel, Gate

pytestmark = [pytest.mark.usefixtures("cluster"), pytest.mark.row("14.15")]

NewGate = Callable[[], Gate]
NewChannel = Callable[[], Channel]


@ray.remote
class Log:
    def __init__(self) -> None:
        self.lines: list[Any] = []

    def add(self, line: Any) -> int:
        self.lines.append(line)
        return len(self.lines)

    def read(self) -> list[Any]:
        return self.lines


@ray.remote(num_cpus=0)
def value_after(gate: Gate, value: Any) -> Any:
    gate.wait()
    return value


@pytest.mark.row("5.5")
def test_one_caller_is_served_in_the_order_of_its_calls() -> None:
    log = Log.remote()
    for number in range(500):
        log.add.remote(number)
    assert ray.get(log.read.remote()) == list(range(500))


@pytest.mark.row("5.5")
def test_mixed_sizes_and_kinds_of_arguments_keep_the_order() -> None:
    @ray.remote
    def make(value: Any) -> Any:
        return value

    log = Log.remote()
    expected: list[Any] = []
    for number in range(12):
        small, large = number, bytes([number]) * 300_000
        log.add.remote(small)
        log.add.remote(large)
        log.add.remote(make.remote(small))
        log.add.remote(ray.put(large))
        log.add.remote(make.remote(large))
        expected += [small, large, small, large, large]
    assert ray.get(log.read.remote()) == expected


@pytest.mark.row("5.5")
def test_one_call_at_a_time(new_gate: NewGate, new_channel: NewChannel) -> None:
    gate, said = new_gate(), new_channel()

    @ray.remote
    class Plain:
        def hold(self) -> None:
            said.send("in")
            gate.wait()
            said.send("out")

        def ping(self) -> None:
            said.send("ping")

    @ray.remote(num_cpus=0)
    def ping(actor: Any) -> None:
        ray.get(actor.ping.remote())

    actor = Plain.remote()
    refs = [actor.hold.remote()]
    assert said.receive() == "in"
    refs += [actor.ping.remote(), ping.remote(actor)]
    assert ray.wait(refs, num_returns=3, timeout=0)[0] == []
    gate.open()
    ray.get(refs)
    assert said.received() == ["out", "ping", "ping"]


@pytest.mark.row("5.5")
def test_an_unready_argument_holds_up_only_the_later_calls_of_that_caller(new_gate: NewGate) -> None:
    gate = new_gate()
    log = Log.remote()

    @ray.remote(num_cpus=0)
    def other_caller(log: Any) -> int:
        return int(ray.get(log.add.remote("other")))

    ray.get(log.add.remote("earlier"))
    blocked = log.add.remote(value_after.remote(gate, "blocked"))
    behind = log.add.remote("behind")
    assert ray.get(other_caller.remote(log), timeout=40) == 2
    assert ray.wait([blocked, behind], timeout=0)[0] == []
    gate.open()
    assert ray.get([blocked, behind]) == [3, 4]
    assert ray.get(log.read.remote()) == ["earlier", "other", "blocked", "behind"]


@pytest.mark.row("5.5", "4.5")
def test_a_failed_argument_gives_up_its_place_and_the_next_call_runs(new_gate: NewGate) -> None:
    gate = new_gate()
    log = Log.remote()

    @ray.remote(num_cpus=0)
    def fail() -> None:
        gate.wait()
        raise KeyError("argument")

    failed, behind = log.add.remote(fail.remote()), log.add.remote("behind")
    gate.open()
    with pytest.raises(KeyError):
        ray.get(failed)
    assert ray.get(behind) == 1


@pytest.mark.row("5.5")
def test_threads_of_one_process_are_one_caller_each_in_its_own_order() -> None:
    log = Log.remote()
    started = threading.Barrier(4)

    def work(thread: int) -> None:
        started.wait()
        ray.get([log.add.remote((thread, number)) for number in range(50)])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    lines = ray.get(log.read.remote())
    for thread in range(4):
        assert [number for other, number in lines if other == thread] == list(range(50))


@pytest.mark.row("5.6")
def test_several_callers_each_keep_their_own_order() -> None:
    @ray.remote
    def work(log: Any, caller: int) -> None:
        ray.get([log.add.remote((caller, number)) for number in range(50)])

    log = Log.remote()
    ray.get([work.remote(log, caller) for caller in range(4)])
    lines = ray.get(log.read.remote())
    for caller in range(4):
        assert [number for other, number in lines if other == caller] == list(range(50))


@pytest.mark.row("5.5", "1.34")
def test_all_handles_of_one_process_share_one_order() -> None:
    log = Log.options(name="one order").remote()
    again = ray.get_actor("one order")
    copy = ray.get(ray.put(log))
    for number in range(60):
        (log, again, copy)[number % 3].add.remote(number)
    assert ray.get(log.read.remote()) == list(range(60))


@pytest.mark.row("5.6", "5.8")
def test_a_slow_call_of_an_async_actor_is_overtaken(new_gate: NewGate) -> None:
    @ray.remote
    class Async:
        def __init__(self) -> None:
            self.event = asyncio.Event()

        async def wait(self) -> str:
            await self.event.wait()
            return "waited"

        async def release(self) -> str:
            self.event.set()
            return "released"

    actor = Async.remote()
    slow = actor.wait.remote()
    assert ray.get(actor.release.remote(), timeout=40) == "released"
    assert ray.get(slow) == "waited"


@pytest.mark.row("5.6", "2.34")
@pytest.mark.parametrize("options", [{"max_concurrency": 2}, {"allow_out_of_order_execution": True}])
def test_an_unready_argument_holds_up_nobody_where_order_is_not_promised(
    new_gate: NewGate, options: dict[str, Any]
) -> None:
    gate = new_gate()
    log = Log.options(**options).remote()
    blocked = log.add.remote(value_after.remote(gate, "blocked"))
    assert ray.get(log.add.remote("behind"), timeout=40) == 1
    gate.open()
    assert ray.get(blocked) == 2


@pytest.mark.row("5.6", "5.8")
def test_an_unready_argument_holds_up_nobody_in_an_async_actor(new_gate: NewGate) -> None:
    gate = new_gate()

    @ray.remote
    class Async:
        async def echo(self, value: Any) -> Any:
            return value

    actor = Async.remote()
    blocked = actor.echo.remote(value_after.remote(gate, "blocked"))
    assert ray.get(actor.echo.remote("behind"), timeout=40) == "behind"
    gate.open()
    assert ray.get(blocked) == "blocked"


@pytest.mark.row("5.37")
@better("Ray says it in its log files")
def test_a_long_queue_is_warned_of_and_again_when_it_has_doubled(
    new_gate: NewGate, capfd: pytest.CaptureFixture[str]
) -> None:
    gate, said = new_gate(), ""

    @ray.remote(num_cpus=0)
    class Late:
        def __init__(self) -> None:
            gate.wait()
            self.count = 0

        def add(self) -> int:
            self.count += 1
            return self.count

    def told(number: str) -> bool:
        nonlocal said
        said += capfd.readouterr().err
        return re.search(rf"\b{number}\b", said) is not None

    late = Late.remote()
    refs = [late.add.remote() for _ in range(5_001)]
    wait_for(lambda: told("500[01]"), what="warned of 5000 calls")
    assert said.count("warning") == 1
    refs += [late.add.remote() for _ in range(5_000)]
    wait_for(lambda: told("1000[01]"), what="warned of 10000 calls")
    assert said.count("warning") == 2
    gate.open()
    assert ray.get(refs[-1], timeout=60) == 10_001


@pytest.mark.row("5.37")
@better("Ray says it in its log files")
def test_a_long_queue_of_a_worker_is_warned_of_on_the_driver(
    new_gate: NewGate, capfd: pytest.CaptureFixture[str]
) -> None:
    gate, said = new_gate(), ""

    @ray.remote(num_cpus=0)
    class Late:
        def __init__(self) -> None:
            gate.wait()

        def call(self) -> None: ...

    @ray.remote(num_cpus=0)
    def caller() -> None:
        late = Late.remote()
        ray.get([late.call.remote() for _ in range(5_001)])

    def told() -> bool:
        nonlocal said
        said += capfd.readouterr().err
        return re.search(r"\b500[01]\b", said) is not None

    ref = caller.remote()
    wait_for(told, what="warned of 5000 calls")
    gate.open()
    ray.get(ref, timeout=60)
