"""A head that takes over: its tables from the store's records, then from what each node says it runs.

Between the two nobody is sure of anything: nodes of the last head have the time of a lease to come, take no new work
until they have told what runs there (`NodeRuns`), and are dead when they do not come. There is no third state between
alive and fenced. Used by node/head.py.
"""

from __future__ import annotations

from typing import Any, Protocol

from linckia.gcs import records
from linckia.gcs.actors import ActorService
from linckia.gcs.chunks import whole
from linckia.gcs.demand import DemandService
from linckia.gcs.journal import RECORDS_PREFIX
from linckia.gcs.nodes import NodeService
from linckia.gcs.placement_groups import GroupService
from linckia.gcs.scaling import ScalingService
from linckia.gcs.service import Gcs, decode_job
from linckia.protocol import messages as m


class Head(Protocol):
    """The services of one head: node/head.py's `HeadRoom`."""

    gcs: Gcs
    nodes: NodeService
    actors: ActorService
    groups: GroupService
    demand: DemandService
    scaling: ScalingService


class NewerRecordsError(Exception):
    """The records were written by a later version of Linckia, and must not be touched."""


def read_meta(stored: dict[bytes, bytes]) -> records.MetaRow | None:
    """Of the cluster whose records these are; None when there are none. NewerRecordsError."""
    value = whole(stored, RECORDS_PREFIX + records.META + b"/").get(RECORDS_PREFIX + records.META + b"/")
    if value is None:
        return None
    meta = records.decode_meta(value)
    if meta.version > records.FORMAT_VERSION:
        raise NewerRecordsError(
            f"the store has records of format {meta.version}, and this version of Linckia knows up to "
            f"{records.FORMAT_VERSION}: start the head with the version that wrote them, or a later one"
        )
    return meta


def restore(head: Head, stored: dict[bytes, bytes]) -> None:
    """Fill the tables. Before the first message."""
    tables = _by_table(stored)
    meta = read_meta(stored)
    if meta is not None:
        head.gcs.session_name, head.gcs.jobs_seen = meta.session_name, meta.jobs_seen
    for name, value in tables.get(records.KV, {}).items():
        head.gcs.kv.restore(name, value)
    for _job_id, value in sorted(tables.get(records.JOBS, {}).items()):
        head.gcs.add_job(decode_job(value))
    for value in tables.get(records.DEMAND, {}).values():
        row = records.decode_demand(value)
        head.demand.constraints, head.demand.selectors = row.bundles, row.selectors
    for name, value in tables.get(records.INSTANCES, {}).items():
        head.scaling.restore(name, records.decode_instance(value))
    _restore_placed(head, tables)


def _restore_placed(head: Head, tables: dict[bytes, dict[bytes, bytes]]) -> None:
    """Nodes first, in the order in which they joined; then what is on them. What is over in the order of its end."""
    nodes = [records.decode_node(value) for value in tables.get(records.NODES, {}).values()]
    for row in sorted(nodes, key=lambda row: row.joined_s if row.alive else row.died_s):
        head.nodes.restore(row)
    groups = [records.decode_group(value) for value in tables.get(records.GROUPS, {}).values()]
    for group in sorted(groups, key=lambda row: row.removal_number):
        head.groups.restore(group)
    specs = tables.get(records.SPECS, {})
    actors = [(each, records.decode_actor(value)) for each, value in tables.get(records.ACTORS, {}).items()]
    for actor_id, actor in sorted(actors, key=lambda pair: pair[1].death_number):
        if actor_id in specs:
            head.actors.restore(records.decode_spec(specs[actor_id]), actor)
    head.groups.settle()
    head.actors.forget_removed([group.spec.group_id.hex() for group in head.groups.removed()])


def _by_table(stored: dict[bytes, bytes]) -> dict[bytes, dict[bytes, bytes]]:
    tables: dict[bytes, dict[bytes, bytes]] = {}
    for name, value in whole(stored, RECORDS_PREFIX).items():
        table, _, key = name[len(RECORDS_PREFIX) :].partition(b"/")
        tables.setdefault(table, {})[key] = value
    return tables


def reconcile(head: Head, peer: Any, message: m.NodeRuns) -> None:
    """A node has told what it runs: from now on both agree, and it takes work."""
    node = head.nodes.nodes.get(message.node_id)
    if node is None or not node.alive:
        return
    head.gcs.jobs_of(message.node_id, message.drivers, message.jobs, peer)
    head.groups.node_runs(message.node_id, message.bundles, message.awaited)
    head.actors.node_runs(message.node_id, message.actors)
    head.nodes.back(message.node_id)
