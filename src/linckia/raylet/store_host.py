"""The shell around the node's object store: messages of runtime processes in, effects of the store core out. It decides
nothing.

Called by raylet/service.py; decisions are linckia.shm.store's, the memory is linckia.shm.segment's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from linckia.protocol.messages import (
    AllocExtent,
    BlocksLeft,
    ExtentDenied,
    ExtentGranted,
    ExtentReturned,
    FreeBlocks,
    LeftBehind,
    Message,
    RecallExtents,
    Sealed,
    SegmentPassed,
    SegmentRequest,
)
from linckia.rpc.idempotence import RecentReplies
from linckia.rpc.reactor import Reactor, Timer
from linckia.shm.effects import DenyExtent, Effect, ForwardFree, GrantExtent, Recall, ReleasePages
from linckia.shm.segment import Segment
from linckia.shm.store import StoreCore

PostTo = Callable[[bytes, Message], None]


class StoreHost:
    """The store of one node. A process that dies gives everything back."""

    def __init__(self, reactor: Reactor, segment: Segment, post_to: PostTo, recent: RecentReplies) -> None:
        self.reactor, self.segment, self.post_to, self.recent = reactor, segment, post_to, recent
        self.core = StoreCore(segment.capacity_bytes)
        self.internal: dict[bytes, Callable[[Message], None]] = {}  # clients inside this process, such as copies
        self.on_change: Callable[[], None] = lambda: None  # something was sealed, freed, asked for or granted
        self.on_gone: Callable[[bytes], None] = lambda _worker_id: None
        self._timer: Timer | None = None
        self._heirs: dict[bytes, dict[bytes, Any]] = {}  # process -> who wants to know what it leaves behind

    def handlers(self) -> dict[type[Message], Callable[[Any, Any], None]]:
        """Message type -> handler(peer, message)."""
        return {
            SegmentRequest: self.on_segment_request,
            AllocExtent: self.on_alloc_extent,
            ExtentReturned: self.on_extent_returned,
            Sealed: self.on_sealed,
            FreeBlocks: self.on_free_blocks,
            LeftBehind: self.on_left_behind,
        }

    # --- processes ----------------------------------------------------------------------------------------------------

    def process_joined(self, worker_id: bytes, name: str) -> None:
        """``name`` is what messages call it."""
        self.core.client_joined(worker_id, name)

    def process_gone(self, worker_id: bytes) -> None:
        """A runtime process has ended."""
        self.on_gone(worker_id)
        was_known = self.core.knows(worker_id)
        effects = self.core.client_died(worker_id, time.monotonic())
        if was_known:  # most of a cluster's processes never were
            self._carry_out(effects)
        for heir in self._heirs.pop(worker_id, {}).values():
            self._tell_left(heir, worker_id)

    # --- messages -----------------------------------------------------------------------------------------------------

    def on_segment_request(self, peer: Any, message: SegmentRequest) -> None:
        """Pass the segment's descriptor."""
        peer.send_with_fd(SegmentPassed(message.rid), self.segment.fd)

    def on_alloc_extent(self, peer: Any, message: AllocExtent) -> None:
        """A process needs memory; a retry is answered from memory."""
        first, reply = self.recent.begin(peer.peer_id, message.rid)
        if not first:
            if reply is not None:
                peer.post(reply)
            return
        self._carry_out(self.core.alloc_extent(peer.peer_id, message.rid, message.size, time.monotonic()))

    def on_extent_returned(self, peer: Any, message: ExtentReturned) -> None:
        """A process gives memory back."""
        self._carry_out(self.core.extents_returned(peer.peer_id, message.extents, time.monotonic()))

    def on_sealed(self, peer: Any, message: Sealed) -> None:
        """Objects are complete."""
        self._carry_out(self.core.sealed(peer.peer_id, message.objects))

    def on_free_blocks(self, peer: Any, message: FreeBlocks) -> None:
        """Objects are garbage."""
        self._carry_out(self.core.free_blocks(peer.peer_id, message.offsets, time.monotonic()))

    def on_left_behind(self, peer: Any, message: LeftBehind) -> None:
        """An owner has lost a process; what that made is known when all that it said has been read."""
        if self.core.lives(message.worker_id):
            self._heirs.setdefault(message.worker_id, {})[peer.peer_id] = peer
        else:
            self._tell_left(peer, message.worker_id)

    def _tell_left(self, heir: Any, worker_id: bytes) -> None:
        blocks = self.core.left_by(worker_id, heir.peer_id)
        if blocks and not heir.closed:
            heir.post(BlocksLeft(worker_id, blocks))

    # --- clients inside this process ----------------------------------------------------------------------------------

    def join_internal(self, client: bytes, name: str, handler: Callable[[Message], None]) -> None:
        """``handler`` gets what other clients get as messages."""
        self.internal[client] = handler
        self.core.client_joined(client, name)

    def alloc_extent(self, client: bytes, rid: int, size: int) -> None:
        """See AllocExtent."""
        self._carry_out(self.core.alloc_extent(client, rid, size, time.monotonic()))

    def return_extents(self, client: bytes, extents: list[tuple[int, int]]) -> None:
        """See ExtentReturned."""
        self._carry_out(self.core.extents_returned(client, extents, time.monotonic()))

    def seal(self, client: bytes, objects: list[tuple[int, int, bytes, bytes]]) -> None:
        """See Sealed."""
        self._carry_out(self.core.sealed(client, objects))

    def free_blocks(self, client: bytes, offsets: list[int]) -> None:
        """See FreeBlocks."""
        self._carry_out(self.core.free_blocks(client, offsets, time.monotonic()))

    # --- effects ------------------------------------------------------------------------------------------------------

    def _carry_out(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case GrantExtent():
                    self._answer(effect.client, ExtentGranted(effect.rid, effect.offset, effect.size))
                case DenyExtent():
                    self._answer(effect.client, ExtentDenied(effect.rid, effect.reason, effect.kind))
                case Recall():
                    self._post(effect.client, RecallExtents())
                case ForwardFree():
                    self._post(effect.client, FreeBlocks(list(effect.offsets)))
                case ReleasePages():
                    self.segment.release_pages(effect.offset, effect.size)
        self._schedule()
        self.on_change()

    def _answer(self, client: bytes, reply: ExtentGranted | ExtentDenied) -> None:
        if client not in self.internal:
            self.recent.finish(client, reply.rid, reply)
        self._post(client, reply)

    def _post(self, client: bytes, message: Message) -> None:
        """Clients inside this process hear of it in the reactor's next turn, never inside their own call."""
        handler = self.internal.get(client)
        if handler is not None:
            self.reactor.call_soon(lambda: handler(message))
        else:
            self.post_to(client, message)

    def take_over(self, offset: int, object_id: bytes, owner: bytes, heir: bytes) -> bool:
        """See StoreCore."""
        return self.core.take_over(offset, object_id, owner, heir)

    def _schedule(self) -> None:
        """One timer for the core's next deadline."""
        due_s = self.core.next_deadline()
        if due_s is None:
            return
        if self._timer is not None:
            if self._timer.due_s <= due_s:
                return
            self._timer.cancel()
        self._timer = self.reactor.call_later(max(0.0, due_s - time.monotonic()), self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._carry_out(self.core.tick(time.monotonic()))
