"""``@linckia.remote``: functions become RemoteFunctions, classes ActorClasses (R 1.18)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, overload

from linckia.api.actor import ActorClass
from linckia.api.remote_function import RemoteFunction

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
_FUNCTION = type(lambda: None)
_BUILTIN = type(len)


class Decorator:
    """``remote(num_cpus=2)``: waits for the function or class."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options

    @overload
    def __call__(self, target: type[T]) -> ActorClass[T]: ...  # type: ignore[overload-overlap]  # (classes first)
    @overload
    def __call__(self, target: Callable[P, R]) -> RemoteFunction[P, R]: ...
    def __call__(self, target: Any) -> Any:
        return _make(target, self._options)


@overload
def remote(target: type[T], /) -> ActorClass[T]: ...  # type: ignore[overload-overlap]  # (classes first)
@overload
def remote(target: Callable[P, R], /) -> RemoteFunction[P, R]: ...
@overload
def remote(**options: Any) -> Decorator: ...
def remote(*args: Any, **options: Any) -> Any:
    """Make a function or class remote: ``@remote``, ``@remote(num_cpus=2)``, or ``remote(f)``.

    AssertionError for ``@remote()`` and positional options, TypeError for callables that are neither function nor
    class, ValueError for ``async def`` functions and for bad options.
    """
    if len(args) == 1 and not options and callable(args[0]):
        return _make(args[0], {})
    assert not args and options, (
        "use @linckia.remote without parentheses, or with keyword options only: @linckia.remote(num_cpus=2)"
    )
    return Decorator(options)


def _make(target: Any, options: dict[str, Any]) -> Any:
    if isinstance(target, type):
        return ActorClass(target, options)
    if isinstance(target, _FUNCTION) or _is_compiled(target):
        code = getattr(target, "__code__", None)
        if code is not None and code.co_flags & 0x80:
            raise ValueError(
                f"{target.__name__} is an async function and cannot be a task; "
                "make it an actor's method, or wrap it in asyncio.run()"
            )
        return RemoteFunction(target, options)
    raise TypeError(f"@linckia.remote takes functions and classes, got {type(target).__name__}: {target!r}")


def _is_compiled(target: Any) -> bool:
    """A function of a compiled extension (Cython): like a function, but not of its type."""
    return type(target).__name__ == "cython_function_or_method"
