"""What must hold of a simulated fleet: at each machine after it has moved, now and then everywhere, and at rest.

Reads the private state of the product's parts and changes nothing. Called by ``world.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from linckia.core.actors.states import ActorState
from linckia.core.placement.states import GroupState
from linckia.testing.checks import check_leases, check_no_work, require

if TYPE_CHECKING:
    from linckia.testing.fleet.machine import SimMachine
    from linckia.testing.fleet.world import Fleet


def check_machine(machine: SimMachine) -> None:
    """Allocated is the sum of what leases and bundles hold, and never more than there is."""
    check_leases(machine.raylet.leases, machine.raylet.bundles.bundles.values())


def check_actors(fleet: Fleet) -> None:
    """One living incarnation of each actor, and one living actor of each name, on machines that the head counts in."""
    hosts: dict[bytes, bytes] = {}
    names: dict[str, bytes] = {}
    for machine in fleet.living():
        record = fleet.head.nodes.nodes.get(machine.node_id)
        if record is None or not record.alive:
            continue  # it was declared dead and will hear of it
        for worker in machine.workers.values():
            if worker.actor_id:
                other = hosts.setdefault(worker.actor_id, worker.name)
                require(other == worker.name, f"{worker.actor_id!r} lives in {other!r} and {worker.name!r}")
            actor = fleet.head.actors.directory.actors.get(worker.actor_id)
            is_dying = actor is not None and actor.state is ActorState.DEAD  # it has been told, or will be
            if worker.actor_name and not is_dying:
                holder = names.setdefault(worker.actor_name, worker.actor_id)
                require(holder == worker.actor_id, f"two actors are named {worker.actor_name}")


def check_group(fleet: Fleet, group_id: bytes) -> None:
    """A group that is created has all its bundles, on machines that live."""
    group = fleet.head.groups.directory.groups[group_id]
    if group.state is not GroupState.CREATED:
        return
    require(len(group.nodes) == len(group.spec.bundles), f"group {group_id!r} is created with nodes {group.nodes}")
    for index, node_id in group.nodes.items():
        machine = fleet.machines.get(node_id)
        if machine is None or not machine.alive:
            continue  # the head will hear of it
        bundle = machine.raylet.bundles.bundles.get((group_id, index))
        require(bundle is not None and bundle.offered, f"group {group_id!r} is created without bundle {index}")


# --- at rest ----------------------------------------------------------------------------------------------------------


def check_no_tasks(fleet: Fleet) -> None:
    """All tasks are done and their programs live: nobody holds a lease for nothing."""
    for machine in fleet.living():
        leases = machine.raylet.leases.leases.values()
        held = [lease.request.owner for lease in leases if not lease.request.actor_id]
        require(not held, f"{machine.node_id!r} has leases of {held}, who have no tasks")


def check_rest(fleet: Fleet) -> None:
    """All work is over: nothing is held, nothing waits, and the head knows what there is."""
    head = fleet.head
    for machine in fleet.living():
        raylet, name = machine.raylet, machine.node_id.decode()
        check_no_work(raylet.leases, name)
        require(not raylet.bundles.bundles, f"{name} keeps bundles {sorted(raylet.bundles.bundles)}")
        require(not raylet.actors.actors, f"{name} keeps actors {sorted(raylet.actors.actors)}")
        parked = [job_id for job_id, requests in raylet.desk.parked.items() if requests]
        require(not parked, f"{name} has parked requests of {parked}")
        require(not raylet.owners, f"{name} remembers owners {sorted(raylet.owners)}")
        record = head.nodes.nodes.get(machine.node_id)
        require(record is not None and record.alive, f"the head does not count {name} in")
        assert record is not None
        require(record.available == record.total, f"the head knows {record.available} of {record.total} at {name}")
        seen = head.nodes.view.nodes[machine.node_id]
        require(seen.takes_work, f"the head gives {name} no work")
        require(seen.available == seen.total, f"the view has {seen.available} of {seen.total} at {name}")
    living = {machine.node_id for machine in fleet.living()}
    counted = {node.info.node_id for node in head.nodes.living()}
    require(counted == living, f"the head counts {sorted(counted ^ living)} wrongly")
    require(not head.nodes.view.nodes.keys() ^ living, "the view has other nodes than there are")
    require(not head.groups.directory.pending, f"groups wait: {list(head.groups.directory.pending)}")
    require(not head.actors.placement.waiting, f"actors wait: {list(head.actors.placement.waiting)}")
    require(not head.demand.demand().shapes, f"demand is left: {head.demand.demand().shapes}")
    require(not head.nodes._interested, f"raylets listen to the view: {sorted(head.nodes._interested)}")
    undead = [each for each, actor in head.actors.directory.actors.items() if actor.state is not ActorState.DEAD]
    require(not undead, f"actors outlive their jobs: {undead}")
    require(not head.relays.peers, f"the head remembers processes {sorted(head.relays.peers)}")
