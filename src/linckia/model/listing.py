"""What one source of the state API tells: rows as the user will see them, and counts of those it left out."""

from __future__ import annotations

from typing import Any

import msgspec

Row = dict[str, Any]
Filter = tuple[str, str, Any]
Count = tuple[str, str, str, int]


class Part(msgspec.Struct, array_like=True):
    """``total`` rows exist, of which ``matched`` pass the filters; the matching ones that are not among ``rows`` are in
    ``counts``: (name, type, state, how many). ``missing`` names who should have told something and did not.
    """

    rows: list[Row] = []
    counts: list[Count] = []
    total: int = 0
    matched: int = 0
    missing: list[str] = []


encode_part = msgspec.msgpack.Encoder().encode
"""Part -> bytes."""

decode_part = msgspec.msgpack.Decoder(Part).decode
"""Bytes -> Part; raises msgspec.DecodeError."""
