"""What a node offers: given amounts, or what the machine has. Called by node/rooms.py; refuses amounts that make no
sense.
"""

from __future__ import annotations

from linckia.base.resources import ResourceSet
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
