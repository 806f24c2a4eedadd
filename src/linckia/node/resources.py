"""What a node offers: given amounts, or what the machine has; and how it watches its memory. Called by node/rooms.py;
refuses amounts that make no sense.
"""

from __future__ import annotations

import math

from linckia.base.limits import IDLE_WORKER_MAX_BYTES, MEMORY_REFRESH_S, MEMORY_USAGE_THRESHOLD
from linckia.base.resources import ResourceSet
from linckia.core.memory.thresholds import MemorySettings
from linckia.host import environment
from linckia.node.options import NodeOptions


def node_resources(options: NodeOptions, node_ip: str, store_bytes: int) -> dict[str, float]:
    """Amounts by name, Ray's names included. ValueError names the amount that is wrong."""
    amounts: dict[str, float] = dict(options.resources)
    amounts["CPU"] = environment.cpu_count() if options.num_cpus is None else options.num_cpus
    if options.num_gpus:
        amounts["GPU"] = options.num_gpus
    memory = options.memory
    if memory is None:
        memory = max(0, int(environment.available_memory_bytes()) - store_bytes)
    amounts["memory"] = float(memory)
    amounts["object_store_memory"] = float(store_bytes)
    amounts[f"node:{node_ip}"] = 1.0
    if not options.address:
        amounts["node:__internal_head__"] = 1.0
    return ResourceSet.node_total(amounts).amounts()


def memory_settings() -> MemorySettings:
    """``LINCKIA_*`` or ``RAY_*`` variables of the memory monitor. ValueError names the one that makes no sense."""
    threshold = _number("memory_usage_threshold", MEMORY_USAGE_THRESHOLD, "a share of the memory above 0, up to 1")
    if not 0 < threshold <= 1:
        raise ValueError(f"memory_usage_threshold={threshold:g}: must be a share of the memory above 0, up to 1")
    refresh_ms = _number("memory_monitor_refresh_ms", MEMORY_REFRESH_S * 1000, "milliseconds, 0 for never")
    return MemorySettings(
        usage_threshold=threshold,
        min_free_bytes=int(_number("min_memory_free_bytes", -1, "bytes, -1 for no such limit")),
        refresh_s=max(0.0, refresh_ms / 1000),
        by_group=environment.option_on("worker_killing_policy_by_group", default=False),
        idle_max_bytes=int(_number("idle_worker_max_bytes", -1, f"bytes such as {IDLE_WORKER_MAX_BYTES}, 0 for any")),
    )


def max_idle_workers() -> int:
    """More idle workers than that end after a second; -1: one per CPU may stay."""
    return int(_number("max_idle_workers", -1, "a number of processes"))


def _number(name: str, default: float, what: str) -> float:
    text = environment.option(name)
    try:
        value = float(text) if text else default
        return value if math.isfinite(value) else float("")
    except ValueError:
        raise ValueError(f"LINCKIA_{name} (or RAY_{name}) is {text!r}: expected {what}") from None
