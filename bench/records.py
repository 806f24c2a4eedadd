"""What the measured processes reported: one record per figure or failure, as JSON lines and back. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Value:
    """A figure of one round."""

    engine: str
    round: int
    figure: str
    value: float


@dataclass(frozen=True)
class Failure:
    """A step of one round that gave no figure, and why."""

    engine: str
    round: int
    step: str
    error: str


Record = Value | Failure


def samples(records: Iterable[Record]) -> list[tuple[str, str, float]]:
    """Return the (engine, figure, value) of every record that has one."""
    return [(record.engine, record.figure, record.value) for record in records if isinstance(record, Value)]


def failures(records: Iterable[Record]) -> list[Failure]:
    """Return the failures, each engine's same failure of several rounds only once."""
    unique: dict[tuple[str, str, str], Failure] = {}
    for record in records:
        if isinstance(record, Failure):
            unique.setdefault((record.engine, record.step, record.error), record)
    return list(unique.values())


def to_lines(records: Iterable[Record]) -> str:
    """Write records as JSON lines."""
    return "".join(json.dumps(asdict(record)) + "\n" for record in records)


def unfinished(steps: Sequence[str], seen: Iterable[str]) -> tuple[str, ...]:
    """Return the steps that still have to run after a process died, those it began left out."""
    began = set(seen)
    return tuple(step for step in steps if step not in began)
