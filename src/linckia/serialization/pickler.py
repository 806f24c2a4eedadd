"""The pickler behind ``values.dumps``: cloudpickle, custom serializers, out-of-band buffers, no copy of large bytes.

Called by ``values.py`` only, which imports this module at first need: cloudpickle must not cost every ``import
linckia``. It decides how classes that pickle handles badly travel (memoryview, numpy arrays); it knows nothing of
layouts and references.
"""

from __future__ import annotations

import pickle
import sys
import types
from collections.abc import Callable
from typing import Any

import cloudpickle

from linckia.serialization import rebuild, registry
from linckia.serialization.context import collecting

PROTOCOL = 5
_KNOWN_MAX = 4096
_NATIVE_FORMATS = frozenset("bBhHiIlLqQnNfd?cP")


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
        if cls is types.FunctionType or issubclass(cls, type):
            return NotImplemented if _known.get(id(obj)) is obj else self._reduce_code(obj)
        if registry.entries and (reduced := registry.reduce(obj)) is not None:
            return reduced
        reducer = _reducers.get(cls)
        if reducer is not None:
            return reducer(obj)
        if cls.__module__ == "numpy":
            return _first_of_numpy(obj)
        return NotImplemented  # as cloudpickle says for what is neither class nor function; its dispatch table is next

    def _reduce_code(self, obj: Any) -> Any:
        reduced = super().reducer_override(obj)
        if reduced is NotImplemented and len(_known) < _KNOWN_MAX:
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
    buffer = pickle.PickleBuffer(view if view.c_contiguous else view.tobytes())
    if view.format.removeprefix("@") not in _NATIVE_FORMATS:
        return rebuild.view, (buffer, "B", (view.nbytes,))  # Python itself cannot make or read such a view
    return rebuild.view, (buffer, view.format, view.shape)


def _reduce_array(array: Any) -> Any:
    # Numpy's own way takes twice as long, and copies what is strided or holds dates, which then comes back writable.
    dtype = array.dtype
    if dtype.kind not in "biufcSUmM" or dtype.metadata is not None:
        return NotImplemented
    flags = array.flags
    order = "C"
    if not flags.c_contiguous:
        if flags.f_contiguous:
            order = "F"
        else:
            array = array.copy(order="C")
    plain = array.view("i8") if dtype.kind in "mM" else array
    return rebuild.array, (pickle.PickleBuffer(plain), dtype.str, array.shape, order)


def _reduce_scalar(scalar: Any) -> Any:
    return rebuild.scalar, (scalar.dtype.str, scalar.tobytes())


def _first_of_numpy(obj: Any) -> Any:
    """Numpy is not imported before a value needs it; from then on its types are in the table."""
    numpy = sys.modules["numpy"]
    if numpy.ndarray not in _reducers:
        _reducers[numpy.ndarray] = _reduce_array
        for code in "?bBhHiIlLqQefdFD":
            _reducers[numpy.dtype(code).type] = _reduce_scalar
        if type(obj) in _reducers:
            return _reducers[type(obj)](obj)
    return NotImplemented


def _reduce_code_object(code: types.CodeType) -> Any:
    """As cloudpickle does it, with the name of the file, which newer releases leave out: tracebacks show its lines."""
    reduced: Any = cloudpickle.Pickler.dispatch_table[types.CodeType](code)
    make, parts = reduced
    return make, tuple(code.co_filename if type(part) is str and part == "<dynamic-code>" else part for part in parts)


_reducers: dict[type, Callable[[Any], Any]] = {memoryview: _reduce_memoryview, types.CodeType: _reduce_code_object}
