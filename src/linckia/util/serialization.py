"""`register_serializer`: how values of one class travel, when cloudpickle cannot or should not decide.

User programs call it. The rule itself lives in `linckia.serialization.registry`, where the pickler looks it up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from linckia.serialization import registry

_T = TypeVar("_T")
_P = TypeVar("_P")


def register_serializer(cls: type[_T], *, serializer: Callable[[_T], _P], deserializer: Callable[[_P], _T]) -> None:
    """Send every value whose class is exactly `cls` as `serializer(value)` and rebuild it with `deserializer`.

    Holds for this process. The deserializer travels inside each value, so readers need not register anything; a reader
    that sends such a value on must register for itself. A second call replaces the first. Subclasses are not affected.
    """
    registry.register(cls, serializer, deserializer)


def deregister_serializer(cls: type) -> None:
    """Undo `register_serializer`; does nothing when `cls` is not registered. Values already sent stay readable."""
    registry.deregister(cls)
