"""Hands the chunks of a Pool to its workers, one at a time each, and replaces workers that died or are worn out.

`Pool` starts one `Dispatcher`; results.py gives it chunks. All state belongs to the dispatcher's thread: everybody
else, including the callbacks of finished calls, only puts events into its inbox. It keeps no results.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import linckia
from linckia.util.multiprocessing.worker import Call, Failure, Outcome

_GRACE_S = 5.0


@dataclass(frozen=True)
class Chunk:
    """Some calls of one function, run one after the other by one worker."""

    function: tuple[Any]
    calls: Sequence[Call]
    stop_at_failure: bool
    finished: Callable[[list[Outcome]], None]
    """Called in the dispatcher's thread, exactly once. Must not block."""

    def fail(self, error: BaseException) -> None:
        """Report `error` for every call: the worker, not the function, failed."""
        self.finished([Failure(error, str(error))] * (1 if self.stop_at_failure else len(self.calls)))


@dataclass
class _Worker:
    actor: Any
    chunks_started: int = 0
    current: Chunk | None = None


@dataclass(frozen=True)
class _Done:
    worker: _Worker
    answer: Future[list[Outcome]]


class Dispatcher:
    """A thread that lives until the pool is closed and all chunks are done, or the pool is terminated."""

    def __init__(self, make_actor: Callable[[], Any], processes: int, chunks_per_worker: int | None) -> None:
        """Starts the workers and waits until they are ready; raises what their initializer raised."""
        self._make_actor = make_actor
        self._chunks_per_worker = chunks_per_worker
        self._inbox: queue.SimpleQueue[Chunk | _Done | str] = queue.SimpleQueue()
        self._backlog: deque[Chunk] = deque()
        self._workers = [_Worker(make_actor()) for _ in range(processes)]
        self._leaving: list[Any] = []
        self._closed = self._terminated = False
        self._ended = False
        self._ending = threading.Lock()  # so that no chunk slips into the inbox after the last look at it
        try:
            linckia.get([worker.actor.ready.remote() for worker in self._workers])
        except BaseException:
            self._kill_workers()
            raise
        self._thread = threading.Thread(target=self._run, name="linckia-pool", daemon=True)
        self._thread.start()

    def submit(self, chunk: Chunk) -> None:
        """Queue `chunk`; fails it when the pool has ended. Like the next two, for any thread, and never blocks."""
        with self._ending:
            if not self._ended:
                self._inbox.put(chunk)
                return
        chunk.fail(_terminated_error())

    def close(self) -> None:
        """End when everything submitted so far is done."""
        self._inbox.put("close")

    def terminate(self) -> None:
        """End now: waiting chunks fail, running ones are killed with their worker."""
        self._inbox.put("terminate")

    def join(self) -> None:
        """Wait until every chunk is done and every worker has ended."""
        self._thread.join()

    def _run(self) -> None:
        while not self._closed or self._backlog or any(worker.current for worker in self._workers):
            event = self._inbox.get()
            if isinstance(event, Chunk):
                self._backlog.append(event)
            elif isinstance(event, _Done):
                self._finish(event)
            else:
                self._stop(event)
            self._start_chunks()
        with self._ending:
            self._ended = True
        while not self._inbox.empty():
            event = self._inbox.get()
            if isinstance(event, Chunk):
                event.fail(_terminated_error())
        self._end_workers()

    def _start_chunks(self) -> None:
        for worker in self._workers:
            if not self._backlog:
                return
            if worker.current is None:
                self._start(worker, self._backlog.popleft())

    def _start(self, worker: _Worker, chunk: Chunk) -> None:
        if self._terminated:
            chunk.fail(_terminated_error())
            return
        try:
            ref = worker.actor.run.remote(chunk.function, list(chunk.calls), chunk.stop_at_failure)
            answer = ref.future()
        except Exception as error:  # noqa: BLE001 - arguments that cannot be pickled, a cluster that was shut down
            chunk.fail(error)
            return
        worker.current = chunk
        worker.chunks_started += 1
        answer.add_done_callback(lambda future: self._inbox.put(_Done(worker, future)))

    def _finish(self, event: _Done) -> None:
        worker, chunk = event.worker, event.worker.current
        worker.current = None
        if chunk is None:
            return
        error = event.answer.exception()
        if error is not None:
            chunk.fail(error)
            if isinstance(error, linckia.exceptions.ActorDiedError):
                self._replace(worker)
        else:
            chunk.finished(event.answer.result())
            if self._chunks_per_worker is not None and worker.chunks_started >= self._chunks_per_worker:
                self._leaving.append(worker.actor.__ray_terminate__.remote())
                self._replace(worker)

    def _replace(self, worker: _Worker) -> None:
        if self._terminated:
            return
        try:
            worker.actor = self._make_actor()
        except Exception:  # noqa: BLE001 - the cluster is gone; the next chunk finds out and says so
            return
        worker.chunks_started = 0

    def _stop(self, how: str) -> None:
        self._closed = True
        if how == "terminate" and not self._terminated:
            self._terminated = True
            while self._backlog:
                self._backlog.popleft().fail(_terminated_error())
            self._kill_workers()  # running chunks come back as failed

    def _end_workers(self) -> None:
        if self._terminated or not linckia.is_initialized():
            return
        try:
            self._leaving += [worker.actor.__ray_terminate__.remote() for worker in self._workers]
            linckia.wait(self._leaving, num_returns=len(self._leaving), timeout=_GRACE_S)
        except linckia.exceptions.RayError:
            pass  # they are gone already, with their cluster
        self._kill_workers()  # those that did not go by themselves; nothing for the others

    def _kill_workers(self) -> None:
        for worker in self._workers:
            if not linckia.is_initialized():
                return
            try:
                linckia.kill(worker.actor)
            except linckia.exceptions.ActorHandleNotFoundError:
                pass  # it belonged to a cluster that was shut down since


def _terminated_error() -> BaseException:
    error: BaseException = linckia.exceptions.TaskCancelledError(
        error_message="the pool was terminated before this call began"
    )
    return error
