"""What must hold of a simulated fleet: at each machine, group and actor that has moved, now and then everywhere, and
at rest. ``docs/testing.md`` says which check holds which invariant of the reliability specification (5.4).

Reads the private state of the product's parts and changes nothing. Called by ``world.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from linckia.core.actors.states import ActorState
from linckia.core.mvcc.records import KEYSPACE_END, Range
from linckia.core.placement.names import of_bundle
from linckia.core.placement.states import GroupState
from linckia.gcs import records
from linckia.gcs.chunks import whole
from linckia.gcs.journal import RECORDS_PREFIX
from linckia.testing.checks import check_leases, check_no_work, require

if TYPE_CHECKING:
    from collections.abc import Iterable

    from linckia.testing.fleet.machine import SimMachine
    from linckia.testing.fleet.worker import FleetWorker
    from linckia.testing.fleet.world import Fleet


def check_machine(machine: SimMachine) -> None:
    """Allocated is the sum of what leases and bundles hold, and never more than there is; bundles are what is offered;
    no process without a raylet that knows of it.
    """
    raylet, name = machine.raylet, machine.node_id
    check_leases(raylet.leases, raylet.bundles.bundles.values())
    offered: set[str] = set()
    for (group_id, index), bundle in raylet.bundles.bundles.items():
        if bundle.offered:
            offered.update(of_bundle(group_id.hex(), index, bundle.units))
    named = {each for each in raylet.leases.total if "_group_" in each}
    require(named == offered, f"{name!r} has other bundles than it offers: {sorted(named ^ offered)}")
    over = {each: free for each, free in raylet.leases.available.items() if free < 0 and each not in named}
    require(not over, f"{name!r} is over-committed: {over}")
    stray = machine.workers.keys() - raylet.pool.workers.keys()
    require(not stray, f"{name!r} has processes that its raylet does not know: {sorted(stray)}")


def check_actors(fleet: Fleet) -> None:
    """All that host actors, see `check_hosts`; and a name belongs to a living actor."""
    check_hosts(fleet, [worker for machine in fleet.living() for worker in machine.workers.values()])
    directory = fleet.head.actors.directory
    for key, actor_id in directory.names.items():
        actor = directory.actors[actor_id]
        require(actor.state is not ActorState.DEAD, f"the name {key} belongs to a dead actor")
        require((actor.spec.namespace, actor.spec.name) == key, f"the name {key} belongs to another actor")


def check_hosts(fleet: Fleet, workers: Iterable[FleetWorker]) -> None:
    """Among them one living incarnation of each actor and one living actor of each name, on machines that the head
    counts in.
    """
    hosts: dict[bytes, bytes] = {}
    names: dict[str, bytes] = {}
    for worker in workers:
        record = fleet.head.nodes.nodes.get(worker.machine.node_id)
        if not worker.actor_id or record is None or not record.alive:
            continue  # its machine was declared dead and will hear of it
        other = hosts.setdefault(worker.actor_id, worker.name)
        require(other == worker.name, f"{worker.actor_id!r} lives in {other!r} and {worker.name!r}")
        actor = fleet.head.actors.directory.actors.get(worker.actor_id)
        is_dying = actor is not None and actor.state is ActorState.DEAD  # it has been told, or will be
        if worker.actor_name and not is_dying:
            holder = names.setdefault(worker.actor_name, worker.actor_id)
            require(holder == worker.actor_id, f"two actors are named {worker.actor_name}")


def check_group(fleet: Fleet, group_id: bytes) -> None:
    """A group that is created has all its bundles, on machines that live, as its strategy wants them."""
    group = fleet.head.groups.directory.groups.get(group_id)
    if group is None or group.state is not GroupState.CREATED:
        return
    require(len(group.nodes) == len(group.spec.bundles), f"group {group_id!r} is created with nodes {group.nodes}")
    nodes = len(set(group.nodes.values()))
    apart = group.spec.strategy != "STRICT_SPREAD" or nodes == len(group.nodes)
    require(apart, f"group {group_id!r} is {group.spec.strategy}: {len(group.nodes)} bundles on {nodes} nodes")
    together = group.spec.strategy != "STRICT_PACK" or nodes == 1
    require(together, f"group {group_id!r} is {group.spec.strategy} on {nodes} nodes")
    for index, node_id in group.nodes.items():
        machine = fleet.machines.get(node_id)
        if machine is None or not machine.alive:
            continue  # the head will hear of it
        bundle = machine.raylet.bundles.bundles.get((group_id, index))
        require(bundle is not None and bundle.offered, f"group {group_id!r} is created without bundle {index}")


def check_groups_without(fleet: Fleet, node_id: bytes) -> None:
    """The head has just declared this node dead: no group counts on it."""
    for group in fleet.head.groups.directory.groups.values():
        lost = group.state is GroupState.CREATED and node_id in group.nodes.values()
        require(not lost, f"group {group.spec.group_id!r} is created, with a bundle on {node_id!r}, which is dead")


def check_store(fleet: Fleet) -> None:
    """What the head knows is what it has written: looked at when nothing is on its way to the store."""
    head = fleet.head_process
    if head is None or not head.alive or not head.has_restored or fleet.store is None:
        return
    if head.journal._touched or head.journal._open:
        return
    there = fleet.store._state.mvcc.range(Range(RECORDS_PREFIX, KEYSPACE_END)).kvs
    stored = whole({kv.key: kv.value for kv in there if kv.key.startswith(RECORDS_PREFIX)}, RECORDS_PREFIX)
    for name, value in stored.items():
        table, _, key = name[len(RECORDS_PREFIX) :].partition(b"/")
        require(head.journal.tables[table](key) == value, f"the head knows of {name!r} what it has not written")
    room = fleet.head
    known = {
        records.NODES: room.nodes.nodes.keys(),
        records.JOBS: room.gcs.jobs.keys(),
        records.ACTORS: room.actors.directory.actors.keys(),
        records.GROUPS: room.groups.directory.groups.keys(),
    }
    for table, keys in known.items():
        lacking = [key for key in keys if RECORDS_PREFIX + table + b"/" + key not in stored]
        require(not lacking, f"the head has not written down {table.decode()} {lacking[:3]}")


# --- at rest ----------------------------------------------------------------------------------------------------------


def check_no_tasks(fleet: Fleet) -> None:
    """All tasks are done, all actors dead and their programs live: nobody holds a lease for nothing."""
    for machine in fleet.living():
        living = machine.raylet.actors.actors
        require(not living, f"{machine.node_id!r} keeps {sorted(living)}, of whose death their creators heard")
        leases = machine.raylet.leases.leases.values()
        held = [lease.request.owner for lease in leases if not lease.request.actor_id]
        require(not held, f"{machine.node_id!r} has leases of {held}, who have no tasks")


def check_rest(fleet: Fleet) -> None:
    """All work is over: nothing is held, nothing waits, and the head knows what there is."""
    head = fleet.head
    groups = head.groups.directory
    remain = any(group.state is not GroupState.REMOVED for group in groups.groups.values())
    require(remain or groups._index.is_empty, "the head remembers places of groups that are gone")
    for machine in fleet.living():
        raylet, name = machine.raylet, machine.node_id.decode()
        check_no_work(raylet.leases, name)
        require(not raylet.bundles.bundles, f"{name} keeps bundles {sorted(raylet.bundles.bundles)}")
        require(not raylet.actors.actors, f"{name} keeps actors {sorted(raylet.actors.actors)}")
        parked = len(raylet.desk.parked)
        require(not parked, f"{name} has {parked} parked requests")
        bound = [worker.name for worker in machine.workers.values() if worker.job_id]
        require(not bound, f"workers of {name} outlive their job: {bound}")
        require(raylet.desk.cluster.view.is_settled, f"{name} waits for news of what it sent to others")
        require(not raylet.owners, f"{name} remembers owners {sorted(raylet.owners)}")
        record = head.nodes.nodes.get(machine.node_id)
        require(record is not None and record.alive, f"the head does not count {name} in")
        assert record is not None
        require(record.available == record.total, f"the head knows {record.available} of {record.total} at {name}")
        seen = head.nodes.view.nodes[machine.node_id]
        require(seen.takes_work or bool(record.drain), f"the head gives {name} no work")
        require(seen.available == seen.total, f"the view has {seen.available} of {seen.total} at {name}")
    living = {machine.node_id for machine in fleet.living()}
    counted = {node.info.node_id for node in head.nodes.living()}
    require(counted == living, f"the head counts {sorted(counted ^ living)} wrongly")
    require(not head.nodes.view.nodes.keys() ^ living, "the view has other nodes than there are")
    require(head.nodes.view.is_settled, "the head waits for news of what it sent to nodes")
    require(not head.groups.directory.pending, f"groups wait: {list(head.groups.directory.pending)}")
    require(not head.actors.placement.waiting, f"actors wait: {list(head.actors.placement.waiting)}")
    require(not head.demand.demand().shapes, f"demand is left: {head.demand.demand().shapes}")
    require(not head.nodes.changes.told, f"raylets listen to the view: {sorted(head.nodes.changes.told)}")
    undead = [each for each, actor in head.actors.directory.actors.items() if actor.state is not ActorState.DEAD]
    require(not undead, f"actors outlive their jobs: {undead}")
    require(not head.relays.peers, f"the head remembers processes {sorted(head.relays.peers)}")
