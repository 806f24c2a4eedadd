"""``@linckia.remote`` on functions: RemoteFunction keeps the signature for type checkers and pickles the function
once per session.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from linckia.api.options_group import group_target
from linckia.worker import current

if TYPE_CHECKING:
    from collections.abc import Callable

    from linckia.api.options import TaskOptions
    from linckia.worker.refs import ObjectRef
    from linckia.worker.runtime import Runtime

P = ParamSpec("P")
R = TypeVar("R")
RETURNS: dict[str, int] = {"streaming": -1, "dynamic": -2}
_ANY_COUNT = 1 << 30


class BoundFunction:
    """A remote function exported to one runtime, with one set of options."""

    __slots__ = ("call_options", "runtime", "template")

    def __init__(self, runtime: Runtime, template: Any) -> None:
        self.runtime, self.template = runtime, template


class RemoteFunction(Generic[P, R]):
    """A function that runs elsewhere: ``f.remote(...)`` returns an ObjectRef at once; ``f.options(...)`` changes how
    it runs.
    """

    def __init__(self, function: Callable[P, R], options: Mapping[str, Any]) -> None:
        from linckia.api.options import parse_task_options  # noqa: PLC0415  (start-up time of `import linckia`)

        self._function = function
        self._given = dict(options)
        self._options: TaskOptions = parse_task_options(self._given, is_generator=is_generator(function), stacklevel=4)
        self._name = getattr(function, "__name__", type(function).__name__)
        self._bound: BoundFunction | None = None
        self._shared: dict[int, Any] = {}  # id(runtime) -> FunctionDef, shared with all .options() of this function
        self._signature: Any = None
        self._least, self._most = -1, -1
        self.__doc__ = getattr(function, "__doc__", None)
        self.__name__ = self._name
        self.__qualname__ = getattr(function, "__qualname__", self._name)
        self.__module__ = getattr(function, "__module__", "")
        self.__wrapped__ = function

    def __call__(self, *_args: Any, **_kwargs: Any) -> Any:
        raise TypeError(f"remote function {self._name} cannot be called directly; use {self._name}.remote()")

    # To type checkers: the signature of the function, or anything with a reference among the first arguments, which
    # stands for its value.
    @overload
    def remote(self, _1: ObjectRef[Any], /, *args: Any, **kwargs: Any) -> ObjectRef[R]: ...
    @overload
    def remote(self, _1: Any, _2: ObjectRef[Any], /, *args: Any, **kwargs: Any) -> ObjectRef[R]: ...
    @overload
    def remote(self, _1: Any, _2: Any, _3: ObjectRef[Any], /, *args: Any, **kwargs: Any) -> ObjectRef[R]: ...
    @overload
    def remote(self, _1: Any, _2: Any, _3: Any, _4: ObjectRef[Any], /, *args: Any, **kwargs: Any) -> ObjectRef[R]: ...
    @overload
    def remote(self, *args: P.args, **kwargs: P.kwargs) -> ObjectRef[R]: ...
    def remote(self, *args: Any, **kwargs: Any) -> ObjectRef[R]:
        """Submit one task; returns at once.

        Arguments that are ObjectRefs are replaced by their values before the task starts. TypeError when the
        arguments do not fit the function's signature or cannot be pickled.
        """
        bound = self._bound
        runtime = current.runtime
        if bound is None or runtime is None or bound.runtime is not runtime or runtime.in_group:
            bound = self._bind(self._options)
            self._bound = None if bound.runtime.in_group else bound  # what fits inside a group does not fit outside
        if kwargs or not self._least <= len(args) <= self._most:
            self._check(args, kwargs)
        return _submit(bound.runtime, bound.template, args, kwargs)  # type: ignore[no-any-return]

    def options(self, **options: Any) -> OptionedFunction[P, R]:
        """The same function with other options (merged shallowly over the decorator's)."""
        return OptionedFunction(self, self._options.merge(options))

    def bind(self, *args: Any, **kwargs: Any) -> Any:
        """A lazy call: nothing happens until the graph is executed."""
        from linckia.api.dag import FunctionNode  # noqa: PLC0415  (start-up time)

        return FunctionNode(self, args, kwargs)

    @property
    def _default_options(self) -> dict[str, Any]:
        return dict(self._given)

    # --- export -----------------------------------------------------------------------------------------------------

    def _bind(self, options: TaskOptions) -> BoundFunction:
        runtime = connected()
        if self._least < 0:
            self._read_signature()
        return BoundFunction(runtime, self._template(runtime, options))

    def _template(self, runtime: Runtime, options: TaskOptions) -> Any:
        from linckia.api.means import task_means  # noqa: PLC0415  (start-up time)
        from linckia.protocol import messages as m  # noqa: PLC0415  (start-up time)
        from linckia.worker.tasks import Template, remember  # noqa: PLC0415  (start-up time)

        resources = options.resources_for_placement()
        target = group_target(options, resources)
        retries = options.retries(default_retries())
        function = self._export(runtime)
        written = repr(sorted((k, v) for k, v in options.given.items() if k != "name"))
        cached = (function.function_id, id(self), written, target)
        template = runtime.template_cache.get(cached)
        if template is not None:
            return template
        if target is not None:
            resources = target.asked(resources)
        strategy = options.strategy()
        key = runtime.submitter.key_for(resources, strategy, options.runtime_env_key(), retriable=retries != 0)
        definition = m.TemplateDef(
            template=runtime.next_template(),
            function_id=function.function_id,
            name=self._options.name or self._name,
            num_returns=returns_code(options.returns),
            retry_exceptions=_retry_filter(options.retry_exceptions),
            max_calls=options.max_calls,
            backpressure=options.generator_backpressure_num_objects or -1,
            objects_per_yield=options.num_objects_per_yield,
            careful=retries == 0,
            qualified_name=f"{self.__module__}.{self.__qualname__}",
            capture_child_tasks=target is not None and target.captures,
            listed=options.enable_task_events,
        )
        template = Template(
            definition, function, key, retries, task_means(runtime, self._name, options, definition.num_returns)
        )
        remember(runtime.template_cache, cached, template)
        return template

    def _export(self, runtime: Runtime) -> Any:
        function = self._shared.get(id(runtime))
        if function is None:
            from linckia.protocol import messages as m  # noqa: PLC0415  (start-up time)
            from linckia.serialization.functions import dumps_function, function_id  # noqa: PLC0415

            blob = dumps_function(self._function, function_limit_bytes())
            function = m.FunctionDef(function_id(blob), blob)
            self._shared.clear()
            self._shared[id(runtime)] = function
        return function

    # --- arguments --------------------------------------------------------------------------------------------------

    def _read_signature(self) -> None:
        import inspect  # noqa: PLC0415  (start-up time)

        try:
            self._signature = inspect.signature(self._function)
        except (TypeError, ValueError):  # builtins without a signature: the worker will check
            self._least, self._most = 0, _ANY_COUNT
            return
        self._least, self._most = argument_counts(self._signature)

    def _check(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._signature is not None:
            try:
                self._signature.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(
                    f"{self._name}.remote(): {error}; the signature is {self._name}{self._signature}"
                ) from None

    def __reduce__(self) -> Any:
        return (_rebuild, (self._function, self._given))

    def __repr__(self) -> str:
        return f"RemoteFunction({self.__module__}.{self.__qualname__})"


class OptionedFunction(Generic[P, R]):
    """A remote function with call options; made by ``f.options(...)``."""

    def __init__(self, function: RemoteFunction[P, R], options: TaskOptions) -> None:
        self._function, self._options = function, options
        self._bound: BoundFunction | None = None

    @overload
    def remote(self, _1: ObjectRef[Any], /, *args: Any, **kwargs: Any) -> ObjectRef[R]: ...
    @overload
    def remote(self, _1: Any, _2: ObjectRef[Any], /, *args: Any, **kwargs: Any) -> ObjectRef[R]: ...
    @overload
    def remote(self, _1: Any, _2: Any, _3: ObjectRef[Any], /, *args: Any, **kwargs: Any) -> ObjectRef[R]: ...
    @overload
    def remote(self, _1: Any, _2: Any, _3: Any, _4: ObjectRef[Any], /, *args: Any, **kwargs: Any) -> ObjectRef[R]: ...
    @overload
    def remote(self, *args: P.args, **kwargs: P.kwargs) -> ObjectRef[R]: ...
    def remote(self, *args: Any, **kwargs: Any) -> ObjectRef[R]:
        """See :meth:`RemoteFunction.remote`."""
        bound = self._bound
        runtime = current.runtime
        if bound is None or runtime is None or bound.runtime is not runtime or runtime.in_group:
            bound = self._function._bind(self._options)
            self._bound = None if bound.runtime.in_group else bound
        self._function._check(args, kwargs)
        call = None
        if self._options.name and self._options.name != self._function._options.name:
            from linckia.worker.submission import CallOptions  # noqa: PLC0415  (start-up time)

            call = CallOptions(self._options.name)
        return _submit(bound.runtime, bound.template, args, kwargs, None, call)  # type: ignore[no-any-return]

    def bind(self, *args: Any, **kwargs: Any) -> Any:
        """See :meth:`RemoteFunction.bind`."""
        return self._function.bind(*args, **kwargs)


def connected() -> Any:
    """The runtime of this process; starts or joins a cluster when there is none (auto-init)."""
    runtime = current.runtime
    if runtime is None:
        from linckia.api.session import auto_init  # noqa: PLC0415  (the session imports everything)

        runtime = auto_init()
    return runtime


def argument_counts(signature: Any) -> tuple[int, int]:
    """How many positional arguments always fit without looking closer; (1, 0) means: always look."""
    least = most = 0
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            most += 1
            if parameter.default is parameter.empty:
                least += 1
        elif parameter.kind is parameter.VAR_POSITIONAL:
            most = _ANY_COUNT
        elif parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty:
            return 1, 0
    return least, most


def returns_code(returns: int | str) -> int:
    """Number of returns as templates carry it: -1 streaming, -2 dynamic."""
    return RETURNS[returns] if isinstance(returns, str) else returns


def is_generator(function: Any) -> bool | None:
    """From the code's flags (inspect costs 10 ms of import); None when there is no code to look at."""
    code = getattr(function, "__code__", None)
    return None if code is None else bool(code.co_flags & 0x220)


def _retry_filter(retry_exceptions: Any) -> bytes:
    if retry_exceptions is True:
        return b"*"
    if not retry_exceptions:
        return b""
    import cloudpickle  # noqa: PLC0415  (start-up time)

    held = getattr(retry_exceptions, "value", None)  # a function that decides, see api/options_held.py
    data: bytes = cloudpickle.dumps(held if held is not None else tuple(retry_exceptions))
    return data


def _submit(
    runtime: Any, template: Any, args: tuple[Any, ...], kwargs: dict[str, Any], actor: Any = None, call: Any = None
) -> Any:
    """Replaced by the real one at first use: ``import linckia`` must not import the runtime."""
    global _submit  # noqa: PLW0603
    from linckia.worker.submission import submit  # noqa: PLC0415

    _submit = submit  # type: ignore[assignment]  # (positional use only)
    return submit(runtime, template, args, kwargs, actor, call)


def _rebuild(function: Any, options: dict[str, Any]) -> RemoteFunction[Any, Any]:
    return RemoteFunction(function, options)


def default_retries() -> int:
    """``max_retries`` of tasks that do not say (TASK_MAX_RETRIES, 3)."""
    from linckia.host import environment  # noqa: PLC0415  (start-up time)

    return int(environment.option("TASK_MAX_RETRIES") or 3)


def function_limit_bytes() -> int:
    """Largest pickled function or class that is accepted (FUNCTION_SIZE_ERROR_THRESHOLD, 100 MiB)."""
    from linckia.host import environment  # noqa: PLC0415  (start-up time)

    return int(
        environment.option("FUNCTION_SIZE_ERROR_THRESHOLD")
        or environment.setting("FUNCTION_SIZE_ERROR_THRESHOLD")
        or 100 << 20
    )


def retry_filter(retry_exceptions: Any) -> bytes:
    """Wire form of ``retry_exceptions``: empty, ``*`` for all, or a pickled tuple of classes or function."""
    return _retry_filter(retry_exceptions)
