"""Summaries count listed rows and those that were left out alike."""

from __future__ import annotations

from typing import Any

import pytest

from linckia.core.listing.summaries import of_actors, of_objects, of_tasks
from linckia.model.listing import Part


@pytest.mark.row("8.7")
def test_tasks() -> None:
    rows = [
        {"name": "f", "type": "NORMAL_TASK", "state": "RUNNING"},
        {"name": "f", "type": "NORMAL_TASK", "state": "FINISHED"},
        {"name": "A.__init__", "type": "ACTOR_CREATION_TASK", "state": "FINISHED"},
    ]
    told = of_tasks(Part(rows, [("f", "NORMAL_TASK", "RUNNING", 10), ("A.m", "ACTOR_TASK", "FAILED", 2)], 15, 15))
    assert told["summary"]["f"]["state_counts"] == {"RUNNING": 11, "FINISHED": 1}
    assert told["summary"]["A.m"] == {"func_or_class_name": "A.m", "type": "ACTOR_TASK", "state_counts": {"FAILED": 2}}
    totals = (told["total_tasks"], told["total_actor_tasks"], told["total_actor_scheduled"])
    assert (*totals, told["summary_by"]) == (12, 2, 1, "func_name")


@pytest.mark.row("8.7")
def test_actors() -> None:
    rows = [{"class_name": "A", "name": "n", "state": "ALIVE"}, {"class_name": "A", "name": "", "state": "DEAD"}]
    told = of_actors(Part(rows, [("B", "", "DEAD", 3)], 5, 5))
    assert told["summary"]["A"]["state_counts"] == {"ALIVE": 1, "DEAD": 1}
    assert (told["total_actors"], told["summary"]["B"]["class_name"], told["summary_by"]) == (5, "B", "class")


@pytest.mark.row("8.7", "8.9")
def test_objects() -> None:
    def row(pid: int, ip: str, size: int, kind: str) -> dict[str, Any]:
        told = {"call_site": "disabled", "pid": pid, "ip": ip, "object_size": size, "reference_type": kind}
        return told | {"task_status": "FINISHED"}

    rows = [row(1, "a", 1 << 20, "LOCAL_REFERENCE"), row(1, "a", -1, "ACTOR_HANDLE"), row(1, "b", 1 << 20, "X")]
    told = of_objects(Part(rows, [], 3, 3))
    entry = told["summary"]["disabled"]
    assert (entry["total_objects"], entry["total_size_mb"], entry["total_num_workers"]) == (3, 2.0, 2)
    assert entry["ref_type_counts"] == {"LOCAL_REFERENCE": 1, "ACTOR_HANDLE": 1, "X": 1}
    assert (told["total_objects"], told["total_size_mb"], told["callsite_enabled"]) == (3, 2.0, False)
