"""What callers must know of an actor class: its methods, whether it is async, its constructor's signature. Computed
once per class.
"""

from __future__ import annotations

import inspect
import pickle
from typing import Any

from linckia.api.remote_function import argument_counts, retry_filter, returns_code
from linckia.model.specs import MethodSpec


class ClassInfo:
    """Facts of one actor class."""

    def __init__(self, cls: type) -> None:
        self.cls = cls
        self.name = cls.__name__
        self.methods = [_method_spec(name, function) for name, function in _public_functions(cls)]
        self.is_async = any(method.is_async for method in self.methods)
        self.groups = {method.concurrency_group for method in self.methods if method.concurrency_group}
        constructor: Any = inspect.getattr_static(cls, "__init__")
        try:
            signature = inspect.signature(constructor)
            self.signature: Any = signature.replace(parameters=list(signature.parameters.values())[1:])
        except (TypeError, ValueError):
            self.signature = None
        if constructor is object.__init__:
            self.signature = inspect.Signature()
        self.least, self.most = argument_counts(self.signature) if self.signature is not None else (0, 1 << 30)

    def check_arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """TypeError in the caller when the constructor's arguments do not fit."""
        if (kwargs or not self.least <= len(args) <= self.most) and self.signature is not None:
            try:
                self.signature.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{self.name}.remote(): {error}; the constructor takes {self.signature}") from None


def class_info(cls: type) -> ClassInfo:
    """Facts of ``cls``."""
    return ClassInfo(cls)


def _public_functions(cls: type) -> list[tuple[str, Any]]:
    found = []
    for name in dir(cls):
        function = inspect.getattr_static(cls, name)
        if (
            isinstance(function, (staticmethod, classmethod))
            or inspect.isfunction(function)
            or (callable(function) and not isinstance(function, type) and not name.startswith("__"))
        ):
            found.append((name, function))
    return found


def _method_spec(name: str, attribute: Any) -> MethodSpec:
    function = attribute.__func__ if isinstance(attribute, (staticmethod, classmethod)) else attribute
    options = getattr(function, "__linckia_method__", None)
    is_generator = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
    returns = options.returns if options is not None else ("streaming" if is_generator else 1)
    return MethodSpec(
        name=name,
        num_returns=returns_code(returns),
        max_task_retries=options.max_task_retries if options is not None else None,
        retry_exceptions=retry_filter(options.retry_exceptions) if options is not None else b"",
        concurrency_group=(options.concurrency_group or "") if options is not None else "",
        is_async=inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function),
        is_generator=is_generator,
        backpressure=(options.generator_backpressure_num_objects or -1) if options is not None else -1,
        signature=_signature_bytes(function, has_self=not isinstance(attribute, staticmethod)),
        listed=options.enable_task_events if options is not None else None,
        retry_backoff_s=(options.retry_backoff_s or 0.0) if options is not None else 0.0,
        max_backoff_s=(options.max_backoff_s or 0.0) if options is not None else 0.0,
    )


def _signature_bytes(function: Any, *, has_self: bool) -> bytes:
    """The signature without ``self`` and annotations, pickled; empty when there is none."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return b""
    parameters = [
        parameter.replace(
            annotation=parameter.empty, default=parameter.empty if parameter.default is parameter.empty else None
        )
        for parameter in signature.parameters.values()
    ]
    return pickle.dumps(inspect.Signature(parameters[1:] if has_self else parameters), 5)
