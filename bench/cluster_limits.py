"""What this machine can do at all between two nodes and with its disk: a raw socket, sequential writes and reads."""

from __future__ import annotations

import mmap
import os
import socket
import statistics
import tempfile
import time
from collections.abc import Callable

from bench.cluster_nodes import MIB
from bench.cluster_spill import spill_bytes
from bench.cluster_transfer import READERS, transfer_bytes
from bench.measure import Timing, expect
from bench.workloads import Values

BLOCK_BYTES = MIB
DISK_BLOCK_BYTES = 8 * MIB
WINDOW_BYTES = 64 * MIB
"""More than caches hold, and sixteen of them fit anywhere."""

REPEATS = 3
PAIR_TIMEOUT_S = 120.0
DONE = b"done"


def sockets(timing: Timing) -> Values:
    """GB/s over TCP on loopback between two Python processes, as iperf3 does it and between two shared memories; and
    how much longer eight pairs take than one when they all move as much at once.
    """
    size = transfer_bytes(timing) // WINDOW_BYTES * WINDOW_BYTES
    return {
        "socket_stream": size / _median_s(1, size, BLOCK_BYTES) / 1e9,
        "socket_memory": size / _median_s(1, size, size) / 1e9,
        "sockets_ratio": _median_s(READERS, size, WINDOW_BYTES) / _median_s(1, size, WINDOW_BYTES),
    }


def disk(timing: Timing) -> Values:
    """GB/s of writing, sync included, and of reading what is in no cache, one large file in order."""
    size = spill_bytes(timing) // DISK_BLOCK_BYTES * DISK_BLOCK_BYTES
    block = bytearray(os.urandom(MIB) * (DISK_BLOCK_BYTES // MIB))
    with tempfile.NamedTemporaryFile(prefix="lb-disk-", buffering=0) as file:
        start = time.perf_counter()
        for _ in range(0, size, DISK_BLOCK_BYTES):
            file.write(block)
        os.fdatasync(file.fileno())
        write_s = time.perf_counter() - start
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        file.seek(0)
        start, read = time.perf_counter(), 0
        while found := os.readv(file.fileno(), [block]):
            read += found
        read_s = time.perf_counter() - start
    expect(read, size, "bytes read back")
    return {"disk_write": size / write_s / 1e9, "disk_read": size / read_s / 1e9}


def _median_s(pairs: int, size: int, window: int) -> float:
    return statistics.median(_streams(pairs, size, window) for _ in range(REPEATS))


def _streams(pairs: int, size: int, window: int) -> float:
    """Seconds for so many pairs of processes to move `size` bytes each, out of and into shared memory of `window`
    bytes, used again and again, touched before.
    """
    ready, go = socket.socketpair(), socket.socketpair()
    pids = [_forked(lambda: _pair(size, window, ready[1], go[1])) for _ in range(pairs)]
    _receive_all(ready[0], pairs)
    start = time.perf_counter()
    go[0].sendall(b"g" * pairs)
    _receive_all(ready[0], pairs)
    elapsed_s = time.perf_counter() - start
    for pid in pids:
        expect(os.waitpid(pid, 0)[1], 0, "status of a pair of sockets")
    for sock in (*ready, *go):
        sock.close()
    return elapsed_s


def _forked(work: Callable[[], None]) -> int:
    if (pid := os.fork()) == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return pid


def _receive_all(sock: socket.socket, count: int) -> None:
    """Wait for one byte from each of the pairs."""
    sock.settimeout(PAIR_TIMEOUT_S)
    while count:
        count -= len(sock.recv(count))


def _pair(size: int, window: int, ready: socket.socket, go: socket.socket) -> None:
    """Be the sender of a pair and fork its receiver."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        receiver = _forked(lambda: _receive(server, size, window))
        with socket.create_connection(server.getsockname()) as sock, memoryview(_touched(window)) as memory:
            expect(sock.recv(len(DONE)), DONE, "the receiver is ready")
            ready.sendall(b"r")
            go.recv(1)
            for _ in range(size // window):
                for first in range(0, window, BLOCK_BYTES):
                    sock.sendall(memory[first : first + BLOCK_BYTES])
            expect(sock.recv(len(DONE)), DONE, "the receiver has it all")
            ready.sendall(b"d")
    os.waitpid(receiver, 0)


def _receive(server: socket.socket, size: int, window: int) -> None:
    sock, _ = server.accept()
    memory = memoryview(_touched(window))
    sock.sendall(DONE)
    left, place = size, 0
    while left and (got := sock.recv_into(memory[place : place + min(left, BLOCK_BYTES)])):
        left -= got
        place = (place + got) % window
    if not left:
        sock.sendall(DONE)


def _touched(size: int) -> mmap.mmap:
    """Return shared memory whose pages the kernel has provided."""
    memory = mmap.mmap(-1, size)
    for first in range(0, size, mmap.PAGESIZE):
        memory[first] = 1
    return memory


class ClusterLimits:
    """The adapter that `child.py` drives."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing

    def run(self, step: str) -> Values:
        """Measure one limit."""
        return LIMITS[step](self._timing)

    def shutdown(self) -> Values:
        """Nothing is left to stop."""
        return {}


LIMITS: dict[str, Callable[[Timing], Values]] = {"cluster_sockets": sockets, "cluster_disk": disk}
"""By step."""
