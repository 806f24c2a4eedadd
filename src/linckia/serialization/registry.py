"""Custom serializers by class: a dictionary that the pickler asks and `linckia.util.serialization` fills.

The pickler calls `reduce(value)` from its `reducer_override` when `entries` is not empty. What it gets back carries the
deserializer by value, so a reader needs no registration of its own. It pickles nothing itself and knows no pickler.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")
_P = TypeVar("_P")

# `object` in both directions: the pair of one class is consistent (see `register`), but the table holds many classes.
Serializer = Callable[[object], object]
Deserializer = Callable[[object], object]
Reduced = tuple[Callable[[Deserializer, object], object], tuple[Deserializer, object]]

# Read by the pickler for each object when not empty, so it is a plain dictionary: one lookup by exact class.
entries: dict[type, tuple[Serializer, Deserializer]] = {}


def register(cls: type[_T], serializer: Callable[[_T], _P], deserializer: Callable[[_P], _T]) -> None:
    """Replace how values of exactly `cls` are pickled in this process.

    Raises TypeError when `cls` is not a class or either function cannot be called, so that the mistake shows here and
    not in the middle of a later `put`.
    """
    if not isinstance(cls, type):
        raise TypeError(f"register_serializer: cls must be a class, not {cls!r}")
    for name, function in (("serializer", serializer), ("deserializer", deserializer)):
        if not callable(function):
            raise TypeError(f"register_serializer: {name} for {cls.__qualname__} must be callable, not {function!r}")
    entries[cls] = (serializer, deserializer)  # type: ignore[assignment]  # `_T` is erased: only `cls` values get here


def deregister(cls: type) -> None:
    """Forget `cls`; does nothing when it was never registered."""
    entries.pop(cls, None)


def lookup(cls: type) -> tuple[Serializer, Deserializer] | None:
    """The pair registered for exactly `cls`."""
    return entries.get(cls)


def reduce(value: object) -> Reduced | None:
    """What `reducer_override` returns for `value`, or None when its class is not registered."""
    pair = entries.get(type(value))
    if pair is None:
        return None
    serializer, deserializer = pair
    return rebuild, (deserializer, serializer(value))


def rebuild(deserializer: Deserializer, payload: object) -> object:
    """Called by unpickling, in any process. Its name is in every stored value: do not rename."""
    return deserializer(payload)
