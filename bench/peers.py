"""The peers without Ray's API: process pools of the standard library, loky and dask.distributed. Run by `child.py`.

Each adapter does the same work as the workloads do: a function of no size, one at a time and a thousand in flight,
results checked. Tasks are dispatched one by one, since that is what is compared; the one figure that sends them in
chunks says so.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from typing import Protocol, cast

from bench.fresh import startup
from bench.measure import Timing, expect, rate
from bench.memory import footprint, session_processes, total_pss_bytes
from bench.workloads import ALL_OK, BATCH, OK, Values

WORKERS = 2


def small(*_: object) -> bytes:
    """Do what the engines' smallest task does."""
    return OK


def where(seconds: float) -> int:
    """Take a moment and tell which process it was."""
    time.sleep(seconds)
    return os.getpid()


class SmallActor:
    """What the engines' smallest actor does."""

    def small(self, *_: object) -> bytes:
        """Answer at once."""
        return OK


class Peer(ABC):
    """One pool of two processes."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing

    @abstractmethod
    def one(self) -> object:
        """Run `small` once and wait for it."""

    @abstractmethod
    def many(self, function: Callable[..., object], arguments: Sequence[tuple[object, ...]]) -> list[object]:
        """Run one task per tuple of arguments, all in flight at once."""

    @abstractmethod
    def close(self) -> None:
        """End the pool."""

    def run(self, step: str) -> Values:
        """Run one step."""
        if step == "startup":
            return startup(type(self).__name__.lower())
        if step == "idle":
            return self._idle()
        if step == "shutdown":
            return self.shutdown()
        if step == "task_sync":
            return {step: rate(lambda: expect(self.one(), OK, "task"), 1, self._timing.seconds)}
        if step == "task_1000":
            empty: list[tuple[object, ...]] = [()] * BATCH
            pairs: list[tuple[object, ...]] = [(i, "x") for i in range(BATCH)]
            return {"task_1000": self._in_flight(empty), "task_1000_args": self._in_flight(pairs)}
        return self.extra(step)

    def extra(self, step: str) -> Values:
        """Run a step that only some peers have."""
        message = f"{type(self).__name__} has no step {step}"
        raise NotImplementedError(message)

    def shutdown(self) -> Values:
        """End the pool and measure it."""
        start = time.perf_counter()
        self.close()
        return {"shutdown_call_s": time.perf_counter() - start}

    def _in_flight(self, arguments: Sequence[tuple[object, ...]]) -> float:
        return rate(
            lambda: expect(self.many(small, arguments), ALL_OK, "1,000 tasks"), len(arguments), self._timing.seconds
        )

    def _idle(self) -> Values:
        workers = {cast("int", pid) for pid in self.many(where, [(0.2,)] * WORKERS)}
        expect(os.getpid() in workers, False, "a task ran in the driver")
        time.sleep(self._timing.settle_s)
        pids = session_processes(os.getpid())
        return {
            "idle_pss_mb": total_pss_bytes(pids) / 1e6,
            "idle_processes": float(len(pids)),
            "idle_worker_uss_mb": sum(footprint(pid).uss_bytes for pid in workers) / len(workers) / 1e6,
        }


class _ExecutorPeer(Peer):
    """Anything with the interface of `concurrent.futures`."""

    executor: Executor

    def one(self) -> object:
        """Submit and wait."""
        return self.executor.submit(small).result()

    def many(self, function: Callable[..., object], arguments: Sequence[tuple[object, ...]]) -> list[object]:
        """Submit all, then wait for all."""
        return [future.result() for future in [self.executor.submit(function, *args) for args in arguments]]

    def close(self) -> None:
        """Wait for the workers to end."""
        self.executor.shutdown(wait=True)


class Futures(_ExecutorPeer):
    """`concurrent.futures.ProcessPoolExecutor`."""

    def __init__(self, timing: Timing) -> None:
        super().__init__(timing)
        self.executor = ProcessPoolExecutor(WORKERS)


class Loky(_ExecutorPeer):
    """loky's reusable executor, which joblib uses."""

    def __init__(self, timing: Timing) -> None:
        super().__init__(timing)
        self.executor = cast("Executor", importlib.import_module("loky").get_reusable_executor(WORKERS))


class Multiprocessing(Peer):
    """`multiprocessing.Pool`."""

    def __init__(self, timing: Timing) -> None:
        super().__init__(timing)
        self._pool = multiprocessing.Pool(WORKERS)

    def one(self) -> object:
        """Apply and wait."""
        return self._pool.apply(small)

    def many(self, function: Callable[..., object], arguments: Sequence[tuple[object, ...]]) -> list[object]:
        """Apply all, then wait for all."""
        return [result.get() for result in [self._pool.apply_async(function, args) for args in arguments]]

    def extra(self, step: str) -> Values:
        """`map` with chunks of one (a message per task) and with the pool's own chunks (125 tasks per message)."""
        if step != "pool_map":
            return super().extra(step)

        def mapped(chunksize: int | None) -> float:
            return rate(
                lambda: expect(self._pool.map(small, range(BATCH), chunksize), ALL_OK, "1,000 tasks"),
                BATCH,
                self._timing.seconds,
            )

        return {"pool_map": mapped(1), "pool_map_chunked": mapped(None)}

    def close(self) -> None:
        """Wait for the workers to end."""
        self._pool.close()
        self._pool.join()


class _DaskFuture(Protocol):
    def result(self) -> object: ...


class _DaskClient(Protocol):
    def submit(self, function: Callable[..., object], *args: object, **options: object) -> _DaskFuture: ...

    def gather(self, futures: list[_DaskFuture]) -> list[object]: ...

    def close(self) -> None: ...


class _DaskActor(Protocol):
    def small(self) -> _DaskFuture: ...


class Dask(Peer):
    """dask.distributed on this machine, one thread per worker."""

    def __init__(self, timing: Timing) -> None:
        super().__init__(timing)
        distributed = importlib.import_module("distributed")
        self._cluster = distributed.LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None)
        self._client = cast("_DaskClient", distributed.Client(self._cluster))

    def one(self) -> object:
        """Submit and wait."""
        return self._client.submit(small, pure=False).result()

    def many(self, function: Callable[..., object], arguments: Sequence[tuple[object, ...]]) -> list[object]:
        """Submit all, then gather."""
        return self._client.gather([self._client.submit(function, *args, pure=False) for args in arguments])

    def extra(self, step: str) -> Values:
        """Call an actor."""
        actor = cast("_DaskActor", self._client.submit(SmallActor, actor=True, pure=False).result())

        def one() -> None:
            expect(actor.small().result(), OK, "actor call")

        def many() -> None:
            expect([future.result() for future in [actor.small() for _ in range(BATCH)]], ALL_OK, "actor calls")

        if step == "actor_sync":
            return {step: rate(one, 1, self._timing.seconds)}
        if step == "actor_1000":
            return {step: rate(many, BATCH, self._timing.seconds)}
        return super().extra(step)

    def close(self) -> None:
        """End client, scheduler and workers."""
        self._client.close()
        self._cluster.close()


PEERS: dict[str, type[Peer]] = {
    "futures": Futures,
    "multiprocessing": Multiprocessing,
    "loky": Loky,
    "dask": Dask,
}
"""Every adapter by the name of its engine."""
