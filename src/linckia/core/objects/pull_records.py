"""What the pull queue keeps and what it asks for; plain data of ``pulls.py``."""

from __future__ import annotations

from typing import NamedTuple

from linckia.base.limits import GIB, MIB
from linckia.core.objects.copies import Copy
from linckia.model.wire import Address, Block


class PullOptions(NamedTuple):
    """Bounds of pulling on one node."""

    argument_share: float = 0.7  # of the store, for what only arguments hold
    in_flight_bytes: int = 2 * GIB
    in_flight_objects: int = 64
    direct_bytes: int = (
        1 * MIB
    )  # up to here the primary is asked at once; larger ones form a tree, which the owner plans
    full_grace_s: float = 2.0  # a store without room for the only fetch is given so long
    trouble_after_s: float = 8.0  # sources fail: say so (S 18: nothing hangs 10 s without a word)
    warn_after_s: float = 60.0
    fail_after_s: float = 600.0
    retry_max_s: float = 2.0


class Item(NamedTuple):
    """One object that a process wants."""

    object_id: bytes
    size: int
    owner: Address
    block: Block


class Bundle:
    """What one request wants, all or none."""

    __slots__ = ("admitted", "client", "is_argument", "items", "missing", "priority", "rid", "since_s", "warned")

    def __init__(self, client: bytes, rid: int, items: list[Item], priority: int, *, is_argument: bool) -> None:
        self.client, self.rid, self.items = client, rid, items
        self.priority, self.is_argument = priority, is_argument
        self.missing: dict[bytes, None] = {}
        self.admitted = False
        self.since_s = 0.0
        self.warned = 0  # 1: of trouble, 2: of the long wait

    @property
    def key(self) -> tuple[bytes, int]:
        """Unique on this node."""
        return self.client, self.rid


class Pull:
    """An object on its way. ``state``: allocating | full | locating | transferring | failing."""

    __slots__ = ("attempts", "excluded", "item", "retry_s", "since_s", "source", "state", "trouble")

    def __init__(self, item: Item, now_s: float) -> None:
        self.item, self.since_s = item, now_s
        self.state = "allocating"
        self.source = b""
        self.excluded: dict[bytes, None] = {}
        self.attempts = 0
        self.retry_s = 0.0
        self.trouble = ""


class Allocate(NamedTuple):
    """Find memory; answer with ``allocated`` or ``denied``."""

    object_id: bytes
    size: int


class Locate(NamedTuple):
    """Ask the owner; answer with ``located``."""

    object_id: bytes
    owner: Address
    exclude: list[bytes]


class Transfer(NamedTuple):
    """Read it from ``source`` (this node itself: from disk); answer with ``transferred`` or ``transfer_failed``."""

    object_id: bytes
    source: Block
    copy: Copy


class Discard(NamedTuple):
    """Stop what is under way, give the memory back; ``announced``: the owner was told of this copy."""

    copy: Copy
    announced: bool


class Announce(NamedTuple):
    """Tell the owner that this node has a copy."""

    object_id: bytes
    owner: Address


class Answer(NamedTuple):
    """Everything asked for is here and held."""

    client: bytes
    rid: int
    offsets: list[int]


class Failed(NamedTuple):
    """It will not come."""

    client: bytes
    rid: int
    object_id: bytes
    kind: str
    reason: str


class Warn(NamedTuple):
    """Tell the user of ``client`` that it takes long, and why."""

    client: bytes
    text: str


Effect = Allocate | Locate | Transfer | Discard | Announce | Answer | Failed | Warn
