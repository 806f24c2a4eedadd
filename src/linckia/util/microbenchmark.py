"""`linckia microbenchmark`: how fast is the engine that runs here, in a dozen lines of about a second each.

The command calls `run`; a program may call it inside its own session. It measures the running engine as it is, busy or
not, and compares it with nothing: `python -m bench` in the repository does that, with peers, limits and rounds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import linckia

BATCH = 1000
LOOP = 100
MIB = 1024**2
LARGE_BYTES = 256 * MIB
WARM_UP_SHARE = 0.2
# `Any` below is the remote world: what `.remote` gives and takes is decided by the decorated function.
_Call = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """One line: `call` does `units` units of work and raises when their results are wrong."""

    name: str
    unit: str
    units: float
    call: _Call


@dataclass(frozen=True)
class Rate:
    """One result."""

    name: str
    unit: str
    per_second: float

    def __str__(self) -> str:
        digits = 2 if self.per_second < 100 else 0
        return f"{self.name:<44} {self.per_second:>12,.{digits}f} {self.unit}"


def run(*, seconds: float = 1.0, only: str = "", echo: Callable[[str], object] = print) -> list[Rate]:
    """Measure every case whose name contains `only`, telling `echo` each line as it comes.

    Starts an engine with `linckia.init()` when none runs and shuts that one down again; one that runs is left as it
    is. Raises ValueError when no case has such a name.
    """
    starts_engine = not linckia.is_initialized()
    if starts_engine:
        linckia.init()
    try:
        rates: list[Rate] = []
        for group in (_task_cases, _actor_cases, _object_cases):
            for case in group(linckia):
                if only.lower() in case.name.lower():
                    rates.append(measure(case, seconds))
                    echo(str(rates[-1]))
    finally:
        if starts_engine:
            linckia.shutdown()
    if not rates:
        raise ValueError(f"no measurement has {only!r} in its name; without a name all of them run")
    return rates


def measure(case: Case, seconds: float, clock: Callable[[], float] = time.perf_counter) -> Rate:
    """Call the case for a short warm-up, then for about `seconds`."""
    _repeat(case.call, seconds * WARM_UP_SHARE, clock)
    calls, elapsed_s = _repeat(case.call, seconds, clock)
    return Rate(case.name, case.unit, calls * case.units / elapsed_s)


def _repeat(call: _Call, seconds: float, clock: Callable[[], float]) -> tuple[int, float]:
    calls, start = 0, clock()
    while True:
        call()
        calls += 1
        elapsed_s = clock() - start
        if elapsed_s >= seconds:
            return calls, elapsed_s


def _check(found: object, expected: object) -> None:
    if found != expected:
        raise AssertionError(f"the engine gave a wrong result: expected {expected!r:.80}, found {found!r:.80}")


def _task_cases(engine: Any) -> Iterator[Case]:
    def give_back(value: object) -> object:
        return value

    echo = engine.remote(give_back)
    numbers = list(range(BATCH))
    yield Case("task, one at a time", "/s", 1, lambda: _check(engine.get(echo.remote(1)), 1))
    yield Case("tasks, 1,000 in flight", "/s", BATCH, lambda: _in_flight(engine, [echo], numbers))


def _actor_cases(engine: Any) -> Iterator[Case]:
    class Echo:
        def echo(self, value: object) -> object:
            return value

    class AsyncEcho:
        async def echo(self, value: object) -> object:
            return value

    numbers = list(range(BATCH))
    for kind, cls in (("actor", Echo), ("async actor", AsyncEcho)):
        handle = engine.remote(num_cpus=0)(cls).remote()
        yield Case(f"{kind} call, one at a time", "/s", 1, partial(_one, engine, handle.echo))
        yield Case(f"{kind} calls, 1,000 in flight", "/s", BATCH, partial(_in_flight, engine, [handle.echo], numbers))
        engine.kill(handle)
    handles = [engine.remote(num_cpus=0)(Echo).remote() for _ in range(4)]
    methods = [handle.echo for handle in handles]
    yield Case("calls to 4 actors, 1,000 in flight", "/s", BATCH, partial(_in_flight, engine, methods, numbers))
    for handle in handles:
        engine.kill(handle)


def _object_cases(engine: Any) -> Iterator[Case]:
    small, medium, large = engine.put(7), b"x" * MIB, b"x" * LARGE_BYTES
    yield Case("put of a small object", "/s", LOOP, lambda: [engine.put(0) for _ in range(LOOP)])
    yield Case(
        "get of a small object", "/s", LOOP, lambda: _check(sum(engine.get(small) for _ in range(LOOP)), 7 * LOOP)
    )
    yield Case("put and get of 1 MiB", "/s", 1, lambda: _check(len(engine.get(engine.put(medium))), MIB))
    yield Case("put of 256 MiB", "GB/s", LARGE_BYTES / 1e9, lambda: engine.put(large))


def _one(engine: Any, method: Any) -> None:
    _check(engine.get(method.remote(1)), 1)


def _in_flight(engine: Any, methods: list[Any], numbers: list[int]) -> None:
    refs = [methods[number % len(methods)].remote(number) for number in numbers]
    _check(engine.get(refs), numbers)
