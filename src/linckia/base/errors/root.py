"""`RayError`, the root of every error a cluster can show, and the two rules all of them share: text and pickling.

The families beside this module derive from it; the API raises it, users catch it. It never looks at the process, the
clock or the log: what an error tells was put into it by the one who made it.
"""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Origin = Literal["application", "system"]
"""Whose fault: the user's code and requests, or a process, node, network or limit of the cluster."""

_ErrorT = TypeVar("_ErrorT", bound=BaseException)

_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: the class was made while Python ran, so its __new__ may be anything
_FIELD_DESCRIPTORS = (types.MemberDescriptorType, types.GetSetDescriptorType)
_PLUMBING = frozenset(BaseException.__dict__)


class RayError(Exception):
    """Root of all Linckia errors, named as in Ray. Also stands in for a user's exception that could not be pickled."""

    origin: Origin = "system"
    retryable: bool = False
    """True when the same call, unchanged, may succeed later."""

    _summary: str = "Something in the cluster failed."
    _advice: str = ""
    _told_elsewhere: str | None = None  # the text as its maker printed it, when the details could not travel

    def _told(self) -> str:
        """What happened. A caller's own words win over the class's default sentence."""
        # BaseException's str on purpose: OSError, a base of GetTimeoutError, reads two arguments as errno and text.
        return BaseException.__str__(self) if self.args else self._summary

    def __str__(self) -> str:
        if self._told_elsewhere is not None:
            return self._told_elsewhere
        told = self._told()
        return f"{told}\n{self._advice}" if self._advice else told

    def __reduce__(self) -> tuple[object, ...]:
        # BaseException would call the class with `args`; our classes take other arguments than they keep there.
        return _restore, (type(self), self.args, instance_values(self))

    def to_bytes(self, dumps: Callable[[object], bytes] | None = None) -> bytes:
        """This error as bytes, always: what cannot be pickled is replaced by its text (`encode_error`)."""
        from linckia.base.errors.transport import encode_error  # noqa: PLC0415  (transport imports every family)

        return encode_error(self, dumps or _plain_dumps())

    @staticmethod
    def from_bytes(data: bytes, loads: Callable[[bytes], object] | None = None) -> RayError:
        """The error that `to_bytes` packed."""
        from linckia.base.errors.transport import decode_error  # noqa: PLC0415  (transport imports every family)

        return decode_error(data, loads or _plain_loads())


class RayDeprecationWarning(DeprecationWarning):
    """A name or an option that will go away in a later release."""


def blank_exception(cls: type[_ErrorT], args: tuple[object, ...]) -> _ErrorT:
    """An instance of `cls` without running the author's `__new__` and `__init__`, whose arguments we do not know."""
    # Only exception groups insist on arguments; for the rest they are set below, and OSError would interpret them.
    group_args = args if issubclass(cls, BaseExceptionGroup) else ()
    builtins: list[Any] = [base for base in cls.__mro__ if not base.__flags__ & _HEAP_TYPE]
    for builtin in builtins:
        try:
            error: _ErrorT = builtin.__new__(cls, *group_args)
        except TypeError:  # MemoryError's is refused for a class that inherits from it beside another; a later one fits
            if builtin is BaseException:
                raise
            continue
        _ARGS.__set__(error, args)
        return error
    raise TypeError(f"{cls!r} is not an exception class")


def instance_values(error: BaseException) -> dict[str, object]:
    """Everything the instance holds: its `__dict__`, its slots, and C fields such as `errno` or `start`."""
    values: dict[str, object] = {}
    for cls in type(error).__mro__:
        for name, field in vars(cls).items():
            if name in _PLUMBING or name.startswith("__") or not isinstance(field, _FIELD_DESCRIPTORS):
                continue
            try:
                value = field.__get__(error, type(error))
            except (AttributeError, TypeError, ValueError):
                continue  # an unset field: C getters report that with either error
            if value is not None:
                values.setdefault(name, value)
    values.update(BaseException.__getattribute__(error, "__dict__"))
    return values


def set_instance_values(error: BaseException, values: dict[str, object]) -> None:
    """Give `error` these values, past any `__setattr__` or read-only property of its class."""
    own: dict[str, object] = BaseException.__getattribute__(error, "__dict__")
    for name, value in values.items():
        field = next((vars(cls)[name] for cls in type(error).__mro__ if name in vars(cls)), None)
        if isinstance(field, _FIELD_DESCRIPTORS):
            try:
                field.__set__(error, value)
                continue
            except (AttributeError, TypeError, ValueError):
                pass  # a read-only C field: keep the value in the dictionary, where pickling finds it again
        own[name] = value


def type_name(cls: type) -> str:
    """`module.Class`, or `Class` for builtins: how a traceback would print it."""
    module, name = getattr(cls, "__module__", None), cls.__qualname__
    return name if not isinstance(module, str) or module == "builtins" else f"{module}.{name}"


def safe_text(error: BaseException) -> str:
    """`str(error)`, also when the author's `__str__` fails."""
    try:
        return str.__str__(str(error))
    except Exception as problem:  # noqa: BLE001  (the author's code may raise anything; the name still helps)
        return f"<exception str() failed with {type_name(type(problem))}>"


def _restore(cls: type[_ErrorT], args: tuple[object, ...], values: dict[str, object]) -> _ErrorT:
    error = blank_exception(cls, args)
    set_instance_values(error, values)
    return error


def _plain_dumps() -> Callable[[object], bytes]:
    import pickle  # noqa: PLC0415  (start-up time: `import linckia` does not need pickle)

    return pickle.dumps


def _plain_loads() -> Callable[[bytes], object]:
    import pickle  # noqa: PLC0415  (start-up time: `import linckia` does not need pickle)

    return pickle.loads


_ARGS = vars(BaseException)["args"]
