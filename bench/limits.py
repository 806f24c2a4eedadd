"""The physical limits of two Python processes on this machine: socket round trips, pipelined pickles, memory copies.

Run by `child.py` as the engine `limits`. No engine can be faster than these; how near one comes is what the ratios say.
Both sides of a ping-pong are Python, as in an engine. Nothing here is used by the product.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import socket
import time
from collections.abc import Callable, Iterator

from bench.framing import frames, packed
from bench.measure import Timing, expect, rate
from bench.workloads import BATCH, Values

PING = b"p" * 64
POLL_S = 20e-6
COPY_BYTES = 256 * 1024**2
RECEIVE_BYTES = 1 << 18

Receive = Callable[[socket.socket], bytes]


def receive_blocking(sock: socket.socket) -> bytes:
    """Wait in the kernel."""
    return sock.recv(RECEIVE_BYTES)


def receive_polling(sock: socket.socket) -> bytes:
    """Ask for `POLL_S` seconds before waiting in the kernel: a wake-up costs more than that on a virtual machine."""
    deadline = time.perf_counter() + POLL_S
    while True:
        try:
            return sock.recv(RECEIVE_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            if time.perf_counter() > deadline:
                return sock.recv(RECEIVE_BYTES)


@contextlib.contextmanager
def forked(serve: Callable[[socket.socket], None]) -> Iterator[socket.socket]:
    """Yield a Unix socket whose other end a forked process serves until it is closed."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        try:
            serve(theirs)
        finally:
            os._exit(0)
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        os.waitpid(pid, 0)


def ping_pong(receive: Receive, timing: Timing) -> float:
    """Round trips per second of one small message, one at a time."""

    def serve(sock: socket.socket) -> None:
        while data := receive(sock):
            sock.send(data)

    with forked(serve) as sock:

        def call() -> None:
            sock.send(PING)
            expect(receive(sock), PING, "answer to the ping")

        return rate(call, 1, timing.seconds)


def pipelined(timing: Timing) -> float:
    """Requests per second when a thousand pickles are on their way at once and each is answered by a pickle."""

    def serve(sock: socket.socket) -> None:
        buffer = bytearray()
        while data := receive_polling(sock):
            buffer += data
            sock.sendall(b"".join([packed(request) for request in frames(buffer)]))

    with forked(serve) as sock:

        def call() -> None:
            buffer = bytearray()
            answers: list[object] = []
            for start in range(0, BATCH, 100):
                sock.sendall(b"".join([packed((number, 1, b"")) for number in range(start, start + 100)]))
            while len(answers) < BATCH:
                buffer += receive_polling(sock)
                answers += frames(buffer)
            expect(answers[-1], (BATCH - 1, 1, b""), "last answer")

        return rate(call, BATCH, timing.seconds)


def memcpy(timing: Timing) -> float:
    """GB/s of copying 256 MiB into memory that was touched before."""
    source, target = memoryview(os.urandom(4096) * (COPY_BYTES // 4096)), memoryview(bytearray(COPY_BYTES))

    def call() -> None:
        target[:] = source

    value = rate(call, 1, timing.seconds) * COPY_BYTES / 1e9
    expect(target == source, True, "copied bytes are equal")
    return value


def memcpy_fresh(timing: Timing) -> float:
    """GB/s of copying 256 MiB into pages that the kernel has to provide first."""
    source = memoryview(os.urandom(4096) * (COPY_BYTES // 4096))

    def call() -> None:
        with mmap.mmap(-1, COPY_BYTES) as target:
            target[:] = source
            expect(target[-1], source[-1], "last byte")

    return rate(call, 1, timing.seconds) * COPY_BYTES / 1e9


class Limits:
    """The adapter that `child.py` drives."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing

    def run(self, step: str) -> Values:
        """Measure one limit."""
        return {step: LIMITS[step](self._timing)}

    def shutdown(self) -> Values:
        """Nothing is left to stop."""
        return {}


LIMITS: dict[str, Callable[[Timing], float]] = {
    "ping_pong": lambda timing: ping_pong(receive_blocking, timing),
    "ping_pong_polling": lambda timing: ping_pong(receive_polling, timing),
    "pipelined": pipelined,
    "memcpy": memcpy,
    "memcpy_fresh": memcpy_fresh,
}
"""Every limit by the id of its figure."""
