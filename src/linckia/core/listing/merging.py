"""Several parts become one: rows of the same thing are joined, filters applied, what is beyond the limit counted.

Used by raylets for their processes and by the GCS for its raylets. A task may be told of by its owner and by the worker
that has it: the row that is further on in its life wins, and takes from the other what it lacks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from linckia.core.listing.filters import matches
from linckia.model.listing import Count, Filter, Part, Row

PROGRESS = (
    "PENDING_ARGS_AVAIL",
    "PENDING_NODE_ASSIGNMENT",
    "SUBMITTED_TO_WORKER",
    "PENDING_ACTOR_TASK_ORDERING_OR_CONCURRENCY",
    "RUNNING",
    "FINISHED",
    "FAILED",
)
"""States of a task, in the order in which one beats another."""
_RANK = {state: rank for rank, state in enumerate(PROGRESS)}
ENDED = ("FINISHED", "FAILED")


def merge(parts: Iterable[Part], limit: int, filters: Sequence[Filter] = (), *, tasks: bool = False) -> Part:
    """One part of at most ``limit`` rows. With ``tasks`` rows of the same attempt are joined."""
    whole = Part([], [], 0, 0, [])
    rows: list[Row] = []
    for part in parts:
        rows += part.rows
        whole.total += part.total
        whole.counts += part.counts
        whole.missing += part.missing
    if tasks:
        joined = join_tasks(rows)
        whole.total -= len(rows) - len(joined)
        rows = joined
    if filters:
        rows = [row for row in rows if matches(row, filters)]
    whole.matched = len(rows) + sum(count[3] for count in whole.counts)
    whole.rows = rows[:limit]
    whole.counts = add_up([*whole.counts, *(count_of(row) for row in rows[limit:])])
    return whole


def join_tasks(rows: Iterable[Row]) -> list[Row]:
    """One row per attempt: what lives first, then what ended, the latest first."""
    found: dict[tuple[str, int], Row] = {}
    for row in rows:
        key = (row["task_id"], row["attempt_number"])
        other = found.get(key)
        found[key] = row if other is None else _joined(row, other)
    return sorted(found.values(), key=_order)


def _joined(one: Row, other: Row) -> Row:
    better, worse = (one, other) if rank(one["state"]) >= rank(other["state"]) else (other, one)
    return {column: value if value is not None else worse.get(column) for column, value in better.items()}


def rank(state: str) -> int:
    """How far a task in this state is."""
    return _RANK.get(state, 0)


def _order(row: Row) -> tuple[bool, float]:
    return row["state"] in ENDED, -(row["end_time_ms"] or 0)


def count_of(row: Row) -> Count:
    """What a row adds to ``Part.counts``."""
    name = row.get("class_name") or row.get("name") or ""
    return (name, row.get("type") or "", row.get("state") or "", 1)


def add_up(counts: Iterable[Count]) -> list[Count]:
    """One entry per name, type and state."""
    sums: dict[tuple[str, str, str], int] = {}
    for name, kind, state, number in counts:
        sums[name, kind, state] = sums.get((name, kind, state), 0) + number
    return [(*key, number) for key, number in sums.items()]
