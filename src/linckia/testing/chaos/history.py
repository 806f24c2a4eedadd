"""What the driver and the work itself wrote down: lines of text, read into structs. Pure.

The *history* has a line per operation of the driver; the *ledger* a line per execution, written by whoever runs the
work, so that it shows what really happened whatever was answered. Times are CLOCK_MONOTONIC of this machine, in ns.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

Outcome = Literal["ok", "failed", "wrong", "never"]
"""answered well | an error that was told | a wrong answer | no answer in the time that is allowed"""
CLASSES = {
    "task": "one task, result checked",
    "tasks": "6 tasks of 20 ms at once, results checked",
    "call": "increment of a counter actor, no retries",
    "retried": "the same of an actor whose calls are retried",
    "creation": "an actor is created and called once",
    "find": "a detached actor is found by its name and called",
    "group": "a placement group is created, kept, and later removed",
    "object": "a 1 MB object goes through a task",
}
SPILLING = "spill"
"""A class of runs that fill the disk for spilled values: blocks that do not fit into memory are put, kept and read."""
NAMES = {**CLASSES, SPILLING: "40 MB are put, and what was put before is read again, most of it from the disk"}
WITHOUT_RETRIES = frozenset({"call"})
CONTROL = frozenset({"creation", "find", "group"})
"""Need the head; the others do not."""
LIMIT_S = {"task": 0.05, "call": 0.05, "retried": 0.05, "tasks": 0.25, "object": 0.5, SPILLING: 5.0}
CONTROL_MAX_S = 1.0
AVAILABLE_WITHIN_S = 1.0
AVAILABLE_SHARE, CONTROL_SHARE = 0.999, 0.99
"""What is asked of running work and of control: succeeded within that time / attempted."""


class Op(msgspec.Struct, frozen=True):
    """One operation of the driver."""

    kind: str
    number: int
    began_ns: int
    ended_ns: int
    outcome: Outcome
    value: str = ""

    @property
    def took_s(self) -> float:
        """How long its caller waited."""
        return (self.ended_ns - self.began_ns) / 1e9

    def line(self) -> str:
        """For the file."""
        return f"{self.kind} {self.number} {self.began_ns} {self.ended_ns} {self.outcome} {self.value}".rstrip() + "\n"


class Execution(msgspec.Struct, frozen=True):
    """One beginning of a piece of work, by process ``pid``."""

    kind: str
    number: int
    pid: int
    at_ns: int

    def line(self) -> str:
        """For the file: short enough to be appended in one piece."""
        return f"{self.kind} {self.number} {self.pid} {self.at_ns}\n"


class Deed(msgspec.Struct, frozen=True):
    """A fault that was done: to whom, when, and, once it is known, what was seen of it."""

    kind: str
    at_ns: int
    target: str
    pid: int = 0
    lasts_s: float = 0.0
    orphans: int = 0
    """Processes below a killed node that lived one second later."""
    family: tuple[int, ...] = ()
    """Pids of the processes below a node, when it was killed."""

    @property
    def ended(self) -> tuple[int, ...]:
        """Pids whose work a SIGKILL has ended."""
        return (self.pid,) if self.kind == "worker" else self.family


def limit_s(kind: str) -> float:
    """How long an operation of this class may take and still count as available."""
    return LIMIT_S.get(kind, CONTROL_MAX_S)


def read_ops(lines: Iterable[str]) -> list[Op]:
    """In the order of the file; a last line that was cut off is passed over."""
    found = []
    for line in lines:
        parts = line.split()
        if line.endswith("\n") and len(parts) >= 5:
            outcome: Outcome = msgspec.convert(parts[4], Outcome)
            value = " ".join(parts[5:])
            found.append(Op(parts[0], int(parts[1]), int(parts[2]), int(parts[3]), outcome, value))
    return found


def read_ledger(lines: Iterable[str]) -> list[Execution]:
    """In the order of the file."""
    found = []
    for line in lines:
        parts = line.split()
        if line.endswith("\n") and len(parts) == 4:
            found.append(Execution(parts[0], int(parts[1]), int(parts[2]), int(parts[3])))
    return found
