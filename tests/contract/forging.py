"""Messages that nobody meant: right by type, wrong by content. For tests of what survives them."""

from __future__ import annotations

import random
from typing import Any

import msgspec

from linckia.protocol import messages as m

INTEGERS = (0, 1, -1, 7, 255, 2**31, 2**53, -(2**40))
SIZES = (0, 1, 4, 16, 24, 28, 300)
TEXTS = ("", "x", "nul\x00", "☃" * 40, "unix:/nowhere", "tcp:127.0.0.1:1", "node:00:127.0.0.1:1:/x")


def all_messages() -> list[type[m.Message]]:
    """Every type of message, by name."""
    return sorted(m.Message.__subclasses__(), key=lambda kind: kind.__name__)


def forge(kind: type[Any], rng: random.Random) -> Any:
    """An instance whose fields have their types and nothing else in their favour."""
    return _value(msgspec.inspect.type_info(kind), rng)


def _value(info: Any, rng: random.Random) -> Any:
    i = msgspec.inspect
    match info:
        case i.IntType():
            return rng.choice(INTEGERS)
        case i.FloatType():
            return rng.choice((0.0, -1.0, 1e300, float("nan"), float("inf")))
        case i.BoolType():
            return rng.random() < 0.5
        case i.BytesType():
            return rng.randbytes(rng.choice(SIZES))
        case i.StrType():
            return rng.choice(TEXTS)
        case i.NoneType():
            return None
        case i.ListType():
            return [_value(info.item_type, rng) for _ in range(rng.choice((0, 1, 3)))]
        case i.VarTupleType():
            return tuple(_value(info.item_type, rng) for _ in range(rng.choice((0, 1, 3))))
        case i.TupleType():
            return tuple(_value(item, rng) for item in info.item_types)
        case i.DictType():
            return {_value(info.key_type, rng): _value(info.value_type, rng) for _ in range(rng.choice((0, 1, 3)))}
        case i.UnionType():
            return _value(rng.choice(info.types), rng)
        case i.StructType():
            return info.cls(**{field.name: _value(field.type, rng) for field in info.fields})
        case i.AnyType():
            return rng.choice((None, 1, "x", b"y"))
    raise NotImplementedError(f"no forgery of {info}")


def maimed(body: bytes, rng: random.Random) -> list[bytes]:
    """The body cut short at every kind of place, and with some of its bytes changed."""
    cuts = sorted({0, 1, 2, 3, len(body) // 2, len(body) - 1, rng.randrange(len(body))})
    found = [body[:cut] for cut in cuts if cut < len(body)]
    for _ in range(20):
        changed = bytearray(body)
        for _ in range(rng.choice((1, 1, 3))):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        found.append(bytes(changed))
    return [*found, body + b"\x00", b"\x91" * 3000 + body, b"\x91\x93\x01\xa2\xff\xff\xff"]
