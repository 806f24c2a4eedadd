"""Actors whose process dies: restarts, retries of calls, and what callers see meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engine import better, exceptions, ray, wait_for
from gates import Channel, Gate
from tools_tasks import Tally, wait_gone

pytestmark = pytest.mark.usefixtures("cluster")

NewGate = Callable[[], Gate]
NewChannel = Callable[[], Channel]


@pytest.fixture
def tally(tmp_path: Path) -> Tally:
    return Tally(tmp_path / "tally")


@ray.remote
class Fragile:
    """Dies on request. From its second life on, its constructor waits at `gate` when it has one."""

    def __init__(self, said: Channel, start: int = 0, gate: Gate | None = None) -> None:
        said.send(os.getpid())
        self.value = start
        if gate is not None and ray.get_runtime_context().was_current_actor_reconstructed:
            gate.wait()

    def add(self) -> int:
        self.value += 1
        return self.value

    def pid(self) -> int:
        return os.getpid()

    def reconstructed(self) -> bool:
        return bool(ray.get_runtime_context().was_current_actor_reconstructed)

    def crash_until(self, tally: Tally, attempt: int) -> int:
        number = tally.add()
        if number < attempt:
            os._exit(1)
        return number

    def fail_until(self, tally: Tally, attempt: int, kind: type[Exception] = ValueError) -> int:
        number = tally.add()
        if number < attempt:
            raise kind(f"attempt {number}")
        return number


def retried(actor: Any) -> Any:
    """The next answer of an actor that may be restarting, although its calls are not retried."""

    def attempt() -> Any:
        try:
            return ray.get(actor.pid.remote(), timeout=30)
        except exceptions.ActorUnavailableError:
            return None

    return wait_for(attempt, timeout_s=40)


# ---------------------------------------------------------------------------------------------------- restarts


@pytest.mark.row("5.18", "7.2")
def test_a_killed_process_is_replaced_and_starts_from_its_arguments(new_channel: NewChannel) -> None:
    said = new_channel()
    actor = Fragile.options(max_restarts=1).remote(said, start=ray.put(10))
    first = int(said.receive())
    assert ray.get([actor.add.remote(), actor.add.remote()]) == [11, 12]
    assert ray.get(actor.reconstructed.remote()) is False
    os.kill(first, signal.SIGKILL)
    second = int(said.receive(timeout_s=40))
    assert retried(actor) == second != first
    assert ray.get(actor.reconstructed.remote()) is True
    assert ray.get(actor.add.remote()) == 11, "its state is lost"
    wait_gone(first)


@pytest.mark.row("5.25", "5.18")
@pytest.mark.parametrize("max_restarts", [0, 2])
def test_one_crash_more_than_max_restarts_is_final(new_channel: NewChannel, tally: Tally, max_restarts: int) -> None:
    said = new_channel()
    actor = Fragile.options(max_restarts=max_restarts).remote(said)
    for _ in range(max_restarts + 1):
        os.kill(int(said.receive(timeout_s=40)), signal.SIGKILL)
    with pytest.raises(exceptions.ActorDiedError):
        wait_for(lambda: retried(actor) and None)
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(actor.add.remote(), timeout=30)
    assert said.received() == []


@pytest.mark.row("5.18", "2.25")
def test_minus_one_restarts_for_ever(new_channel: NewChannel) -> None:
    said = new_channel()
    actor = Fragile.options(max_restarts=-1, max_task_retries=-1).remote(said)
    lives = 4
    for _ in range(lives):
        os.kill(int(said.receive(timeout_s=40)), signal.SIGKILL)
    assert ray.get(actor.pid.remote(), timeout=60) == int(said.receive(timeout_s=40))
    ray.kill(actor)


@pytest.mark.row("5.18", "5.17")
def test_a_restarted_actor_keeps_its_name_and_its_handles(new_channel: NewChannel) -> None:
    said = new_channel()
    actor = Fragile.options(name="phoenix", max_restarts=1).remote(said)
    first = int(said.receive())
    by_name = ray.get_actor("phoenix")
    os.kill(first, signal.SIGKILL)
    second = int(said.receive(timeout_s=40))
    assert retried(by_name) == second
    assert ray.get_actor("phoenix") == actor
    assert ray.get(ray.get_actor("phoenix").pid.remote()) == second


@pytest.mark.row("5.18", "3.6")
@better("Ray warns that the restart will fail once the arguments in the object store are out of scope")
@pytest.mark.parametrize("nested", [False, True])
def test_a_restart_needs_no_reference_to_the_constructors_arguments(new_channel: NewChannel, nested: bool) -> None:
    said = new_channel()

    @ray.remote
    def large() -> bytes:
        return b"x" * 500_000

    @ray.remote(max_restarts=1, max_task_retries=-1)
    class Holder:
        def __init__(self, direct: bytes, refs: list[Any]) -> None:
            said.send(os.getpid())
            self.sizes = [len(direct), *map(len, ray.get(refs))]

        def read(self) -> list[int]:
            return self.sizes

    actor = Holder.remote(large.remote(), [ray.put(b"y" * 400_000)] if nested else [])
    expected = [500_000, 400_000] if nested else [500_000]
    assert ray.get(actor.read.remote()) == expected
    os.kill(int(said.receive()), signal.SIGKILL)
    assert ray.get(actor.read.remote(), timeout=40) == expected


@pytest.mark.row("5.3", "5.18", "5.19")
def test_a_constructor_that_fails_on_a_restart_is_final(new_channel: NewChannel, tally: Tally) -> None:
    said = new_channel()

    @ray.remote(max_restarts=5, max_task_retries=-1)
    class FailsLater:
        def __init__(self) -> None:
            said.send(os.getpid())
            if tally.add() > 1:
                raise ValueError("second life refused")

        def ping(self) -> str:
            return "pong"

    actor = FailsLater.remote()
    assert ray.get(actor.ping.remote()) == "pong"
    os.kill(int(said.receive()), signal.SIGKILL)
    with pytest.raises(exceptions.ActorDiedError, match="second life refused"):
        ray.get(actor.ping.remote(), timeout=40)
    assert tally.count() == 2


@pytest.mark.row("5.18")
def test_a_constructor_that_crashes_uses_up_restarts(new_channel: NewChannel, tally: Tally) -> None:
    @ray.remote(max_restarts=2)
    class CrashesTwice:
        def __init__(self) -> None:
            if tally.add() <= 2:
                os._exit(1)

        def ping(self) -> str:
            return "pong"

    assert ray.get(CrashesTwice.options(max_task_retries=-1).remote().ping.remote(), timeout=50) == "pong"
    assert tally.count() == 3


# ------------------------------------------------------------------------------------- calls while restarting


@pytest.mark.row("5.21", "3.49", "14.20")
def test_without_retries_calls_fail_fast_while_the_actor_restarts(new_gate: NewGate, new_channel: NewChannel) -> None:
    gate, said = new_gate(), new_channel()
    actor = Fragile.options(max_restarts=1).remote(said, gate=gate)
    first = int(said.receive())
    assert ray.get(actor.add.remote()) == 1
    os.kill(first, signal.SIGKILL)
    second = int(said.receive(timeout_s=40))
    begin = time.monotonic()
    with pytest.raises(exceptions.ActorUnavailableError) as caught:
        ray.get(actor.add.remote(), timeout=30)
    assert time.monotonic() - begin < 10
    assert isinstance(caught.value, exceptions.RayActorError)
    assert not isinstance(caught.value, exceptions.ActorDiedError)
    gate.open()
    assert retried(actor) == second
    assert ray.get(actor.add.remote()) == 1


@pytest.mark.row("5.22")
def test_with_retries_calls_wait_for_the_restart(new_gate: NewGate, new_channel: NewChannel) -> None:
    gate, said = new_gate(), new_channel()
    actor = Fragile.options(max_restarts=1, max_task_retries=-1).remote(said, gate=gate)
    first = int(said.receive())
    assert ray.get(actor.add.remote()) == 1
    os.kill(first, signal.SIGKILL)
    said.receive(timeout_s=40)
    refs = [actor.add.remote() for _ in range(5)]
    assert ray.wait(refs, timeout=0.3)[0] == []
    gate.open()
    assert sorted(ray.get(refs, timeout=50)) == [1, 2, 3, 4, 5]


@pytest.mark.row("5.21", "5.2")
def test_calls_sent_before_the_first_life_began_are_no_victims_of_it(
    new_gate: NewGate, new_channel: NewChannel
) -> None:
    """An actor whose first process dies in its constructor is still being created, not unavailable."""
    gate, said = new_gate(), new_channel()

    @ray.remote(max_restarts=1, max_task_retries=1)
    class Slow:
        def __init__(self) -> None:
            said.send(os.getpid())
            gate.wait()

        def ping(self) -> str:
            return "pong"

    actor = Slow.remote()
    ref = actor.ping.remote()
    os.kill(int(said.receive()), signal.SIGKILL)
    said.receive(timeout_s=40)
    gate.open()
    assert ray.get(ref, timeout=40) == "pong"


# ----------------------------------------------------------------------------------------- calls that were hit


@pytest.mark.row("5.23", "7.3", "14.20")
def test_a_call_hit_by_a_crash_is_not_repeated_by_default(new_channel: NewChannel, tally: Tally) -> None:
    said = new_channel()
    actor = Fragile.options(max_restarts=3).remote(said)
    with pytest.raises((exceptions.ActorUnavailableError, exceptions.ActorDiedError)):
        ray.get(actor.crash_until.remote(tally, 99), timeout=40)
    assert retried(actor) == int(said.receive_many(2, timeout_s=40)[1])
    assert tally.count() == 1


@pytest.mark.row("5.23", "3.48")
def test_a_call_hit_by_the_last_crash_says_that_the_actor_died(new_channel: NewChannel, tally: Tally) -> None:
    actor = Fragile.remote(new_channel())
    with pytest.raises(exceptions.ActorDiedError) as caught:
        ray.get(actor.crash_until.remote(tally, 99), timeout=40)
    assert "Fragile" in str(caught.value)
    assert not caught.value.actor_init_failed


@pytest.mark.row("5.23", "7.3")
def test_max_task_retries_repeats_a_call_hit_by_a_crash(new_channel: NewChannel, tally: Tally) -> None:
    actor = Fragile.options(max_restarts=-1, max_task_retries=2).remote(new_channel())
    assert ray.get(actor.crash_until.remote(tally, 3), timeout=60) == 3
    assert tally.count() == 3


@pytest.mark.row("5.23", "7.3")
def test_the_last_retry_of_a_call_is_the_last(new_channel: NewChannel, tally: Tally) -> None:
    actor = Fragile.options(max_restarts=-1, max_task_retries=1).remote(new_channel())
    with pytest.raises(exceptions.RayActorError):
        ray.get(actor.crash_until.remote(tally, 99), timeout=60)
    assert tally.count() == 2


@pytest.mark.row("5.23", "5.22", "7.3")
def test_calls_queued_behind_a_crash_all_run_when_they_may_be_retried(new_channel: NewChannel, tally: Tally) -> None:
    actor = Fragile.options(max_restarts=1, max_task_retries=3).remote(new_channel())
    assert ray.get([actor.add.remote() for _ in range(3)]) == [1, 2, 3]
    crashed = actor.crash_until.remote(tally, 2)
    behind = [actor.add.remote() for _ in range(5)]
    assert ray.get(crashed, timeout=60) == 2
    assert sorted(ray.get(behind, timeout=60)) == [1, 2, 3, 4, 5]


@pytest.mark.row("5.23", "5.8")
def test_calls_in_flight_of_an_async_actor_are_retried_together(new_channel: NewChannel, tally: Tally) -> None:
    said = new_channel()

    @ray.remote(max_restarts=1, max_task_retries=1)
    class Async:
        def __init__(self) -> None:
            said.send(os.getpid())
            self.life = tally.add()

        async def work(self, number: int) -> tuple[int, int]:
            said.send("working")
            if self.life == 1:
                await asyncio.sleep(600)  # sleep: it is the work that the test interrupts or overlaps
            return self.life, number

    actor = Async.remote()
    pid = int(said.receive())
    refs = [actor.work.remote(number) for number in range(5)]
    assert said.receive_many(5) == ["working"] * 5
    os.kill(pid, signal.SIGKILL)
    assert ray.get(refs, timeout=60) == [(2, number) for number in range(5)]


@pytest.mark.row("5.23", "4.18")
def test_results_from_before_the_crash_stay_readable(new_channel: NewChannel, tally: Tally) -> None:
    said = new_channel()

    @ray.remote
    class Maker:
        def __init__(self) -> None:
            said.send(os.getpid())

        def make(self, size: int) -> bytes:
            return b"x" * size

    actor = Maker.remote()
    refs = [actor.make.remote(3), actor.make.remote(400_000)]
    ray.wait(refs, num_returns=2)
    pid = said.receive()
    os.kill(int(pid), signal.SIGKILL)
    wait_gone(pid)
    assert [len(value) for value in ray.get(refs)] == [3, 400_000], "the caller owns them, not the actor"


# -------------------------------------------------------------------------------------------- application errors


@pytest.mark.row("5.24")
def test_retry_exceptions_repeats_failing_calls(new_channel: NewChannel, tally: Tally) -> None:
    actor = Fragile.options(max_task_retries=5).remote(new_channel())
    always = actor.fail_until.options(retry_exceptions=True)
    with pytest.raises(ValueError, match="attempt 6"):
        ray.get(always.remote(tally, 99))
    assert tally.count() == 6
    assert ray.get(always.remote(tally, 9)) == 9, "succeeds on its third attempt"
    with pytest.raises(ValueError, match="attempt 10"):
        ray.get(actor.fail_until.remote(tally, 99))
    assert tally.count() == 10, "off by default"


@pytest.mark.row("5.24")
def test_a_list_of_exceptions_limits_what_is_repeated(new_channel: NewChannel, tally: Tally) -> None:
    actor = Fragile.options(max_task_retries=2).remote(new_channel())
    listed = actor.fail_until.options(retry_exceptions=[LookupError])
    with pytest.raises(KeyError):
        ray.get(listed.remote(tally, 99, KeyError))
    assert tally.count() == 3
    with pytest.raises(ValueError, match="attempt 4"):
        ray.get(listed.remote(tally, 99, ValueError))
    assert tally.count() == 4


@pytest.mark.row("5.24", "2.26", "14.20")
def test_the_nearest_max_task_retries_counts(tally: Tally) -> None:
    @ray.remote(max_task_retries=1)
    class Levels:
        def fail(self) -> None:
            raise ValueError(tally.add())

        @ray.method(max_task_retries=3)
        def fail_method(self) -> None:
            raise ValueError(tally.add())

    def runs(method: Any, **options: Any) -> int:
        before = tally.count()
        with pytest.raises(ValueError, match=r"\d"):
            ray.get(method.options(retry_exceptions=True, **options).remote())
        return tally.count() - before

    by_class, by_options = Levels.remote(), Levels.options(max_task_retries=2).remote()
    assert runs(by_class.fail) == 2
    assert runs(by_options.fail) == 3
    assert runs(by_class.fail_method) == 4
    assert runs(by_options.fail_method) == 4
    assert runs(by_options.fail_method, max_task_retries=0) == 1


@pytest.mark.row("5.24", "5.8")
def test_retry_exceptions_of_coroutines(tally: Tally) -> None:
    @ray.remote(max_task_retries=3)
    class Async:
        @ray.method(retry_exceptions=[ValueError])
        async def fail(self, attempt: int) -> int:
            number = tally.add()
            if number < attempt:
                raise ValueError(number)
            return number

    assert ray.get(Async.remote().fail.remote(3)) == 3


@pytest.mark.row("5.18", "5.19")
def test_a_restart_is_a_matter_of_seconds(new_channel: NewChannel) -> None:
    said = new_channel()
    actor = Fragile.options(max_restarts=1, max_task_retries=-1).remote(said)
    first = int(said.receive())
    begin = time.monotonic()
    os.kill(first, signal.SIGKILL)
    assert ray.get(actor.pid.remote()) != first
    assert time.monotonic() - begin < 10
