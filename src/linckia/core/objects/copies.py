"""What a node holds of objects whose primary is elsewhere or on disk: which copies there are, who reads them, which
may go.

Called by ``pulls.py`` and by the shell ``raylet/pull_manager.py``, which owns the memory. A copy is *held* by processes
that asked for it, each hold counted, and *read* by transfers to other nodes. What nobody holds may be evicted, least
recently used first; copies that were promoted to primary go only when their owner frees them.
"""

from __future__ import annotations

from collections.abc import Iterator

from linckia.base.invariant import invariant
from linckia.model.wire import Address

NOWHERE = -1


class Copy:
    """One object on this node, from the moment somebody wants it. ``offset`` is NOWHERE until it has memory."""

    __slots__ = ("complete", "doomed", "holds", "object_id", "offset", "owner", "promoted", "readers", "size")

    def __init__(self, object_id: bytes, size: int, owner: Address) -> None:
        self.object_id, self.size, self.owner = object_id, size, owner
        self.offset = NOWHERE
        self.complete = False
        self.promoted = False  # this is the primary now
        self.doomed = False  # its owner has freed it: it goes with its last reader
        self.holds: dict[tuple[bytes, bool], int] = {}  # (process, for an argument) -> count
        self.readers = 0

    @property
    def busy(self) -> bool:
        """Somebody reads it, or waits for it."""
        return bool(self.holds) or self.readers > 0


class CopyTable:
    """All copies of one node. Sizes are kept as sums, so that admission costs the same for any number of copies."""

    def __init__(self) -> None:
        self.copies: dict[bytes, Copy] = {}
        self.by_offset: dict[int, Copy] = {}
        self.held_bytes = 0  # of copies somebody holds
        self.argument_bytes = 0  # of those that only tasks' arguments hold
        self.secondary_bytes = 0  # complete or under way, without the promoted
        self.promoted_bytes = 0
        self._idle: dict[bytes, None] = {}  # complete and not busy, least recently used first
        self._of_client: dict[bytes, dict[bytes, int]] = {}  # process -> object id -> holds

    def get(self, object_id: bytes) -> Copy | None:
        """The copy, if there is one or somebody wants one."""
        return self.copies.get(object_id)

    def offset_of(self, object_id: bytes) -> int:
        """Where the complete copy is, or NOWHERE."""
        copy = self.copies.get(object_id)
        return copy.offset if copy is not None and copy.complete else NOWHERE

    # --- holds --------------------------------------------------------------------------------------------------------

    def hold(self, object_id: bytes, size: int, owner: Address, client: bytes, *, argument: bool) -> Copy:
        """``client`` reads this object, or will as soon as it is here."""
        copy = self.copies.get(object_id)
        if copy is None:
            copy = self.copies[object_id] = Copy(object_id, size, owner)
        self._account(copy, -1)
        key = (client, argument)
        copy.holds[key] = copy.holds.get(key, 0) + 1
        self._account(copy, 1)
        mine = self._of_client.setdefault(client, {})
        mine[object_id] = mine.get(object_id, 0) + 1
        self._idle.pop(object_id, None)
        return copy

    def unhold(self, object_id: bytes, client: bytes, *, argument: bool | None = None) -> Copy | None:
        """One hold less; the copy when it was the last one. Unknown holds are ignored."""
        copy = self.copies.get(object_id)
        if copy is None:
            return None
        keys = [(client, False), (client, True)] if argument is None else [(client, argument)]
        key = next((key for key in keys if key in copy.holds), None)
        if key is None:
            return None
        self._account(copy, -1)
        copy.holds[key] -= 1
        if not copy.holds[key]:
            del copy.holds[key]
        self._account(copy, 1)
        mine = self._of_client[client]
        mine[object_id] -= 1
        if not mine[object_id]:
            del mine[object_id]
            if not mine:
                del self._of_client[client]
        self._settle(copy)
        return None if copy.holds else copy

    def holds_of(self, client: bytes) -> dict[bytes, int]:
        """What a process holds."""
        return dict(self._of_client.get(client, {}))

    def bytes_held_by(self, client: bytes) -> int:
        """Of what a process holds. It looks at all of it: for what is rare."""
        return sum(self.copies[object_id].size for object_id in self._of_client.get(client, ()))

    def _account(self, copy: Copy, sign: int) -> None:
        if copy.holds:
            self.held_bytes += sign * copy.size
            if all(argument for _, argument in copy.holds):
                self.argument_bytes += sign * copy.size

    def _settle(self, copy: Copy) -> None:
        """Not busy any more: evictable from now on, as the most recently used."""
        if not copy.busy and copy.complete and not copy.promoted and not copy.doomed:
            self._idle.pop(copy.object_id, None)
            self._idle[copy.object_id] = None

    # --- life ---------------------------------------------------------------------------------------------------------

    def placed(self, object_id: bytes, offset: int) -> None:
        """Memory for it was found."""
        copy = self.copies[object_id]
        invariant(copy.offset == NOWHERE, "a copy was placed twice", object_id)
        copy.offset = offset
        self.by_offset[offset] = copy
        self.secondary_bytes += copy.size

    def completed(self, object_id: bytes) -> None:
        """All bytes are there."""
        copy = self.copies[object_id]
        copy.complete = True
        self._settle(copy)

    def promote(self, object_id: bytes) -> int:
        """Its owner makes it the primary: it stays until it is freed. Its offset, NOWHERE when it is not complete."""
        copy = self.copies.get(object_id)
        if copy is None or not copy.complete or copy.doomed:
            return NOWHERE
        if not copy.promoted:
            copy.promoted = True
            self.secondary_bytes -= copy.size
            self.promoted_bytes += copy.size
            self._idle.pop(object_id, None)
        return copy.offset

    def begin_read(self, copy: Copy) -> None:
        """A transfer to another node reads it."""
        copy.readers += 1
        self._idle.pop(copy.object_id, None)

    def end_read(self, copy: Copy) -> bool:
        """The transfer is over. True when the copy must go now."""
        copy.readers -= 1
        self._settle(copy)
        return copy.doomed and not copy.busy

    def doom(self, object_id: bytes) -> bool:
        """Its owner has freed it. True when it can go now, else it goes with its last reader."""
        copy = self.copies.get(object_id)
        if copy is None:
            return False
        copy.doomed = True
        self._idle.pop(object_id, None)
        return not copy.busy

    def next_victim(self) -> Copy | None:
        """The least recently used copy that may be evicted."""
        object_id = next(iter(self._idle), None)
        return self.copies[object_id] if object_id is not None else None

    def evictable(self) -> Iterator[Copy]:
        """Least recently used first."""
        return (self.copies[object_id] for object_id in self._idle)

    def remove(self, object_id: bytes) -> Copy:
        """Forget it; the caller gives its memory back."""
        copy = self.copies.pop(object_id)
        invariant(not copy.holds, "a copy was removed under its readers", object_id)
        self._idle.pop(object_id, None)
        if copy.offset != NOWHERE:
            del self.by_offset[copy.offset]
            if copy.promoted:
                self.promoted_bytes -= copy.size
            else:
                self.secondary_bytes -= copy.size
        return copy
