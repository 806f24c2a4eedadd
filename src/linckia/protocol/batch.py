"""Encode and decode batches of messages: the body of a frame. Pure; called by rpc/ and by the simulator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from linckia.protocol.messages import AnyMessage, Message

encode_batch: Callable[[list[Message]], bytes] = msgspec.msgpack.Encoder().encode
"""List of messages -> bytes of one frame body."""

_MESSAGES: Any = list[AnyMessage]  # the union is made at import, which type checkers cannot follow
decode_batch: Callable[[bytes | bytearray | memoryview], list[Message]] = msgspec.msgpack.Decoder(_MESSAGES).decode
"""Bytes of one frame body -> list of messages. Raises one of ``MALFORMED`` on malformed input."""

MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises on bytes that nobody should have sent: wrong structure or types, text that is no text, depth."""
