"""`list_*`, `get_*` and `summarize_*`: what runs and ran in the cluster (R 8.20-8.23), asked for when it is wanted.

User programs call it through `linckia.util.state`; so does `linckia list`. Nothing reports to anybody beforehand, so a
list costs the programs that it asks a moment, and a program that nobody asks nothing. All functions take `address`
("HOST:PORT"; default: the program's cluster, else the newest of this user here) and `timeout` in seconds.
"""

from __future__ import annotations

import warnings
from typing import Any, TypeVar, cast

from linckia.core.listing import summaries
from linckia.core.listing.filters import checked
from linckia.core.listing.records import (
    DEFAULT_LIMIT,
    DEFAULT_RPC_TIMEOUT,
    RAY_MAX_LIMIT_FROM_API_SERVER,
    RESOURCES,
    ActorState,
    ClusterEventState,
    JobState,
    NodeState,
    ObjectState,
    PlacementGroupState,
    Resource,
    RuntimeEnvState,
    StateSchema,
    TaskState,
    WorkerState,
)
from linckia.model.listing import Filter, Part
from linckia.util.state.asking import collect
from linckia.util.state.exception import RayStateApiException

S = TypeVar("S", bound=StateSchema)
UserFilters = list[tuple[str, str, Any]] | None
NAMED_MAX = 5


def list_actors(
    address: str | None = None,
    filters: UserFilters = None,
    limit: int = DEFAULT_LIMIT,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[ActorState]:
    """Actors, the dead ones that the head remembers (10,000) included."""
    asked = Question(address, filters, limit, timeout, detail, raise_on_missing_output)
    return cast("list[ActorState]", asked.records("actors"))


def list_placement_groups(
    address: str | None = None,
    filters: UserFilters = None,
    limit: int = DEFAULT_LIMIT,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[PlacementGroupState]:
    """Placement groups, removed ones that the head remembers included."""
    asked = Question(address, filters, limit, timeout, detail, raise_on_missing_output)
    return cast("list[PlacementGroupState]", asked.records("placement-groups"))


def list_nodes(
    address: str | None = None,
    filters: UserFilters = None,
    limit: int = DEFAULT_LIMIT,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[NodeState]:
    """Nodes, the dead ones that the head remembers (1,000) included."""
    asked = Question(address, filters, limit, timeout, detail, raise_on_missing_output)
    return cast("list[NodeState]", asked.records("nodes"))


def list_jobs(
    address: str | None = None,
    filters: UserFilters = None,
    limit: int = DEFAULT_LIMIT,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[JobState]:
    """Drivers' runs, the last 10,000 that have ended included."""
    asked = Question(address, filters, limit, timeout, detail, raise_on_missing_output)
    return cast("list[JobState]", asked.records("jobs"))


def list_workers(
    address: str | None = None,
    filters: UserFilters = None,
    limit: int = DEFAULT_LIMIT,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[WorkerState]:
    """Driver and worker processes of living nodes, and how the last workers of each (1,000) ended."""
    asked = Question(address, filters, limit, timeout, detail, raise_on_missing_output)
    return cast("list[WorkerState]", asked.records("workers"))


def list_tasks(
    address: str | None = None,
    filters: UserFilters = None,
    limit: int = DEFAULT_LIMIT,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[TaskState]:
    """One record per attempt: all that wait or run, then those that ended, as far as whoever ran them remembers."""
    asked = Question(address, filters, limit, timeout, detail, raise_on_missing_output)
    return cast("list[TaskState]", asked.records("tasks"))


def list_objects(
    address: str | None = None,
    filters: UserFilters = None,
    limit: int = DEFAULT_LIMIT,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[ObjectState]:
    """One record per object and process that holds a reference to it."""
    asked = Question(address, filters, limit, timeout, detail, raise_on_missing_output)
    return cast("list[ObjectState]", asked.records("objects"))


def list_runtime_envs(
    address: str | None = None,
    filters: UserFilters = None,
    limit: int = DEFAULT_LIMIT,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[RuntimeEnvState]:
    """Runtime environments that workers run in now."""
    asked = Question(address, filters, limit, timeout, detail, raise_on_missing_output)
    return cast("list[RuntimeEnvState]", asked.records("runtime-envs"))


def list_cluster_events(
    address: str | None = None,
    filters: UserFilters = None,
    limit: int = DEFAULT_LIMIT,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[ClusterEventState]:
    """What happened to nodes, the last 1,000 events."""
    asked = Question(address, filters, limit, timeout, detail, raise_on_missing_output)
    return cast("list[ClusterEventState]", asked.records("cluster-events"))


# --- one record -------------------------------------------------------------------------------------------------------


def get_actor(
    id: str, address: str | None = None, timeout: int = DEFAULT_RPC_TIMEOUT, _explain: bool = False
) -> ActorState | None:
    """The actor with this id (hex); None when nobody knows it."""
    return cast("ActorState | None", _first("actors", id, address, timeout))


def get_job(
    id: str, address: str | None = None, timeout: int = DEFAULT_RPC_TIMEOUT, _explain: bool = False
) -> JobState | None:
    """The job with this id (hex); None when nobody knows it."""
    return cast("JobState | None", _first("jobs", id, address, timeout))


def get_placement_group(
    id: str, address: str | None = None, timeout: int = DEFAULT_RPC_TIMEOUT, _explain: bool = False
) -> PlacementGroupState | None:
    """The placement group with this id (hex); None when nobody knows it."""
    return cast("PlacementGroupState | None", _first("placement-groups", id, address, timeout))


def get_node(
    id: str, address: str | None = None, timeout: int = DEFAULT_RPC_TIMEOUT, _explain: bool = False
) -> NodeState | None:
    """The node with this id (hex); None when nobody knows it."""
    return cast("NodeState | None", _first("nodes", id, address, timeout))


def get_worker(
    id: str, address: str | None = None, timeout: int = DEFAULT_RPC_TIMEOUT, _explain: bool = False
) -> WorkerState | None:
    """The worker or driver with this id (hex); None when nobody knows it."""
    return cast("WorkerState | None", _first("workers", id, address, timeout))


def get_task(
    id: Any, address: str | None = None, timeout: int = DEFAULT_RPC_TIMEOUT, _explain: bool = False
) -> TaskState | list[TaskState] | None:
    """The task with this id (hex), or that makes this ObjectRef: a list when it had several attempts."""
    task_id = id if isinstance(id, str) else id.task_id().hex()
    found = cast("list[TaskState]", records_of("tasks", task_id, address, timeout))
    if len(found) > 1:
        return sorted(found, key=lambda record: record.attempt_number)
    return found[0] if found else None


def get_objects(
    id: str, address: str | None = None, timeout: int = DEFAULT_RPC_TIMEOUT, _explain: bool = False
) -> list[ObjectState]:
    """All processes' references to the object with this id (hex)."""
    return cast("list[ObjectState]", records_of("objects", id, address, timeout))


def records_of(resource: str, id: str, address: str | None, timeout: float) -> list[StateSchema]:
    """All records with this id, in detail."""
    kind = RESOURCES[resource]
    asked = Question(address, [(kind.id_column, "=", id)], RAY_MAX_LIMIT_FROM_API_SERVER, timeout, True, False)
    return asked.records(resource)


def _first(resource: str, id: str, address: str | None, timeout: float) -> StateSchema | None:
    found = records_of(resource, id, address, timeout)
    return found[0] if found else None


# --- summaries --------------------------------------------------------------------------------------------------------


def summarize_tasks(
    address: str | None = None,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> dict[str, Any]:
    """How many tasks of each function are in which state: ``{"cluster": {"summary": ...}}``. However many there are:
    what is beyond the limits of lists is counted where it is.
    """
    asked = Question(address, None, RAY_MAX_LIMIT_FROM_API_SERVER, timeout, False, raise_on_missing_output)
    return {"cluster": summaries.of_tasks(asked.part("tasks"))}


def summarize_actors(
    address: str | None = None,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> dict[str, Any]:
    """How many actors of each class are in which state."""
    asked = Question(address, None, RAY_MAX_LIMIT_FROM_API_SERVER, timeout, False, raise_on_missing_output)
    return {"cluster": summaries.of_actors(asked.part("actors"))}


def summarize_objects(
    address: str | None = None,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> dict[str, Any]:
    """How many references there are, how large, held by how many processes; of the first 10,000 per node."""
    asked = Question(address, None, RAY_MAX_LIMIT_FROM_API_SERVER, timeout, False, raise_on_missing_output)
    return {"cluster": summaries.of_objects(asked.part("objects"))}


# --- what they share --------------------------------------------------------------------------------------------------


class Question:
    """The arguments that all lists have. RayStateApiException for a limit or filter that cannot be."""

    def __init__(
        self,
        address: str | None,
        filters: UserFilters,
        limit: int,
        timeout: float,
        detail: bool,
        raise_on_missing_output: bool,
    ) -> None:
        if not 0 <= limit <= RAY_MAX_LIMIT_FROM_API_SERVER:
            raise RayStateApiException(f"limit={limit} is not between 0 and {RAY_MAX_LIMIT_FROM_API_SERVER}")
        if timeout <= 0:
            raise RayStateApiException(f"timeout={timeout} is not above 0 seconds")
        self.address, self.filters, self.limit, self.timeout = address, filters, limit, timeout
        self.detail, self.must_be_whole = detail, raise_on_missing_output

    def part(self, resource: str) -> Part:
        """The rows as they come. RayStateApiException, or a warning, when somebody did not answer."""
        kind = RESOURCES[resource]
        try:
            filters: list[Filter] = checked(self.filters, [*kind.schema.filterable_columns(), kind.id_column])
        except LookupError as error:
            raise RayStateApiException(f"list of {resource}: {error.args[0]}") from None
        part = collect(kind.question, filters, self.limit, self.timeout, self.address)
        if part.missing:
            self._complain(resource, part)
        return part

    def records(self, resource: str) -> list[StateSchema]:
        """The rows as records."""
        return [self._record(RESOURCES[resource], row) for row in self.part(resource).rows]

    def _record(self, kind: Resource, row: dict[str, Any]) -> StateSchema:
        columns = kind.schema.columns() if self.detail else kind.schema.base_columns()
        return kind.schema(**{column: row.get(column) for column in columns})

    def _complain(self, resource: str, part: Part) -> None:
        named = "; ".join(part.missing[:NAMED_MAX])
        more = f"; and {len(part.missing) - NAMED_MAX} more" if len(part.missing) > NAMED_MAX else ""
        text = f"the list of {resource} is not complete, no answer from: {named}{more}"
        if self.must_be_whole:
            raise RayStateApiException(f"{text}. raise_on_missing_output=False returns what there is.")
        warnings.warn(text, stacklevel=4)
