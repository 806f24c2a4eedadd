"""What several sources say together."""

from __future__ import annotations

from typing import Any

import pytest

from linckia.core.listing.merging import PROGRESS, merge
from linckia.model.listing import Part, decode_part, encode_part


def task(task_id: str, state: str, attempt: int = 0, **more: Any) -> dict[str, Any]:
    row = {"task_id": task_id, "attempt_number": attempt, "name": "f", "type": "NORMAL_TASK", "state": state}
    return row | {"end_time_ms": None, "worker_pid": None, "parent_task_id": None} | more


def part(*rows: dict[str, Any], missing: tuple[str, ...] = ()) -> Part:
    return Part(list(rows), [], len(rows), len(rows), list(missing))


def states(merged: Part) -> list[tuple[str, str]]:
    return [(row["task_id"], row["state"]) for row in merged.rows]


@pytest.mark.row("8.20")
@pytest.mark.parametrize("worse", range(len(PROGRESS) - 1))
@pytest.mark.parametrize("owner_first", [True, False])
def test_who_is_further_on_knows_better(worse: int, owner_first: bool) -> None:
    owner = part(task("a", PROGRESS[worse], parent_task_id="p"))
    worker = part(task("a", PROGRESS[worse + 1], worker_pid=7))
    merged = merge([owner, worker] if owner_first else [worker, owner], 10, tasks=True)
    assert merged.rows == [task("a", PROGRESS[worse + 1], worker_pid=7, parent_task_id="p")]
    assert (merged.total, merged.matched) == (1, 1)


def test_attempts_are_rows_of_their_own() -> None:
    merged = merge([part(task("a", "FAILED"), task("a", "RUNNING", 1)), part(task("a", "FINISHED", 0))], 10, tasks=True)
    assert states(merged) == [("a", "RUNNING"), ("a", "FAILED")]


def test_filters_apply_to_what_is_true_in_the_end() -> None:
    owner, worker = part(task("a", "SUBMITTED_TO_WORKER")), part(task("a", "RUNNING"))
    assert not merge([owner, worker], 10, [("state", "=", "SUBMITTED_TO_WORKER")], tasks=True).rows
    assert len(merge([owner, worker], 10, [("state", "=", "RUNNING")], tasks=True).rows) == 1


def test_what_lives_comes_first_and_then_the_latest() -> None:
    rows = [task("a", "FINISHED", end_time_ms=1), task("b", "FAILED", end_time_ms=2), task("c", "RUNNING")]
    assert [row["task_id"] for row in merge([part(*rows)], 10, tasks=True).rows] == ["c", "b", "a"]


@pytest.mark.row("8.7", "8.20")
def test_what_is_beyond_the_limit_is_counted() -> None:
    rows = [task(str(number), "RUNNING") for number in range(5)]
    inner = merge([part(*rows)], 3, tasks=True)
    assert (len(inner.rows), inner.counts, inner.total, inner.matched) == (
        3,
        [("f", "NORMAL_TASK", "RUNNING", 2)],
        5,
        5,
    )
    outer = merge([inner, part(task("x", "FINISHED"))], 2, tasks=True)
    assert (outer.total, outer.matched, len(outer.rows)) == (6, 6, 2)
    assert sorted(outer.counts) == [("f", "NORMAL_TASK", "FINISHED", 1), ("f", "NORMAL_TASK", "RUNNING", 3)]
    assert merge([outer], 0, tasks=True).matched == 6


def test_other_rows_are_put_together_and_the_missing_named() -> None:
    merged = merge([part({"pid": 1}, missing=("one",)), part({"pid": 1}, {"pid": 2})], 10, [("pid", "=", 1)])
    assert merged.rows == [{"pid": 1}, {"pid": 1}]
    assert (merged.total, merged.matched, merged.missing) == (3, 2, ["one"])


def test_a_part_travels() -> None:
    sent = merge([part(task("a", "RUNNING")), part(task("b", "RUNNING"), missing=("m",))], 1, tasks=True)
    assert decode_part(encode_part(sent)) == sent
