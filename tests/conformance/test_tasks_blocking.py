"""Tasks inside tasks: who gives back its CPU while it waits, who keeps it, and what dies with its owner."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import pytest
from engine import exceptions, ray, wait_for
from gates import Channel, Gate
from tools_tasks import is_gone, wait_gone

NewGate = Callable[[], Gate]
NewChannel = Callable[[], Channel]
Init = Callable[..., Any]


@pytest.mark.row("4.16")
def test_recursion_deeper_than_the_cpus_completes(fresh: Init) -> None:
    fresh(num_cpus=1)

    @ray.remote
    def fibonacci(number: int) -> int:
        if number < 2:
            return number
        return sum(ray.get([fibonacci.remote(number - 1), fibonacci.remote(number - 2)]))

    @ray.remote
    def descend(depth: int) -> int:
        if depth == 0:
            return 0
        ready, _ = ray.wait([descend.remote(depth - 1)])
        return 1 + int(ray.get(ready[0]))

    assert ray.get(descend.remote(8)) == 8, "blocked in wait"
    assert ray.get(fibonacci.remote(5)) == 5, "blocked in get"


@pytest.mark.row("4.16")
def test_a_blocked_task_resumes_even_when_its_cpu_is_taken(
    fresh: Init, new_gate: NewGate, new_channel: NewChannel
) -> None:
    fresh(num_cpus=1)
    taken, answer_ready, started = new_gate(), new_gate(), new_channel()

    @ray.remote(num_cpus=0)
    def answer() -> int:
        answer_ready.wait()
        return 42

    @ray.remote
    def ask() -> int:
        started.send("asks")
        return int(ray.get(answer.remote()))

    @ray.remote
    def take_the_cpu() -> None:
        started.send("took the cpu")
        taken.wait()

    asking = ask.remote()
    assert started.receive() == "asks"
    taking = take_the_cpu.remote()
    assert started.receive() == "took the cpu"
    answer_ready.open()
    assert ray.get(asking, timeout=30) == 42
    assert ray.wait([taking], timeout=0)[0] == []
    taken.open()
    ray.get(taking)


@pytest.mark.row("4.16")
def test_a_wait_in_another_thread_keeps_the_cpu(fresh: Init, new_gate: NewGate, new_channel: NewChannel) -> None:
    fresh(num_cpus=1)
    gate, said = new_gate(), new_channel()

    @ray.remote
    def child() -> None:
        said.send("child runs")

    @ray.remote(num_cpus=0)
    def fence() -> int:
        return 1

    @ray.remote
    def parent() -> None:
        ref = child.remote()

        def wait_aside() -> None:
            said.send("waits")
            ray.get(ref)

        threading.Thread(target=wait_aside, daemon=True).start()
        gate.wait()
        said.send("parent ends")

    ref = parent.remote()
    assert said.receive() == "waits"
    ray.get([fence.remote() for _ in range(5)])
    assert said.received() == []
    gate.open()
    assert said.receive_many(2) == ["parent ends", "child runs"]
    ray.get(ref)


@pytest.mark.row("4.16", "14.10")
def test_a_blocked_actor_keeps_its_cpu(fresh: Init) -> None:
    fresh(num_cpus=1)

    @ray.remote
    def child() -> int:
        return 1

    @ray.remote(num_cpus=1)
    class Holder:
        def ask(self) -> str:
            try:
                ray.get(child.remote(), timeout=1)
            except exceptions.GetTimeoutError:
                return "no cpu for the child"
            return "child ran"

    @ray.remote(num_cpus=0)
    class Idle:
        def ask(self) -> int:
            return int(ray.get(child.remote()))

    assert ray.get(Idle.remote().ask.remote()) == 1
    holder = Holder.remote()
    assert ray.get(holder.ask.remote()) == "no cpu for the child"
    ray.kill(holder)
    assert ray.get(child.remote(), timeout=30) == 1


@pytest.mark.row("4.16")
@pytest.mark.parametrize("held", [{"num_gpus": 1}, {"resources": {"slot": 1}}])
def test_a_blocked_task_keeps_what_is_not_cpu(fresh: Init, held: dict[str, Any]) -> None:
    fresh(num_cpus=2, num_gpus=1, resources={"slot": 1})

    @ray.remote(**held)
    def child() -> int:
        return 1

    @ray.remote(**held)
    def parent() -> str:
        try:
            ray.get(child.remote(), timeout=1)
        except exceptions.GetTimeoutError:
            return "kept"
        return "released"

    assert ray.get(parent.remote()) == "kept"


@pytest.mark.row("4.16", "1.37")
def test_the_cpu_of_a_blocked_task_is_available_to_others(
    fresh: Init, new_gate: NewGate, new_channel: NewChannel
) -> None:
    fresh(num_cpus=1)
    gate, started = new_gate(), new_channel()

    @ray.remote(num_cpus=0)
    def hold() -> None:
        gate.wait()

    @ray.remote
    def ask() -> None:
        started.send(os.getpid())
        ray.get(hold.remote())

    ref = ask.remote()
    started.receive()
    wait_for(lambda: ray.available_resources().get("CPU") == 1.0, what="the CPU of the blocked task")
    gate.open()
    ray.get(ref)


@pytest.mark.row("4.17")
def test_workers_beyond_the_cpus_end_when_idle(fresh: Init, new_channel: NewChannel) -> None:
    fresh(num_cpus=2)
    pids = new_channel()

    @ray.remote
    def descend(depth: int) -> None:
        pids.send(os.getpid())
        if depth:
            ray.get(descend.remote(depth - 1))

    ray.get(descend.remote(5))
    seen = set(pids.receive_many(6))
    assert len(seen) == 6
    wait_for(lambda: sum(not is_gone(pid) for pid in seen) <= 2, what="idle workers beyond num_cpus to end")

    @ray.remote
    def one() -> int:
        return 1

    assert ray.get([one.remote() for _ in range(8)]) == [1] * 8


@pytest.mark.row("4.15", "7.5", "3.35")
def test_children_die_with_the_worker_that_owns_them(fresh: Init, new_gate: NewGate, new_channel: NewChannel) -> None:
    fresh(num_cpus=4)
    die, never, pids = new_gate(), new_gate(), new_channel()

    @ray.remote
    class Shelf:
        def keep(self, refs: list[Any]) -> None:
            self.refs = refs

        def kept(self) -> list[Any]:
            return self.refs

    @ray.remote(max_retries=5)
    def child() -> bytes:
        pids.send(os.getpid())
        never.wait()
        return bytes(1_000_000)

    @ray.remote
    class Child:
        def __init__(self) -> None:
            pids.send(os.getpid())

    @ray.remote
    def value() -> bytes:
        return bytes(1_000_000)

    @ray.remote(max_retries=0)
    def parent(shelf: Any) -> None:
        ready = value.remote()
        ray.wait([ready], fetch_local=False)
        unready, actor = child.remote(), Child.remote()
        ray.get(actor.__ray_ready__.remote())
        ray.get(shelf.keep.remote([unready, ready, ray.put(bytes(1_000_000))]))
        die.wait()
        os._exit(1)

    shelf = Shelf.remote()
    ref = parent.remote(shelf)
    children = pids.receive_many(2)
    refs = ray.get(wait_until_kept(shelf))
    die.open()
    with pytest.raises(exceptions.WorkerCrashedError):
        ray.get(ref)
    for pid in children:
        wait_gone(pid)
    for orphan in refs:
        with pytest.raises(exceptions.OwnerDiedError):
            wait_for(lambda orphan=orphan: ray.get(orphan, timeout=40) and None)
    assert pids.received() == [], "nothing of a dead owner is started again"


def wait_until_kept(shelf: Any) -> Any:
    def kept() -> Any:
        try:
            ray.get(shelf.kept.remote())
        except AttributeError:
            return None
        return shelf.kept.remote()

    return wait_for(kept)


@pytest.mark.row("4.15")
def test_queued_children_of_a_dead_owner_never_run(fresh: Init, new_gate: NewGate, new_channel: NewChannel) -> None:
    fresh(num_cpus=1)
    gate, said = new_gate(), new_channel()

    @ray.remote
    def child() -> None:
        said.send("child ran")

    @ray.remote(max_retries=0)
    def parent() -> None:
        child.remote()
        said.send(os.getpid())
        gate.wait()

    @ray.remote
    def after() -> str:
        return "ran"

    ref = parent.remote()
    pid = int(said.receive())
    os.kill(pid, 9)
    with pytest.raises(exceptions.WorkerCrashedError):
        ray.get(ref)
    assert ray.get([after.remote() for _ in range(3)], timeout=40) == ["ran"] * 3
    assert said.received() == []


@pytest.mark.row("7.5")
def test_objects_a_finished_task_created_survive_it(fresh: Init) -> None:
    """Only the worker's death loses them, not the end of the task that made them."""
    fresh(num_cpus=2)

    @ray.remote
    def make() -> list[Any]:
        return [ray.put("small"), ray.put(b"x" * 500_000)]

    small, large = ray.get(make.remote())
    assert ray.get(small) == "small"
    assert len(ray.get(large)) == 500_000
