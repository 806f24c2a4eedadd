"""`RayTaskError`, the user's exception as another process raised it, and the class it gets when it is raised again.

`get` raises `error.as_instanceof_cause()`: an instance of `RayTaskError(ValueError)`, a class made on the fly, so that
both `except ValueError` and `except RayTaskError` catch it (R 3.27). The worker makes errors with `capture.py`.
"""

from __future__ import annotations

import weakref
from typing import Any, cast

from linckia.base.errors.root import (
    Origin,
    RayError,
    blank_exception,
    instance_values,
    safe_text,
    set_instance_values,
    type_name,
)

_TRACEBACK_LINE = "Traceback (most recent call last):\n"
_CONTROL_FLOW_MODULES = ("builtins", "asyncio.exceptions")


class RayTaskError(RayError):
    """The body of a task or actor method raised `cause` in another process; `str()` is the traceback from there."""

    origin: Origin = "application"

    def __init__(
        self,
        function_name: str,
        traceback_str: str,
        cause: BaseException | None,
        proctitle: str | None = None,
        pid: int | None = None,
        ip: str | None = None,
        actor_repr: str | None = None,
        actor_id: str | None = None,
    ) -> None:
        self.function_name = function_name
        self.traceback_str = traceback_str
        self.cause = cause
        self.proctitle = proctitle or f"ray::{function_name}"
        self.pid = pid
        self.ip = ip
        self.actor_repr = actor_repr
        self._actor_id = actor_id
        #: Name and text of the exception as its own process printed them: they survive when the cause cannot travel.
        self.cause_type_name = type_name(type(cause))
        self.cause_text = safe_text(cause) if cause is not None else ""
        self.args = (function_name, traceback_str, cause, proctitle, pid, ip)

    def __str__(self) -> str:
        text = self.traceback_str.strip("\n")
        # The header names the process; Python's own first line would say nothing on top of it.
        return f"{self._header()}\n{text.removeprefix(_TRACEBACK_LINE)}"

    def _header(self) -> str:
        facts = [f"pid={self.pid}"] if self.pid is not None else []
        facts += [f"ip={self.ip}"] if self.ip is not None else []
        if self.actor_repr:
            facts += [f"actor_id={self._actor_id}", f"repr={self.actor_repr}"]
        return f"{self.proctitle}()" + (f" ({', '.join(facts)})" if facts else "")

    def as_instanceof_cause(self) -> RayTaskError:
        """This error as an instance of its cause's class too, or itself (with a note) when that class refuses it."""
        cause = self.cause
        if isinstance(self, DualError) or not isinstance(cause, BaseException) or type(cause) in RayTaskError.__mro__:
            return self
        if _steers_the_interpreter(type(cause)):
            return self
        try:
            return make_dual_error(self, cause)
        except Exception as problem:  # noqa: BLE001  (metaclasses and __init_subclass__ are the author's code)
            self._note_refusal(cause, problem)
            return self

    def make_dual_exception_instance(self) -> RayTaskError:
        """Like `as_instanceof_cause`, but raises when the cause's class refuses."""
        if not isinstance(self.cause, BaseException):
            raise TypeError(f"the cause of {self.function_name}'s error is {self.cause!r}, not an exception")
        return make_dual_error(self, self.cause)

    def _note_refusal(self, cause: BaseException, problem: Exception) -> None:
        note = (
            f"{type_name(type(cause))} does not allow subclasses ({safe_text(problem)}), so this is a plain "
            "RayTaskError; the original exception is in its `cause`."
        )
        if note not in getattr(self, "__notes__", ()):
            self.add_note(note)


class DualError(RayTaskError):
    """Base of the classes made on the fly: everything that must not come from the user's class is defined here.

    The instance is a faithful copy of the cause (slots and C fields included), so methods and properties of the user's
    class work on it; the remote facts (`pid`, `traceback_str`, ...) are there too unless the cause has such attributes.
    """

    _remote_error: RayTaskError

    # The user's class may be a frozen dataclass, define `args` as a property, or reduce itself in its own way.
    __setattr__ = BaseException.__setattr__
    __delattr__ = BaseException.__delattr__
    __getattribute__ = BaseException.__getattribute__
    __repr__ = BaseException.__repr__
    args = vars(BaseException)["args"]
    cause = property(lambda self: self._remote_error.cause)

    def __init__(self, *args: object) -> None:
        raise TypeError("RayTaskError(X) classes are made by RayTaskError.as_instanceof_cause() only")

    def __str__(self) -> str:
        return str(self._remote_error)

    def __getattr__(self, name: str) -> object:
        if name.startswith("__") or "_remote_error" not in self.__dict__:  # a protocol probe, or half-made
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.cause, name)

    def __reduce__(self) -> tuple[object, ...]:
        return _restore_dual, (self._remote_error, self.__dict__.get("__notes__"))

    def __reduce_ex__(self, protocol: object) -> tuple[object, ...]:
        return self.__reduce__()


def plain_task_error(error: RayTaskError) -> RayTaskError:
    """The error as it came from the other process, without the class made on the fly."""
    return error._remote_error if isinstance(error, DualError) else error


def make_dual_error(error: RayTaskError, cause: BaseException) -> RayTaskError:
    """A new `RayTaskError(type(cause))` instance around `error`."""
    dual_class = _dual_class(type(cause))
    group = (cause.message, cause.exceptions) if isinstance(cause, BaseExceptionGroup) else ()
    dual = blank_exception(dual_class, group)
    values = instance_values(error)
    values.pop("__notes__", None)
    values.update(instance_values(cause))
    values.pop("__notes__", None)  # the traceback text already ends with them
    values["_remote_error"] = error
    set_instance_values(dual, values)
    dual.args = (cause,)
    return dual


# Both sides weak: classes that arrive by value in a long-lived driver must not pile up.
_dual_classes: weakref.WeakKeyDictionary[type, weakref.ref[type[DualError]]] = weakref.WeakKeyDictionary()


def _dual_class(cause_class: type[BaseException]) -> type[DualError]:
    known = _dual_classes.get(cause_class)
    made = known() if known is not None else None
    if made is None:
        name = f"RayTaskError({cause_class.__name__})"
        namespace: dict[str, object] = {"__module__": RayTaskError.__module__, "__qualname__": name, "__doc__": None}
        # `class X(Dual, Cause)` finds our attributes first; those that the user's class has too are the user's.
        for shared in _SHARED_NAMES:
            theirs = getattr(cause_class, shared, None)
            if theirs is not None:
                namespace[shared] = theirs
        if hasattr(cause_class, "__del__"):
            namespace["__del__"] = lambda self: None  # what the cause holds is its own to release, once
        metaclass: Any = type(cause_class)
        made = cast("type[DualError]", metaclass(name, (DualError, cause_class), namespace))
        _dual_classes[cause_class] = weakref.ref(made)
    return made


_SHARED_NAMES = ("origin", "retryable", "to_bytes", "from_bytes")


def _steers_the_interpreter(cause_class: type[BaseException]) -> bool:
    """KeyboardInterrupt, SystemExit, GeneratorExit, asyncio's CancelledError: raised here they would end the caller."""
    return (
        not issubclass(cause_class, Exception)
        and not issubclass(cause_class, BaseExceptionGroup)
        and cause_class.__module__ in _CONTROL_FLOW_MODULES
    )


def _restore_dual(error: RayTaskError, notes: list[str] | None) -> RayTaskError:
    dual = error.as_instanceof_cause()
    if notes:
        dual.__notes__ = list(notes)
    return dual
