"""What the cluster looks like: nodes, resources, timeline (R 1.35-1.38)."""

from __future__ import annotations

import json
from typing import Any

from linckia.base import errors
from linckia.worker import current

DEATH_REASONS = (
    "EXPECTED_TERMINATION", "UNEXPECTED_TERMINATION", "AUTOSCALER_DRAIN_PREEMPTED", "AUTOSCALER_DRAIN_IDLE"
)  # fmt: skip
"""By their numbers in Ray, from 1."""


def _ask(what: str) -> Any:
    import msgspec  # noqa: PLC0415  (start-up time)

    from linckia.protocol import messages as m  # noqa: PLC0415  (start-up time)

    runtime = current.runtime
    if runtime is None:
        raise errors.RaySystemError(f"{what}: not connected to a cluster; call linckia.init() first")
    answer = runtime.call(runtime.raylet, m.ClusterQuery(runtime.next_rid(), what))
    return msgspec.msgpack.decode(answer.body)


def nodes() -> list[dict[str, Any]]:
    """One dict per node, dead ones included, with Ray's keys."""
    return [_node(record) for record in _ask("nodes")]


def heads() -> list[dict[str, Any]]:
    """One dict per head of a cluster with a store: ``host, port, pid, leader, epoch, lag_revisions`` (-1: it is not
    connected to the leader). Empty when the head is a part of its node.
    """
    found: list[dict[str, Any]] = _ask("status")["heads"]
    return found


def _node(record: dict[str, Any]) -> dict[str, Any]:
    endpoint, alive = record["endpoint"], record["alive"]
    return {
        "NodeID": record["node_id"].hex(),
        "Alive": alive,
        "alive": alive,
        "NodeManagerAddress": record["node_ip"],
        "NodeManagerHostname": record["hostname"],
        "NodeManagerPort": _port(endpoint),
        "ObjectManagerPort": 0,
        "ObjectStoreSocketName": endpoint,
        "RayletSocketName": endpoint,
        "MetricsExportPort": 0,
        "MetricsAgentPort": 0,
        "NodeName": record["name"] or record["node_ip"],
        "RuntimeEnvAgentPort": 0,
        "DeathReason": 0 if alive else DEATH_REASONS.index(record["death_kind"]) + 1,
        "DeathReasonMessage": record["death_reason"],
        "Resources": record["resources"] if alive else {},
        "Labels": {"ray.io/node-id": record["node_id"].hex(), **record["labels"]},
    }


def _port(endpoint: str) -> int:
    """The node's TCP port; 0 when it has none."""
    port = endpoint.rstrip(":").rpartition(":")[2]
    return int(port) if endpoint.startswith("node:") and port.isdecimal() else 0


def cluster_resources() -> dict[str, float]:
    """Totals over all alive nodes."""
    found: dict[str, float] = _ask("total")
    return found


def available_resources() -> dict[str, float]:
    """What is free now; keys that are used up are absent."""
    found: dict[str, float] = _ask("available")
    return {name: amount for name, amount in found.items() if amount > 0}


def timeline(filename: str | None = None) -> list[dict[str, Any]] | None:
    """Task events as Chrome-trace dicts; with ``filename`` written there as JSON. RuntimeError when not connected."""
    if current.runtime is None:
        raise RuntimeError("timeline(): not connected to a cluster; call linckia.init() first")
    events = [_event(event) for event in _ask("timeline")]
    if filename is None:
        return events
    with open(filename, "w", encoding="utf-8") as file:
        json.dump(events, file)
    return None


def _event(event: list[Any]) -> dict[str, Any]:
    """A task event as a Chrome-trace complete event (ts and dur in microseconds)."""
    name, start_s, end_s, task_id, worker_id, pid, kind = event
    return {
        "cat": kind,
        "name": name,
        "pid": "127.0.0.1",
        "tid": f"worker:{worker_id.hex()}",
        "ts": start_s * 1e6,
        "dur": (end_s - start_s) * 1e6,
        "ph": "X",
        "cname": "generic_work",
        "args": {"task_id": task_id.hex(), "worker_pid": pid, "name": name},
    }
