"""Decorators that state how stable a public name is: `PublicAPI`, `DeveloperAPI`, `Deprecated`.

Authors of libraries put them on functions and classes; documentation tools read `_annotated_type` and the extended
docstring. Only `Deprecated(warning=True)` changes behaviour: calls then emit `RayDeprecationWarning`.
"""

from __future__ import annotations

import enum
import functools
import inspect
import warnings
from collections.abc import Callable
from typing import TypeVar, cast, overload

from linckia.base.errors import RayDeprecationWarning

_T = TypeVar("_T")
_STABILITIES = ("stable", "beta", "alpha")


class AnnotationType(enum.Enum):
    """What an annotated name promises."""

    PUBLIC_API = "PublicAPI"
    DEVELOPER_API = "DeveloperAPI"
    DEPRECATED = "Deprecated"
    UNKNOWN = "Unknown"


# Python hides DeprecationWarning outside __main__; users of a library would then never see this one.
warnings.filterwarnings("default", category=RayDeprecationWarning, append=True)


@overload
def PublicAPI(target: _T, /) -> _T: ...
@overload
def PublicAPI(*, stability: str = "stable", api_group: str = "Others") -> Callable[[_T], _T]: ...
def PublicAPI(target: object = None, /, *, stability: str = "stable", api_group: str = "Others") -> object:
    """Mark an interface for everybody. `stable` keeps working within a major version; `alpha` may change any time."""
    if stability not in _STABILITIES:
        raise ValueError(f"PublicAPI: stability must be one of {', '.join(_STABILITIES)}, not {stability!r}")

    def mark(obj: _T) -> _T:
        if stability != "stable":
            _extend_docstring(obj, f"**PublicAPI ({stability}):** this interface is {stability} and may still change.")
        return _annotate(obj, AnnotationType.PUBLIC_API, api_group)

    return mark if target is None else mark(target)


@overload
def DeveloperAPI(target: _T, /) -> _T: ...
@overload
def DeveloperAPI(*, api_group: str = "Others") -> Callable[[_T], _T]: ...
def DeveloperAPI(target: object = None, /, *, api_group: str = "Others") -> object:
    """Mark an interface for authors of libraries; it may change between minor versions."""

    def mark(obj: _T) -> _T:
        _extend_docstring(obj, "**DeveloperAPI:** this interface may change between minor versions.")
        return _annotate(obj, AnnotationType.DEVELOPER_API, api_group)

    return mark if target is None else mark(target)


@overload
def Deprecated(target: _T, /) -> _T: ...
@overload
def Deprecated(*, message: str = "", warning: bool = False) -> Callable[[_T], _T]: ...
def Deprecated(target: object = None, /, *, message: str = "", warning: bool = False) -> object:
    """Mark an interface that will go away. With `warning`, each call (or each new instance) warns."""
    advice = f"This interface is deprecated and may be removed. {message}".rstrip()

    def mark(obj: _T) -> _T:
        _extend_docstring(obj, f".. warning::\n\n    **DEPRECATED:** {advice}")
        _annotate(obj, AnnotationType.DEPRECATED, "Others")
        return _warning_on_use(obj, advice) if warning else obj

    return mark if target is None else mark(target)


def _annotate(obj: _T, kind: AnnotationType, api_group: str) -> _T:
    for name, value in (
        ("_annotated", getattr(obj, "__name__", None)),
        ("_annotated_type", kind),
        ("_annotated_api_group", api_group),
    ):
        setattr(obj, name, value)
    return obj


def _extend_docstring(obj: object, note: str) -> None:
    own = inspect.cleandoc(obj.__doc__) if obj.__doc__ else ""
    obj.__doc__ = f"{own}\n\n{note}\n".lstrip("\n")


def _warning_on_use(obj: _T, advice: str) -> _T:
    if isinstance(obj, type):
        original: Callable[..., None] = getattr(obj, "__init__")  # noqa: B009 - the class's own or inherited function

        @functools.wraps(original)
        def warn_and_init(self: object, *args: object, **options: object) -> None:
            warnings.warn(advice, RayDeprecationWarning, stacklevel=2)
            original(self, *args, **options)

        type.__setattr__(obj, "__init__", warn_and_init)
        return cast("_T", obj)
    function = cast("Callable[..., object]", obj)

    @functools.wraps(function)
    def warn_and_call(*args: object, **options: object) -> object:
        warnings.warn(advice, RayDeprecationWarning, stacklevel=2)
        return function(*args, **options)

    return cast("_T", warn_and_call)


__all__ = ["AnnotationType", "Deprecated", "DeveloperAPI", "PublicAPI", "RayDeprecationWarning"]
