"""What a small cluster tells its dashboard."""

from __future__ import annotations

from typing import Any

NODE, DEAD = bytes(28), b"\1" * 28
UP = {"name": "dashboard", "is_up": True, "down_since_s": 0.0, "why": "", "failures": 2, "pid": 7, "url": "h:8265"}
DOWN = {"name": "memory monitor", "is_up": False, "down_since_s": 5.0, "why": "a <b> mistake", "failures": 1}
SCALER = {
    "name": "autoscaler",
    "is_up": False,
    "down_since_s": 1.0,
    "why": "killed by signal 9",
    "failures": 3,
    "pid": 0,
}


def node(node_id: bytes = NODE, *, alive: bool = True, **more: Any) -> dict[str, Any]:
    """A node with two CPUs, one of them in use."""
    told: dict[str, Any] = {
        "node_id": node_id,
        "alive": alive,
        "state": "ALIVE" if alive else "DEAD",
        "death_reason": "" if alive else "its process was killed",
        "is_head": True,
        "name": "n",
        "node_ip": "10.0.0.1",
        "hostname": "rack",
        "pid": 5,
        "resources": {"CPU": 2.0, "object_store_memory": 100.0, "node:10.0.0.1": 1.0},
        "available": {"CPU": 1.0, "object_store_memory": 75.0},
        "memory": (30, 90),
        "labels": {"zone": "a"},
        "down": [],
        "dashboard": None,
    }
    return {**told, **more}


def overview(**more: Any) -> dict[str, Any]:
    """Two nodes, one of them dead, and two heads."""
    heads = [
        {"host": "a", "port": 1, "pid": 1, "leader": True, "epoch": 4, "lag_revisions": 0},
        {"host": "b", "port": 2, "pid": 2, "leader": False, "epoch": 0, "lag_revisions": -1},
    ]
    told: dict[str, Any] = {
        "session_name": "s",
        "epoch": 4,
        "revision": 77,
        "nodes": [node(dashboard=UP, down=[DOWN]), node(DEAD, alive=False, dashboard=UP)],
        "total": {"CPU": 2.0, "node:10.0.0.1": 1.0, "CPU_group_0_ab": 1.0},
        "available": {"CPU": 0.5},
        "demand": [({"CPU": 4.0}, 3, "at node 00")],
        "heads": heads,
        "autoscaler": {"process": SCALER, "node_types": {}, "unmet": [], "hold": "", "events": []},
        "counts": {"actors": {"ALIVE": 2}, "placement_groups": {}, "jobs": {"RUNNING": 1, "FINISHED": 9}},
        "tables": [],
    }
    return {**told, **more}
