"""Records that may be larger than one transaction: a pickled class has up to 100 MiB, etcd takes 1 MiB.

A small record is one key. A large one is cut: its pieces are written first, under names that nobody reads, then its
key, which says where they are; whoever reads the key finds all pieces. The pieces of the value before go with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from linckia.base.limits import RECORD_CHUNK_BYTES
from linckia.core.mvcc.records import Delete, Op, Put
from linckia.store.interface import StoreLimits

PIECES_PREFIX = b"pieces/"
WHOLE, CUT = b"\x00", b"\x01"
OP_OVERHEAD_BYTES = 64


class _Cut(msgspec.Struct, array_like=True, frozen=True):
    """Stands for a value: its pieces are ``pieces/<name>/<generation>/<number>``."""

    generation: int
    count: int


_decode = msgspec.msgpack.Decoder(_Cut).decode
_encode = msgspec.msgpack.encode


class Chunks:
    """Of one writer. Remembers which records are cut, so that their pieces go when they do."""

    def __init__(self, limits: StoreLimits) -> None:
        self._limits = limits
        self._cut: dict[bytes, _Cut] = {}
        self._generation = 0

    def adopt(self, stored: dict[bytes, bytes]) -> None:
        """What another head has cut."""
        for name, value in stored.items():
            if value[:1] == CUT and not name.startswith(PIECES_PREFIX):
                self._cut[name] = cut = _decode(value[1:])
                self._generation = max(self._generation, cut.generation)

    def put(self, name: bytes, value: bytes) -> list[Op]:
        """Write a record; its own key comes last."""
        old = self._forget(name)
        if len(value) <= RECORD_CHUNK_BYTES:
            return [*old, Put(name, WHOLE + value)]
        self._generation += 1
        places = range(0, len(value), RECORD_CHUNK_BYTES)
        cut = self._cut[name] = _Cut(self._generation, len(places))
        pieces: list[Op] = [
            Put(_piece(name, cut.generation, number), value[start : start + RECORD_CHUNK_BYTES])
            for number, start in enumerate(places)
        ]
        return [*pieces, Put(name, CUT + _encode(cut)), *old]

    def delete(self, name: bytes) -> list[Op]:
        """Remove a record."""
        return [Delete(name), *self._forget(name)]

    def _forget(self, name: bytes) -> list[Op]:
        cut = self._cut.pop(name, None)
        return [Delete(_piece(name, cut.generation, number)) for number in range(cut.count)] if cut is not None else []

    def batches(self, ops: list[Op]) -> list[list[Op]]:
        """Cut into transactions that the store takes; order is kept. At least one."""
        batches: list[list[Op]] = [[]]
        size = 0
        for op in ops:
            cost = _cost(op)
            full = len(batches[-1]) >= self._limits.txn_ops or size + cost > self._limits.txn_bytes
            if batches[-1] and full:
                batches.append([])
                size = 0
            batches[-1].append(op)
            size += cost
        return batches


def joined(batches: Iterable[Sequence[Op]], limits: StoreLimits) -> tuple[int, tuple[Op, ...]]:
    """How many batches, from the first on, go as one transaction (at least one), and its operations: of each key the
    last one, because a transaction writes no key twice.
    """
    ops: dict[bytes, Op] = {}
    count = size = 0
    for batch in batches:
        size += sum(map(_cost, batch))
        wanted = {_written(op): op for op in batch}
        if count and (size > limits.txn_bytes or len(ops.keys() | wanted.keys()) > limits.txn_ops):
            break
        ops.update(wanted)
        count += 1
    return count, tuple(ops.values())


def _cost(op: Op) -> int:
    return OP_OVERHEAD_BYTES + (len(op.key) + len(op.value) if isinstance(op, Put) else 0)


def _written(op: Op) -> bytes:
    return op.key if isinstance(op, Put) else op.start


def whole(stored: dict[bytes, bytes], prefix: bytes) -> dict[bytes, bytes]:
    """The records under ``prefix``, put together again. LookupError names one whose pieces are missing."""
    return {name: _whole(stored, name, value) for name, value in stored.items() if name.startswith(prefix)}


def _whole(stored: dict[bytes, bytes], name: bytes, value: bytes) -> bytes:
    if value[:1] == WHOLE:
        return value[1:]
    cut = _decode(value[1:])
    pieces = [stored.get(_piece(name, cut.generation, number)) for number in range(cut.count)]
    if None in pieces:
        raise LookupError(f"the record {name!r} is cut in {cut.count} pieces, and not all are in the store")
    return b"".join(piece for piece in pieces if piece is not None)


def _piece(name: bytes, generation: int, number: int) -> bytes:
    return PIECES_PREFIX + name + b"/%d/%d" % (generation, number)
