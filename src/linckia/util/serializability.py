"""Finds which part of a value cannot be pickled, and draws the way to it.

`linckia.util.inspect_serializability` prints the result. It looks at what pickle itself would visit (closures, used
globals, reduced state, items of containers) and finds every culprit, where `linckia.serialization.explain`, which
serves the error of a failed `put`, stops at the first. It repairs nothing and sends nothing.
"""

from __future__ import annotations

import dis
import functools
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from linckia.serialization.context import collecting
from linckia.serialization.pickler import ValuePickler

_MAX_CULPRITS = 20
_MAX_REPR = 80
_ADVICE = "Make it inside the task or the actor, leave it out, or teach its class to travel (register_serializer)."


@dataclass(frozen=True, eq=False)
class Culprit:
    """One object that cannot be pickled although everything that it is made of can, as far as we looked."""

    obj: object
    path: tuple[str, ...]
    parent: object
    reason: str


@dataclass
class Explanation:
    """What was found in one value."""

    name: str
    culprits: list[Culprit] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    @property
    def serializable(self) -> bool:
        """Whether the value can be pickled as it is."""
        return not self.culprits

    def text(self) -> str:
        """The drawn tree and what to do, without a newline at the end."""
        if self.serializable:
            return f"{self.name} can be serialized"
        found = dict.fromkeys(" -> ".join(culprit.path[1:]) or self.name for culprit in self.culprits)
        return "\n".join([*self.lines, f"In the way: {', '.join(found)}", _ADVICE])


def why_not(value: object) -> str | None:
    """What pickle says against `value`; None when it can be pickled."""
    try:
        with collecting({}):  # refs inside are looked at, not kept alive
            ValuePickler().dump(value)
    except Exception as error:  # noqa: BLE001 - reducers are user code and may raise anything; that is the finding
        return str(error) or type(error).__name__
    return None


def explain(value: object, name: str | None = None, depth: int = 3) -> Explanation:
    """Search `value` down to `depth` levels for what cannot be pickled. Reads only; takes its time."""
    label = name or _label(value)
    result = Explanation(label)
    reason = why_not(value)
    if reason is not None:
        result.lines.append(f"{label} cannot be serialized: {reason}")
        _search(_Part(label, value, None, (label,), reason), depth, result, indent="", seen={id(value)})
    return result


@dataclass(frozen=True)
class _Part:
    label: str
    obj: object
    parent: object
    path: tuple[str, ...]
    reason: str


def _search(part: _Part, depth: int, result: Explanation, indent: str, seen: set[int]) -> None:
    """Add the culprits inside `part`, or `part` itself when nothing inside it is to blame."""
    failing = [] if depth <= 0 else _failing_children(part, seen)
    if not failing:
        result.culprits.append(Culprit(part.obj, part.path, part.parent, part.reason))
        return
    for place, child in enumerate(failing):
        if len(result.culprits) >= _MAX_CULPRITS:
            result.lines.append(f"{indent}└─ ... more was not looked at")
            return
        last = place == len(failing) - 1
        result.lines.append(f"{indent}{'└─' if last else '├─'} {child.label}: {_short(child.obj)}")
        line = len(result.lines) - 1
        _search(child, depth - 1, result, indent + ("   " if last else "│  "), seen)
        if line == len(result.lines) - 1:  # nothing below it: this is an end of the tree
            result.lines[line] += f"  <- {child.reason}"


def _failing_children(part: _Part, seen: set[int]) -> list[_Part]:
    failing = []
    for label, name, child in _children(part.obj):
        if id(child) in seen:
            continue
        reason = why_not(child)
        if reason is not None:
            seen.add(id(child))
            failing.append(_Part(label, child, part.obj, (*part.path, name), reason))
    return failing


def _children(obj: object) -> Iterator[tuple[str, str, object]]:
    """(what it is, short name, part) for everything that pickling `obj` visits next."""
    if isinstance(obj, types.FunctionType):
        yield from _parts_of_function(obj)
    elif isinstance(obj, types.MethodType):
        yield "object of the method", "__self__", obj.__self__
        yield "function of the method", obj.__func__.__name__, obj.__func__
    elif isinstance(obj, functools.partial):
        yield "function", "func", obj.func
        yield from ((f"argument {n}", str(n), value) for n, value in enumerate(obj.args))
        yield from ((f"argument {key!r}", key, value) for key, value in obj.keywords.items())
    elif isinstance(obj, dict):
        yield from ((f"key {_short(key)}", _short(key), key) for key in obj)
        yield from ((f"item {_short(key)}", _short(key), value) for key, value in obj.items())
    elif isinstance(obj, list | tuple | set | frozenset):
        yield from ((f"item {n}", str(n), value) for n, value in enumerate(obj))
    elif isinstance(obj, type):
        for name, value in vars(obj).items():
            if name not in ("__dict__", "__weakref__"):  # made anew with the class, never pickled
                yield f"class attribute {name!r}", name, value
    else:
        yield from _parts_of_instance(obj)


def _parts_of_function(function: types.FunctionType) -> Iterator[tuple[str, str, object]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield f"closed-over variable {name!r}", name, cell.cell_contents
        except ValueError:  # the variable has no value yet
            continue
    for name in sorted(_global_names(function.__code__)):
        if name in function.__globals__:
            yield f"global {name!r}", name, function.__globals__[name]
    for place, default in enumerate(function.__defaults__ or ()):
        yield f"default value {place}", f"default {place}", default
    for name, default in (function.__kwdefaults__ or {}).items():
        yield f"default value of {name!r}", name, default


def _global_names(code: types.CodeType) -> set[str]:
    """Globals that the code or a function defined in it reads: what cloudpickle takes along."""
    names = {step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _global_names(constant)
    return names


def _parts_of_instance(obj: object) -> Iterator[tuple[str, str, object]]:
    """State and arguments that the object's own `__reduce_ex__` gives to pickle; nothing when that itself fails."""
    try:
        reduced: Any = obj.__reduce_ex__(4)
    except Exception:  # noqa: BLE001 - then `obj` itself is the culprit, and the reason is already known
        return
    if isinstance(reduced, str):  # the name of a global
        return
    state = reduced[2] if len(reduced) > 2 else None
    for place, argument in enumerate(reduced[1]):
        if argument is type(obj):
            yield "its class", type(obj).__qualname__, argument
        else:
            yield f"argument {place} of its reducer", str(place), argument
    parts = state if isinstance(state, tuple) and len(state) == 2 else (state,)  # (dict, slots) for classes with slots
    for part in parts:
        if isinstance(part, dict):
            yield from ((f"attribute {name!r}", str(name), value) for name, value in part.items())
        elif part is not None:
            yield "state", "state", part


def _label(value: object) -> str:
    name = getattr(value, "__qualname__", None)
    return name if isinstance(name, str) else f"a value of type {type(value).__qualname__}"


def _short(value: object) -> str:
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 - a broken repr of user code must not hide the finding
        text = f"<{type(value).__qualname__} whose repr raised {type(error).__name__}>"
    text = " ".join(text.split())
    return text if len(text) <= _MAX_REPR else f"{text[: _MAX_REPR - 3]}..."
