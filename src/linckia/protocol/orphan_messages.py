"""Copies whose owner has ended: who keeps some, and is there one of this object (tags 229-236). See
``protocol/messages.py``; the first of them, `KeepCopy`, is in ``transfer_messages.py``.

Raylet to head: `KeepsFor`, once per owner, and `FindKeepers`. Raylet to raylet: `AskKept`. Runtime to its own raylet:
`FindOrphan`.
"""

from __future__ import annotations

import msgspec

from linckia.model.wire import Address, Block
from linckia.protocol.message import Message


class CopiesShared(Message, tag=229):
    """Owner to raylets that keep copies: another process may hold a reference to these from now on."""

    object_ids: list[bytes]


class KeepsFor(Message, tag=230):
    """Raylet to head: this node keeps, or kept, copies for these owners: (worker id, job id)."""

    owners: list[tuple[bytes, bytes]]


class KeepsNothingFor(Message, tag=231):
    """Raylet to head: these owners have ended, and nothing of theirs is kept here."""

    owners: list[bytes]


class FindKeepers(Message, tag=232):
    """Raylet to head: which nodes keep copies for this owner? Answered by Keepers."""

    rid: int
    owner_id: bytes


class Keepers(Message, tag=233):
    """``nodes`` live; ``dead`` kept copies once. A superset: ask them. ``is_final`` False: the head is new, and more
    may follow under the same ``rid``.
    """

    rid: int
    nodes: list[bytes] = []
    dead: list[bytes] = []
    is_final: bool = True


class KeptCopy(msgspec.Struct, array_like=True, frozen=True):
    """One object on a node. ``offset``: where it stays in memory, to be read in place there; else -1. ``complete``
    False: it is arriving, and may be read as it does. ``size`` -1: it is not there, ``why`` if that is known, and
    ``is_coming`` if it will be, perhaps.
    """

    size: int
    offset: int = -1
    complete: bool = False
    why: str = ""
    is_coming: bool = False


class AskKept(Message, tag=234):
    """Raylet to raylet: what do you keep of these? Answered by KeptHere."""

    rid: int
    object_ids: list[bytes]


class KeptHere(Message, tag=235):
    """In the order asked."""

    rid: int
    copies: list[KeptCopy]


class FindOrphan(Message, tag=236):
    """Runtime to its raylet: the owner of this object has ended, or cannot be reached; is there a copy? Answered by
    OrphanFound.
    """

    rid: int
    object_id: bytes
    owner: Address


class OrphanFound(Message, tag=237):
    """``block``: where one is (offset -1: fetch it by its id); None: nowhere, ``why``."""

    rid: int
    block: Block | None = None
    why: str = ""
