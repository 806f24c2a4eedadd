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
"""Bytes of one frame body -> list of messages. Raises ``msgspec.DecodeError``/``ValidationError`` on malformed input.
"""
