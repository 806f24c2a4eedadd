"""The state API: what runs and ran in the cluster (`list_tasks`, `get_actor`, `summarize_objects`, `get_log`...).

`linckia list`, `get`, `summary` and `logs` show the same. Nothing is recorded for it beyond what processes know anyhow:
whoever is asked looks, so programs that nobody asks pay nothing. docs/compatibility.md says what is kept and how long.
"""

from __future__ import annotations

from linckia.util.state.api import (
    get_actor,
    get_job,
    get_node,
    get_objects,
    get_placement_group,
    get_task,
    get_worker,
    list_actors,
    list_cluster_events,
    list_jobs,
    list_nodes,
    list_objects,
    list_placement_groups,
    list_runtime_envs,
    list_tasks,
    list_workers,
    summarize_actors,
    summarize_objects,
    summarize_tasks,
)
from linckia.util.state.client import StateApiClient
from linckia.util.state.logs import get_log, list_logs

__all__ = [
    "StateApiClient",
    "get_actor",
    "get_job",
    "get_log",
    "get_node",
    "get_objects",
    "get_placement_group",
    "get_task",
    "get_worker",
    "list_actors",
    "list_cluster_events",
    "list_jobs",
    "list_logs",
    "list_nodes",
    "list_objects",
    "list_placement_groups",
    "list_runtime_envs",
    "list_tasks",
    "list_workers",
    "summarize_actors",
    "summarize_objects",
    "summarize_tasks",
]
