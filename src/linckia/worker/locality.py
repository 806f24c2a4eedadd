"""Near the data: which node a task should be asked for at first, by the bytes of its arguments there (R 4.8).

Tasks whose data is elsewhere have scheduling keys of their own, one per node and shape, so that leases of that node run
them. The node's raylet may still send them on when it is full. Runs under ``Runtime.mutex``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from linckia.worker.tasks import SchedulingKey

if TYPE_CHECKING:
    from linckia.model.wire import Dependency
    from linckia.worker.runtime import Runtime


def nearest(runtime: Runtime, dependencies: list[Dependency]) -> bytes:
    """The other node that has most bytes of these arguments; empty when none has more than this one."""
    held: dict[bytes, int] = {}
    placements = runtime.locations.table.placements
    for each in dependencies:
        block = each.block
        if block is None:
            continue
        held[block.node_id] = held.get(block.node_id, 0) + block.size
        placement = placements.get(each.ref.object_id)
        for node_id in placement.complete if placement is not None else ():
            if node_id != block.node_id:
                held[node_id] = held.get(node_id, 0) + block.size
    best, most = b"", held.get(runtime.node_id, 0)
    for node_id, size in held.items():
        if size > most and node_id in runtime.raylets.nodes:
            best, most = node_id, size
    return best


def key_near(runtime: Runtime, key: SchedulingKey, dependencies: list[Dependency]) -> SchedulingKey:
    """The key for a task with these arguments: ``key`` itself, or its twin at the node that has the data."""
    node_id = nearest(runtime, dependencies)
    if not node_id:
        return key
    twin = key.near.get(node_id)
    if twin is None:
        twin = key.near[node_id] = SchedulingKey(key.resources, key.strategy)
        twin.runtime_env, twin.retriable, twin.preferred = key.runtime_env, key.retriable, node_id
    return twin
