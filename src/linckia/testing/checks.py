"""What must hold of a simulated cluster: after each step, and when it has come to rest. A second pair of eyes.

Reads the private state of the product's cores and changes nothing (docs: reliability.md 5.4). Called by ``cluster.py``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from linckia.core.actors.directory import ActorDirectory
from linckia.core.actors.states import ActorState
from linckia.core.leases.manager import GPU, LeaseManager
from linckia.core.leases.records import RequestState
from linckia.core.leases.vectors import UNITS_PER_ONE, Units, add, subtract
from linckia.core.placement.names import split
from linckia.raylet.bundles import Bundle
from linckia.shm.check import check_store
from linckia.testing.node import SimNode

if TYPE_CHECKING:
    from linckia.testing.cluster import SimCluster


class BrokenPromise(AssertionError):
    """The cluster broke one of its promises."""


def require(holds: object, text: str) -> None:
    """BrokenPromise with ``text`` unless it holds."""
    if not holds:
        raise BrokenPromise(text)


# --- after each step --------------------------------------------------------------------------------------------------


def check_leases(manager: LeaseManager, bundles: Iterable[Bundle] = ()) -> None:
    """Allocated is the sum of what leases and bundles of placement groups hold, and no device is given out twice.

    What is inside of bundles is looked at only at rest: a bundle that is withdrawn goes before those who used it.
    """
    held: Units = {}
    gpus: dict[int, int] = {}
    for bundle in bundles:
        add(held, bundle.units)
        add_gpus(gpus, bundle.gpus)
    for lease in manager.leases.values():
        add(held, lease.request.resources)
        subtract(held, lease.given_back)
        if GPU in lease.request.resources:
            add_gpus(gpus, lease.gpus)
        worker = manager.workers.get(lease.worker_id)
        require(worker is not None and worker.lease is lease, f"lease {lease.lease_id} has no worker, or shares it")
    for pending in manager.pending.values():
        if pending.state is RequestState.STAFFING:
            add(held, pending.request.resources)
            if GPU in pending.request.resources:
                add_gpus(gpus, pending.gpus)
    for name, total in manager.total.items():
        if split(name) is not None:
            continue
        free = manager.available.get(name, 0)
        require(free + held.get(name, 0) == total, f"{name}: {free} free and {held.get(name, 0)} held of {total}")
        if name != "CPU":  # a task that goes on takes its CPU back at once
            require(free >= 0, f"{name} is over-committed by {-free}")
    for gpu, units in gpus.items():
        free = manager.gpus.free[gpu]
        require(units + free == UNITS_PER_ONE, f"GPU {gpu}: {units} held, {free} free")


def add_gpus(total: dict[int, int], assignment: dict[int, int]) -> None:
    """``total += assignment``."""
    for gpu, units in assignment.items():
        total[gpu] = total.get(gpu, 0) + units


def check_actors(cluster: SimCluster, directory: ActorDirectory) -> None:
    """One living incarnation per actor, one actor per name."""
    hosts: dict[bytes, bytes] = {}
    for worker in cluster.living_workers():
        if worker.actor_id:
            other = hosts.setdefault(worker.actor_id, worker.name)
            require(other == worker.name, f"{worker.actor_id!r} lives in {other!r} and {worker.name!r}")
    for key, actor_id in directory.names.items():
        actor = directory.actors[actor_id]
        require(actor.state is not ActorState.DEAD, f"the name {key} belongs to a dead actor")
        require((actor.spec.namespace, actor.spec.name) == key, f"the name {key} belongs to another actor")


def check_step(cluster: SimCluster) -> None:
    """Everything that must hold at any time; looked at when the node has moved, and now and then besides."""
    node = cluster.node
    now_and_then = cluster.steps % 32 == 0
    if node.changed or now_and_then:
        check_leases(node.raylet.leases)
        check_actors(cluster, node.actors.directory)
    if node.store_changed or now_and_then:
        check_store(node.raylet.store.core)
    node.changed = node.store_changed = False


# --- at rest ----------------------------------------------------------------------------------------------------------


def check_quiet(node: SimNode) -> None:
    """Nothing waits and nothing is held, but by detached actors."""
    check_no_work(node.raylet.leases)


def check_no_work(manager: LeaseManager, where: str = "the node") -> None:
    """Nobody waits for, and nobody but detached actors holds, anything of a node."""
    require(not manager.pending and not manager.infeasible, f"requests wait at {where}: {sorted(manager.pending)}")
    require(len(manager.waiting) == 0, f"the queues of {where} are not empty")
    tasks = [lease for lease in manager.leases.values() if not lease.request.detached]
    held = [(lease.request.owner, lease.worker_id) for lease in tasks]
    require(not tasks, f"leases are held at {where}: {held}")
    if not manager.leases:
        require(manager.available == manager.total, f"{where} has {manager.available} of {manager.total}")
        require(not manager._by_owner, f"owners without anything at {where}: {manager._by_owner}")
        require(not manager.recalls._coming and not manager.recalls._holding, f"{where} remembers old leases")
    require(manager.staffing.starting == 0, f"{manager.staffing.starting} workers of {where} are still on their way")


def check_left_behind(cluster: SimCluster) -> None:
    """All jobs are over: nobody and nothing of them is left."""
    node = cluster.node
    check_quiet(node)
    raylet = node.raylet
    living = {name for name, endpoint in cluster.network.endpoints.items() if endpoint.alive}
    bound = [worker.name for worker in cluster.living_workers() if worker.job_id]
    require(not bound, f"workers outlive their job: {bound}")
    require(raylet.pool.workers.keys() <= living, f"the pool knows dead workers: {raylet.pool.workers.keys() - living}")
    require(raylet.clients.keys() <= living, f"dead clients: {raylet.clients.keys() - living}")
    require(not raylet.drivers and not raylet.actors.actors, f"left: {raylet.drivers}, {raylet.actors.actors}")
    usage = raylet.store.core.usage()
    require(usage.sealed_bytes == usage.objects == usage.extents == usage.waiting == 0, f"the store keeps {usage}")
    directory = node.actors.directory
    alive = [actor_id for actor_id, actor in directory.actors.items() if actor.state is not ActorState.DEAD]
    require(not alive and not directory.names, f"actors outlive their job: {alive}")
    require(not len(directory.owners), f"{len(directory.owners)} owned actors are remembered")
    require(not len(directory.groups), f"{len(directory.groups)} actors of groups are remembered")
    for memory, where in ((raylet.recent, "raylet"), (node.gcs.recent, "GCS")):
        dead = memory._clients.keys() - living
        require(not dead, f"the {where} remembers replies to the dead: {dead}")
