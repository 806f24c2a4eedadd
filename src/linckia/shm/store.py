"""Who has which part of the node's segment: extents, sealed objects, frees, deaths; events in, effects out.

``raylet/store_host.py`` feeds it and carries the effects out; time comes as ``now``. It sees extents and sealed blocks,
not references: owners decide when an object is garbage. Rules:

* An extent belongs to its *holder*, which cuts blocks from it. A sealed block has an *owner*, often another process;
  the owner's ``FreeBlocks`` is forwarded to the holder, which recycles the memory. A free may overtake ``Sealed``
  (different connections).
* Each sealed block is freed once, by its owner (or by the holder, which then has recycled it itself already).
* A dead process: its memory stays for ``orphan_grace_s``, so that readers who still have views may *adopt* the blocks
  they read, by sending ``Sealed`` for them with themselves as owner; then what nobody owns or adopted is reclaimed.
* No room: every holder is asked to return unused extents, and the spiller hears of the pressure (``pressure.py``); the
  request is served in order of arrival or denied with the figures, but not while spilling makes progress.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from linckia.core.tables.relation import Relation
from linckia.shm.allocator import ALIGNMENT, RangeAllocator
from linckia.shm.effects import (
    DenyExtent,
    Effect,
    ForwardFree,
    GrantExtent,
    Recall,
    ReleasePages,
    StoreOptions,
    StoreUsage,
    denial_text,
)

_REMEMBERED_DEAD = 10_000
_NOBODY = b""
PAGE_BYTES = 4096


@dataclass(slots=True)
class _Extent:
    start: int
    size: int
    holder: bytes
    blocks: dict[int, None] = field(default_factory=dict)  # offsets of sealed blocks inside
    freed_early: set[tuple[int, bytes]] = field(default_factory=set)  # (offset, owner): freed before it was sealed


@dataclass(slots=True)
class _Block:
    offset: int
    size: int
    object_id: bytes
    owner: bytes  # _NOBODY once the owner is dead or has freed it
    extent: _Extent | None  # None once the holder is dead and buried: then the range is the store's own
    adopters: set[bytes] = field(default_factory=set)

    def held_by(self, client: bytes) -> bool:
        """True when a free by ``client`` means that it has recycled the memory itself."""
        return self.extent is not None and self.extent.holder == client and client not in self.adopters


@dataclass(slots=True)
class _Client:
    name: str
    joined: bool = False
    extents: dict[int, None] = field(default_factory=dict)
    owned: dict[int, None] = field(default_factory=dict)
    adopted: dict[int, None] = field(default_factory=dict)
    owned_bytes: int = 0
    free_to_come: set[int] = field(default_factory=set)  # own blocks whose extent was returned before their FreeBlocks


@dataclass(frozen=True, slots=True)
class _Waiting:
    client: bytes
    rid: int
    size: int
    deadline: float


class StoreCore:
    """All state of one node's store."""

    def __init__(self, capacity_bytes: int, options: StoreOptions | None = None) -> None:
        self.capacity_bytes = capacity_bytes // ALIGNMENT * ALIGNMENT
        self.options = options or StoreOptions()
        self.shared_extent_bytes = min(self.options.extent_bytes, self.capacity_bytes // 64)  # for small blocks
        self._ranges = RangeAllocator()
        self._ranges.add_region(0, self.capacity_bytes)
        self._clients: dict[bytes, _Client] = {}
        self._starts: list[int] = []  # of all extents, sorted
        self._extents: dict[int, _Extent] = {}
        self._blocks: dict[int, _Block] = {}
        self._adopted_early: dict[int, dict[bytes, bytes]] = {}  # offset -> adopter -> object_id, until it is sealed
        self._sealed_bytes = 0
        self._waiting: deque[_Waiting] = deque()
        self._next_recall = 0.0
        self._dying: dict[bytes, float] = {}  # dead clients -> when they are buried
        self._dead: dict[bytes, None] = {}  # buried, bounded
        self._left: Relation[int, bytes] = Relation(b"")  # offsets of blocks whose holder is buried, by that holder
        self._touched_end = 0  # no page at or above was ever granted, or it has been released
        self._release_at: float | None = None
        self._release_below = 0
        self.unspillable: frozenset[bytes] = frozenset()  # owners that cannot be asked whether their blocks may move
        self.evictable: frozenset[bytes] = frozenset()  # holders of mere copies: their blocks are not spilled
        self.copied_bytes = 0  # sealed, in extents of these
        self._is_spilling = False
        self._deny_from = 0.0
        self._freed_bytes = self._freed_before = 0  # of blocks, ever; when it was last looked at
        self._why_not_spilled = ("", "")

    # --- events -------------------------------------------------------------------------------------------------------

    def client_joined(self, client: bytes, name: str) -> None:
        """``name`` is what messages call it, such as ``worker pid 4711``."""
        known = self._client(client)
        known.name, known.joined = name, True

    def knows(self, client: bytes) -> bool:
        """It has, or may have, something to do with memory here."""
        return client in self._clients or bool(self._adopted_early)

    def alloc_extent(self, client: bytes, rid: int, size: int, now: float) -> list[Effect]:
        """``client`` wants at least ``size`` bytes."""
        if client in self._dying or client in self._dead:
            return []
        if size > self.capacity_bytes:
            return [DenyExtent(client, rid, denial_text(size, self.usage()))]
        if not self._waiting:
            granted = self._grant(client, rid, size)
            if granted is not None:
                return [granted]
            self._next_recall = now + self.options.recall_every_s
        self._waiting.append(_Waiting(client, rid, size, now + self.options.deny_after_s))
        return self._recalls() if len(self._waiting) == 1 else []

    def extents_returned(self, client: bytes, extents: Iterable[tuple[int, int]], now: float) -> list[Effect]:
        """These extents of ``client`` are empty. Unknown ones are ignored (it has died, or says it twice)."""
        known = self._clients.get(client)
        if known is None or client in self._dying:
            return []
        for start, _size in extents:
            if start in known.extents:
                extent = self._forget_extent(start, known)
                for offset in list(extent.blocks):
                    self._remove(self._blocks[offset])
                    known.free_to_come.add(offset)
                self._release(start, now)
        return self._serve()

    def sealed(self, client: bytes, objects: Iterable[tuple[int, int, bytes, bytes]]) -> list[Effect]:
        """``client`` says that (offset, size, object_id, owner) are complete, or adopts blocks (owner is itself)."""
        stale: list[int] = []
        for offset, size, object_id, owner in objects:
            block = self._blocks.get(offset)
            if block is not None and block.object_id == object_id:
                self._adopt(block, owner)
                continue
            extent = self._extent_at(offset)
            if extent is None or extent.holder != client or offset + size > extent.start + extent.size:
                if owner == client:  # an adoption that overtook the holder's Sealed, or comes too late
                    self._adopted_early.setdefault(offset, {})[client] = object_id
                continue
            if (offset, owner) in extent.freed_early:
                extent.freed_early.discard((offset, owner))
                continue
            if block is not None:
                self._remove(block)  # the holder has recycled a block of its own without telling
            if owner in self._dead:
                stale.append(offset)
                continue
            self._add(_Block(offset, size, object_id, owner, extent))
        return [ForwardFree(client, tuple(stale))] if stale else []

    def free_blocks(self, client: bytes, offsets: Iterable[int], now: float) -> list[Effect]:
        """``client``, the owner, an adopter or the holder, says that nobody reads these any more."""
        forwards: dict[bytes, list[int]] = {}
        known = self._clients.get(client)
        to_come = known.free_to_come if known is not None else set()
        for offset in offsets:
            block = self._blocks.get(offset)
            if offset in to_come:
                to_come.discard(offset)
            elif client in self._adopted_early.get(offset, ()):
                self._forget_adoption(offset, client)
            elif block is not None and block.held_by(client):
                self._remove(block)
            elif block is not None and (client == block.owner or client in block.adopters):
                self._give_up(block, client, forwards, now)
            else:  # the block at this place is not sealed yet, or its predecessor's free is still under way
                self._free_before_sealed(client, offset, forwards)
        return [ForwardFree(holder, tuple(found)) for holder, found in forwards.items()] + self._serve()

    def client_died(self, client: bytes, now: float) -> list[Effect]:
        """``client`` (or an owner on another node) is gone; its memory follows after the grace period."""
        if client in self._dead or client in self._dying:
            return []
        if not self.knows(client):
            self._remember_dead(client)  # it has nothing here; most of a cluster's processes never have
            return []
        self._waiting = deque(w for w in self._waiting if w.client != client)
        self._client(client)
        self._dying[client] = now + self.options.orphan_grace_s
        return self._serve()

    def tick(self, now: float) -> list[Effect]:
        """Do what is due at ``now``: bury the dead, recall again, deny, release pages."""
        effects: list[Effect] = []
        forwards: dict[bytes, list[int]] = {}
        for client in [c for c, due in self._dying.items() if due <= now]:
            self._bury(client, forwards, now)
        effects += [ForwardFree(holder, tuple(found)) for holder, found in forwards.items()]
        effects += self._serve()
        while self._waiting and not self._is_spilling and max(self._waiting[0].deadline, self._deny_from) <= now:
            late = self._waiting.popleft()
            kind, why = self._why_not_spilled
            effects.append(DenyExtent(late.client, late.rid, denial_text(late.size, self.usage(), why), kind))
            effects += self._serve()
        if self._waiting and self._next_recall <= now:
            self._next_recall = now + self.options.recall_every_s
            effects += self._recalls()
        if self._release_at is not None and self._release_at <= now:
            effects += self._release_pages(now)
        return effects

    def next_deadline(self) -> float | None:
        """When ``tick`` has something to do; None when only events matter."""
        times = list(self._dying.values())
        if self._waiting:
            times.append(self._next_recall)
            if not self._is_spilling:
                times.append(max(self._waiting[0].deadline, self._deny_from))
        if self._release_at is not None:
            times.append(self._release_at)
        return min(times, default=None)

    def sealed_size(self, offset: int, object_id: bytes) -> int:
        """Size of that object when it is sealed at ``offset``, else -1."""
        block = self._blocks.get(offset)
        return block.size if block is not None and block.object_id == object_id else -1

    def lives(self, client: bytes) -> bool:
        """It may still seal blocks."""
        return client in self._clients and client not in self._dying

    def left_by(self, holder: bytes, owner: bytes) -> list[tuple[bytes, int, int]]:
        """(object_id, offset, size) of what a dead process made for ``owner``. Costs what that process made."""
        known = self._clients.get(holder)
        starts = known.extents if known is not None else ()
        offsets = [*self._left.at(holder), *(offset for start in starts for offset in self._extents[start].blocks)]
        blocks = (self._blocks[offset] for offset in offsets)
        return [(block.object_id, block.offset, block.size) for block in blocks if block.owner == owner]

    def take_over(self, offset: int, object_id: bytes, owner: bytes, heir: bytes) -> bool:
        """``heir`` owns this block of ``owner`` from now on. False when there is no such block."""
        block = self._blocks.get(offset)
        if block is None or block.object_id != object_id or block.owner != owner or heir in self._dead:
            return False
        self._disown(block)
        block.owner = heir
        self._own(block)
        return True

    def spilling(self, now: float, kind: str = "", why_not: str = "", *, is_busy: bool) -> None:
        """Memory is coming, or not (then why): nobody is denied while it does, nor right after it did. Owners that were
        asked and keep theirs are no reason to wait longer.
        """
        if self._is_spilling and self._freed_bytes != self._freed_before:
            self._deny_from = now + self.options.deny_after_s
            self._freed_before = self._freed_bytes
        self._is_spilling = is_busy
        self._why_not_spilled = (kind, why_not)

    @property
    def requests_waiting(self) -> int:
        """How many requests for memory are not served yet."""
        return len(self._waiting)

    @property
    def waiting_bytes(self) -> int:
        """What the requests that wait want together."""
        return sum(each.size for each in self._waiting)

    @property
    def primary_bytes(self) -> int:
        """Sealed, without mere copies."""
        return self._sealed_bytes - self.copied_bytes

    def usage(self) -> StoreUsage:
        """Figures for status and for denials."""
        owners = sorted(self._clients.values(), key=lambda c: -c.owned_bytes)[:3]
        return StoreUsage(
            capacity_bytes=self.capacity_bytes,
            leased_bytes=self._ranges.used_bytes,
            free_bytes=self._ranges.free_bytes,
            largest_free_bytes=self._ranges.largest_free(),
            sealed_bytes=self._sealed_bytes,
            objects=len(self._blocks),
            extents=len(self._starts),
            waiting=len(self._waiting),
            top_owners=tuple((c.name, c.owned_bytes, len(c.owned)) for c in owners if c.owned),
        )

    # --- extents ------------------------------------------------------------------------------------------------------

    def _client(self, client: bytes) -> _Client:
        found = self._clients.get(client)
        if found is None:
            found = self._clients[client] = _Client(f"worker {client.hex()[:8]}")
        return found

    def _grant(self, client: bytes, rid: int, size: int) -> GrantExtent | None:
        start = None
        if size < self.options.extent_bytes // 2:  # small blocks share; a small store is not eaten by a few processes
            start = self._ranges.allocate(max(size, self.shared_extent_bytes) + PAGE_BYTES - 1 & -PAGE_BYTES)
        if start is None:  # in whole pages while there is room: what has an extent of its own begins with a page
            start = self._ranges.allocate(size + PAGE_BYTES - 1 & -PAGE_BYTES)
        if start is None:
            start = self._ranges.allocate(size)
        if start is None:
            return None
        size = self._ranges.used[start]
        self._client(client).extents[start] = None
        self._extents[start] = _Extent(start, size, client)
        insort(self._starts, start)
        self._touched_end = max(self._touched_end, start + size)
        return GrantExtent(client, rid, start, size)

    def _serve(self) -> list[Effect]:
        effects: list[Effect] = []
        while self._waiting:
            first = self._waiting[0]
            granted = self._grant(first.client, first.rid, first.size)
            if granted is None:
                break
            self._waiting.popleft()
            effects.append(granted)
        return effects

    def _recalls(self) -> list[Effect]:
        # Whoever waits cannot answer, but its arena has already returned what it could.
        waiting = {w.client for w in self._waiting}
        silent = waiting | self._dying.keys()
        return [Recall(client) for client, known in self._clients.items() if known.extents and client not in silent]

    def _extent_at(self, offset: int) -> _Extent | None:
        index = bisect_right(self._starts, offset) - 1
        if index < 0:
            return None
        extent = self._extents[self._starts[index]]
        return extent if offset < extent.start + extent.size else None

    def _forget_extent(self, start: int, holder: _Client) -> _Extent:
        del holder.extents[start]
        del self._starts[bisect_right(self._starts, start) - 1]
        return self._extents.pop(start)

    def _release(self, start: int, now: float) -> None:
        self._ranges.free(start)
        self._wake_release(now)

    # --- blocks -------------------------------------------------------------------------------------------------------

    def _add(self, block: _Block) -> None:
        self._blocks[block.offset] = block
        self._sealed_bytes += block.size
        if block.extent is not None:
            block.extent.blocks[block.offset] = None
            if block.extent.holder in self.evictable:
                self.copied_bytes += block.size
        self._own(block)
        for adopter, object_id in list(self._adopted_early.get(block.offset, {}).items()):
            if object_id == block.object_id:
                self._forget_adoption(block.offset, adopter)
                self._adopt(block, adopter)

    def _own(self, block: _Block) -> None:
        owner = self._client(block.owner)
        owner.owned[block.offset] = None
        owner.owned_bytes += block.size

    def _forget_adoption(self, offset: int, adopter: bytes) -> None:
        adopters = self._adopted_early[offset]
        del adopters[adopter]
        if not adopters:
            del self._adopted_early[offset]

    def _remove(self, block: _Block) -> None:
        del self._blocks[block.offset]
        self._sealed_bytes -= block.size
        self._freed_bytes += block.size
        if block.extent is not None:
            del block.extent.blocks[block.offset]
            if block.extent.holder in self.evictable:
                self.copied_bytes -= block.size
        self._left.pop(block.offset)
        self._disown(block)
        for adopter in block.adopters:
            del self._clients[adopter].adopted[block.offset]

    def _disown(self, block: _Block) -> None:
        if block.owner:
            owner = self._clients[block.owner]
            del owner.owned[block.offset]
            owner.owned_bytes -= block.size
            self._drop_if_idle(block.owner)
            block.owner = _NOBODY

    def _adopt(self, block: _Block, adopter: bytes) -> None:
        if adopter == block.owner or adopter in self._dying or adopter in self._dead:
            return
        block.adopters.add(adopter)
        self._client(adopter).adopted[block.offset] = None

    def _give_up(self, block: _Block, client: bytes, forwards: dict[bytes, list[int]], now: float) -> None:
        """``client`` no longer wants ``block``; without an owner and adopters its memory goes back to the holder."""
        if client == block.owner:
            self._disown(block)
        if client in block.adopters:
            block.adopters.discard(client)
            del self._clients[client].adopted[block.offset]
        if block.owner or block.adopters:
            return
        self._remove(block)
        if block.extent is None:
            self._release(block.offset, now)
        elif block.extent.holder not in self._dying:
            forwards.setdefault(block.extent.holder, []).append(block.offset)

    def _free_before_sealed(self, client: bytes, offset: int, forwards: dict[bytes, list[int]]) -> None:
        extent = self._extent_at(offset)
        if extent is not None and extent.holder != client and extent.holder not in self._dying:
            extent.freed_early.add((offset, client))
            forwards.setdefault(extent.holder, []).append(offset)

    # --- deaths -------------------------------------------------------------------------------------------------------

    def _bury(self, client: bytes, forwards: dict[bytes, list[int]], now: float) -> None:
        dead = self._clients[client]
        for offset in [*dead.adopted, *dead.owned]:
            block = self._blocks.get(offset)
            if block is not None:
                self._give_up(block, client, forwards, now)
        for offset in [o for o, adopters in self._adopted_early.items() if client in adopters]:
            self._forget_adoption(offset, client)
        for start in list(dead.extents):
            self._reclaim(dead, start, now)
        del self._dying[client]
        self._clients.pop(client, None)
        self._remember_dead(client)

    def _remember_dead(self, client: bytes) -> None:
        self._dead[client] = None
        while len(self._dead) > _REMEMBERED_DEAD:
            del self._dead[next(iter(self._dead))]

    def _reclaim(self, dead: _Client, start: int, now: float) -> None:
        """Turn the blocks of others in a dead holder's extent into ranges of the store; the rest is free."""
        extent = self._forget_extent(start, dead)
        kept = [self._blocks[offset] for offset in extent.blocks]
        self._ranges.carve(start, [(block.offset, block.size) for block in kept])
        for block in kept:
            block.extent = None
            self._left.put(block.offset, extent.holder)
        self._wake_release(now)

    def _drop_if_idle(self, client: bytes) -> None:
        """Owners on other nodes never join: forget them with their last block."""
        known = self._clients[client]
        if not (known.joined or known.owned or known.extents or known.adopted or client in self._dying):
            del self._clients[client]

    # --- pages --------------------------------------------------------------------------------------------------------

    def _wake_release(self, now: float) -> None:
        self._release_at = now + self.options.release_after_s
        self._release_below = self._touched_end

    def _release_pages(self, now: float) -> list[Effect]:
        """Release free memory from the top down, a step at a time, until only the warm reserve is left."""
        effects: list[Effect] = []
        budget, top = self.options.release_step_bytes, self._release_below
        free = sorted(((s, min(s + n, top)) for s, n in self._ranges.free_ranges() if s < top), reverse=True)
        left = sum(end - start for start, end in free)
        for start, end in free:
            size = min(end - start, budget, left - self.options.keep_warm_bytes)
            if size <= 0:
                break
            effects.append(ReleasePages(end - size, size))
            self._release_below = end - size
            if end == self._touched_end:
                self._touched_end = end - size
            budget -= size
            left -= size
        self._release_at = now if effects and budget <= 0 else None
        return effects
