"""Linckia: a distributed runtime for Python with Ray's API; tasks, actors and objects on one machine or many.

``import linckia`` loads next to nothing (60 ms is the promise); the runtime is loaded by ``init``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from linckia.api.actor import ActorClass, ActorHandle, method
from linckia.api.calls import cancel, get, get_actor, kill, put, wait
from linckia.api.cluster_info import available_resources, cluster_resources, nodes, timeline
from linckia.api.decorator import remote
from linckia.api.runtime_context import get_gpu_ids, get_runtime_context
from linckia.api.session import init, is_initialized, shutdown
from linckia.base.version import __version__

if TYPE_CHECKING:
    from linckia import actor, cloudpickle, exceptions, util
    from linckia.api.checkpointing import Checkpointable, checkpoint
    from linckia.api.logging_config import LoggingConfig
    from linckia.base.ids import (
        ActorClassID,
        ActorID,
        ClusterID,
        FunctionID,
        JobID,
        NodeID,
        PlacementGroupID,
        TaskID,
        UniqueID,
        WorkerID,
    )
    from linckia.model.checkpoints import CheckpointInfo, CheckpointPolicy
    from linckia.worker.refs import ObjectRef
    from linckia.worker.refs import ObjectRef as ObjectID
    from linckia.worker.streams import DynamicObjectRefGenerator, ObjectRefGenerator

__commit__ = ""
SCRIPT_MODE, WORKER_MODE, LOCAL_MODE = 0, 1, 2

_LAZY = {
    "LoggingConfig": "linckia.api.logging_config",
    **dict.fromkeys(("Checkpointable", "checkpoint"), "linckia.api.checkpointing"),
    **dict.fromkeys(("CheckpointInfo", "CheckpointPolicy"), "linckia.model.checkpoints"),
    "ObjectRef": "linckia.worker.refs",
    "ObjectRefGenerator": "linckia.worker.streams",
    "DynamicObjectRefGenerator": "linckia.worker.streams",
    **dict.fromkeys(
        (
            "ActorClassID", "ActorID", "ClusterID", "FunctionID", "JobID", "NodeID", "PlacementGroupID", "TaskID",
            "UniqueID", "WorkerID",
        ),
        "linckia.base.ids",
    ),
    **dict.fromkeys(
        ("client", "ClientBuilder", "Language", "java_function", "java_actor_class"), "linckia.api.other_languages"
    ),
}  # fmt: skip
_MODULES = (
    "job_config",
    "job_submission",
    "dag",
    "runtime_env",
    "cross_language",
    "actor",
    "cloudpickle",
    "exceptions",
    "util",
    "runtime_context",
    "remote_function",
    "experimental",
    "as_ray",
    "cluster_utils",
)

__all__ = [
    "init", "shutdown", "is_initialized", "remote", "method", "get", "put", "wait", "cancel", "kill", "get_actor",
    "nodes", "cluster_resources", "available_resources", "timeline", "get_gpu_ids", "get_runtime_context",
    "ObjectRef", "ObjectRefGenerator", "DynamicObjectRefGenerator", "ActorClass", "ActorHandle",
    "LoggingConfig", "ActorClassID", "ActorID", "ClusterID", "FunctionID", "JobID", "NodeID", "ObjectID",
    "PlacementGroupID", "TaskID", "UniqueID",
    "WorkerID", "Checkpointable", "CheckpointInfo", "CheckpointPolicy", "checkpoint",
    "actor", "cloudpickle", "exceptions", "util", "SCRIPT_MODE", "WORKER_MODE", "LOCAL_MODE", "__version__",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    import importlib  # noqa: PLC0415  (start-up time: only for names that are loaded late)

    if name == "ObjectID":  # Ray's other name for it
        name = "ObjectRef"
    module = _LAZY.get(name)
    if module is not None:
        if module == "linckia.base.ids":
            importlib.import_module("linckia.host.entropy")  # from_random() needs it
        value = getattr(importlib.import_module(module), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return importlib.import_module(f"linckia.{name}")
    raise AttributeError(f"module 'linckia' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
