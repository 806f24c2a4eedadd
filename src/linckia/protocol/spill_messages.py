"""Objects that leave memory for disk: who agrees, who is told (tags 220-239). See ``protocol/messages.py``.

Raylet to owner: `MaySpill`, answered by `SpillAllowed`; `SpillUndone`. Owner to borrowers: `DropPlace`, answered by
`PlaceDropped`. Owner to raylet: `FreeSpilled`. Whoever agrees reads the object by its id from then on (`FetchObject`
with a place of offset -1), wherever its bytes are.
"""

from __future__ import annotations

from linckia.protocol.message import Message


class MaySpill(Message, tag=220):
    """Raylet to owner: does anybody read these in place? Answered by SpillAllowed."""

    rid: int
    object_ids: list[bytes]


class SpillAllowed(Message, tag=221):
    """Owner to raylet: the memory of these is yours now; nobody uses their place any more."""

    rid: int
    object_ids: list[bytes]


class SpillUndone(Message, tag=222):
    """Raylet to owner: these could not be written and are yours again, in memory at these (object_id, offset, size)."""

    objects: list[tuple[bytes, int, int]]


class DropPlace(Message, tag=223):
    """Owner to borrower: if you do not read these now, forget where they lie. Answered by PlaceDropped."""

    rid: int
    object_ids: list[bytes]


class PlaceDropped(Message, tag=224):
    """Borrower to owner: of the objects asked about, those whose place it will not use any more."""

    rid: int
    object_ids: list[bytes]


class FreeSpilled(Message, tag=225):
    """Owner to raylet: nobody refers to these objects any more, which you have in a file or are about to write."""

    object_ids: list[bytes]
