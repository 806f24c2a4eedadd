"""get_runtime_context(): who and where am I (R 1.40-1.43)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from linckia.api.current_group import captures_children, current_group_id
from linckia.api.remote_function import connected
from linckia.worker import current

if TYPE_CHECKING:
    from linckia.model.checkpoints import CheckpointInfo


class RuntimeContext:
    """Facts about the calling task, actor, worker, node and job. Cheap; reads the current state at each call."""

    def __init__(self, runtime: Any) -> None:
        self._runtime = runtime

    def _task(self) -> Any:
        executor = self._runtime.executor
        return executor.context() if executor is not None else None

    def _host(self) -> Any:
        executor = self._runtime.executor
        return executor.actor if executor is not None else None

    def get_job_id(self) -> str:
        """Hex id of the job."""
        return str(self._runtime.job_id.hex())

    def get_node_id(self) -> str:
        """Hex id of this node."""
        return str(self._runtime.node_id.hex())

    def get_worker_id(self) -> str:
        """Hex id of this process."""
        return str(self._runtime.address.worker_id.hex())

    def get_task_id(self) -> str | None:
        """Hex id of the running task; None in a driver."""
        task = self._task()
        return task.task_id.hex() if task is not None and task.task_id else None

    def get_task_name(self) -> str | None:
        """The task's name (option ``name``, else the function's)."""
        task = self._task()
        return task.name if task is not None else None

    def get_task_function_name(self) -> str | None:
        """Module-qualified name of the function."""
        task = self._task()
        return task.qualified_name if task is not None else None

    def get_attempt_number(self) -> int:
        """How often this task was tried before."""
        task = self._task()
        return task.attempt if task is not None else 0

    def get_actor_id(self) -> str | None:
        """Hex id of the actor; None outside actors."""
        host = self._host()
        return host.actor_id.hex() if host is not None else None

    def get_actor_name(self) -> str | None:
        """The actor's name, "" when it has none; None outside actors."""
        host = self._host()
        return host.spec.name if host is not None else None

    @property
    def actor_id(self) -> Any:
        """ActorID; None outside actors."""
        from linckia.base.ids import ActorID  # noqa: PLC0415  (start-up time)

        host = self._host()
        return ActorID(host.actor_id) if host is not None else None

    @property
    def job_id(self) -> Any:
        """JobID."""
        from linckia.base.ids import JobID  # noqa: PLC0415  (start-up time)

        return JobID(self._runtime.job_id)

    @property
    def node_id(self) -> Any:
        """NodeID."""
        from linckia.base.ids import NodeID  # noqa: PLC0415  (start-up time)

        return NodeID(self._runtime.node_id)

    @property
    def worker_id(self) -> Any:
        """WorkerID."""
        from linckia.base.ids import WorkerID  # noqa: PLC0415  (start-up time)

        return WorkerID(self._runtime.address.worker_id)

    @property
    def task_id(self) -> Any:
        """TaskID; None in a driver."""
        from linckia.base.ids import TaskID  # noqa: PLC0415  (start-up time)

        task = self._task()
        return TaskID(task.task_id) if task is not None and task.task_id else None

    @property
    def namespace(self) -> str:
        """The job's namespace."""
        return str(self._runtime.job_config.namespace)

    @property
    def gcs_address(self) -> str:
        """Where the head listens."""
        return str(self._runtime.raylet_peer.address.endpoint)

    def get_session_name(self) -> str:
        """Name of the session."""
        return str(self._runtime.session_name)

    def get_session_dir(self) -> str:
        """Directory of the session."""
        return str(self._runtime.session_dir)

    def get_temp_dir(self) -> str:
        """Directory that holds the session."""
        return str(self._runtime.session_dir).rpartition("/")[0].rpartition("/")[0]

    def get_placement_group_id(self) -> str | None:
        """Hex id of the group this task or actor runs in; None outside of groups and in drivers."""
        return current_group_id() or None

    @property
    def should_capture_child_tasks_in_placement_group(self) -> bool:
        """Whether children of this task or actor go into its placement group too."""
        return captures_children()

    def get_assigned_resources(self) -> dict[str, float]:
        """What the running task or actor holds; ``{}`` for a default actor and in drivers."""
        from linckia.core.placement.names import plain  # noqa: PLC0415  (start-up time)

        host, executor = self._host(), self._runtime.executor
        if host is not None:
            return plain(host.spec.lifetime_resources)
        return {name: amount for name, amount in plain(executor.assigned).items() if amount} if executor else {}

    def get_accelerator_ids(self) -> dict[str, list[str]]:
        """Ids of assigned accelerators by kind."""
        return {"GPU": [str(gpu) for gpu in get_gpu_ids()]}

    def get_node_labels(self) -> dict[str, str]:
        """Labels of this node."""
        from linckia.api.cluster_info import nodes  # noqa: PLC0415  (rare)

        return next((node["Labels"] for node in nodes() if node["NodeID"] == self.get_node_id()), {})

    @property
    def current_actor(self) -> Any:
        """A weak handle of the actor this runs in. RuntimeError outside actors."""
        host = self._host()
        if host is None:
            raise RuntimeError("current_actor: this code does not run in an actor")
        from linckia.api.actor import ActorHandle  # noqa: PLC0415  (start-up time)
        from linckia.api.actor_creation import actor_info  # noqa: PLC0415  (start-up time)

        return ActorHandle(actor_info(host.spec), None)

    @property
    def was_current_actor_reconstructed(self) -> bool:
        """True when this incarnation of the actor is not its first. RuntimeError outside actors."""
        host = self._host()
        if host is None:
            raise RuntimeError("was_current_actor_reconstructed: this code does not run in an actor")
        return bool(host.restarts > 0)

    @property
    def restored_checkpoint(self) -> CheckpointInfo | None:
        """What the state of the current actor was restored from, with ``calls_since``: what was lost. None when it
        began anew, and outside actors.
        """
        return self._checkpoint("restored")

    @property
    def last_checkpoint(self) -> CheckpointInfo | None:
        """What was saved last, by this life of the current actor or the one it was restored from."""
        return self._checkpoint("last")

    def _checkpoint(self, which: str) -> CheckpointInfo | None:
        host = self._host()
        kept = host.checkpoints if host is not None else None
        return getattr(kept, which) if kept is not None else None

    @property
    def runtime_env(self) -> dict[str, Any]:
        """The job's in a driver, the task's or actor's in a worker; of its fields ``env_vars`` take effect."""
        return dict(self._runtime.runtime_env)

    def get_runtime_env_string(self) -> str:
        """As JSON."""
        return json.dumps(self._runtime.runtime_env)

    def is_canceled(self) -> bool:
        """True when somebody asked to cancel this task or actor call. RuntimeError in drivers and async actors."""
        task, host = self._task(), self._host()
        if task is None:
            raise RuntimeError("is_canceled(): only tasks and actor calls can be cancelled, this is a driver")
        if host is not None and host.is_async:
            raise RuntimeError(
                "is_canceled(): async actor calls are cancelled by asyncio; catch asyncio.CancelledError"
            )
        return bool(task.cancelled)

    def get(self) -> dict[str, Any]:
        """The ids as a dict."""
        found = {"job_id": self.job_id, "node_id": self.node_id, "namespace": self.namespace}
        if self.task_id is not None:
            found["task_id"] = self.task_id
        if self.actor_id is not None:
            found["actor_id"] = self.actor_id
        return found


def get_runtime_context() -> RuntimeContext:
    """Facts about the caller."""
    return RuntimeContext(connected())


def get_gpu_ids() -> list[Any]:
    """Ids of the GPUs assigned to this worker; empty for CPU tasks."""
    connected()
    executor = current.runtime.executor if current.runtime is not None else None
    if executor is None:
        return []
    return list(getattr(executor, "gpu_ids", []))
