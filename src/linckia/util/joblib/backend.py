"""The joblib backend: batches of calls run by a `linckia.util.multiprocessing.Pool`.

joblib calls it, in its order: `configure`, `submit` for each batch, `terminate`. Large arguments that many calls share
(the training data of a grid search) are stored once instead of being sent with each batch.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from joblib._parallel_backends import AutoBatchingMixin, FallbackToBackend, ParallelBackendBase, SequentialBackend

import linckia
from linckia.util.multiprocessing.pool import Pool
from linckia.util.multiprocessing.results import AsyncResult

_SHARE_FROM_BYTES = 100 * 1024  # smaller values travel inside the message anyway


class LinckiaBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]  # joblib has no annotations
    """`n_jobs` workers, at most as many as the cluster has CPUs; -1 means all of them."""

    supports_retrieve_callback = True
    supports_sharedmem = False
    uses_threads = False

    def __init__(
        self, nesting_level: int | None = None, inner_max_num_threads: int | None = None, **backend_options: Any
    ) -> None:
        """`ray_remote_args` (options of the workers' actor) may be among `backend_options`."""
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads)
        self._worker_options: Mapping[str, Any] | None = backend_options.pop("ray_remote_args", None)
        self._pool: Pool | None = None
        self._shared = _SharedArguments()

    def effective_n_jobs(self, n_jobs: int | None) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        """How many workers `n_jobs` means: -1 all CPUs of the cluster, -2 all but one, never more than there are."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning: use 1 or more, or -1 for all CPUs of the cluster")
        if not linckia.is_initialized():
            linckia.init()
        cpus = max(1, int(linckia.cluster_resources().get("CPU", 1)))
        if n_jobs is None:
            return 1
        return max(1, min(n_jobs, cpus) if n_jobs > 0 else cpus + 1 + n_jobs)

    def configure(  # pyright: ignore[reportIncompatibleMethodOverride]  # the base has an empty body
        self,
        n_jobs: int = 1,
        parallel: Any = None,
        prefer: str | None = None,
        require: str | None = None,
        ray_remote_args: Mapping[str, Any] | None = None,
        **_unused: Any,
    ) -> int:
        """Start the workers; joblib goes on without us when there is work for one only."""
        workers = self.effective_n_jobs(n_jobs)
        if workers == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        self.parallel = parallel
        self._pool = Pool(workers, ray_remote_args=ray_remote_args or self._worker_options)
        return workers

    def submit(self, func: Callable[[], Any], callback: Callable[[Any], Any] | None = None) -> AsyncResult[Any]:
        """Run one batch; `callback` gets what `retrieve_result_callback` understands."""
        if self._pool is None:
            raise RuntimeError("LinckiaBackend.submit: the backend is not configured, or was terminated")
        batch = self._shared.packed(func)
        if callback is None:
            return self._pool.apply_async(batch)
        notify = callback
        return self._pool.apply_async(batch, callback=notify, error_callback=lambda error: notify(_Failed(error)))

    def retrieve_result_callback(self, out: Any) -> Any:
        """The results of a batch, or its error raised."""
        if isinstance(out, _Failed):
            raise out.error
        return out

    def terminate(self) -> None:
        """End the workers and forget the shared arguments."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.terminate()
        self._shared.clear()
        self.reset_batch_stats()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Kill what runs after an error; start new workers when joblib will go on."""
        self.terminate()
        if ensure_ready:
            self.configure(n_jobs=self.parallel.n_jobs, parallel=self.parallel)


@dataclass(frozen=True)
class _Failed:
    error: BaseException


@dataclass(frozen=True)
class _Stored:
    """Stands for an argument that is in the object store."""

    ref: Any


class _SharedArguments:
    """Large arguments seen so far, by identity. Kept alive, so that an id is not used again for something else."""

    def __init__(self) -> None:
        self._stored: dict[int, tuple[Any, _Stored]] = {}

    def clear(self) -> None:
        self._stored.clear()

    def packed(self, batch: Callable[[], Any]) -> Callable[[], Any]:
        """`batch` with its large arguments replaced by references to the store."""
        items = getattr(batch, "items", None)
        if not isinstance(items, list):
            return batch
        packed = [
            (function, [self._replace(a) for a in args], {key: self._replace(a) for key, a in kwargs.items()})
            for function, args, kwargs in items
        ]
        lean = copy.copy(batch)
        lean.items = packed  # type: ignore[attr-defined]  # joblib's BatchedCalls, see above
        return _Batch(lean)

    def _replace(self, argument: Any) -> Any:
        if _size_bytes(argument) < _SHARE_FROM_BYTES:
            return argument
        known = self._stored.get(id(argument))
        if known is None:
            known = (argument, _Stored(linckia.put(argument)))
            self._stored[id(argument)] = known
        return known[1]


class _Batch:
    """Runs a batch in a worker, after fetching the arguments that are in the store."""

    def __init__(self, batch: Any) -> None:
        self._batch = batch

    def __call__(self) -> Any:
        self._batch.items = [
            (function, tuple(map(_fetched, args)), {key: _fetched(a) for key, a in kwargs.items()})
            for function, args, kwargs in self._batch.items
        ]
        return self._batch()


def _fetched(argument: Any) -> Any:
    return linckia.get(argument.ref) if isinstance(argument, _Stored) else argument


def _size_bytes(argument: Any) -> int:
    size = getattr(argument, "nbytes", None)  # arrays; for others the object's own part is a lower bound
    if isinstance(size, int):
        return size
    try:
        return sys.getsizeof(argument, 0)
    except Exception:  # noqa: BLE001 - a user's __sizeof__; an unknown size means: send it as it is
        return 0
