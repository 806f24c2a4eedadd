"""What is done with an engine, written once against Ray's API: `ray` and `linckia` run exactly this code.

Called by `session.py` inside the measured process. Every workload checks its results and returns `{figure id: value}`;
a wrong result raises and no figure is reported. Remote functions and actors are defined inside a function, so that both
engines ship them by value. Nothing here starts or stops an engine.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeAlias, cast

from bench.measure import Timing, expect, rate
from bench.ray_api import Actor, Api, Ref, Remote, actor, function

Values: TypeAlias = dict[str, float]
Workload: TypeAlias = Callable[[Api, Timing], Values]

BATCH = 1000
OK = b"ok"
ALL_OK = [OK] * BATCH
ACTORS_CREATED = 20
ACTORS_CALLED = 4
LOOP = 100
NESTED_REFS = 10_000


def small_task(ray: Api) -> Remote:
    """Return a remote function that does nothing, checked to run elsewhere and to return what it was given."""

    def echo(value: object) -> object:
        return value

    def small(*_: object) -> bytes:
        return b"ok"

    remote_echo = function(ray, echo)
    expect(ray.get([remote_echo.remote(i) for i in range(LOOP)]), list(range(LOOP)), "results in order")
    return function(ray, small)


def small_actor_class() -> type:
    """Return a class whose method answers at once."""

    class Small:
        def __init__(self) -> None:
            self.calls = 0

        def small(self, *_: object) -> bytes:
            self.calls += 1
            return b"ok"

        def count(self) -> int:
            return self.calls

    return Small


def async_actor_class() -> type:
    """Return the same class with a coroutine method."""

    class AsyncSmall:
        def __init__(self) -> None:
            self.calls = 0

        async def small(self, *_: object) -> bytes:
            self.calls += 1
            return b"ok"

        async def count(self) -> int:
            return self.calls

    return AsyncSmall


def task_sync(ray: Api, timing: Timing) -> Values:
    """One task at a time: submit, wait, submit the next."""
    small = small_task(ray)
    return {"task_sync": rate(lambda: expect(ray.get(small.remote()), OK, "task"), 1, timing.seconds)}


def task_1000(ray: Api, timing: Timing) -> Values:
    """A thousand tasks in flight, without and with two small arguments."""
    small = small_task(ray)

    def plain() -> None:
        expect(ray.get([small.remote() for _ in range(BATCH)]), ALL_OK, "1,000 tasks")

    def with_arguments() -> None:
        expect(ray.get([small.remote(i, "x") for i in range(BATCH)]), ALL_OK, "1,000 tasks with arguments")

    return {
        "task_1000": rate(plain, BATCH, timing.seconds),
        "task_1000_args": rate(with_arguments, BATCH, timing.seconds),
    }


def actors_20(ray: Api, _timing: Timing) -> Values:
    """Twenty actors created and called once each, from the first `.remote()` to the last answer."""
    cls = ray.remote(num_cpus=0)(small_actor_class())
    start = time.perf_counter()
    handles = [cast("Actor", cls.remote()) for _ in range(ACTORS_CREATED)]
    answers = ray.get([handle.small.remote() for handle in handles])
    elapsed_s = time.perf_counter() - start
    expect(answers, [OK] * ACTORS_CREATED, "20 actors")
    _kill(ray, handles)
    return {"actors_20_s": elapsed_s}


def actor_sync(ray: Api, timing: Timing) -> Values:
    """One actor, one call at a time."""
    return {"actor_sync": _sync_calls(ray, actor(ray, small_actor_class()), timing)}


def actor_1000(ray: Api, timing: Timing) -> Values:
    """One actor, a thousand calls in flight."""
    return {"actor_1000": _calls_in_flight(ray, [actor(ray, small_actor_class())], timing)}


def actor_4(ray: Api, timing: Timing) -> Values:
    """One caller, four actors, a thousand calls in flight over all of them."""
    handles = [actor(ray, small_actor_class()) for _ in range(ACTORS_CALLED)]
    return {"actor_4": _calls_in_flight(ray, handles, timing)}


def actor_ref(ray: Api, timing: Timing) -> Values:
    """One actor, a thousand calls in flight, each with the same small object as argument."""

    class Taker:
        def take(self, value: object) -> object:
            return value

    handle = actor(ray, Taker)
    batches = iter(range(10**9))

    def call() -> None:
        number = next(batches)
        ref = ray.put(number)
        expect(ray.get([handle.take.remote(ref) for _ in range(BATCH)]), [number] * BATCH, "calls with a ref argument")

    value = rate(call, BATCH, timing.seconds)
    _kill(ray, [handle])
    return {"actor_ref": value}


def async_actor_sync(ray: Api, timing: Timing) -> Values:
    """One async actor, one call at a time."""
    return {"async_actor_sync": _sync_calls(ray, actor(ray, async_actor_class()), timing)}


def async_actor_1000(ray: Api, timing: Timing) -> Values:
    """One async actor, a thousand calls in flight."""
    return {"async_actor_1000": _calls_in_flight(ray, [actor(ray, async_actor_class())], timing)}


def put_small(ray: Api, timing: Timing) -> Values:
    """`put(0)`, a hundred kept at a time."""
    refs: list[Ref] = []

    def call() -> None:
        refs[:] = [ray.put(0) for _ in range(LOOP)]

    value = rate(call, LOOP, timing.seconds)
    expect(len(set(refs)), LOOP, "distinct objects")
    expect(ray.get(refs), [0] * LOOP, "objects that were put")
    return {"put_small": value}


def get_small(ray: Api, timing: Timing) -> Values:
    """`get` of a small object that this process put."""
    ref = ray.put(7)

    def call() -> None:
        total = 0
        for _ in range(LOOP):
            total += cast("int", ray.get(ref))
        expect(total, 7 * LOOP, "values got")

    return {"get_small": rate(call, LOOP, timing.seconds)}


def wait_1000(ray: Api, timing: Timing) -> Values:
    """Drain a thousand tasks with one `wait` after the other, as programs do that handle results as they come."""
    small = small_task(ray)

    def call() -> None:
        pending: list[Ref] = [small.remote() for _ in range(BATCH)]
        seen = 0
        while pending:
            ready, pending = ray.wait(pending)
            seen += len(ready)
        expect(seen, BATCH, "refs that became ready")

    return {"wait_1000": rate(call, 1, timing.seconds)}


def get_10000_refs(ray: Api, timing: Timing) -> Values:
    """`get` of an object made by a task that holds 10,000 refs to objects of that task."""

    def make(count: int) -> list[object]:
        return [ray.put(i) for i in range(count)]

    container = function(ray, make).remote(NESTED_REFS)

    def call() -> None:
        expect(len(cast("list[Ref]", ray.get(container))), NESTED_REFS, "refs in the object")

    value = rate(call, 1, timing.seconds)
    inner = cast("list[Ref]", ray.get(container))
    expect(ray.get([inner[77], inner[-1]]), [77, NESTED_REFS - 1], "objects behind the refs")
    return {"get_10000_refs": value}


def _sync_calls(ray: Api, handle: Actor, timing: Timing) -> float:
    calls = 0

    def call() -> None:
        nonlocal calls
        calls += 1
        expect(ray.get(handle.small.remote()), OK, "actor call")

    value = rate(call, 1, timing.seconds)
    expect(ray.get(handle.count.remote()), calls, "calls that the actor counted")
    _kill(ray, [handle])
    return value


def _calls_in_flight(ray: Api, handles: list[Actor], timing: Timing) -> float:
    calls, share = 0, BATCH // len(handles)

    def call() -> None:
        nonlocal calls
        calls += BATCH
        expect(ray.get([handle.small.remote() for _ in range(share) for handle in handles]), ALL_OK, "actor calls")

    value = rate(call, BATCH, timing.seconds)
    counted = cast("list[int]", ray.get([handle.count.remote() for handle in handles]))
    expect(sum(counted), calls, "calls that the actors counted")
    _kill(ray, handles)
    return value


def _kill(ray: Api, handles: list[Actor]) -> None:
    for handle in handles:
        ray.kill(handle)


WORKLOADS: dict[str, Workload] = {
    "task_sync": task_sync,
    "task_1000": task_1000,
    "actors_20": actors_20,
    "actor_sync": actor_sync,
    "actor_1000": actor_1000,
    "actor_4": actor_4,
    "actor_ref": actor_ref,
    "async_actor_sync": async_actor_sync,
    "async_actor_1000": async_actor_1000,
    "put_small": put_small,
    "get_small": get_small,
    "wait_1000": wait_1000,
    "get_10000_refs": get_10000_refs,
}
"""Every step of this page by name, in the order in which they run."""
