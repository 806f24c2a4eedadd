"""Why a value cannot be pickled: the path from the value to the part that fails.

Called by ``values`` and ``functions`` after a failed dump, and by ``inspect_serializability``. It pickles parts of the
value again to find the culprit, bounded in depth and number; it changes nothing and keeps nothing.
"""

from __future__ import annotations

import pickle
import types
from collections.abc import Iterator
from typing import Any, NamedTuple, NoReturn

from linckia.serialization.context import collecting

MAX_DEPTH = 12
MAX_ATTEMPTS = 300


class Culprit(NamedTuple):
    """``path`` leads from the value to ``part``, which fails although none of its own parts does."""

    path: tuple[str, ...]
    part: Any
    error: str


def raise_explained(value: Any, error: Exception) -> NoReturn:
    """Raise for a failed dump: a TypeError that names the culprit, or the exception of user code, annotated."""
    culprit = find_culprit(value, error)
    if not isinstance(error, (TypeError, AttributeError, pickle.PickleError, RecursionError, NotImplementedError)):
        error.add_note(f"raised while pickling {_describe(value)}, at {_render(culprit.path)}")
        raise error
    raise TypeError(
        f"cannot serialize {_describe(value)}: {culprit.error}\n"
        f"  where: {_render(culprit.path)}\n"
        f"  what:  {_describe(culprit.part)}\n"
        f"  next:  leave that part out (__reduce__ or __getstate__), create it inside the task or actor, or register a "
        f"serializer for its class"
    ) from error


def find_culprit(value: Any, error: Exception) -> Culprit:
    """Walk down from ``value`` into parts that fail on their own, until one whose own parts do not fail."""
    return _Search().below(Culprit((), value, str(error))) or Culprit((), value, str(error))


class _Search:
    def __init__(self) -> None:
        self.attempts = MAX_ATTEMPTS
        self.seen: dict[int, Any] = {}  # failed parts; held, so that ids stay unique

    def below(self, failed: Culprit) -> Culprit | None:
        """The culprit in ``failed`` or that itself; None when it fails only because it leads back to a part above."""
        self.seen[id(failed.part)] = failed.part
        leads_back = False
        for name, child in _parts(failed.part) if len(failed.path) < MAX_DEPTH else ():
            if id(child) in self.seen:
                leads_back = True
            elif self.attempts > 0:
                self.attempts -= 1
                error = _attempt(child)
                found = self.below(Culprit((*failed.path, name), child, error)) if error is not None else None
                if found is not None:
                    return found
        return None if leads_back else failed


def _attempt(part: Any) -> str | None:
    from linckia.serialization.pickler import ValuePickler  # noqa: PLC0415  (start-up time: imports cloudpickle)

    with collecting({}):
        try:
            ValuePickler().dump(part)
        except Exception as error:  # noqa: BLE001  (any failure is what we look for)
            return f"{type(error).__name__}: {error}"
    return None


def _parts(part: Any) -> Iterator[tuple[str, Any]]:
    """Named parts that pickling would visit, most telling first."""
    if isinstance(part, dict):
        for key, item in part.items():
            yield f"[{_short(key)}]", item
        for key in part:
            yield f" key {_short(key)}", key
    elif isinstance(part, (list, tuple, set, frozenset)):
        for index, item in enumerate(part):
            yield f"[{index}]" if isinstance(part, (list, tuple)) else f" item {_short(item)}", item
    elif isinstance(part, types.FunctionType):
        yield from _function_parts(part)
    elif isinstance(part, types.MethodType):
        yield ".__self__", part.__self__
        yield ".__func__", part.__func__
    elif isinstance(part, type):
        for name, item in vars(part).items():
            if name not in ("__dict__", "__weakref__", "__module__", "__doc__"):
                yield f".{name}", item.__func__ if isinstance(item, (staticmethod, classmethod)) else item
    else:
        yield from _instance_parts(part)


def _function_parts(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        try:
            yield f" closure variable {name!r}", cell.cell_contents
        except ValueError:  # an empty cell: the enclosing function has not bound it yet
            continue
    for name in _global_names(function.__code__):
        if name in function.__globals__:
            yield f" global {name!r}", function.__globals__[name]
    for index, item in enumerate(function.__defaults__ or ()):
        yield f" default {index}", item
    for name, item in (function.__kwdefaults__ or {}).items():
        yield f" default {name!r}", item


def _global_names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _global_names(constant)


def _instance_parts(part: Any) -> Iterator[tuple[str, Any]]:
    for name, item in getattr(part, "__dict__", {}).items():
        yield f".{name}", item
    for cls in type(part).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(part, name):
                yield f".{name}", getattr(part, name)
    yield " its class", type(part)


def _render(path: tuple[str, ...]) -> str:
    return "value" + "".join(step if step[0] in ".[" else f" ->{step}" for step in path)


def _describe(part: Any) -> str:
    if isinstance(part, types.FunctionType):
        return f"function {part.__qualname__}"
    if isinstance(part, type):
        return f"class {part.__module__}.{part.__qualname__}"
    return f"{_short(part)} (type {type(part).__module__}.{type(part).__qualname__})"


def _short(part: Any) -> str:
    try:
        text = repr(part)
    except Exception as error:  # noqa: BLE001  (a user's __repr__ may raise anything; the report must still come out)
        return f"<unprintable: {type(error).__name__}>"
    return text if len(text) <= 80 else text[:77] + "..."
