"""Objects between nodes: fetching, locations, copies, transfers (tags 200-219, 227-228). See ``protocol/messages.py``.

Runtime to its own raylet: `FetchObject` and its answers. Raylet to owner: `LocateObject`, `LocationAdded`. Owner to
raylets: `FreeCopies`, `PromoteCopy`. Raylet to raylet: `TransferRequest`; the bytes of large objects travel on streams
of their own (`OpenStream`), which leave the message protocol (raylet/transfer/stream.py).
"""

from __future__ import annotations

import msgspec

from linckia.model.wire import Address, Block
from linckia.protocol.message import Message

GET, WAIT, ARGUMENT, REPLICA = 0, 1, 2, 3
"""Priorities of a fetch, most urgent first."""


class Wanted(msgspec.Struct, array_like=True, frozen=True):
    """One object to fetch: ``block`` is where it was when the reader heard of it."""

    object_id: bytes
    size: int
    owner: Address
    block: Block


class FetchObject(Message, tag=200):
    """Runtime to its raylet: make these objects readable on this node, all or none, and pin them for me. Answered by
    ObjectFetched or FetchFailed.
    """

    rid: int
    items: list[Wanted]
    priority: int = GET


class ObjectFetched(Message, tag=201):
    """``offsets`` of the local copies, in the order of the request; pinned until UnpinObject names them."""

    rid: int
    offsets: list[int]


class FetchFailed(Message, tag=202):
    """``kind``: timed_out | lost | moved | owner_died | store_full | disk_full. ``moved``: ask the owner again."""

    rid: int
    object_id: bytes
    kind: str
    reason: str


class UnpinObject(Message, tag=203):
    """Runtime to its raylet: one pin less of each of these (an id may occur more than once)."""

    object_ids: list[bytes]


class LocateObject(Message, tag=204):
    """Raylet to owner: node ``node_id`` pulls this object, from where? Not from ``exclude``, which failed."""

    rid: int
    object_id: bytes
    node_id: bytes
    exclude: list[bytes] = []


class ObjectLocation(Message, tag=205):
    """Owner to raylet: sources in order of preference; a Block with offset -1 is a copy, possibly unfinished, or a
    spilled object. Without sources ``kind`` says why: lost | moved | unreachable (all sources are excluded) | unknown.
    """

    rid: int
    sources: list[Block]
    kind: str = ""
    reason: str = ""


class LocationAdded(Message, tag=206):
    """Raylet to owner: that node has complete copies of these."""

    node_id: bytes
    object_ids: list[bytes]


class LocationRemoved(Message, tag=207):
    """Raylet to owner: that node no longer has, or no longer pulls, copies of these."""

    node_id: bytes
    object_ids: list[bytes]


class FreeCopies(Message, tag=208):
    """Owner to raylets: nobody refers to these objects any more."""

    object_ids: list[bytes]


class PromoteCopy(Message, tag=209):
    """Owner to raylet: your copy is the primary now, keep it until it is freed. Answered by CopyPromoted."""

    rid: int
    object_id: bytes


class CopyPromoted(Message, tag=210):
    """``offset`` -1: that copy is gone."""

    rid: int
    object_id: bytes
    offset: int


class TransferRequest(Message, tag=211):
    """Raylet to raylet: let me read this object. ``offset`` is that of its primary block, -1 for a copy."""

    rid: int
    object_id: bytes
    offset: int
    size: int


class TransferReady(Message, tag=212):
    """Small objects come with it; others are read on streams by ``ticket``, until TransferDone."""

    rid: int
    ticket: int
    data: bytes | None = None


class TransferRefused(Message, tag=213):
    """``reason`` names the node and what it lacks."""

    rid: int
    reason: str


class TransferDone(Message, tag=214):
    """Raylet to raylet: these tickets are no longer used."""

    tickets: list[int]


class OpenStream(Message, tag=215):
    """First message of a connection that will carry bytes of objects only. Answered by StreamReady, its last one."""

    rid: int


class StreamReady(Message, tag=216):
    """Answer to OpenStream."""

    rid: int


class CancelFetch(Message, tag=217):
    """Runtime to its raylet: nobody waits for that FetchObject any more (its answer may be under way: unpin then)."""

    rid: int


class AskLocations(Message, tag=218):
    """Borrower to owner: where are these? Answered by Locations."""

    rid: int
    object_ids: list[bytes]


class Locations(Message, tag=219):
    """``nodes``, ``sizes`` and ``spilled`` in the order asked; size -1: unknown or not made yet."""

    rid: int
    nodes: list[list[bytes]]
    sizes: list[int]
    spilled: list[bool]


class KeepCopy(Message, tag=227):
    """Owner to raylet: have a copy of this and keep it until FreeCopies, or until it becomes the primary; when I end,
    until my job does, if it was ``shared`` (another process may hold a reference) by then. ``copies`` are wanted in
    all. Answered by CopyKept. To the node of the primary, with ``rid`` 0: it counts as a copy; without an answer.

    Raylet to raylet, with ``is_orphan``: the owner has ended, and copies are lacking.
    """

    rid: int
    item: Wanted
    copies: int = 1
    shared: bool = True
    is_orphan: bool = False


class CopyKept(Message, tag=228):
    """``reason``: why there is no copy; empty when it is there and kept."""

    rid: int
    reason: str = ""
