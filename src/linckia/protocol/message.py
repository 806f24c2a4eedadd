"""The base of all messages."""

from __future__ import annotations

import msgspec

PROTOCOL_VERSION = 2
"""2: actors start in two phases, and a node of before would begin unasked."""


class Message(msgspec.Struct, array_like=True):
    """Encoded as a msgpack array headed by the tag."""
