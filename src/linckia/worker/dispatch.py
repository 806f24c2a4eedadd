"""Which part of the runtime handles which message: one table, and the few handlers that only look something up.

Called once per runtime. Handlers run in the leading thread, under ``Runtime.mutex``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from linckia.protocol import messages as m

if TYPE_CHECKING:
    from linckia.worker.runtime import Runtime
    from linckia.worker.tasks import Peer

Handler = Callable[["Peer", Any], None]
ANSWERS = (
    m.DriverRegistered,
    m.ExtentGranted,
    m.ExtentDenied,
    m.ActorRegistered,
    m.ActorFound,
    m.ActorList,
    m.KvReply,
    m.ClusterAnswer,
    m.Pending,
    m.Stopped,
    m.Pong,
    m.Failure,
    m.GroupCreated,
    m.GroupTable,
    m.ResourcesRequested,
    m.Locations,
    m.StateAnswer,
)


def handlers_of(runtime: Runtime) -> dict[type, Handler]:
    """Message type -> handler(peer, message), for what drivers and workers have in common."""
    submitter, borrowing, objects = runtime.submitter, runtime.borrowing, runtime.objects
    small = _Handlers(runtime)
    table: dict[type, Handler] = {
        m.DoneMany: runtime.on_done_many,
        m.BatchTime: submitter.on_batch_time,
        m.TakenBack: submitter.on_taken_back,
        m.Resumed: lambda peer, _message: submitter.on_resumed(peer),
        m.WorkerExiting: small.worker_exiting,
        m.Yielded: small.yielded,
        m.LeaseGranted: submitter.on_granted,
        m.LeaseRefused: lambda _peer, message: submitter.on_refused(message),
        m.LeaseSpilled: submitter.on_spilled,
        m.NodesChanged: runtime.raylets.on_nodes,
        m.NodeUnreachable: runtime.raylets.on_unreachable,
        m.IncomingConnection: runtime.on_incoming,
        m.SegmentPassed: objects.on_segment,
        m.GroupUpdate: runtime.groups.on_update,
        m.LeaseBroken: small.lease_broken,
        m.RecallLease: submitter.on_recall,
        m.GetObject: objects.on_get,
        m.ObjectValue: objects.on_value,
        m.AddBorrower: borrowing.on_add_borrower,
        m.BorrowerAdded: small.borrower_added,
        m.BorrowEnded: lambda peer, message: borrowing.on_ended(peer.address.worker_id, message.object_ids),
        m.ActorUpdate: lambda _peer, message: runtime.actors.on_update(message),
        m.CancelRemote: small.cancel_remote,
        m.Ping: lambda peer, message: peer.conn.post(m.Pong(message.rid)),
        m.MaySpill: runtime.spilling.on_may_spill,
        m.SpillUndone: runtime.spilling.on_undone,
        m.DropPlace: runtime.spilling.on_drop_place,
        m.PlaceDropped: runtime.spilling.on_dropped,
        m.ObjectFetched: runtime.fetching.on_fetched,
        m.FetchFailed: runtime.fetching.on_failed,
        m.LocateObject: runtime.locations.on_locate,
        m.LocationAdded: runtime.locations.on_added,
        m.LocationRemoved: runtime.locations.on_removed,
        m.CopyPromoted: runtime.locations.on_promoted,
        m.CopyKept: runtime.replicas.on_kept,
        m.OrphanFound: runtime.orphans.on_found,
        m.AskLocations: runtime.locations.on_ask,
        m.StateCollect: small.collect,
        m.FreeBlocks: lambda _peer, message: objects.on_free(message),
        m.BlocksLeft: runtime.unwanted.on_left,
        m.RecallExtents: lambda _peer, _message: objects.trim(),
        m.LogLines: lambda _peer, message: runtime.on_log_lines(message) if runtime.on_log_lines else None,
        m.DriverMessage: lambda _peer, message: (
            runtime.on_driver_message(message) if runtime.on_driver_message else None
        ),
    }
    table.update(dict.fromkeys(ANSWERS, runtime.requests.on_answer))
    return table


class _Handlers:
    """Handlers that find what a message is about and pass it on."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    def yielded(self, peer: Peer, message: m.Yielded) -> None:
        record = peer.tasks.get(message.task_id)
        if record is not None and record.stream is not None:
            self.runtime.streams.on_yielded(record, message, peer.address.worker_id)
        else:
            self.runtime.unwanted.drop_item(message)

    def worker_exiting(self, peer: Peer, message: m.WorkerExiting) -> None:
        if peer.actor is None:
            self.runtime.submitter.on_worker_exiting(peer, message)

    def lease_broken(self, raylet: Peer, message: m.LeaseBroken) -> None:
        lease = self.runtime.submitter.lease_of(raylet, message.lease_id)
        if lease is not None and not lease.peer.closed:
            lease.peer.conn.drain()
        self.runtime.submitter.on_broken(raylet, message)

    def borrower_added(self, peer: Peer, message: m.BorrowerAdded) -> None:
        self.runtime.borrowing.on_added(message)
        self.runtime.requests.on_answer(peer, message)

    def collect(self, peer: Peer, message: m.StateCollect) -> None:
        from linckia.worker.listing import answer  # noqa: PLC0415  (start-up time)

        answer(self.runtime, peer, message)

    def cancel_remote(self, _peer: Peer, message: m.CancelRemote) -> None:
        ref = self.runtime.borrowing.by_id.get(message.object_id)
        if ref is not None:
            self.runtime.cancel(ref, force=message.force, recursive=message.recursive)
