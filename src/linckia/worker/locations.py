"""Where the large objects of this process are: who asks is told from whom to pull, copies are freed with the object,
and when the node of a primary dies another copy takes its place (R 3.16-3.20, 3.24).

The tree of a broadcast is core/objects/locations.py's. Only objects that other nodes have asked for are kept. Runs
under ``Runtime.mutex``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from linckia.core.objects.locations import LocationTable
from linckia.model.wire import Block
from linckia.protocol import messages as m
from linckia.protocol.transfer_messages import ARGUMENT
from linckia.worker.refs import BLOCK, INLINE, ObjectRef

if TYPE_CHECKING:
    from linckia.worker.runtime import Runtime
    from linckia.worker.tasks import Peer

Place = tuple[list[bytes], int, bool]
UNKNOWN: Place = ([], -1, False)


class _Promotion:
    """A lost primary, and the copies that may replace it."""

    __slots__ = ("heirs", "node_id", "ref", "size", "why")

    def __init__(self, ref: ObjectRef[Any], size: int, heirs: list[bytes], why: str) -> None:
        self.ref, self.size, self.heirs, self.why = ref, size, heirs, why
        self.node_id = b""


class Locations:
    """One per runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.table = LocationTable()
        self._promotions: dict[int, _Promotion] = {}

    # --- raylets ask and tell ---------------------------------------------------------------------------------------

    def on_locate(self, peer: Peer, message: m.LocateObject) -> None:
        """A node pulls an object of ours: from whom?"""
        ref = self.runtime.borrowing.by_id.get(message.object_id)
        rid = message.rid
        if ref is None:
            answer = m.ObjectLocation(rid, [], "unknown", "its owner does not know it (it was freed, or never made)")
        elif ref.state != BLOCK:
            answer = m.ObjectLocation(rid, [], "moved", "it is being made again, or has another value now")
        else:
            sources = self.table.locate(message.object_id, ref.value, message.node_id, message.exclude)
            if sources:
                answer = m.ObjectLocation(rid, sources)
            else:
                holder = ref.value.node_id.hex()[:8]
                answer = m.ObjectLocation(rid, [], "unreachable", f"node {holder}, which has it, cannot be reached")
                self._bring_closer(ref, message)
        peer.conn.post(answer)

    def _bring_closer(self, ref: ObjectRef[Any], message: m.LocateObject) -> None:
        """A node reaches none of those that have it. Ours may: from the copy here it gets it when it asks again."""
        runtime = self.runtime
        if runtime.node_id != message.node_id and runtime.node_id not in message.exclude:
            runtime.fetching.begin(ref, ARGUMENT)

    def on_added(self, peer: Peer, message: m.LocationAdded) -> None:
        """A node has copies now; of what was freed meanwhile it shall have none."""
        unknown = []
        for object_id in message.object_ids:
            if self.table.added(object_id, message.node_id):
                continue
            ref = self.runtime.borrowing.by_id.get(object_id)
            if ref is None or ref.state != BLOCK:
                unknown.append(object_id)
            elif ref.value.node_id != message.node_id:
                self.table.begin(object_id, ref.value)
                self.table.added(object_id, message.node_id)
            else:  # restored on the node that has it on disk
                self.table.begin(object_id, ref.value)
                self.table.added(object_id, message.node_id)
        if unknown:
            peer.conn.post(m.FreeCopies(unknown))

    def on_removed(self, _peer: Peer, message: m.LocationRemoved) -> None:
        """A node has given copies up."""
        for object_id in message.object_ids:
            self.table.removed(object_id, message.node_id)

    # --- the end of an object ---------------------------------------------------------------------------------------

    def freed(self, object_id: bytes, block: Block) -> None:
        """Nobody refers to what was at ``block``. When that node is dead the object itself may live on elsewhere."""
        if object_id not in self.table.placements:
            return
        runtime = self.runtime
        if block.node_id in runtime.raylets.dead and runtime.borrowing.by_id.get(object_id) is not None:
            return
        runtime.replicas.freed(object_id, block.node_id)
        for node_id in self.table.freed(object_id):
            raylet = runtime.raylets.at(node_id)
            if not raylet.closed:
                raylet.conn.post(m.FreeCopies([object_id]))

    # --- the end of a node ------------------------------------------------------------------------------------------

    def node_dead(self, node_id: bytes) -> None:
        """It has no copies any more."""
        self.table.node_dead(node_id)
        for rid, promotion in list(self._promotions.items()):
            if promotion.node_id == node_id:
                del self._promotions[rid]
                self._promote_next(promotion)

    def primary_lost(self, ref: ObjectRef[Any], why: str) -> None:
        """Promote a copy; without one, lineage decides."""
        if ref.state != BLOCK:
            return
        heirs = self.table.heirs(ref._id)
        if not heirs:
            self.runtime.lineage.lost(ref, why)
            return
        promotion = _Promotion(ref, ref.value.size, heirs, why)
        self.runtime.lineage.open(ref)
        self._promote_next(promotion)

    def _promote_next(self, promotion: _Promotion) -> None:
        runtime, ref = self.runtime, promotion.ref
        while promotion.heirs:
            promotion.node_id = promotion.heirs.pop(0)
            raylet = runtime.raylets.at(promotion.node_id)
            if not raylet.closed:
                rid = runtime.next_rid()
                self._promotions[rid] = promotion
                raylet.conn.post(m.PromoteCopy(rid, ref._id))
                return
        runtime.lineage.make(ref, promotion.why)

    def on_promoted(self, _peer: Peer, message: m.CopyPromoted) -> None:
        """A raylet's answer."""
        promotion = self._promotions.pop(message.rid, None)
        if promotion is None:
            return
        if message.offset < 0:
            self._promote_next(promotion)
            return
        block = Block(message.offset, promotion.size, promotion.node_id)
        self.table.promoted(message.object_id, block)
        self.runtime.borrowing.own(promotion.ref, block)
        self.runtime.fire(promotion.ref)
        self.runtime.replicas.see_to(message.object_id)

    # --- for users --------------------------------------------------------------------------------------------------

    def of(self, ref: ObjectRef[Any] | None) -> Place:
        """(nodes with a complete copy, size in bytes, whether the primary is on disk), as far as this process knows.
        Small values are on no node; size -1: not made yet, or unknown.
        """
        if ref is not None and ref.state == BLOCK:
            return self.table.nodes_of(ref._id, ref.value), ref.value.size, ref.value.offset < 0
        return ([], len(ref.value), False) if ref is not None and ref.state == INLINE else UNKNOWN

    def on_ask(self, peer: Peer, message: m.AskLocations) -> None:
        """A borrower wants to know."""
        found = [self.of(self.runtime.borrowing.by_id.get(object_id)) for object_id in message.object_ids]
        nodes, sizes, spilled = ([place[index] for place in found] for index in range(3))
        peer.conn.send(m.Locations(message.rid, nodes, sizes, spilled))  # type: ignore[arg-type]

    def ask(self, refs: list[ObjectRef[Any]], timeout_s: float) -> list[Place]:
        """Of any refs, in order; asks the owners of borrowed ones (not under the mutex). RaySystemError when one does
        not answer in time.
        """
        runtime = self.runtime
        found: dict[bytes, Place] = {}
        theirs: dict[Any, list[bytes]] = {}
        for ref in refs:
            owner = ref.extra.owner if ref.extra is not None else None
            if owner is None:
                with runtime.mutex:
                    found[ref._id] = self.of(ref)
            else:
                theirs.setdefault(owner, []).append(ref._id)
        for owner, object_ids in theirs.items():
            with runtime.mutex:
                peer = runtime.peer(owner)
            if peer.closed:
                found.update(dict.fromkeys(object_ids, UNKNOWN))
                continue
            answer = runtime.call(peer.conn, m.AskLocations(runtime.next_rid(), object_ids), timeout_s)
            found.update(zip(object_ids, zip(answer.nodes, answer.sizes, answer.spilled, strict=True), strict=True))
        return [found[ref._id] for ref in refs]
