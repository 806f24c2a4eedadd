"""Bodies of the HTTP answers, with Ray's shapes (R 8.26-8.41), made of what the cluster told. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from linckia.core.jobs import life
from linckia.core.jobs.details import JobDetails, listed
from linckia.core.listing import summaries
from linckia.dashboard.hiding import without_secrets
from linckia.dashboard.questions import Listing, Submissions
from linckia.model.listing import Part, Row

API_VERSION: Final = "4"
"""Of Ray's job API, which its client compares."""
SUMMARIES: Final[dict[str, Callable[[Part], dict[str, Any]]]] = {
    "tasks": summaries.of_tasks,
    "actors": summaries.of_actors,
    "objects": summaries.of_objects,
}
NAMED_MAX: Final = 5
OBJECT_STORE: Final = "object_store_memory"


def envelope(data: Any, msg: str = "", *, result: bool = True) -> dict[str, Any]:
    """What all answers of the state API are wrapped in."""
    return {"result": result, "msg": msg, "data": data}


# --- the state API ----------------------------------------------------------------------------------------------------


def list_body(asked: Listing, part: Part, age_s: float) -> dict[str, Any]:
    """Rows of a list."""
    schema = asked.kind.schema
    columns = schema.columns() if asked.detail else schema.base_columns()
    rows = [{column: row.get(column) for column in columns} for row in part.rows]
    return envelope({"result": _told(part, without_secrets(rows)), "as_of": {"age_s": round(age_s, 3)}})


def summary_body(what: str, part: Part, age_s: float) -> dict[str, Any]:
    """Counts of a list that has all rows, or counts of those that it leaves out."""
    told = {"node_id_to_summary": {"cluster": SUMMARIES[what](part)}}
    return envelope({"result": _told(part, told), "as_of": {"age_s": round(age_s, 3)}})


def _told(part: Part, result: Any) -> dict[str, Any]:
    return {
        "total": part.total,
        "num_after_truncation": part.total,
        "num_filtered": part.matched,
        "result": result,
        "partial_failure_warning": _missing(part),
        "warnings": None,
    }


def _missing(part: Part) -> str:
    if not part.missing:
        return ""
    more = f"; and {len(part.missing) - NAMED_MAX} more" if len(part.missing) > NAMED_MAX else ""
    return f"no answer from: {'; '.join(part.missing[:NAMED_MAX])}{more}"


# --- the cluster ------------------------------------------------------------------------------------------------------


def cluster_body(told: dict[str, Any], age_s: float) -> dict[str, Any]:
    """The overview: what there is, what waits, who leads, which parts are up."""
    nodes = [node_view(node) for node in told["nodes"]]
    alive = [node for node in nodes if node["state"] == "ALIVE"]
    return {
        "session_name": told["session_name"],
        "as_of": {"age_s": round(age_s, 3), "revision": told["revision"], "epoch": told["epoch"]},
        "nodes": {"alive": len(alive), "dead": len(nodes) - len(alive)},
        "resources": resources(told),
        "demands": [{"shape": shape, "count": count, "where": where} for shape, count, where in told["demand"]],
        "heads": told["heads"],
        "parts": parts(told),
        "counts": told["counts"],
        "autoscaler": {key: told["autoscaler"].get(key) for key in ("node_types", "unmet", "hold", "events")},
        "tables": told["tables"],
    }


def resources(told: dict[str, Any]) -> list[dict[str, Any]]:
    """Amounts of the whole cluster, those of single nodes and placement groups left out."""
    names = [name for name in sorted(told["total"]) if not name.startswith("node:") and "_group_" not in name]
    amounts = [(name, told["total"][name], told["available"].get(name, 0.0)) for name in names]
    return [{"name": name, "total": total, "used": max(0.0, total - free)} for name, total, free in amounts]


def parts(told: dict[str, Any]) -> list[dict[str, Any]]:
    """Supervised parts: the autoscaler's and dashboards' processes, and what of a node is down."""
    found = []
    scaler = told["autoscaler"].get("process")
    if scaler:
        found.append({**scaler, "node_id": "", "url": ""})
    for node in told["nodes"]:
        where = node["node_id"].hex()
        if node["alive"] and node["dashboard"]:
            found.append({**node["dashboard"], "node_id": where})
        found += [{**part, "pid": 0, "node_id": where, "url": ""} for part in (node["down"] if node["alive"] else [])]
    return found


def node_view(node: dict[str, Any]) -> dict[str, Any]:
    """A node, with Ray's names where it has them."""
    total, free = node["resources"], node["available"]
    store = total.get(OBJECT_STORE, 0.0)
    return {
        "nodeId": node["node_id"].hex(),
        "state": "ALIVE" if node["alive"] else "DEAD",
        "stateMessage": node["death_reason"] or ("" if node["state"] == "ALIVE" else node["state"]),
        "isHeadNode": node["is_head"],
        "nodeName": node["name"],
        "nodeManagerAddress": node["node_ip"],
        "nodeManagerHostname": node["hostname"],
        "pid": node["pid"],
        "resourcesTotal": total,
        "resourcesAvailable": free if node["alive"] else {},
        "objectStoreAvailableMemory": free.get(OBJECT_STORE, 0.0) if node["alive"] else 0.0,
        "objectStoreUsedMemory": max(0.0, store - free.get(OBJECT_STORE, 0.0)) if node["alive"] else 0.0,
        "memoryUsed": node["memory"][0],
        "memoryThreshold": node["memory"][1],
        "labels": node["labels"],
        "partsDown": node["down"],
    }


def nodes_body(told: dict[str, Any], age_s: float, view: str) -> dict[str, Any]:
    """``view``: summary | hostNameList. ValueError for another one."""
    if view not in ("summary", "hostNameList"):
        raise ValueError(f"view={view!r}: there are summary and hostNameList")
    nodes = [node_view(node) for node in told["nodes"]]
    if view == "hostNameList":
        names = [node["nodeManagerHostname"] for node in nodes if node["state"] == "ALIVE"]
        return envelope({"hostNameList": names})
    summary = [
        {"hostname": node["nodeManagerHostname"], "ip": node["nodeManagerAddress"], "raylet": node} for node in nodes
    ]
    return envelope({"summary": summary, "as_of": {"age_s": round(age_s, 3)}})


def cluster_text(body: dict[str, Any]) -> str:
    """The overview in lines (``format=1``)."""
    as_of, nodes = body["as_of"], body["nodes"]
    lines = [
        f"session {body['session_name']}",
        f"as of {as_of['age_s']:.1f} s ago, revision {as_of['revision']}, epoch {as_of['epoch']}",
        f"nodes {nodes['alive']} alive, {nodes['dead']} dead",
    ]
    lines += [f"{each['name']} {each['used']:g} of {each['total']:g} in use" for each in body["resources"]]
    lines += [f"waiting {each['count']} x {each['shape']} {each['where']}" for each in body["demands"]]
    lines += [f"{part['name']} {_state_of(part)}" for part in body["parts"]]
    return "\n".join(lines)


def _state_of(part: dict[str, Any]) -> str:
    return "is up" if part["is_up"] else f"is down: {part['why']}"


# --- jobs -------------------------------------------------------------------------------------------------------------


def jobs_of(told: Submissions, now_s: float, start_max_s: float) -> list[JobDetails]:
    """All jobs, as a reader may believe them; nothing is written down. ``now_s`` on the wall clock."""
    living = {row["name"]: row["state"] for row in told.supervisors if row["state"] != "DEAD"}
    deaths = {row["name"]: _death(row) for row in told.supervisors if row["state"] == "DEAD"}
    records = sorted(told.records, key=lambda record: (record.spec.submitted_s, record.spec.submission_id))
    seen = []
    for record in records:
        name = record.spec.submission_id
        seen.append(life.seen(record, living.get(name, ""), deaths.get(name, ""), now_s, start_max_s))
    return listed(seen, told.drivers)


def _death(row: Row) -> str:
    context: Any = next(iter((row["death_cause"] or {}).values()), {})
    return str(context.get("error_message", "")) or "nobody knows why"


def job_body(job: JobDetails) -> dict[str, Any]:
    """One job, R 8.28's fields."""
    told: dict[str, Any] = without_secrets(job.dict())
    return told
