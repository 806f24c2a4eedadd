"""The hot-path floor, engine `prototype`: the least that a driver and two workers have to do per task.

The idea is the design's `hot_path_prototype.py`: the caller's own thread submits, flushes and polls; frames share
writes; each side polls for some tens of microseconds before it blocks. No leases, retries, shared memory or errors
across hops: the engine has all of those and is asked to keep a stated share of this speed. Never used by the product.
"""

from __future__ import annotations

import os
import pickle
import select
import socket
import time
from collections.abc import Callable
from typing import cast

from bench.framing import frames, packed
from bench.measure import Timing, expect, rate
from bench.workloads import ALL_OK, BATCH, OK, Values

WORKERS = 2
SPIN_S = 60e-6
FLUSH_AFTER_S = 5e-4
FLUSH_FRAMES = 64
RECEIVE_BYTES = 1 << 18
DEFINE = 0


def small(*_: object) -> bytes:
    """Do what the engines' smallest task does."""
    return OK


def receive(sock: socket.socket) -> bytes:
    """Poll for `SPIN_S`, then block."""
    deadline = time.perf_counter() + SPIN_S
    while True:
        try:
            return sock.recv(RECEIVE_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            if time.perf_counter() > deadline:
                return sock.recv(RECEIVE_BYTES)


def serve(sock: socket.socket) -> None:
    """Be a worker: read, run, answer; answers of short tasks share a write."""
    functions: dict[int, Callable[..., object]] = {}
    buffer = bytearray()
    while data := receive(sock):
        buffer += data
        answers: list[bytes] = []
        oldest_s = 0.0
        for task_id, function_id, payload in cast("list[tuple[int, int, bytes]]", frames(buffer)):
            if task_id == DEFINE:
                functions[function_id] = pickle.loads(payload)
                continue
            args, kwargs = pickle.loads(payload) if payload else ((), {})
            answers.append(packed((task_id, pickle.dumps(functions[function_id](*args, **kwargs), 5))))
            now = time.perf_counter()
            oldest_s = oldest_s or now
            if now - oldest_s > FLUSH_AFTER_S:
                sock.sendall(b"".join(answers))
                answers.clear()
                oldest_s = 0.0
        if answers:
            sock.sendall(b"".join(answers))


class Pending:
    """A result to come; its entry in the driver's table goes when this does."""

    __slots__ = ("_results", "task_id")

    def __init__(self, task_id: int, results: dict[int, bytes | None]) -> None:
        self.task_id = task_id
        self._results = results

    def __del__(self) -> None:
        self._results.pop(self.task_id, None)


class Worker:
    """The driver's end of one worker."""

    __slots__ = ("buffer", "in_flight", "pid", "sock", "unsent")

    def __init__(self) -> None:
        self.sock, theirs = socket.socketpair()
        self.buffer, self.in_flight = bytearray(), 0
        self.unsent: list[bytes] = []
        self.pid = os.fork()
        if self.pid == 0:
            self.sock.close()
            try:
                serve(theirs)
            finally:
                os._exit(0)
        theirs.close()

    def flush(self) -> None:
        """Send what has been collected, in one write."""
        if self.unsent:
            self.sock.sendall(b"".join(self.unsent))
            self.unsent.clear()


class Driver:
    """Submit, flush, poll and collect, all in the caller's thread."""

    def __init__(self) -> None:
        self._results: dict[int, bytes | None] = {}
        self._count = DEFINE
        self._poll = select.epoll()
        self._workers: list[Worker] = []
        for _ in range(WORKERS):
            worker = Worker()
            self._workers.append(worker)
            self._poll.register(worker.sock.fileno(), select.EPOLLIN)
        self._by_fd = {worker.sock.fileno(): worker for worker in self._workers}

    def define(self, function_id: int, function: Callable[..., object]) -> None:
        """Tell every worker about a function."""
        for worker in self._workers:
            worker.sock.sendall(packed((DEFINE, function_id, pickle.dumps(function))))

    def submit(self, function_id: int, *args: object) -> Pending:
        """Hand a task to the worker with the least to do."""
        self._count += 1
        task_id = self._count
        self._results[task_id] = None
        worker = min(self._workers, key=lambda candidate: candidate.in_flight)
        worker.in_flight += 1
        worker.unsent.append(packed((task_id, function_id, pickle.dumps((args, {}), 5) if args else b"")))
        if len(worker.unsent) >= FLUSH_FRAMES:
            worker.flush()
        return Pending(task_id, self._results)

    def get(self, pending: list[Pending]) -> list[object]:
        """Wait for the results."""
        values: list[object] = []
        for item in pending:
            while (result := self._results[item.task_id]) is None:
                self._progress()
            values.append(pickle.loads(result))
        return values

    def close(self) -> None:
        """End the workers."""
        self._poll.close()
        for worker in self._workers:
            worker.sock.shutdown(socket.SHUT_RDWR)  # a close alone is not seen: later workers inherited this end
            worker.sock.close()
            os.waitpid(worker.pid, 0)

    def _progress(self) -> None:
        for worker in self._workers:
            worker.flush()
        deadline = time.perf_counter() + SPIN_S
        events = self._poll.poll(0)
        while not events and time.perf_counter() < deadline:
            events = self._poll.poll(0)
        for fd, _ in events or self._poll.poll(-1):
            worker = self._by_fd[fd]
            data = worker.sock.recv(RECEIVE_BYTES)
            if not data:
                message = f"worker {worker.pid} of the floor died"
                raise ConnectionError(message)
            worker.buffer += data
            for task_id, payload in cast("list[tuple[int, bytes]]", frames(worker.buffer)):
                worker.in_flight -= 1
                if task_id in self._results:
                    self._results[task_id] = payload


class Floor:
    """The adapter that `child.py` drives."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._driver = Driver()
        self._driver.define(1, small)

    def run(self, step: str) -> Values:
        """Measure tasks one at a time, or a thousand in flight without and with arguments."""
        driver = self._driver

        def one() -> None:
            expect(driver.get([driver.submit(1)]), [OK], "task")

        def plain() -> None:
            expect(driver.get([driver.submit(1) for _ in range(BATCH)]), ALL_OK, "1,000 tasks")

        def with_arguments() -> None:
            expect(driver.get([driver.submit(1, i, "x") for i in range(BATCH)]), ALL_OK, "1,000 tasks")

        if step == "task_sync":
            return {step: rate(one, 1, self._timing.seconds)}
        return {
            "task_1000": rate(plain, BATCH, self._timing.seconds),
            "task_1000_args": rate(with_arguments, BATCH, self._timing.seconds),
        }

    def shutdown(self) -> Values:
        """End the workers."""
        self._driver.close()
        return {}
