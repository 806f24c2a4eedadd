"""The base of all messages."""

from __future__ import annotations

import msgspec

PROTOCOL_VERSION = 1


class Message(msgspec.Struct, array_like=True):
    """Encoded as a msgpack array headed by the tag."""
