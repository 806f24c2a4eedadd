"""Encode and decode batches of messages: the body of a frame. Pure; called by rpc/ and by the simulator."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from linckia.protocol.messages import AnyMessage, Message

encode_batch: Callable[[list[Message]], bytes] = msgspec.msgpack.Encoder().encode
"""List of messages -> bytes of one frame body."""

decode_batch: Callable[[bytes | bytearray | memoryview], list[Message]] = msgspec.msgpack.Decoder(
    list[AnyMessage]
).decode
"""Bytes of one frame body -> list of messages. Raises one of ``MALFORMED`` on malformed input."""

MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises on bytes that nobody should have sent: wrong structure or types, text that is no text, depth."""
