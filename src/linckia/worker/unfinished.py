"""The tasks of this process that have no final answer, found when somebody needs them all: nobody keeps a list.

Used when the cluster is lost, at shutdown, and by `listing.py`. Under ``Runtime.mutex``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from linckia.worker.submission import WaitsForArguments

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from linckia.worker.runtime import Runtime
    from linckia.worker.tasks import TaskRecord


def unfinished(runtime: Runtime) -> list[TaskRecord]:
    """Queued, pushed or about to be tried again; without those that wait for values only."""
    records = [record for key in runtime.submitter.keys.values() for record in key.queue]
    peers = {id(peer): peer for peer in runtime.peers.values()}
    peers.update({id(lease.peer): lease.peer for lease in runtime.submitter.leases.values()})
    records += [record for peer in peers.values() for record in peer.tasks.values()]
    records += [record for record in runtime.retrying.paused.values() if not record.cancelled]
    records += [record for client in runtime.actors.clients.values() for record in client.waiting()]
    return records


def all_unfinished(runtime: Runtime) -> list[TaskRecord]:
    """Each once, with those that wait for values: they are found through the references that will have them."""
    fetched = [ref for peer in runtime.peers.values() for ref in peer.fetching.values()]
    found: dict[int, TaskRecord] = {}
    open_: list[TaskRecord] = [*unfinished(runtime), *_waiting_for(fetched)]
    while open_:
        record = open_.pop()
        if id(record) not in found:
            found[id(record)] = record
            open_ += _waiting_for(record.refs())
    return list(found.values())


def _waiting_for(refs: Iterable[Any]) -> Iterator[TaskRecord]:
    return (hook.record for ref in refs for hook in ref.hooks or () if type(hook) is WaitsForArguments)
