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
    "ray.cloudpickle.cloudpickle_fast": "cloudpickle.cloudpickle_fast",
    "ray.cluster_utils": "linckia.cluster_utils",
    "ray.exceptions": "linckia.exceptions",
    "ray.experimental": "linckia.experimental",
    "ray.remote_function": "linckia.remote_function",
    "ray.runtime_context": "linckia.runtime_context",
    "ray.util": "linckia.util",
    "ray.util.helpers": "linckia.util.completion",
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
    "ClusterID",
    "DynamicObjectRefGenerator",
    "FunctionID",
    "JobID",
    "LOCAL_MODE",
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
    "cluster_resources",
    "get",
    "get_actor",
    "get_gpu_ids",
    "get_runtime_context",
    "init",
    "is_initialized",
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
    "ray.ClientBuilder": _CLIENT,
    "ray.client": _CLIENT,
    "ray.client_builder": _CLIENT,
    "ray.cluster_utils": "it comes with clusters of many machines; start one node with ray.init()",
    "ray.core": _PRIVATE,
    "ray.cpp_function": _CROSS_LANGUAGE,
    "ray.cross_language": _CROSS_LANGUAGE,
    "ray.dag": "call .remote() and pass the refs on; lazy graphs (.bind) are not in this version",
    "ray.dashboard": "`linckia status` tells what runs",
    "ray.data": _LIBRARY + "; use tasks, or dask or polars beside Linckia",
    "ray.internal": _PRIVATE,
    "ray.java_actor_class": _CROSS_LANGUAGE,
    "ray.java_function": _CROSS_LANGUAGE,
    "ray.job_config": "give namespace= and runtime_env= to ray.init()",
    "ray.job_submission": "it comes with clusters of many machines; run the script with `linckia run`",
    "ray.Language": _CROSS_LANGUAGE,
    "ray.llm": _LIBRARY,
    "ray.LoggingConfig": "configure the logging module in a function that each task calls first",
    "ray.rllib": _LIBRARY,
    "ray.runtime_env": "give a plain dict as runtime_env",
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
            subject = name if known in GATHERED else known  # of a gathered module, only this name is missing
            return f"{subject} is not in Linckia: {NOT_THERE[known]}."
    if len(parts) > 2 and parts[1] in ("util", "experimental"):  # these two know their own gaps
        gaps: dict[str, str] = importlib.import_module(f"linckia.{parts[1]}").NOT_THERE_YET
        if parts[2] in gaps:
            return f"{name} is not in Linckia: {gaps[parts[2]]}."
    return f"{name} is not in Linckia (Ray {VERSION}'s API as of this version); `dir(ray)` lists what is."
