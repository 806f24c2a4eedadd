"""``@linckia.remote`` on classes: ActorClass makes actors, ActorHandle calls them (R 1.20-1.23, section 5).

A handle is *strong* when it holds the actor's scope reference (the creator's, and copies that travelled through tasks
and objects): the actor lives until the last of those is gone everywhere. ``get_actor`` and ``current_actor`` give
weak ones.
"""

from __future__ import annotations

import os
import pickle
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from linckia.api import remote_function as functions
from linckia.api.remote_function import connected
from linckia.base import errors

if TYPE_CHECKING:
    from linckia.api.actor_class_info import ClassInfo
    from linckia.api.options import ActorOptions
    from linckia.model.specs import ActorInfo, MethodSpec
    from linckia.worker.refs import ObjectRef

T = TypeVar("T")
HIDDEN_METHODS = (
    "ray_ready",
    "ray_call",
    "ray_terminate",
    "linckia_ready",
    "linckia_call",
    "linckia_terminate",
    "linckia_checkpoint",
)


class ActorMethod:
    """One method of one actor: ``.remote(...)``, ``.options(...)``."""

    __slots__ = ("_handle", "_name", "_options", "_template")

    def __init__(self, handle: ActorHandle[Any], name: str, options: Any = None) -> None:
        self._handle, self._name, self._options = handle, name, options
        self._template: Any = None

    def __call__(self, *_args: Any, **_kwargs: Any) -> Any:
        raise TypeError(f"actor method {self._name} cannot be called directly; use handle.{self._name}.remote()")

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Submit the call; returns its ref (or refs, or generator) at once."""
        return self._handle._call(self._name, args, kwargs, self._options)

    def options(self, **options: Any) -> ActorMethod:
        """The same method with options for this call (R 2.37)."""
        from linckia.api.options import parse_method_options  # noqa: PLC0415  (start-up time)

        spec = self._handle._methods.get(self._name)
        return ActorMethod(
            self._handle, self._name, parse_method_options(options, is_generator=spec.is_generator if spec else None)
        )

    def bind(self, *args: Any, **kwargs: Any) -> Any:
        """A lazy call: nothing happens until the graph is executed."""
        from linckia.api.dag import MethodNode  # noqa: PLC0415  (start-up time)

        return MethodNode(self, args, kwargs)

    def __repr__(self) -> str:
        return f"ActorMethod({self._handle!r}, {self._name})"

    def __reduce__(self) -> Any:
        return (ActorMethod, (self._handle, self._name, self._options))


class ActorHandle(Generic[T]):
    """A reference to an actor. Attributes are its methods; equal and hashable by actor id; picklable."""

    def __init__(self, info: ActorInfo, scope: ObjectRef[Any] | None) -> None:
        self._info = info
        self._scope = scope
        self._methods: dict[str, MethodSpec] = {method.name: method for method in info.methods}
        self._runtime: Any = None
        self._client: Any = None

    @property
    def _actor_id(self) -> Any:
        from linckia.base.ids import ActorID  # noqa: PLC0415  (start-up time)

        return ActorID(self._info.actor_id)

    @property
    def _ray_actor_id(self) -> Any:
        return self._actor_id

    def __getattr__(self, name: str) -> Any:
        if name in self.__dict__.get("_methods", ()) or (name.strip("_") in HIDDEN_METHODS and name.startswith("__")):
            return ActorMethod(self, name)
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        info = self.__dict__.get("_info")
        known = ", ".join(sorted(self.__dict__.get("_methods", ())))
        raise AttributeError(
            f"actor class {info.class_name if info else '?'} has no method {name!r}; it has: {known or 'none'}"
        )

    def __dir__(self) -> list[str]:
        return sorted(self._methods)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActorHandle) and self._info.actor_id == other._info.actor_id

    def __hash__(self) -> int:
        return hash(self._info.actor_id)

    def __repr__(self) -> str:
        return f"Actor({self._info.class_name}, {self._info.actor_id.hex()})"

    def __reduce__(self) -> Any:
        import msgspec  # noqa: PLC0415  (start-up time)

        return (_rebuild_handle, (msgspec.msgpack.encode(self._info), self._scope))

    def __copy__(self) -> ActorHandle[T]:
        return self

    def __deepcopy__(self, _memo: object) -> ActorHandle[T]:
        return self

    # --- calls ------------------------------------------------------------------------------------------------------

    def _attach(self) -> Any:
        runtime = connected()
        if self._runtime is not None and self._runtime is not runtime:
            raise errors.ActorHandleNotFoundError(
                f"{self!r} belongs to a cluster this process is no longer connected to; get a handle from this session"
            )
        self._runtime = runtime
        info = self._info
        client = runtime.actors.client(info.actor_id, out_of_order=info.out_of_order, class_name=info.class_name)
        if self._scope is not None:
            client.scope = weakref.ref(self._scope)
        self._client = client
        return client

    def _call(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: Any) -> Any:
        client = self._client
        if client is None or self._runtime is not connected():
            client = self._attach()
        info = self._info
        key = name if options is None else (name, repr(sorted((k, v) for k, v in options.given.items() if k != "name")))
        template = client.template_cache.get(key)
        if template is None:
            from linckia.worker.tasks import remember  # noqa: PLC0415  (start-up time)

            template = self._make_template(name, options)
            remember(client.template_cache, key, template)
        spec = self._methods.get(name)
        if spec is not None and spec.signature and (kwargs or args or spec.signature != b""):
            _check_call(client, spec, info.class_name, args, kwargs)
        if info.max_pending_calls > 0:
            self._check_pending(client)
        from linckia.worker.submission import CallOptions, submit  # noqa: PLC0415  (start-up time)

        call = CallOptions(options.name) if options is not None and options.name else None
        answer = submit(self._runtime, template, args, kwargs, client, call)
        if info.max_pending_calls > 0:
            _count_pending(self._runtime, client, answer)
        return answer

    def _check_pending(self, client: Any) -> None:
        if client.pending_calls >= self._info.max_pending_calls:
            raise errors.PendingCallsLimitExceeded(
                f"{client.pending_calls} calls to {self!r} are pending and max_pending_calls is "
                f"{self._info.max_pending_calls}; "
                "wait for some of them before calling again"
            )

    def _make_template(self, name: str, options: Any) -> Any:
        from linckia.api.means import method_means  # noqa: PLC0415  (start-up time)
        from linckia.protocol import messages as m  # noqa: PLC0415  (start-up time)
        from linckia.worker.tasks import Template  # noqa: PLC0415  (start-up time)

        info, spec = self._info, self._methods.get(name)
        retries = info.max_task_retries
        chosen: dict[str, Any] = {
            "num_returns": 1,
            "retry_exceptions": b"",
            "backpressure": -1,
            "concurrency_group": "",
            "listed": True,
        }
        if spec is not None:
            retries = retries if spec.max_task_retries is None else spec.max_task_retries
            chosen = {field: getattr(spec, field) for field in chosen} | {"listed": spec.listed is not False}
        if options is not None:
            retries = retries if options.max_task_retries is None else options.max_task_retries
            chosen.update(_told(options, info))
        definition = m.TemplateDef(
            template=self._runtime.next_template(),
            function_id=b"",
            name=f"{info.class_name}.{name}",
            qualified_name=f"{info.class_module}.{info.class_name}.{name}",
            **chosen,
        )
        means = method_means(self._runtime, definition.name, spec, options, definition.num_returns)
        return Template(definition, None, None, retries, means)


def _check_call(client: Any, spec: Any, class_name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    cached = client.template_cache.get((spec.name,))
    if cached is None:
        signature = pickle.loads(spec.signature)
        cached = client.template_cache[(spec.name,)] = (signature, *functions.argument_counts(signature))
    signature, least, most = cached
    if kwargs or not least <= len(args) <= most:
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(
                f"{class_name}.{spec.name}.remote(): {error}; the signature is {spec.name}{signature}"
            ) from None


def _told(options: Any, info: Any) -> dict[str, Any]:
    """What the options of one call say, in the template's terms."""
    told: dict[str, Any] = {}
    if options.num_returns is not None:
        told["num_returns"] = functions.returns_code(options.num_returns)
    if options.retry_exceptions is not None:
        told["retry_exceptions"] = functions.retry_filter(options.retry_exceptions)
    if options.generator_backpressure_num_objects is not None:
        told["backpressure"] = options.generator_backpressure_num_objects
    if options.concurrency_group is not None:
        told["concurrency_group"] = options.concurrency_group
    if options.enable_task_events is not None:
        told["listed"] = options.enable_task_events
    return told


def _count_pending(runtime: Any, client: Any, answer: Any) -> None:
    refs = answer if isinstance(answer, list) else [answer]
    client.pending_calls += 1

    def done(_ref: Any) -> None:
        client.pending_calls -= 1

    runtime.futures.on_done(refs[0], done)


def _rebuild_handle(info_bytes: bytes, scope: Any) -> ActorHandle[Any]:
    from linckia.model.specs import decode_actor_info  # noqa: PLC0415  (start-up time)

    return ActorHandle(decode_actor_info(info_bytes), scope)


class ActorClass(Generic[T]):
    """A class whose instances live in processes of their own: ``Cls.remote(...)`` makes one and returns its handle."""

    def __init__(self, cls: type[T], options: Mapping[str, Any]) -> None:
        from linckia.api.options import parse_actor_options  # noqa: PLC0415  (start-up time)

        self._cls = cls
        self._given = dict(options)
        self._options: ActorOptions = parse_actor_options(self._given)
        self._info: ClassInfo | None = None
        self._blobs: dict[int, tuple[bytes, bytes]] = {}
        self.__doc__ = cls.__doc__
        self.__name__ = cls.__name__
        self.__qualname__ = cls.__qualname__
        self.__module__ = cls.__module__
        self.__ray_actor_class__ = cls

    def __call__(self, *_args: Any, **_kwargs: Any) -> Any:
        raise TypeError(f"actor class {self.__name__} cannot be instantiated directly; use {self.__name__}.remote()")

    def __mro_entries__(self, _bases: tuple[Any, ...]) -> tuple[type, ...]:
        raise ActorClassInheritanceException(
            f"inheriting from the actor class {self.__name__} is not supported; inherit from the undecorated class"
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return getattr(self.__dict__["_cls"], name)

    def remote(self, *args: Any, **kwargs: Any) -> ActorHandle[T]:
        """Create an actor; returns its handle at once (named actors: when the name is registered)."""
        return self._create(self._options, args, kwargs)

    def options(self, **options: Any) -> OptionedActorClass[T]:
        """The same class with other options (merged shallowly over the decorator's)."""
        return OptionedActorClass(self, self._options.merge(options))

    def bind(self, *args: Any, **kwargs: Any) -> Any:
        """A lazy actor: nothing happens until the graph is executed."""
        from linckia.api.dag import ClassNode  # noqa: PLC0415  (start-up time)

        return ClassNode(self, args, kwargs)

    @property
    def _default_options(self) -> dict[str, Any]:
        return dict(self._given)

    def _create(self, options: ActorOptions, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ActorHandle[T]:
        from linckia.api.actor_creation import create_actor  # noqa: PLC0415  (start-up time)

        runtime = connected()
        if self._info is None:
            from linckia.api.actor_class_info import class_info  # noqa: PLC0415  (start-up time)

            self._info = class_info(self._cls)
        self._info.check_arguments(args, kwargs)
        class_id, blob = self._export(runtime)
        return create_actor(runtime, self._info, options, class_id, blob, (args, kwargs))

    def _export(self, runtime: Any) -> tuple[bytes, bytes]:
        exported = self._blobs.get(id(runtime))
        if exported is None:
            from linckia.serialization.functions import dumps_function, function_id  # noqa: PLC0415  (start-up time)

            blob = dumps_function(self._cls, functions.function_limit_bytes())
            exported = (function_id(blob), blob)
            self._blobs = {id(runtime): exported}
        return exported

    def __reduce__(self) -> Any:
        return (ActorClass, (self._cls, self._given))

    def __repr__(self) -> str:
        return f"ActorClass({self.__name__})"


class OptionedActorClass(Generic[T]):
    """An actor class with creation options; made by ``Cls.options(...)``."""

    def __init__(self, actor_class: ActorClass[T], options: ActorOptions) -> None:
        self._actor_class, self._options = actor_class, options

    def remote(self, *args: Any, **kwargs: Any) -> ActorHandle[T]:
        """See :meth:`ActorClass.remote`."""
        return self._actor_class._create(self._options, args, kwargs)

    def bind(self, *args: Any, **kwargs: Any) -> Any:
        """See :meth:`ActorClass.bind`."""
        return self._actor_class.bind(*args, **kwargs)


class ActorClassInheritanceException(TypeError):
    """A class tried to inherit from an actor class."""


def exit_actor() -> None:
    """End the actor this code runs in: this call and queued ones get ActorDiedError, there is no restart. TypeError
    elsewhere.
    """
    from linckia.worker import current  # noqa: PLC0415  (kept beside its only use)

    executor = current.runtime.executor if current.runtime is not None else None
    if executor is None or executor.actor is None:
        raise TypeError("exit_actor() was called outside of an actor; call it in an actor's method")
    from linckia.worker.actor_host import ActorExit  # noqa: PLC0415  (asyncio only in actors)

    raise ActorExit(f"exit_actor() was called in process {os.getpid()}")


def method(*args: Any, **options: Any) -> Any:
    """Decorator for actor methods: ``@linckia.method(num_returns=2, concurrency_group="io")``. Unknown options:
    AssertionError.
    """
    from linckia.api.options import parse_method_decorator  # noqa: PLC0415  (start-up time)

    if len(args) == 1 and not options and callable(args[0]):
        return args[0]
    assert not args and options, "use @linckia.method(num_returns=2) with keyword options, or @linckia.method alone"
    parse_method_decorator(options)  # unknown keys fail here, not where the decorator is applied

    def decorate(function: Any) -> Any:
        function.__linckia_method__ = parse_method_decorator(options, is_generator=functions.is_generator(function))
        return function

    return decorate
