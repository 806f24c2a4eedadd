"""Length-prefixed pickles, shared by the limits and the hot-path floor."""

from __future__ import annotations

import pickle
import struct

HEADER = struct.Struct("<I")


def packed(message: object) -> bytes:
    """Return the message as one frame."""
    body = pickle.dumps(message, 5)
    return HEADER.pack(len(body)) + body


def frames(buffer: bytearray) -> list[object]:
    """Take every complete frame out of the buffer; what is incomplete stays in it."""
    messages: list[object] = []
    position, end = 0, len(buffer)
    with memoryview(buffer) as view:
        while end - position >= HEADER.size:
            (length,) = HEADER.unpack_from(view, position)
            stop = position + HEADER.size + length
            if stop > end:
                break
            messages.append(pickle.loads(view[position + HEADER.size : stop]))
            position = stop
    del buffer[:position]
    return messages
