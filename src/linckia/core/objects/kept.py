"""What a node keeps for owners, replicas and primaries that have replicas, and what of it outlives its owner.

While the owner lives it decides. When it ends, its values stay here, as *orphans*, if another process may hold a
reference to them and the owner's job goes on; they end with that job. Replicas and orphans together take at most a
share of the store: a replica that does not fit is refused, a primary that does not fit ends with its owner. A copy that
is made without an owner must fit a part of that. Called by ``raylet/replicas.py``, which has the bytes.
"""

from __future__ import annotations

from collections.abc import Iterable

from linckia.base.limits import MISSED_COPIES_MAX, REPAIRED_ORPHANS_SHARE
from linckia.core.tables.index import Index
from linckia.model.wire import Address

COMING, HERE, PRIMARY = "coming", "here", "primary"
"""Of a kept object: its replica is on its way, or complete; or it is the primary, which its owner frees like any."""
JOB_OF_OBJECT = slice(20, 24)
"""Where an object's id has the id of its job."""


class Kept:
    """One object. ``copies``: how many its owner wants in all. ``shared``: its owner has handed out references."""

    __slots__ = ("copies", "is_orphan", "object_id", "offset", "owner", "shared", "size", "state")

    def __init__(self, object_id: bytes, size: int, owner: Address, copies: int, *, shared: bool) -> None:
        self.object_id, self.size, self.owner, self.copies, self.shared = object_id, size, owner, copies, shared
        self.state = COMING
        self.offset = -1  # of a primary that was in memory when it was told
        self.is_orphan = False

    @property
    def job_id(self) -> bytes:
        """It ends with this job at the latest."""
        return self.object_id[JOB_OF_OBJECT]


class KeptTable:
    """All of one node. ``room_bytes`` for replicas and orphans."""

    def __init__(self, room_bytes: int) -> None:
        self.room_bytes = room_bytes
        self.objects: dict[bytes, Kept] = {}
        self.replica_bytes = 0  # of living owners, on their way or here
        self.orphan_bytes = 0
        self.missed: dict[bytes, str] = {}  # why a copy that was wanted is not here, the latest
        self._of_owner: Index[bytes, bytes] = Index()
        self._orphans_of_job: Index[bytes, bytes] = Index()

    # --- while the owner lives ----------------------------------------------------------------------------------------

    def fits(self, size: int, *, is_orphan: bool = False) -> bool:
        """There is room for one more replica of so many bytes; ``is_orphan``: that is made without an owner."""
        if is_orphan and self.orphan_bytes + size > self.room_bytes * REPAIRED_ORPHANS_SHARE:
            return False
        return self.replica_bytes + self.orphan_bytes + size <= self.room_bytes

    def add(self, kept: Kept) -> None:
        """Keep it from now on."""
        self.objects[kept.object_id] = kept
        self.missed.pop(kept.object_id, None)
        self._count(kept, 1)
        self._of_owner.add(kept.owner.worker_id, kept.object_id)

    def is_primary(self, object_id: bytes) -> bool:
        """The replica became the primary. False when none is kept."""
        kept = self.objects.get(object_id)
        if kept is not None:
            self._count(kept, -1)
            kept.state, kept.offset = PRIMARY, -1
            self._count(kept, 1)
        return kept is not None

    def share(self, object_ids: Iterable[bytes]) -> None:
        """Others may hold references to these."""
        for object_id in object_ids:
            kept = self.objects.get(object_id)
            if kept is not None:
                kept.shared = True

    def remove(self, object_id: bytes) -> Kept | None:
        """It is freed, or could not be had."""
        kept = self.objects.pop(object_id, None)
        if kept is not None:
            self._count(kept, -1)
            self._of_owner.discard(kept.owner.worker_id, object_id)
            if kept.is_orphan:
                self._orphans_of_job.discard(kept.job_id, object_id)
        return kept

    def miss(self, object_id: bytes, why: str) -> None:
        """There is no copy here though one was wanted: who looks for it later is told."""
        self.missed[object_id] = why
        while len(self.missed) > MISSED_COPIES_MAX:
            del self.missed[next(iter(self.missed))]

    # --- the end of owners and jobs -----------------------------------------------------------------------------------

    def owners(self) -> dict[bytes, Address]:
        """Owners of what is here, by worker id."""
        return {owner_id: self.objects[self._of_owner.first(owner_id)].owner for owner_id in self._of_owner}

    def job_of_owner(self, owner_id: bytes) -> bytes:
        """The job in which an owner of something here runs."""
        return self.objects[self._of_owner.first(owner_id)].job_id

    def owner_gone(self, owner_id: bytes, *, job_goes_on: bool) -> tuple[list[Kept], list[Kept]]:
        """(orphans, what nobody needs or has no room). The caller keeps the bytes of the first, and removes the second.
        Said twice, it means nothing the second time.
        """
        orphans, garbage = [], []
        for object_id in self._of_owner.of(owner_id):
            kept = self.objects[object_id]
            if kept.is_orphan:
                continue
            if not (job_goes_on and kept.shared):
                garbage.append(kept)
            elif kept.state == PRIMARY and not self.fits(kept.size):
                self.miss(object_id, f"no room: {self.room_text()}")
                garbage.append(kept)
            else:
                self._count(kept, -1)
                kept.is_orphan = True
                self._count(kept, 1)
                self._orphans_of_job.add(kept.job_id, object_id)
                orphans.append(kept)
        return orphans, garbage

    def orphans_of(self, job_id: bytes) -> list[Kept]:
        """What ends with this job."""
        return [self.objects[object_id] for object_id in self._orphans_of_job.of(job_id)]

    def keeps_for(self, owner_id: bytes) -> bool:
        """Something of this owner is here."""
        return owner_id in self._of_owner

    def room_text(self) -> str:
        """For who is refused."""
        held = self.replica_bytes + self.orphan_bytes
        orphans = f"{self.orphan_bytes} of them for owners that have ended"
        return f"its replicas hold {held} bytes and may hold {self.room_bytes}, {orphans}"

    # --- inside -------------------------------------------------------------------------------------------------------

    def _count(self, kept: Kept, sign: int) -> None:
        if kept.is_orphan:
            self.orphan_bytes += sign * kept.size
        elif kept.state != PRIMARY:
            self.replica_bytes += sign * kept.size
