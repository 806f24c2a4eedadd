"""Which Ray name means which Linckia name, and what to say about the rest. Data only; finder.py acts on it."""

from __future__ import annotations

import importlib

VERSION = "2.60.0"

# Ray's module -> ours. A module below one of these is looked up below its counterpart: `ray.util.queue` is
# `linckia.util.queue` although it is not listed.
ALIASES = {
    "ray.actor": "linckia.actor",
    "ray.cloudpickle": "linckia.cloudpickle",
    "ray.cloudpickle.cloudpickle": "cloudpickle.cloudpickle",
    "ray.cluster_utils": "linckia.cluster_utils",
    "ray.cross_language": "linckia.cross_language",
    "ray.dag": "linckia.dag",
    "ray.exceptions": "linckia.exceptions",
    "ray.experimental": "linckia.experimental",
    "ray.job_config": "linckia.job_config",
    "ray.job_submission": "linckia.job_submission",
    "ray.remote_function": "linckia.remote_function",
    "ray.runtime_context": "linckia.runtime_context",
    "ray.runtime_env": "linckia.runtime_env",
    "ray.util": "linckia.util",
    "ray.util.helpers": "linckia.util.completion",
    "ray.util.state.common": "linckia.core.listing.records",
}

# Modules of Ray that only gather names; ours are made of the public names of `linckia`.
GATHERED = {
    "ray._raylet": (
        "ActorClassID",
        "ActorID",
        "ClusterID",
        "DynamicObjectRefGenerator",
        "FunctionID",
        "JobID",
        "NodeID",
        "ObjectID",
        "ObjectRef",
        "ObjectRefGenerator",
        "PlacementGroupID",
        "TaskID",
        "UniqueID",
        "WorkerID",
    ),
    "ray.types": ("ObjectRef",),
}

# Attributes of `ray` itself.
TOP_LEVEL = (
    "ActorClassID",
    "ActorID",
    "ClientBuilder",
    "ClusterID",
    "DynamicObjectRefGenerator",
    "FunctionID",
    "JobID",
    "LOCAL_MODE",
    "Language",
    "LoggingConfig",
    "NodeID",
    "ObjectID",
    "ObjectRef",
    "ObjectRefGenerator",
    "PlacementGroupID",
    "SCRIPT_MODE",
    "TaskID",
    "UniqueID",
    "WORKER_MODE",
    "WorkerID",
    "available_resources",
    "cancel",
    "client",
    "cluster_resources",
    "get",
    "get_actor",
    "get_gpu_ids",
    "get_runtime_context",
    "init",
    "is_initialized",
    "java_actor_class",
    "java_function",
    "kill",
    "method",
    "nodes",
    "put",
    "remote",
    "shutdown",
    "timeline",
    "wait",
    "__commit__",
)

_LIBRARY = "Linckia has Ray Core's API; this library of Ray is not part of it"
_PRIVATE = "it is private to Ray and has no counterpart; use the public API"
_CROSS_LANGUAGE = "Linckia runs Python only"
_CLIENT = "call ray.init(address=...) with the address of the cluster: there is no separate client protocol"

# What is not there, with what to do. The longest matching prefix speaks.
NOT_THERE = {
    "ray._common": _PRIVATE,
    "ray._private": _PRIVATE,
    "ray._raylet": _PRIVATE,
    "ray.air": _LIBRARY,
    "ray.autoscaler": "it comes with clusters of many machines",
    "ray.client_builder": _CLIENT,
    "ray.core": _PRIVATE,
    "ray.cpp_function": _CROSS_LANGUAGE,
    "ray.dag": "compiled graphs are not in this version; execute() runs the graph as tasks and actor calls",
    "ray.dashboard": "`linckia status` tells what runs",
    "ray.data": _LIBRARY + "; use tasks, or dask or polars beside Linckia",
    "ray.internal": _PRIVATE,
    "ray.llm": _LIBRARY,
    "ray.rllib": _LIBRARY,
    "ray.serve": "it is not in this version; put an HTTP server into an actor",
    "ray.train": _LIBRARY + "; use actors and torch.distributed",
    "ray.tune": _LIBRARY + "; use tasks with optuna or scikit-learn",
    "ray.widgets": _PRIVATE,
    "ray.worker": _PRIVATE,
    "ray.workflow": _LIBRARY,
}


def why_not(name: str) -> str:
    """One sentence about a Ray name that Linckia does not have."""
    parts = name.split(".")
    for end in range(len(parts), 1, -1):
        known = ".".join(parts[:end])
        if known in NOT_THERE:
            there = known in GATHERED or known in ALIASES  # then only the part below it is missing
            subject = name if there else known
            return f"{subject} is not in Linckia: {NOT_THERE[known]}."
    if len(parts) > 2 and parts[1] in ("util", "experimental"):  # these two know their own gaps
        gaps: dict[str, str] = importlib.import_module(f"linckia.{parts[1]}").NOT_THERE_YET
        if parts[2] in gaps:
            return f"{name} is not in Linckia: {gaps[parts[2]]}."
    return f"{name} is not in Linckia (Ray {VERSION}'s API as of this version); `dir(ray)` lists what is."
