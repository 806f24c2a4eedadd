"""The records of the state API, with Ray's columns (R 8.23). Attributes and dict access; nothing is computed here.

Columns with a default are there with ``detail=True`` only. A column that was not asked for, or that Linckia does not
record, is None; docs/compatibility.md lists the latter.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar

DEFAULT_LIMIT = 100
DEFAULT_RPC_TIMEOUT = 30
RAY_MAX_LIMIT_FROM_API_SERVER = 10_000


@dataclasses.dataclass(init=False)
class StateSchema:
    """A record. Behaves like a read-only dict too."""

    UNFILTERED: ClassVar[tuple[str, ...]] = ()
    DETAIL_FILTERED: ClassVar[tuple[str, ...]] = ()

    def __init__(self, **columns: Any) -> None:
        for column in self.columns():
            setattr(self, column, columns.get(column))

    @classmethod
    def columns(cls) -> list[str]:
        """All columns, in order."""
        return [field.name for field in dataclasses.fields(cls)]

    @classmethod
    def base_columns(cls) -> list[str]:
        """Those of a list without ``detail``."""
        return [field.name for field in dataclasses.fields(cls) if field.default is dataclasses.MISSING]

    @classmethod
    def detail_columns(cls) -> list[str]:
        """Those of a list with ``detail``: all."""
        return cls.columns()

    @classmethod
    def filterable_columns(cls) -> list[str]:
        """Those that filters may name."""
        return [column for column in cls.base_columns() if column not in cls.UNFILTERED] + list(cls.DETAIL_FILTERED)

    def asdict(self) -> dict[str, Any]:
        """As a plain dict."""
        told = {column: getattr(self, column) for column in self.columns()}
        return {column: value.asdict() if isinstance(value, StateSchema) else value for column, value in told.items()}

    def get(self, key: str, default: Any = None) -> Any:
        """Like a dict's."""
        return getattr(self, key, default) if key in self.columns() else default

    def __getitem__(self, key: str) -> Any:
        if key not in self.columns():
            raise KeyError(f"{type(self).__name__} has no column {key!r}; it has {self.columns()}")
        return getattr(self, key)

    def __contains__(self, key: object) -> bool:
        return key in self.columns()

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns())

    def keys(self) -> list[str]:
        """Like a dict's."""
        return self.columns()


@dataclasses.dataclass(init=False)
class ActorState(StateSchema):
    """An actor, through all its restarts."""

    DETAIL_FILTERED = ("repr_name", "placement_group_id")
    actor_id: str
    class_name: str
    state: str
    job_id: str
    name: str | None
    node_id: str | None
    pid: int | None
    ray_namespace: str | None
    serialized_runtime_env: str | None = None
    required_resources: dict[str, float] | None = None
    death_cause: dict[str, Any] | None = None
    is_detached: bool | None = None
    placement_group_id: str | None = None
    repr_name: str | None = None
    num_restarts: int | None = None
    num_restarts_due_to_lineage_reconstruction: int | None = None
    num_restarts_due_to_node_preemption: int | None = None
    call_site: str | None = None
    label_selector: dict[str, str] | None = None
    fallback_strategy: list[Any] | None = None


@dataclasses.dataclass(init=False)
class PlacementGroupState(StateSchema):
    """A placement group."""

    DETAIL_FILTERED = ("is_detached",)
    placement_group_id: str
    name: str
    creator_job_id: str
    state: str
    bundles: list[dict[str, Any]] | None = None
    is_detached: bool | None = None
    stats: dict[str, Any] | None = None
    topology_strategy: dict[str, str] | None = None
    topology_assignments: dict[str, str] | None = None


@dataclasses.dataclass(init=False)
class NodeState(StateSchema):
    """A node. `state` is ALIVE or DEAD; `state_message` says SUSPECT, DRAINING, or why it died."""

    UNFILTERED = ("state_message", "resources_total", "labels")
    node_id: str
    node_ip: str
    is_head_node: bool
    state: str
    state_message: str | None
    node_name: str
    resources_total: dict[str, float]
    labels: dict[str, str]
    start_time_ms: int | None = None
    end_time_ms: int | None = None


@dataclasses.dataclass(init=False)
class DriverInfo(StateSchema):
    """The process of a job's driver."""

    id: str
    node_ip_address: str
    pid: str


@dataclasses.dataclass(init=False)
class JobState(StateSchema):
    """A driver's run."""

    UNFILTERED = ("entrypoint", "message", "error_type", "driver_info")
    job_id: str | None
    submission_id: str | None
    entrypoint: str
    type: str
    status: str
    message: str | None
    error_type: str | None
    driver_info: DriverInfo | None
    start_time: int | None = None
    end_time: int | None = None
    metadata: dict[str, str] | None = None
    runtime_env: dict[str, Any] | None = None
    driver_agent_http_address: str | None = None
    driver_node_id: str | None = None
    driver_exit_code: int | None = None

    def __init__(self, **columns: Any) -> None:
        driver = columns.get("driver_info")
        super().__init__(**{**columns, "driver_info": DriverInfo(**driver) if driver is not None else None})


@dataclasses.dataclass(init=False)
class WorkerState(StateSchema):
    """A driver or worker process."""

    worker_id: str
    is_alive: bool
    worker_type: str
    exit_type: str | None
    node_id: str
    ip: str
    pid: int
    exit_detail: str | None = None
    worker_launch_time_ms: int | None = None
    worker_launched_time_ms: int | None = None
    start_time_ms: int | None = None
    end_time_ms: int | None = None
    debugger_port: int | None = None
    num_paused_threads: int | None = None


@dataclasses.dataclass(init=False)
class TaskState(StateSchema):
    """One attempt of a task, actor call or constructor."""

    DETAIL_FILTERED = ("language", "placement_group_id")
    task_id: str
    attempt_number: int
    name: str
    state: str
    job_id: str
    actor_id: str | None
    type: str
    func_or_class_name: str
    parent_task_id: str | None
    node_id: str | None
    worker_id: str | None
    worker_pid: int | None
    error_type: str | None
    language: str | None = None
    required_resources: dict[str, float] | None = None
    runtime_env_info: dict[str, Any] | None = None
    placement_group_id: str | None = None
    events: list[dict[str, Any]] | None = None
    profiling_data: dict[str, Any] | None = None
    creation_time_ms: int | None = None
    start_time_ms: int | None = None
    end_time_ms: int | None = None
    task_log_info: dict[str, Any] | None = None
    error_message: str | None = None
    is_debugger_paused: bool | None = None
    call_site: str | None = None
    label_selector: dict[str, str] | None = None
    fallback_strategy: Any = None
    error_origin: str | None = None
    """Ours: "application" or "system"."""


@dataclasses.dataclass(init=False)
class ObjectState(StateSchema):
    """One process's reference to an object."""

    object_id: str
    object_size: int
    task_status: str
    attempt_number: int
    reference_type: str
    call_site: str
    type: str
    pid: int
    ip: str


@dataclasses.dataclass(init=False)
class RuntimeEnvState(StateSchema):
    """A runtime environment that workers of a node run in."""

    UNFILTERED = ("creation_time_ms",)
    DETAIL_FILTERED = ("error",)
    runtime_env: dict[str, Any]
    success: bool
    creation_time_ms: float | None
    node_id: str
    ref_cnt: int | None = None
    error: str | None = None


@dataclasses.dataclass(init=False)
class ClusterEventState(StateSchema):
    """Something that happened to a node."""

    UNFILTERED = ("time", "message")
    event_id: str
    severity: str
    time: str
    source_type: str
    message: str
    custom_fields: dict[str, Any] | None = None


class Resource:
    """What can be listed, by the names of the command line: class of its records, column of its id."""

    def __init__(self, name: str, schema: type[StateSchema], id_column: str) -> None:
        self.name, self.schema, self.id_column = name, schema, id_column
        self.question = name.replace("-", "_")


RESOURCES = {
    resource.name: resource
    for resource in (
        Resource("actors", ActorState, "actor_id"),
        Resource("jobs", JobState, "job_id"),
        Resource("placement-groups", PlacementGroupState, "placement_group_id"),
        Resource("nodes", NodeState, "node_id"),
        Resource("workers", WorkerState, "worker_id"),
        Resource("tasks", TaskState, "task_id"),
        Resource("objects", ObjectState, "object_id"),
        Resource("runtime-envs", RuntimeEnvState, ""),
        Resource("cluster-events", ClusterEventState, "event_id"),
    )
}
