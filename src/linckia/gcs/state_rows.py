"""Rows of the state API that the GCS makes of its own tables: actors and their constructors, jobs, nodes, placement
groups, events. Called by gcs/listing.py; nothing is kept for it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

from linckia.base import errors
from linckia.base.ids import ActorID, TaskID
from linckia.base.limits import ERROR_TEXT_MAX_CHARS
from linckia.core.actors.record import Actor
from linckia.core.actors.states import ActorDeathReason, ActorState
from linckia.core.placement.names import group_of
from linckia.host import environment
from linckia.model.jobs import SUBMISSION_ID_KEY
from linckia.model.listing import Row
from linckia.model.specs import JobConfig

if TYPE_CHECKING:
    from linckia.gcs.actors import ActorService
    from linckia.gcs.node_record import NodeRecord
    from linckia.gcs.nodes import NodeService
    from linckia.gcs.placement_groups import GroupService
    from linckia.gcs.service import Gcs, JobRecord

_decode_job = msgspec.msgpack.Decoder(JobConfig).decode
_CREATION = {
    ActorState.DEPENDENCIES_UNREADY: "PENDING_ARGS_AVAIL",
    ActorState.PENDING_CREATION: "PENDING_NODE_ASSIGNMENT",
    ActorState.RESTARTING: "PENDING_NODE_ASSIGNMENT",
    ActorState.ALIVE: "FINISHED",
}
"""State of an actor -> state of the task that constructs it."""
RAY_KILL_TEXT = "it was killed with linckia.kill() (`ray.kill`)"


# --- actors -----------------------------------------------------------------------------------------------------------


def actor_rows(service: ActorService) -> list[Row]:
    """All actors, the dead ones that are remembered included."""
    return [_actor_row(service, actor) for actor in service.directory.actors.values()]


def _actor_row(service: ActorService, actor: Actor) -> Row:
    spec = actor.spec
    node_id = _node_id(service, actor)
    return {
        "actor_id": spec.actor_id.hex(),
        "class_name": spec.class_name,
        "state": actor.state.value,
        "job_id": spec.job_id.hex(),
        "name": spec.name,
        "node_id": node_id,
        "pid": actor.pid,
        "ray_namespace": spec.namespace,
        "serialized_runtime_env": spec.runtime_env.decode() or "{}",
        "required_resources": spec.lifetime_resources,
        "death_cause": death_cause(service, actor) if actor.state is ActorState.DEAD else None,
        "is_detached": spec.detached,
        "placement_group_id": group_of(spec.lifetime_resources) or None,
        "repr_name": actor.repr_name,
        "num_restarts": actor.restarts,
        "num_restarts_due_to_lineage_reconstruction": 0,
        "num_restarts_due_to_node_preemption": 0,
        "call_site": None,
        "label_selector": {},
        "fallback_strategy": None,
    }


def _node_id(service: ActorService, actor: Actor) -> str | None:
    node_id = service.placement.places.get(actor.spec.actor_id) or actor.node_id
    return node_id.hex() or None


def death_cause(service: ActorService, actor: Actor) -> dict[str, Any]:
    """Why it is dead, with Ray's keys (R 5.35)."""
    if actor.error:
        text = errors.describe_error(actor.error)[1][-ERROR_TEXT_MAX_CHARS:]
        return {"creation_task_failure_context": {"formatted_exception_string": text, "language": "PYTHON"}}
    spec, node = actor.spec, service.node_of(actor)
    text = RAY_KILL_TEXT if actor.death is ActorDeathReason.RAY_KILL and actor.killed else actor.death_text
    return {
        "actor_died_error_context": {
            "actor_id": spec.actor_id.hex(),
            "class_name": spec.class_name,
            "error_message": f"The actor is dead: {text}.",
            "name": spec.name,
            "never_started": actor.never_started,
            "node_ip_address": node.info.node_ip if node is not None else "",
            "owner_id": spec.owner.worker_id.hex(),
            "pid": actor.pid,
            "ray_namespace": spec.namespace,
            "reason": actor.death.value if actor.death is not None else "",
        }
    }


def creation_rows(service: ActorService) -> list[Row]:
    """The task that constructs each actor; its state is that of the actor."""
    return [_creation_row(service, actor) for actor in service.directory.actors.values() if actor.spec.listed]


def _creation_row(service: ActorService, actor: Actor) -> Row:
    spec = actor.spec
    failed = actor.state is ActorState.DEAD and (bool(actor.error) or actor.never_started)
    state = "FAILED" if failed else _CREATION.get(actor.state, "FINISHED")
    if state == "PENDING_NODE_ASSIGNMENT" and actor.worker is not None:
        state = "RUNNING"
    function = f"{spec.class_name}.__init__"
    kind, text = errors.describe_error(actor.error) if actor.error else ("", actor.death_text)
    return {
        "task_id": TaskID.for_actor_creation(ActorID(spec.actor_id)).hex(),
        "attempt_number": actor.restarts,
        "name": f"{spec.name}:{function}" if spec.name else function,
        "state": state,
        "job_id": spec.job_id.hex(),
        "actor_id": spec.actor_id.hex(),
        "type": "ACTOR_CREATION_TASK",
        "func_or_class_name": function,
        "parent_task_id": None,
        "node_id": _node_id(service, actor),
        "worker_id": actor.worker.worker_id.hex() if actor.worker is not None else None,
        "worker_pid": actor.pid or None,
        "error_type": ("ACTOR_CREATION_FAILED" if actor.error else kind or "ACTOR_DIED") if failed else None,
        "error_message": text[-ERROR_TEXT_MAX_CHARS:] if failed else None,
        "start_time_ms": None,
        "end_time_ms": None,
        "language": "PYTHON",
        "required_resources": spec.lifetime_resources,
        "runtime_env_info": {"serialized_runtime_env": spec.runtime_env.decode() or "{}"},
    }


# --- jobs, nodes, groups, events --------------------------------------------------------------------------------------


def job_rows(gcs: Gcs) -> list[Row]:
    """All jobs, the ended ones that are remembered included."""
    return [_job_row(gcs, job) for job in gcs.jobs.values()]


def _job_row(gcs: Gcs, job: JobRecord) -> Row:
    config = _decode_job(job.config)
    node = gcs.nodes.nodes.get(job.node_id)
    where = node.info.node_ip if node is not None else ""
    return {
        "job_id": job.job_id.hex(),
        "submission_id": config.metadata.get(SUBMISSION_ID_KEY),
        "entrypoint": config.entrypoint,
        "type": "SUBMISSION" if SUBMISSION_ID_KEY in config.metadata else "DRIVER",
        "status": "SUCCEEDED" if job.finished else "RUNNING",
        "message": None,
        "error_type": None,
        "driver_info": {"id": job.job_id.hex(), "node_ip_address": where, "pid": str(job.pid)},
        "start_time": round(job.started_s * 1000),
        "end_time": round(job.ended_s * 1000),
        "metadata": config.metadata,
        "runtime_env": {"env_vars": config.env_vars} if config.env_vars else {},
        "driver_agent_http_address": None,
        "driver_node_id": job.node_id.hex() if node is not None else None,
        "driver_exit_code": None,
    }


def node_rows(nodes: NodeService) -> list[Row]:
    """All nodes, the dead ones that are remembered included."""
    return [_node_row(node) for node in nodes.nodes.values()]


def _node_row(node: NodeRecord) -> Row:
    info = node.info
    message = node.death_reason or ("" if node.state == "ALIVE" else node.state)
    return {
        "node_id": info.node_id.hex(),
        "node_ip": info.node_ip,
        "is_head_node": info.is_head,
        "state": "ALIVE" if node.alive else "DEAD",
        "state_message": message or None,
        "node_name": info.name or info.node_ip,
        "resources_total": info.resources if node.alive else {},
        "labels": {"ray.io/node-id": info.node_id.hex(), **info.labels},
        "start_time_ms": round(node.joined_s * 1000),
        "end_time_ms": round(node.died_s * 1000),
    }


def group_rows(groups: GroupService) -> list[Row]:
    """All placement groups, the removed ones that are remembered included."""
    return [_group_row(row) for row in groups.table()]


def _group_row(row: dict[str, Any]) -> Row:
    bundles = [
        {
            "bundle_id": {"placement_group_id": row["placement_group_id"], "bundle_index": int(index)},
            "node_id": row["bundles_to_node_id"][index] or None,
            "unit_resources": resources,
        }
        for index, resources in row["bundles"].items()
    ]
    columns = ("placement_group_id", "name", "creator_job_id", "state")
    return {
        **{column: row[column] for column in columns},
        "bundles": bundles,
        "is_detached": row["detached"],
        "stats": row["stats"],
        "topology_strategy": None,
        "topology_assignments": None,
    }


def event_rows(nodes: NodeService) -> list[Row]:
    """What happened to nodes, oldest first."""
    return [
        {
            "event_id": hashlib.blake2b(f"{at_s}{text}".encode(), digest_size=18).hexdigest(),
            "severity": severity,
            "time": environment.wall_clock_text(at_s),
            "source_type": "GCS",
            "message": text,
            "custom_fields": None,
        }
        for at_s, severity, text in nodes.events
    ]
