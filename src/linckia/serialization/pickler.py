"""The pickler behind ``values.dumps``: cloudpickle, custom serializers, out-of-band buffers, no copy of large bytes.

Called by ``values.py`` only, which imports this module at first need: cloudpickle must not cost every ``import
linckia``. It decides how classes that pickle handles badly travel (memoryview, numpy arrays); it knows nothing of
layouts and references.
"""

from __future__ import annotations

import pickle
import types
from collections.abc import Callable
from typing import Any

import cloudpickle

from linckia.serialization import registry
from linckia.serialization.context import collecting

PROTOCOL = 5
_KNOWN_MAX = 4096


class Sink(list[Any]):
    """The pickler's output file: keeps what it is given, so that a large bytes object is not copied into a stream."""

    write = list.append


class ValuePickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    """Reusable: ``dump``, then :meth:`take`. After an exception in ``dump`` it must be thrown away."""

    def __init__(self, out_of_band: bool = True) -> None:
        self.sink = Sink()
        self.raw: list[pickle.PickleBuffer] = []
        callback = self.raw.append if out_of_band else None
        super().__init__(self.sink, protocol=PROTOCOL, buffer_callback=callback)  # pyright: ignore[reportCallIssue]

    def take(self) -> tuple[list[Any], list[pickle.PickleBuffer]]:
        """Chunks of the pickle stream and out-of-band buffers of the last dump; forgets everything about it."""
        chunks, raw = list(self.sink), self.raw[:]
        self.sink.clear()
        self.raw.clear()
        self.clear_memo()
        if self.globals_ref:
            self.globals_ref.clear()
        return chunks, raw

    def reducer_override(self, obj: Any) -> Any:
        """Called by the C pickler for each object that is not a builtin atom or container."""
        cls = type(obj)
        if cls is types.FunctionType or cls is type:
            if _known.get(id(obj)) is obj:
                return NotImplemented
            return self._reduce_code(obj)
        if registry.entries and (reduced := registry.reduce(obj)) is not None:
            return reduced
        reducer = _reducers.get(cls)
        if reducer is not None:
            return reducer(obj)
        return super().reducer_override(obj)

    def _reduce_code(self, obj: Any) -> Any:
        reduced = super().reducer_override(obj)
        if reduced is NotImplemented and len(_known) < _KNOWN_MAX and not cloudpickle.list_registry_pickle_by_value():
            _known[id(obj)] = obj
        return reduced


# Functions and classes that go by reference (cloudpickle takes 2 us to decide). Held strongly, so ids stay unique.
_known: dict[int, Any] = {}
_by_value_modules: set[str] = set()


def refresh() -> None:
    """Forget decisions that a later ``register_pickle_by_value`` has overruled. Cheap: called before each dump."""
    global _by_value_modules  # noqa: PLW0603
    now = cloudpickle.list_registry_pickle_by_value()
    if now != _by_value_modules:
        _by_value_modules = now
        _known.clear()


def dump_in_band(value: Any) -> bytes:
    """One self-contained pickle stream. References inside are not collected: they see no dump running (R 1.47)."""
    refresh()
    pickler = ValuePickler(out_of_band=False)
    with collecting(None):
        try:
            pickler.dump(value)
        except Exception as error:  # noqa: BLE001  a __reduce__ may raise anything; it is re-raised or explained
            from linckia.serialization import explain  # noqa: PLC0415  (only when something failed; imports this module)

            explain.raise_explained(value, error)
    return b"".join(pickler.take()[0])


def forget() -> bool:
    """Forget all decisions: a module was reloaded, so that a name no longer means the remembered object."""
    had_some = bool(_known)
    _known.clear()
    return had_some


def _reduce_memoryview(view: memoryview) -> Any:
    if not view.contiguous:
        return rebuild_memoryview, (pickle.PickleBuffer(view.tobytes()), view.format, view.shape)
    return rebuild_memoryview, (pickle.PickleBuffer(view), view.format, view.shape)


def rebuild_memoryview(buffer: Any, fmt: str, shape: tuple[int, ...]) -> memoryview:
    """Called by unpickling: a read-only view. Its name is in stored values: do not rename."""
    view = memoryview(buffer).toreadonly()
    flat = view.cast("B") if view.format != "B" or view.ndim != 1 else view
    if fmt == "B" and len(shape) == 1:
        return flat
    if len(shape) == 1:
        return flat.cast(fmt)  # type: ignore[call-overload, no-any-return]
    return flat.cast(fmt, shape)  # type: ignore[call-overload, no-any-return]


_reducers: dict[type, Callable[[Any], Any]] = {memoryview: _reduce_memoryview}
