"""Option values that may be anything: functions, models, tables. Two of them are the same option only when they are the
same object, whatever their ``repr`` says: templates of calls are found by the ``repr`` of their options.
"""

from __future__ import annotations

import itertools
import weakref

_ATOMS = (type(None), bool, int, float, str, bytes)
_ATOM_MAX_CHARS = 200
_numbers = itertools.count(1)
_known: weakref.WeakValueDictionary[int, Held] = weakref.WeakValueDictionary()


class Held:
    """A value, and the name under which it is compared. Whoever keeps the name keeps this object too, so that the
    name does not pass to another value.
    """

    __slots__ = ("__weakref__", "name", "value")

    def __init__(self, value: object, name: str) -> None:
        self.value, self.name = value, name

    def __repr__(self) -> str:
        return self.name

    def __eq__(self, other: object) -> bool:
        return type(other) is Held and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __reduce__(self) -> tuple[object, ...]:
        return hold, (self.value,)


def hold(value: object) -> Held:
    """The one Held of this value as long as somebody has it; small plain values are compared by their text."""
    if type(value) in _ATOMS:
        name = f"{type(value).__name__} {value!r}"
        if len(name) <= _ATOM_MAX_CHARS:
            return Held(value, name)
    held = _known.get(id(value))
    if held is None or held.value is not value:
        held = _known[id(value)] = Held(value, f"value {next(_numbers)}")
    return held
