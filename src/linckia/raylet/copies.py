"""The memory of local copies: a client of the node's store that lives inside the node process.

It leases extents like any process, evicts unread copies when somebody needs memory, and pins blocks of others while
they are sent to another node. Which copy goes is decided by core/objects/copies.py. Used by raylet/pull_manager.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

from linckia.core.objects.copies import Copy
from linckia.protocol import messages as m
from linckia.raylet.store_host import StoreHost
from linckia.shm.arena import Arena

CLIENT, READER = b"copies", b"transfers"
KEEP_BYTES = 16 * 1024 * 1024  # of empty extents: recycled memory is faster, but others want it too

Placed = Callable[[bytes, int], None]
Denied = Callable[[bytes, str], None]


class CopyMemory:
    """``placed(object_id, offset)`` or ``denied(object_id, reason)`` answer ``allocate``; ``evict()`` gives one copy up
    and says whether there was one; ``freed(offsets)`` when owners free copies as blocks.
    """

    def __init__(
        self,
        store: StoreHost,
        placed: Placed,
        denied: Denied,
        evict: Callable[[], bool],
        freed: Callable[[list[int]], None],
    ) -> None:
        self.store, self._placed, self._denied, self._evict, self._freed = store, placed, denied, evict, freed
        self.arena = Arena(store.segment, _never, self._return, KEEP_BYTES)
        self._asked: dict[int, tuple[bytes, int]] = {}
        self._sharing: list[tuple[bytes, int]] = []  # small ones that wait for an extent that another has asked for
        self._shared_rid = 0  # that one's; 0: none
        self._rids = itertools.count(1)
        self._sealed: set[int] = set()
        self._readers: dict[tuple[int, bytes], int] = {}
        store.join_internal(CLIENT, "copies of objects of other nodes", self._on_message)
        store.join_internal(READER, "transfers to other nodes", lambda _message: None)

    # --- memory -------------------------------------------------------------------------------------------------------

    def allocate(self, object_id: bytes, size: int) -> None:
        """Find room, evicting what nobody reads if need be."""
        offset = self.arena.try_allocate(size)
        if offset is not None:
            self._placed(object_id, offset)
            return
        if size > self.store.core.shared_extent_bytes // 2:
            self._ask(object_id, size)
        elif self._shared_rid:
            self._sharing.append((object_id, size))
        else:
            self._shared_rid = self._ask(object_id, size)

    def _ask(self, object_id: bytes, size: int) -> int:
        rid = next(self._rids)
        self._asked[rid] = (object_id, size)
        self.store.alloc_extent(CLIENT, rid, self.arena.extent_sizes(size)[0])
        self._evict_while_wanted()
        return rid

    def seal(self, copy: Copy, owner: bytes) -> None:
        """It is complete: from now on the store knows it as a block of its owner, or of who took that one's place."""
        self._sealed.add(copy.offset)
        self.store.seal(CLIENT, [(copy.offset, copy.size, copy.object_id, owner)])

    def free(self, offset: int) -> None:
        """Nobody reads it, nobody writes it."""
        if offset in self._sealed:
            self._sealed.discard(offset)
            self.store.free_blocks(CLIENT, [offset])
        self.arena.free(offset)

    def _return(self, extents: list[tuple[int, int]]) -> None:
        self.store.return_extents(CLIENT, extents)

    def _evict_while_wanted(self) -> None:
        while self.store.core.requests_waiting and self._evict():
            self.arena.trim()

    def _on_message(self, message: m.Message) -> None:
        if isinstance(message, m.ExtentGranted):
            first = self._asked.pop(message.rid)
            self.arena.add_extent(message.offset, message.size)
            for object_id, size in (first, *self._who_shared(message.rid)):
                self.allocate(object_id, size)  # the next, if it is full: many small ones lease few extents
        elif isinstance(message, m.ExtentDenied):
            for object_id, size in self._who_shared(message.rid):
                self._ask(object_id, size)
            self._denied(self._asked.pop(message.rid)[0], message.reason)
        elif isinstance(message, m.RecallExtents):
            self.arena.trim()
            self._evict_while_wanted()
        elif isinstance(message, m.FreeBlocks):
            self._sealed.difference_update(message.offsets)  # the store has forgotten them already
            self._freed(message.offsets)

    def _who_shared(self, rid: int) -> list[tuple[bytes, int]]:
        if rid != self._shared_rid:
            return []
        sharing, self._sharing, self._shared_rid = self._sharing, [], 0
        return sharing

    # --- blocks of others ---------------------------------------------------------------------------------------------

    def pin_block(self, object_id: bytes, offset: int) -> bool:
        """Keep a block of this node while it is sent; False when that object is not there."""
        size = self.store.core.sealed_size(offset, object_id)
        if size < 0:
            return False
        key = (offset, object_id)
        self._readers[key] = self._readers.get(key, 0) + 1
        if self._readers[key] == 1:
            self.store.seal(READER, [(offset, size, object_id, READER)])  # adopts it
        return True

    def unpin_block(self, object_id: bytes, offset: int) -> None:
        """Once per ``pin_block`` that said yes."""
        key = (offset, object_id)
        self._readers[key] -= 1
        if not self._readers[key]:
            del self._readers[key]
            self.store.free_blocks(READER, [offset])


def _never(_size: int) -> tuple[int, int]:
    raise NotImplementedError("the node's arena never waits for an extent")
