"""How much memory a store wants back, and which blocks could leave it for disk or stay; read by ``raylet/spilling.py``
and ``raylet/object_host.py``.

It looks into the store core and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from linckia.core.objects.spill_records import Candidate
from linckia.shm.store import StoreCore


def wanted_bytes(core: StoreCore, threshold: float) -> int:
    """What primaries have above ``threshold`` of the capacity, or what waiting requests need."""
    over = core.primary_bytes - int(threshold * core.capacity_bytes)
    return max(over, min(core.waiting_bytes, core.capacity_bytes), 0)


def spillable(core: StoreCore, spiller: bytes) -> Iterator[Candidate]:
    """Primary blocks of living owners that nobody has adopted, oldest first."""
    for block in core._blocks.values():
        if not block.owner or block.owner == spiller or block.adopters or block.owner in core._dying:
            continue
        if block.owner in core.unspillable or (block.extent is not None and block.extent.holder in core.evictable):
            continue
        yield Candidate(block.object_id, block.offset, block.size, block.owner)


def is_owned(core: StoreCore, offset: int, object_id: bytes, owner: bytes) -> bool:
    """That object is sealed at ``offset``, and is this owner's: nobody else moves it."""
    block = core._blocks.get(offset)
    return block is not None and block.object_id == object_id and block.owner == owner


def find(core: StoreCore, object_id: bytes) -> Candidate | None:
    """An object by its id alone. It looks at all blocks: for what is rare."""
    for block in core._blocks.values():
        if block.object_id == object_id and (block.extent is None or block.extent.holder not in core.evictable):
            return Candidate(object_id, block.offset, block.size, block.owner)
    return None
