"""Between holders and owners of objects: values and borrowing (tags 30-49). See ``protocol/messages.py``."""

from __future__ import annotations

from linckia.model.wire import Address, Result
from linckia.protocol.message import Message


class GetObject(Message, tag=30):
    """Borrower to owner: tell me the value when there is one. ``wait_only``: only that it exists."""

    object_id: bytes
    wait_only: bool = False


class ObjectValue(Message, tag=31):
    """Owner to borrower: the value. ``unknown``: the owner does not know this object (freed or never existed)."""

    object_id: bytes
    result: Result | None
    unknown: bool = False


class AddBorrower(Message, tag=32):
    """``borrower`` now holds the reference; answered by BorrowerAdded with the same rid."""

    rid: int
    object_id: bytes
    borrower: Address


class BorrowerAdded(Message, tag=33):
    """Answer to AddBorrower."""

    rid: int
    known: bool


class BorrowEnded(Message, tag=34):
    """The sender no longer holds these references."""

    object_ids: list[bytes]
