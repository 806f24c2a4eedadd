"""What Ray programs find under `ray.util`: pools, queues, metrics and small helpers on top of the public API.

User programs call it. Nearly everything here is written with `linckia.get`, `linckia.remote` and their like only, so it
can be read as a set of worked examples. Names are loaded at first use: importing this
package costs a few milliseconds and loads neither asyncio nor numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

# Not lazy: the function has the same name as its module. Once the module is loaded and this line has run, the import
# system never sets the attribute again, so `linckia.util.placement_group` stays the function, as in Ray.
from linckia.util.placement_group import (
    get_current_placement_group,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)

if TYPE_CHECKING:
    from linckia.util.actor_pool import ActorPool
    from linckia.util.check_serialize import inspect_serializability
    from linckia.util.completion import as_completed, map_unordered
    from linckia.util.debug import disable_log_once_globally, enable_periodic_logging, log_once
    from linckia.util.executor import LinckiaExecutor
    from linckia.util.nodes import get_node_instance_id, get_node_ip_address, list_named_actors
    from linckia.util.pending import why_pending
    from linckia.util.serialization import deregister_serializer, register_serializer

_HOME_OF = {
    "ActorPool": "actor_pool",
    "LinckiaExecutor": "executor",
    "as_completed": "completion",
    "deregister_serializer": "serialization",
    "disable_log_once_globally": "debug",
    "enable_periodic_logging": "debug",
    "get_node_instance_id": "nodes",
    "get_node_ip_address": "nodes",
    "inspect_serializability": "check_serialize",
    "list_named_actors": "nodes",
    "log_once": "debug",
    "map_unordered": "completion",
    "register_serializer": "serialization",
    "why_pending": "pending",
}
_SUBMODULES = frozenset(
    {
        "accelerators",
        "actor_pool",
        "annotations",
        "check_serialize",
        "completion",
        "debug",
        "executor",
        "joblib",
        "metrics",
        "multiprocessing",
        "nodes",
        "pending",
        "queue",
        "scheduling_strategies",
        "serialization",
        "state",
        "tqdm",
    }
)
# Names that Ray has and Linckia does not, with what to do instead. `as_ray` shows the same sentences for imports.
_ONE_PROTOCOL = "Linckia has no separate client protocol: call linckia.init(address=...) with the cluster's address"
_DEBUGGER = "attach a debugger to the worker's process id, which os.getpid() in the task tells"
NOT_THERE_YET = {
    "client": _ONE_PROTOCOL,
    "client_connect": _ONE_PROTOCOL,
    "collective": "use torch.distributed inside actors, or pass arrays through linckia.put and linckia.get",
    "connect": _ONE_PROTOCOL,
    "dask": "use the joblib backend (linckia.util.joblib), or dask.distributed beside Linckia",
    "debugpy": _DEBUGGER,
    "disconnect": "call linckia.shutdown()",
    "iter": "use linckia.util.ActorPool, linckia.util.map_unordered or a generator task (num_returns='streaming')",
    "pdb": _DEBUGGER,
    "ray_debugpy": _DEBUGGER,
    "rpdb": _DEBUGGER,
    "spark": "start the cluster with linckia.init() or `linckia start` instead of from Spark",
    "tpu": "request chips by name with resources={'TPU': n}",
    "tracing": "linckia.timeline() shows where the time went",
}

__all__ = [
    "ActorPool",
    "LinckiaExecutor",
    "as_completed",
    "deregister_serializer",
    "disable_log_once_globally",
    "enable_periodic_logging",
    "get_current_placement_group",
    "get_node_instance_id",
    "get_node_ip_address",
    "get_placement_group",
    "inspect_serializability",
    "list_named_actors",
    "log_once",
    "map_unordered",
    "placement_group",
    "placement_group_table",
    "register_serializer",
    "remove_placement_group",
    "why_pending",
]


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is not None:
        value: object = getattr(importlib.import_module(f"{__name__}.{home}"), name)
        globals()[name] = value
        return value
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in NOT_THERE_YET:
        message = f"linckia.util.{name} is not in this version of Linckia: {NOT_THERE_YET[name]}."
        raise AttributeError(message, name=name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}", name=name)


def __dir__() -> list[str]:
    return sorted({*__all__, *_SUBMODULES})
