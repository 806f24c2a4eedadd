"""What the value being pickled or unpickled in this thread belongs to.

``ObjectRef.__reduce__`` and ``ActorHandle.__reduce__`` call :func:`note_reference`, so that ``values.dumps`` learns
which references a value contains; their rebuild functions ask :func:`current_container`, so that a reference knows
which object it came out of. State is per thread and nests (a ``__reduce__`` may itself call ``dumps``). Nothing here
pickles, pins or counts anything.
"""

from __future__ import annotations

import threading
from typing import Any


class _State(threading.local):
    collected: dict[Any, None] | None = None  # references met by the innermost dumps, in order
    container: object | None = None  # what the innermost loads reads
    spare: Any = None  # a pickler kept for the next dumps, owned by values.py


state = _State()


def note_reference(reference: Any) -> bool:
    """Record that ``reference`` (hashable by id) is inside the value being dumped.

    False when no linckia ``dumps`` is running in this thread: then the user pickles by himself, nobody will keep the
    reference's object alive for the reader, and the caller has to pin it.
    """
    collected = state.collected
    if collected is None:
        return False
    collected[reference] = None
    return True


class collecting:  # (used as a statement: `with collecting() as references`)
    """Within the block, references are noted into the dict that ``with`` returns. ``None`` suspends an outer block."""

    __slots__ = ("_into", "_outer")

    def __init__(self, into: dict[Any, None] | None) -> None:
        self._into = into

    def __enter__(self) -> dict[Any, None] | None:
        self._outer = state.collected
        state.collected = self._into
        return self._into

    def __exit__(self, *_exc: object) -> None:
        state.collected = self._outer


class loading:  # (used as a statement: `with loading(ref): value = loads(data)`)
    """Within the block, references that are unpickled come out of ``container``."""

    __slots__ = ("_container", "_outer")

    def __init__(self, container: object | None) -> None:
        self._container = container

    def __enter__(self) -> None:
        self._outer = state.container
        state.container = self._container

    def __exit__(self, *_exc: object) -> None:
        state.container = self._outer


def current_container() -> object | None:
    """What the innermost ``loading`` block of this thread reads, or None."""
    return state.container
