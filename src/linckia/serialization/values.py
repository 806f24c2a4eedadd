"""Values to bytes and back: plain C pickle for what is simple, cloudpickle with out-of-band buffers for the rest.

Called for each argument list, result and ``put``, so the common cases are a few hundred nanoseconds. Three forms exist,
told apart by the first byte: a pickle stream (0x80), a container (:data:`CONTAINER`) of a pickle stream and aligned
buffers, and nothing (no arguments). It does not choose between inline and shared memory, resolve references or
compress.

Container, little endian: tag u8, 3 zero bytes, buffer count u32, pickle length u64, each buffer's length u64, the
pickle, and each buffer at the next multiple of 64 counted from the container's start. The same bytes travel in messages
and lie in shared memory.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Sequence
from typing import Any

from linckia.serialization.context import state

CONTAINER = 0x01
ALIGNMENT = 64
PLAIN_MAX_BYTES = 64 * 1024
"""``dumps`` and ``pack_args`` return ``bytes`` only up to about this size (always below the inline limit)."""

_PICKLE_TAG = 0x80
_HEAD = struct.Struct("<BxxxIQ")
_HEAD_ONE = struct.Struct("<BxxxIQQ")
_ATOMS = frozenset({type(None), bool, int, float, complex})
_SIZED_ATOMS = frozenset({str, bytes})
_SHORT = 2048
_SMALL_CONTAINER = 16

_c_dumps = pickle.dumps
_c_loads = pickle.loads


class ArgSlot:
    """Stands for the value of a top-level reference argument; ``unpack_args`` puts ``slots[index]`` in its place."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index

    def __reduce__(self) -> tuple[type[ArgSlot], tuple[int]]:
        return ArgSlot, (self.index,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ArgSlot) and other.index == self.index

    def __hash__(self) -> int:
        return hash(self.index)

    def __repr__(self) -> str:
        return f"ArgSlot({self.index})"


class Serialized:
    """A value on its way out: not laid out yet, so that its bytes are copied once, straight to where they belong.

    ``chunks`` and ``buffers`` may alias the value's own memory: lay it out before anybody can change the value.
    """

    __slots__ = ("buffers", "chunks", "contained", "size_bytes")

    def __init__(self, chunks: list[Any], buffers: list[memoryview], contained: list[Any]) -> None:
        self.chunks = chunks
        self.buffers = buffers
        self.contained = contained
        size = sum(map(len, chunks))
        if buffers:
            size += _HEAD.size + 8 * len(buffers)
            for buffer in buffers:
                size = (size + 63 & -64) + buffer.nbytes
        self.size_bytes: int = size

    @property
    def pickle(self) -> bytes:
        """The pickle stream without the buffers."""
        return self.chunks[0] if len(self.chunks) == 1 and type(self.chunks[0]) is bytes else b"".join(self.chunks)

    def to_bytes(self) -> bytes:
        """The inline form."""
        if not self.buffers:
            return self.pickle
        parts: list[Any] = [self._head(), *self.chunks]
        position = sum(map(len, parts))
        for buffer in self.buffers:
            padding = -position & 63
            parts += (_PADDING[:padding], buffer)
            position += padding + buffer.nbytes
        return b"".join(parts)

    def write_into(self, view: memoryview) -> None:
        """The same bytes into ``view`` (writable, format B, at least ``size_bytes`` long): one memcpy per part."""
        position = 0
        for part in (self._head(), *self.chunks) if self.buffers else self.chunks:
            end = position + len(part)
            view[position:end] = part
            position = end
        for buffer in self.buffers:
            position = position + 63 & -64
            end = position + buffer.nbytes
            view[position:end] = buffer
            position = end

    def _head(self) -> bytes:
        count = len(self.buffers)
        pickled = sum(map(len, self.chunks))
        if count == 1:
            return _HEAD_ONE.pack(CONTAINER, 1, pickled, self.buffers[0].nbytes)
        return struct.pack(f"<BxxxIQ{count}Q", CONTAINER, count, pickled, *[b.nbytes for b in self.buffers])


_PADDING = bytes(ALIGNMENT)


def dumps(value: Any) -> bytes | Serialized:
    """Pickle ``value``. ``bytes``: small, no buffers, no references inside. TypeError names what cannot be pickled."""
    cls = type(value)
    if cls in _ATOMS or (cls in _SIZED_ATOMS and len(value) <= PLAIN_MAX_BYTES):
        return _c_dumps(value, 5)
    if cls in _SHALLOW and _is_simple(value):
        return _c_dumps(value, 5)
    return _dump_general(value)


def dumps_plain(value: Any) -> bytes:
    """One self-contained pickle stream for ``pickle.loads``: no buffers; references inside get pinned."""
    if type(value) in _ATOMS:
        return _c_dumps(value, 5)
    from linckia.serialization import pickler as pickling  # noqa: PLC0415  (start-up time: imports cloudpickle)

    return pickling.dump_in_band(value)


def loads(data: bytes | memoryview) -> Any:
    """Rebuild a value. Its buffers are read-only views into ``data``, which they keep alive."""
    if data[0] == _PICKLE_TAG:
        return _c_loads(data)
    return _load_container(data)


def pack_args(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes | Serialized:
    """Pickle the arguments of a call; ``b""`` for none. Top-level ``ArgSlot`` objects mark resolved references."""
    if kwargs:
        for item in kwargs.values():
            cls = type(item)
            if cls not in _ATOMS and (cls not in _SIZED_ATOMS or len(item) > _SHORT):
                return _pack_general(args, kwargs)
    for item in args:
        cls = type(item)
        if cls not in _ATOMS and (cls not in _SIZED_ATOMS or len(item) > _SHORT):
            return _pack_general(args, kwargs)
    if args or kwargs:
        data = _c_dumps((args, kwargs), 5)
        return data if len(data) <= PLAIN_MAX_BYTES else Serialized([data], [], [])
    return b""


def unpack_args(data: bytes | memoryview, slots: Sequence[Any] = ()) -> tuple[Sequence[Any], dict[str, Any]]:
    """Inverse of :func:`pack_args`; ``slots[i]`` takes the place of ``ArgSlot(i)``."""
    if not data:
        return (), {}
    packed = loads(data)
    if len(packed) == 2:
        return packed  # type: ignore[no-any-return]
    args, kwargs, places = packed
    for place, index in places:
        if type(place) is int:
            args[place] = slots[index]
        else:
            kwargs[place] = slots[index]
    return args, kwargs


def _is_simple(value: Any) -> bool:
    """True when C pickle alone is right and fast: few items, each an atom (no class instance, no nesting)."""
    if len(value) > _SMALL_CONTAINER:
        return False
    for item in value.values() if type(value) is dict else value:
        cls = type(item)
        if cls not in _ATOMS and (cls not in _SIZED_ATOMS or len(item) > _SHORT):
            return False
    if type(value) is dict:
        return all(type(key) is str or type(key) is int for key in value)
    return True


_SHALLOW = frozenset({tuple, list, dict})


def _pack_general(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes | Serialized:
    places: list[tuple[int | str, int]] = []
    plain: list[Any] = list(args)
    for position, item in enumerate(args):
        if type(item) is ArgSlot:
            places.append((position, item.index))
            plain[position] = None
    named = kwargs
    for name, item in kwargs.items():
        if type(item) is ArgSlot:
            if named is kwargs:
                named = kwargs.copy()
            places.append((name, item.index))
            named[name] = None
    if not places:
        return _dump_general((args, kwargs))
    if _is_simple(plain) and _is_simple(named):
        return _c_dumps((plain, named, places), 5)
    return _dump_general((plain, named, places))


def _load_container(data: bytes | memoryview) -> Any:
    view = memoryview(data)
    if not view.readonly:
        view = view.toreadonly()
    tag, count, length = _HEAD.unpack_from(view)
    if tag != CONTAINER:
        raise ValueError(f"not a linckia value: first byte is {tag:#04x}, expected 0x80 (pickle) or 0x01 (container)")
    start = _HEAD.size + 8 * count
    position = end = start + length
    buffers = []
    for size in struct.unpack_from(f"<{count}Q", view, _HEAD.size):
        position = position + 63 & -64
        buffers.append(view[position : position + size])
        position += size
    if position > view.nbytes:
        raise ValueError(f"truncated linckia value: header says {position} bytes, got {view.nbytes}")
    return _c_loads(view[start:end], buffers=buffers)


def _dump_general(value: Any, retried: bool = False) -> bytes | Serialized:
    from linckia.serialization import pickler as pickling  # noqa: PLC0415  (start-up time: imports cloudpickle)

    pickling.refresh()
    outer, contained = state.collected, {}  # type: ignore[var-annotated]
    pickler, state.spare = state.spare, None
    if pickler is None:
        pickler = pickling.ValuePickler()
    state.collected = contained
    try:
        pickler.dump(value)
    except Exception as error:  # noqa: BLE001  a __reduce__ may raise anything; it is re-raised or explained
        if not retried and isinstance(error, pickle.PicklingError) and pickling.forget():
            return _dump_general(value, retried=True)  # a module may have been reloaded since we looked at its names
        from linckia.serialization import explain  # noqa: PLC0415  (only when something failed)

        explain.raise_explained(value, error)
    finally:
        state.collected = outer
    chunks, raw = pickler.take()
    if len(chunks) == 1 and len(chunks[0]) <= PLAIN_MAX_BYTES:
        state.spare = pickler  # not after a large dump: its memo table has grown and clearing it would cost each time
        if not raw and not contained:
            return chunks[0]  # type: ignore[no-any-return]
    return Serialized(chunks, [buffer.raw() for buffer in raw], list(contained))
