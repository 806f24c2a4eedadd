"""The work of a chaos run: tasks and actors that write each execution into the ledger, so that none is hidden.

Run by workers; ``driver`` submits it. A line is appended in one write, which Linux keeps whole.
"""

from __future__ import annotations

import os
import time
import zlib

import linckia
from linckia.testing.chaos.history import Execution

BLOCK_BYTES = 1_000_000
NAP_S = 0.02


def note(ledger: str, kind: str, number: int) -> None:
    """This execution begins."""
    fd = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, Execution(kind, number, os.getpid(), time.monotonic_ns()).line().encode())
    finally:
        os.close(fd)


@linckia.remote(max_retries=-1)
def double(ledger: str, number: int) -> int:
    """A small task."""
    note(ledger, "task", number)
    return 2 * number


@linckia.remote(max_retries=-1)
def nap(ledger: str, number: int) -> int:
    """A task that takes a moment, so that whoever kills workers hits it."""
    note(ledger, "part", number)
    time.sleep(NAP_S)
    return number


@linckia.remote(max_retries=-1)
def turned(block: bytes) -> tuple[int, bytes]:
    """A large argument and a large result."""
    return zlib.crc32(block), block[::-1]


class Counter:
    """Counts in its memory; the answer is `pid count`."""

    def __init__(self, ledger: str, made: int = -1) -> None:
        self.ledger, self.count = ledger, 0
        if made >= 0:
            note(ledger, "creation", made)

    def add(self, kind: str, number: int) -> str:
        """One more."""
        note(self.ledger, kind, number)
        self.count += 1
        return f"{os.getpid()} {self.count}"

    def ping(self) -> int:
        """Its process."""
        return os.getpid()
