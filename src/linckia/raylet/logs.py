"""Worker output: pipes in, rotated files and ``LogLines`` to the job's driver out, in order, each line once.

A worker names the source of the following lines (task or actor class) by a line ``\\0linckia:source=NAME\\0``, which is
swallowed here. Lines of a worker that belongs to no job yet go to its file only. Lines that cannot be passed on are
lost, and nothing else is (raylet/guard.py): a worker never waits for its output to be read. Called by
raylet/worker_pool.py and raylet/service.py.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import Any

from linckia.protocol.messages import LogLine, LogLines
from linckia.raylet.guard import Guard
from linckia.rpc.reactor import Reactor

READ_BYTES = 1 << 16
LINE_MAX_BYTES = 1 << 16
FILE_MAX_BYTES = 64 << 20
BACKUPS = 3
TAIL_LINES = 20
DRIVER_BACKLOG_MAX_MESSAGES = 2000
SOURCE_MARK, SOURCE_END = b"\x00linckia:source=", b"\x00"

DriverOf = Callable[[bytes], Any]
"""worker id -> connection of its job's driver, or None."""


class RotatingFile:
    """Append-only file that keeps a bounded number of older parts."""

    def __init__(self, path: str) -> None:
        self.path, self.fd, self.size = path, -1, 0

    def write(self, data: bytes) -> None:
        """Append; a full disk, or no descriptor for the file, loses output, never the node."""
        try:
            if self.fd < 0 or self.size + len(data) > FILE_MAX_BYTES:
                self._rotate_or_open()
            self.size += os.write(self.fd, data)
        except OSError:
            pass

    def _rotate_or_open(self) -> None:
        if self.fd >= 0:
            self.close()
            for number in range(BACKUPS - 1, 0, -1):
                _rename(f"{self.path}.{number}", f"{self.path}.{number + 1}")
            _rename(self.path, f"{self.path}.1")
        self.fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.size = os.fstat(self.fd).st_size

    def close(self) -> None:
        """Idempotent."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _rename(old: str, new: str) -> None:
    try:
        os.rename(old, new)
    except FileNotFoundError:
        pass


class LogRouter:
    """Makes a :class:`WorkerLog` per worker and sends their lines to drivers."""

    def __init__(self, reactor: Reactor, folder: str, driver_of: DriverOf) -> None:
        self.reactor, self.folder, self.driver_of = reactor, folder, driver_of
        self._dropped: dict[bytes, int] = {}
        self.guard = Guard("output of workers")

    def open(self, worker_id: bytes, out_fd: int, err_fd: int) -> WorkerLog:
        """The log of a worker that is about to start; takes over the read ends."""
        return WorkerLog(self, worker_id, out_fd, err_fd)

    def forward(self, worker_id: bytes, lines: list[LogLine]) -> None:
        """To the driver, if there is one; a driver that does not read loses lines and is told how many."""
        driver = self.driver_of(worker_id)
        if driver is None or driver.closed:
            return
        dropped = self._dropped.get(driver.peer_id, 0)
        if len(driver.outbox) + driver.unsent_bytes // 1024 > DRIVER_BACKLOG_MAX_MESSAGES:
            self._dropped[driver.peer_id] = dropped + len(lines)
            return
        self._dropped.pop(driver.peer_id, None)
        driver.post(LogLines(lines, dropped))


class _Stream:
    """One pipe: bytes in, lines out."""

    def __init__(self, log: WorkerLog, fd: int, number: int) -> None:
        self.log, self.fd, self.number = log, fd, number
        self.partial = b""
        self.source = ""
        self.file: RotatingFile | None = None

    def on_readable(self, _events: int = 0) -> None:
        """Read what is there, once: the reactor comes back for more."""
        try:
            data = os.read(self.fd, READ_BYTES)
        except BlockingIOError:
            return
        if data:
            self._pass_on(data)
        else:
            self.close()

    def drain(self) -> None:
        """Read until the pipe is empty or closed."""
        while self.fd >= 0:
            try:
                data = os.read(self.fd, READ_BYTES)
            except BlockingIOError:
                break
            if not data:
                break
            self._pass_on(data)
        self.close()

    def _pass_on(self, data: bytes) -> None:
        self.log.router.guard.run(lambda: self._take(data))

    def close(self) -> None:
        """Forward an unfinished last line; idempotent."""
        if self.fd < 0:
            return
        self.log.router.reactor.unregister(self.fd)
        os.close(self.fd)
        self.fd = -1
        if self.partial:
            self._pass_on(b"\n")
        if self.file is not None:
            self.file.close()

    def _take(self, data: bytes) -> None:
        *complete, self.partial = (self.partial + data).split(b"\n")
        if len(self.partial) > LINE_MAX_BYTES:
            complete.append(self.partial)
            self.partial = b""
        lines = [(self.source, line) for line in complete if not self._is_mark(line)]
        if lines and self.file is not None:
            self.file.write(b"".join(line + b"\n" for _, line in lines))
            self.log.forward(self.number, lines)

    def _is_mark(self, line: bytes) -> bool:
        if line.startswith(SOURCE_MARK) and line.endswith(SOURCE_END):
            self.source = line[len(SOURCE_MARK) : -1].decode(errors="replace")
            return True
        return False


class WorkerLog:
    """Both streams of one worker. Reading starts when its pid is known (the files are named by it)."""

    def __init__(self, router: LogRouter, worker_id: bytes, out_fd: int, err_fd: int) -> None:
        self.router, self.worker_id = router, worker_id
        self.pid, self.sequence = 0, 0
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.streams = (_Stream(self, out_fd, 1), _Stream(self, err_fd, 2))
        for stream in self.streams:
            os.set_blocking(stream.fd, False)

    def start(self, pid: int) -> None:
        """The worker runs: read its output."""
        self.pid = pid
        stem = f"{self.router.folder}/worker-{self.worker_id.hex()[:16]}-{pid}"
        for stream, ending in zip(self.streams, ("out", "err"), strict=True):
            stream.file = RotatingFile(f"{stem}.{ending}")
            self.router.reactor.register(stream.fd, stream.on_readable)

    def forward(self, stream_number: int, lines: list[tuple[str, bytes]]) -> None:
        """Number the (source, line) pairs and pass them on."""
        records = []
        for source, line in lines:
            text = line.decode("utf-8", errors="replace")
            self.tail.append(text)
            records.append(LogLine(self.pid, source, stream_number, text, self.sequence))
            self.sequence += 1
        self.router.forward(self.worker_id, records)

    def last_lines(self) -> str:
        """For error messages."""
        return "\n".join(self.tail)

    def finish(self) -> None:
        """The worker has ended: take what is left in the pipes."""
        for stream in self.streams:
            stream.drain()
