"""The state API (`list_actors`, `get_task`, `summarize_tasks`...): importable names that say when they will work.

Programs import these names at the top of a file that may never call them, so importing must succeed; each call raises
NotImplementedError. It decides nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

_NOT_YET = (
    "the state API is not in this version of Linckia: it comes with clusters of many machines (issue 3). "
    "Until then linckia.nodes(), linckia.cluster_resources(), linckia.timeline() and `linckia status` tell what runs."
)


def _refusing(name: str) -> Callable[..., NoReturn]:
    def refuse(*_args: object, **_options: object) -> NoReturn:
        raise NotImplementedError(f"linckia.util.state.{name}: {_NOT_YET}")

    refuse.__name__ = refuse.__qualname__ = name
    refuse.__doc__ = "Raise NotImplementedError."
    return refuse


class StateApiClient:
    """Raises NotImplementedError when made."""

    def __init__(self, *_args: object, **_options: object) -> None:
        raise NotImplementedError(f"linckia.util.state.StateApiClient: {_NOT_YET}")


get_actor = _refusing("get_actor")
get_job = _refusing("get_job")
get_log = _refusing("get_log")
get_node = _refusing("get_node")
get_objects = _refusing("get_objects")
get_placement_group = _refusing("get_placement_group")
get_task = _refusing("get_task")
get_worker = _refusing("get_worker")
list_actors = _refusing("list_actors")
list_cluster_events = _refusing("list_cluster_events")
list_jobs = _refusing("list_jobs")
list_logs = _refusing("list_logs")
list_nodes = _refusing("list_nodes")
list_objects = _refusing("list_objects")
list_placement_groups = _refusing("list_placement_groups")
list_runtime_envs = _refusing("list_runtime_envs")
list_tasks = _refusing("list_tasks")
list_workers = _refusing("list_workers")
summarize_actors = _refusing("summarize_actors")
summarize_objects = _refusing("summarize_objects")
summarize_tasks = _refusing("summarize_tasks")

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
