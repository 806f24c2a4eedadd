"""Counts per function, class or place, with Ray's keys (R 8.7). Rows that were left out of a list count too."""

from __future__ import annotations

from typing import Any

from linckia.core.listing.merging import add_up, count_of
from linckia.model.listing import Part

MEGABYTE = 1024 * 1024
_UNKNOWN_PLACE = "disabled"


def of_tasks(part: Part) -> dict[str, Any]:
    """Per function: its type and how many tasks are in which state."""
    summary: dict[str, dict[str, Any]] = {}
    totals = {"NORMAL_TASK": 0, "ACTOR_TASK": 0, "ACTOR_CREATION_TASK": 0}
    for name, kind, state, number in add_up([*map(count_of, part.rows), *part.counts]):
        entry = summary.setdefault(name, {"func_or_class_name": name, "type": kind, "state_counts": {}})
        entry["state_counts"][state] = entry["state_counts"].get(state, 0) + number
        totals[kind] = totals.get(kind, 0) + number
    return {
        "summary": summary,
        "total_tasks": totals["NORMAL_TASK"],
        "total_actor_tasks": totals["ACTOR_TASK"],
        "total_actor_scheduled": totals["ACTOR_CREATION_TASK"],
        "summary_by": "func_name",
    }


def of_actors(part: Part) -> dict[str, Any]:
    """Per class: how many actors are in which state."""
    summary: dict[str, dict[str, Any]] = {}
    total = 0
    for name, _, state, number in add_up([*map(count_of, part.rows), *part.counts]):
        entry = summary.setdefault(name, {"class_name": name, "state_counts": {}})
        entry["state_counts"][state] = entry["state_counts"].get(state, 0) + number
        total += number
    return {"summary": summary, "total_actors": total, "summary_by": "class"}


def of_objects(part: Part) -> dict[str, Any]:
    """Per place in the program (where recorded): how many references, how large, held by whom."""
    summary: dict[str, dict[str, Any]] = {}
    seen: dict[str, tuple[set[Any], set[Any]]] = {}
    size_bytes = 0
    for row in part.rows:
        place = row["call_site"] or _UNKNOWN_PLACE
        entry = summary.setdefault(
            place,
            {
                "total_objects": 0,
                "total_size_mb": 0.0,
                "total_num_workers": 0,
                "total_num_nodes": 0,
                "task_state_counts": {},
                "task_attempt_number_counts": {},
                "ref_type_counts": {},
            },
        )
        workers, nodes = seen.setdefault(place, (set(), set()))
        workers.add((row["ip"], row["pid"]))
        nodes.add(row["ip"])
        size = max(0, row["object_size"])
        size_bytes += size
        entry["total_objects"] += 1
        entry["total_size_mb"] += size / MEGABYTE
        entry["total_num_workers"], entry["total_num_nodes"] = len(workers), len(nodes)
        for counts, value in (("task_state_counts", row["task_status"]), ("ref_type_counts", row["reference_type"])):
            entry[counts][value] = entry[counts].get(value, 0) + 1
    return {
        "summary": summary,
        "total_objects": part.matched,
        "total_size_mb": size_bytes / MEGABYTE,
        "callsite_enabled": any(place != _UNKNOWN_PLACE for place in summary),
        "summary_by": "callsite",
    }
