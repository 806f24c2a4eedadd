"""May an object leave its place in shared memory? The owner's and the borrowers' side of spilling (R 3.15).

Readers look at blocks without asking anybody, so only who hands out places knows whether one is used. The rule: *who
uses the place of an object holds its token* (``OwnedBlock``, ``BorrowToken``): views do, through what they export, and
so do pushed tasks until they are answered and constructors of actors that may be restarted. The interpreter counts
holders anyway; this asks it, so that reading costs nothing. A reader takes the token first and the place second; who
moves the object changes the place first and counts second: one of the two sees the other, without a lock.

An owner agrees when its own token is idle and all borrowers have said the same of theirs. From the moment it thinks
about it, it tells readers to fetch the object by its id (offset -1), which works wherever the bytes are. Handlers run
under ``Runtime.mutex``.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from linckia.model.wire import Block
from linckia.protocol import messages as m
from linckia.worker.borrowing import OwnedBlock
from linckia.worker.refs import BLOCK, ObjectRef, RefExtra

if TYPE_CHECKING:
    from linckia.worker.runtime import Runtime
    from linckia.worker.tasks import Peer, TaskRecord

BORROWERS_MAX_S = 2.0  # a borrower that does not answer reads, as far as we know


def _holders(extra: RefExtra) -> int:
    return sys.getrefcount(extra.token)


def _count_of_idle() -> int:
    extra = RefExtra()
    extra.token = object()
    return _holders(extra)


_IDLE = _count_of_idle()  # what the count is when only the ref holds its token


def is_read_in_place(ref: ObjectRef[Any]) -> bool:
    """Somebody besides the ref holds its token: views, tasks under way, an introduction to the owner."""
    return ref.extra is not None and _holders(ref.extra) > _IDLE


class _Ask:
    """A raylet's question while borrowers think about it. The refs live so long."""

    __slots__ = ("agreed", "asked", "open", "peer", "places", "refs", "rid")

    def __init__(self, peer: Peer, rid: int) -> None:
        self.peer, self.rid = peer, rid
        self.refs: dict[bytes, ObjectRef[Any]] = {}
        self.places: dict[bytes, Block] = {}  # where they were
        self.asked: dict[bytes, dict[bytes, None]] = {}  # borrower -> objects
        self.agreed: dict[bytes, set[bytes]] = {}  # borrower -> objects
        self.open: set[int] = set()


class Spilling:
    """One per runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self._asks: dict[int, tuple[_Ask, bytes]] = {}  # rid of a DropPlace -> question, borrower
        self.has_moved = False  # something that we own or borrow is on disk, or was

    # --- users of places --------------------------------------------------------------------------------------------

    def claim(self, record: TaskRecord) -> None:
        """The task is pushed now: its arguments stay where they are until it is answered."""
        by_id = self.runtime.borrowing.by_id
        places = []
        for dependency in record.extras.dependencies:
            if dependency.block is None:
                continue
            ref = by_id.get(dependency.ref.object_id)
            if ref is not None and ref.state == BLOCK and ref.extra is not None:
                places.append(ref.extra.token)  # before its place, as readers do
                dependency.block = ref.value
        record.places = places

    # --- the owner --------------------------------------------------------------------------------------------------

    def on_may_spill(self, peer: Peer, message: m.MaySpill) -> None:
        """A raylet wants the memory of our objects."""
        ask = _Ask(peer, message.rid)
        for object_id in message.object_ids:
            ref = self.runtime.borrowing.by_id.get(object_id)
            if ref is not None and self._withdraw(ref, ask):
                ask.refs[object_id] = ref
        for object_id in ask.refs:
            entry = self.runtime.borrowing.lent.get(object_id)
            for borrower in entry[1] if entry is not None else ():
                ask.asked.setdefault(borrower, {})[object_id] = None
        for borrower, object_ids in ask.asked.items():
            self._ask_borrower(ask, borrower, list(object_ids))
        if not ask.open:
            self._decide(ask)
        else:
            self.runtime.reactor.call_later(BORROWERS_MAX_S, lambda: self._too_late(ask))

    def _withdraw(self, ref: ObjectRef[Any], ask: _Ask) -> bool:
        """Send readers elsewhere from now on, unless there are some."""
        extra = ref.extra
        if ref.state != BLOCK or extra is None or type(extra.token) is not OwnedBlock or ref.value.offset < 0:
            return False
        place = ref.value
        self.has_moved = True
        ref.value = Block(-1, place.size, place.node_id)
        if is_read_in_place(ref):
            ref.value = place
            return False
        ask.places[ref._id] = place
        return True

    def _ask_borrower(self, ask: _Ask, borrower: bytes, object_ids: list[bytes]) -> None:
        peer = self.runtime.peers.get(borrower)
        if peer is None or peer.closed:
            return  # it cannot be asked: it has not agreed
        rid = self.runtime.next_rid()
        ask.open.add(rid)
        self._asks[rid] = (ask, borrower)
        peer.conn.post(m.DropPlace(rid, object_ids))

    def on_dropped(self, _peer: Peer, message: m.PlaceDropped) -> None:
        """A borrower's answer; the last one decides."""
        entry = self._asks.pop(message.rid, None)
        if entry is None:
            return
        ask, borrower = entry
        ask.agreed.setdefault(borrower, set()).update(message.object_ids)
        ask.open.discard(message.rid)
        if not ask.open:
            self._decide(ask)

    def _too_late(self, ask: _Ask) -> None:
        with self.runtime.mutex:
            if ask.open:
                for rid in ask.open:
                    self._asks.pop(rid, None)
                ask.open.clear()
                self._decide(ask)

    def _decide(self, ask: _Ask) -> None:
        lent = self.runtime.borrowing.lent
        allowed = []
        for object_id, ref in ask.refs.items():
            entry = lent.get(object_id)
            borrowers = entry[1] if entry is not None else ()  # new ones since we asked: they have not agreed
            extra = ref.extra
            if ref.state != BLOCK or extra is None or type(extra.token) is not OwnedBlock:
                continue
            if all(object_id in ask.agreed.get(borrower, ()) for borrower in borrowers):
                extra.token.block = ref.value
                allowed.append(object_id)
            else:
                ref.value = ask.places[object_id]
        ask.refs.clear()
        if not ask.peer.closed:
            ask.peer.conn.send(m.SpillAllowed(ask.rid, allowed))

    def on_undone(self, _peer: Peer, message: m.SpillUndone) -> None:
        """The disk would not take them: they are where they were."""
        for object_id, offset, size in message.objects:
            ref = self.runtime.borrowing.by_id.get(object_id)
            token = ref.extra.token if ref is not None and ref.extra is not None else None
            if ref is not None and type(token) is OwnedBlock and token.block.offset < 0:
                ref.value = token.block = Block(offset, size, token.block.node_id)

    # --- the borrower -----------------------------------------------------------------------------------------------

    def on_drop_place(self, peer: Peer, message: m.DropPlace) -> None:
        """The owner asks whether we read these; if not, we shall fetch them next time."""
        dropped = [object_id for object_id in message.object_ids if self._drop(object_id)]
        peer.conn.send(m.PlaceDropped(message.rid, dropped))

    def _drop(self, object_id: bytes) -> bool:
        borrowing = self.runtime.borrowing
        ref = borrowing.by_id.get(object_id)
        if ref is None:
            return object_id not in borrowing.tokens  # without a ref, only views keep a token
        if ref.state != BLOCK:
            return not is_read_in_place(ref)  # an argument of a running task, read beside the ref
        place = ref.value
        if place.node_id != self.runtime.node_id:
            return True  # what we read are copies on our own node
        self.has_moved = True
        ref.value = Block(-1, place.size, place.node_id)
        if is_read_in_place(ref):
            ref.value = place
            return False
        return True
