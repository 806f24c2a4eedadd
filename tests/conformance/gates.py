"""Lets a test hold a task still and hear from it, without sleeping and without help from the engine under test.

Both classes stand on FIFOs, are picklable by path, and import the standard library only. They are released by the
kernel when the test process ends, so a failing test never leaves a blocked task behind.
"""

from __future__ import annotations

import os
import select
import time
from collections import deque
from pathlib import Path
from types import TracebackType


class Gate:
    """A door that starts closed. Tasks `wait()` at it; the test `open()`s it once, for all present and future callers.

    The test holds the write end of a FIFO. A reader sees end-of-file exactly when nobody holds it any more.
    """

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        os.mkfifo(self.path)
        # O_RDWR never blocks on a FIFO; it makes this process a writer before any reader exists.
        self._held: int | None = os.open(self.path, os.O_RDWR)

    def __getstate__(self) -> str:
        return self.path

    def __setstate__(self, path: str) -> None:
        self.path = path
        self._held = None

    def open(self) -> None:
        """Let everybody through. Only in the process that made the gate; a second call does nothing."""
        held, self._held = self._held, None  # first, so that two threads never close the same number
        if held is not None:
            os.close(held)

    def is_open(self) -> bool:
        """Look without waiting."""
        return self.wait(timeout_s=0.0)

    def wait(self, timeout_s: float = 60.0) -> bool:
        """Block until the gate is open. False when the time is over. Short slices, so that interrupts get through."""
        reader = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        deadline = time.monotonic() + timeout_s
        try:
            while True:
                try:
                    os.read(reader, 1)
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        return False
                    select.select([reader], [], [], min(0.05, timeout_s))
                else:
                    return True  # end of file: no writer holds the gate
        finally:
            os.close(reader)

    def __enter__(self) -> Gate:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.open()


class Channel:
    """A mailbox: any process `send()`s short lines, the test that made it `receive()`s them in order of arrival."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        os.mkfifo(self.path)
        self._reader: int | None = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)
        self._lines: deque[str] = deque()
        self._partial = b""

    def __getstate__(self) -> str:
        return self.path

    def __setstate__(self, path: str) -> None:
        self.path = path
        self._reader = None
        self._lines = deque()
        self._partial = b""

    def send(self, text: object) -> None:
        """Add one line. Writes below the kernel's pipe limit are atomic, so senders never mix. Never blocks."""
        writer = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.write(writer, f"{text}\n".encode())
        finally:
            os.close(writer)

    def receive(self, timeout_s: float = 30.0) -> str:
        """The next line; AssertionError when none came in time."""
        deadline = time.monotonic() + timeout_s
        while not self._lines:
            remaining_s = deadline - time.monotonic()
            assert remaining_s > 0, f"nobody wrote to {self.path} within {timeout_s} s"
            assert self._reader is not None, "only the process that made a channel receives from it"
            if select.select([self._reader], [], [], remaining_s)[0]:
                self._drain()
        return self._lines.popleft()

    def receive_many(self, count: int, timeout_s: float = 30.0) -> list[str]:
        return [self.receive(timeout_s) for _ in range(count)]

    def received(self) -> list[str]:
        """Everything sent so far and not yet received; never waits."""
        self._drain()
        lines = list(self._lines)
        self._lines.clear()
        return lines

    def settled(self, quiet_s: float = 0.3) -> list[str]:
        """Everything not yet received, once nothing new has come for `quiet_s`: for showing that no more is sent."""
        assert self._reader is not None, "only the process that made a channel receives from it"
        while select.select([self._reader], [], [], quiet_s)[0]:
            self._drain()
        return self.received()

    def close(self) -> None:
        if self._reader is not None:
            os.close(self._reader)
            self._reader = None

    def _drain(self) -> None:
        assert self._reader is not None, "only the process that made a channel receives from it"
        try:
            data = self._partial + os.read(self._reader, 65536)
        except BlockingIOError:
            return
        *lines, self._partial = data.split(b"\n")
        self._lines.extend(line.decode() for line in lines)
