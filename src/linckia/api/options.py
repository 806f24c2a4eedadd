"""Options of tasks, actors and actor methods: what a user wrote, checked, with defaults and what follows from it.

`remote_function.py` and `actor.py` call `parse_*` for decorators and `merge` for `.options()`; the results are frozen.
Errors: ValueError for unknown names and bad values, TypeError for wrong types, each naming the option (R 2). Nothing
here submits anything or knows a runtime.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from linckia.api.options_held import Held
from linckia.api.options_placement import (
    check_group_with_strategy,
    warn_of_deprecated_group,
)
from linckia.api.options_rules import (
    ACTOR_RULES,
    METHOD_CALL_RULES,
    METHOD_DECORATOR_RULES,
    METHOD_RULES,
    TASK_RULES,
    Rules,
    checked,
    unknown,
)
from linckia.api.scheduling_strategies import (
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
    PlacementGroupSchedulingStrategy,
)
from linckia.base.errors import RayDeprecationWarning
from linckia.base.limits import ASYNC_ACTOR_CONCURRENCY_DEFAULT, TASK_MAX_RETRIES_DEFAULT
from linckia.base.resources import ResourceSet

if TYPE_CHECKING:
    from linckia.model.checkpoints import CheckpointPolicy

SchedulingStrategy = (
    str | PlacementGroupSchedulingStrategy | NodeAffinitySchedulingStrategy | NodeLabelSchedulingStrategy | None
)
RetryExceptions = bool | Sequence[type[Exception]] | Held
_ACCELERATOR_SHARE = 0.001  # enough to pin work to nodes with the accelerator, too little to use it up
_NOT_COUNTED = {"memory", "object_store_memory"}  # they alone do not make an actor hold a CPU (R 2.2)


class Options:
    """Checked options. `given` holds what was written, by the user's names; every other attribute is that or a default.

    Nothing is copied out of `given`, because `.options(...)` makes one of these for each call.
    """

    __slots__ = ("given",)
    given: Mapping[str, object]
    names: ClassVar[Mapping[str, str]]
    rules: ClassVar[Rules]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.names = {name.lstrip("_"): name for name in getattr(cls, "rules", ())}

    def __init__(self, given: Mapping[str, object]) -> None:
        """Trusts its caller: `given` is checked. Users' options go through `parse_*` and `merge`."""
        object.__setattr__(self, "given", given)

    if not TYPE_CHECKING:  # type checkers know the annotated attributes only, and find typos

        def __getattr__(self, attribute: str) -> object:
            name = type(self).names.get(attribute)
            if name is None:
                raise AttributeError(f"{type(self).__name__} has no attribute {attribute!r}")
            return self.given[name] if name in self.given else self.rules[name].default

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} is read-only; merge() makes options with other values")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} is read-only; merge() makes options with other values")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.given == other.given

    __hash__ = None  # type: ignore[assignment]  # dicts inside

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.given.items())})"

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (dict(self.given),)


class PlacedOptions(Options):
    """What tasks and actors have in common: resources, where to run, environment."""

    __slots__ = ()
    accelerator_type: str | None
    enable_task_events: bool
    fallback_strategy: list[dict[str, dict[str, str]]] | None
    label_selector: dict[str, str] | None
    labels: dict[str, str] | None
    memory: int | None
    name: str | None
    num_cpus: float | None
    num_gpus: float | None
    object_store_memory: int | None
    placement_group: object
    placement_group_bundle_index: int
    placement_group_capture_child_tasks: bool | None
    resources: dict[str, float] | None
    runtime_env: dict[str, object] | None
    scheduling_strategy: SchedulingStrategy

    def strategy(self) -> bytes:
        """Where it may run: an encoded model.placement.Strategy, empty for the default."""
        if not (self.scheduling_strategy or self.label_selector or self.fallback_strategy):
            return b""
        from linckia.api.options_strategy import encoded_strategy  # noqa: PLC0415  (start-up time)

        return encoded_strategy(self)

    def runtime_env_key(self) -> str:
        """Equal for equal runtime environments: work in different ones cannot share a worker. Empty without one."""
        if not self.runtime_env:
            return ""
        import json  # noqa: PLC0415  (start-up time: few programs have a runtime_env per task)

        return json.dumps(self.runtime_env, sort_keys=True, default=repr)

    def _requested(self) -> dict[str, float]:
        """Every resource that was named, zeros included."""
        amounts = dict(self.resources or {})
        named = {"CPU": self.num_cpus, "GPU": self.num_gpus}
        named |= {"memory": self.memory, "object_store_memory": self.object_store_memory}
        amounts.update({name: amount for name, amount in named.items() if amount is not None})
        if self.accelerator_type is not None:
            amounts[f"accelerator_type:{self.accelerator_type}"] = _ACCELERATOR_SHARE
        return amounts


class TaskOptions(PlacedOptions):
    """Options of a remote function. `is_generator` is None where the function was not known."""

    __slots__ = ("is_generator",)
    generator_backpressure_num_objects: int
    is_generator: bool | None
    fallback: Held | None
    max_backoff_s: float | None
    max_calls: int
    num_objects_per_yield: int
    num_returns: int | str | None
    replicas: int
    retry_backoff_s: float | None
    retry_exceptions: RetryExceptions
    rules: ClassVar[Rules] = TASK_RULES

    def __init__(self, given: Mapping[str, object], is_generator: bool | None = None) -> None:
        super().__init__(given)
        object.__setattr__(self, "is_generator", is_generator)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (dict(self.given), self.is_generator)

    @property
    def returns(self) -> int | str:
        """`num_returns` with its default: "streaming" for generator functions, else 1."""
        return _returns(self.num_returns, self.is_generator)

    @property
    def max_retries(self) -> int:
        """How often the task is run again after a system failure, unless the cluster has another default."""
        return self.retries(TASK_MAX_RETRIES_DEFAULT)

    def retries(self, default: int) -> int:
        """As `max_retries`, with the cluster's `default` where the user wrote nothing, or None."""
        written = self.given.get("max_retries")
        return written if isinstance(written, int) else default

    def merge(self, overrides: Mapping[str, object], *, stacklevel: int = 2) -> TaskOptions:
        """These options with `overrides` over them, as `.options()` does: shallowly, so None clears a dict."""
        _refuse_unknown(TASK_RULES, overrides, "remote functions")
        changed = checked(TASK_RULES, overrides)
        if "max_calls" in overrides:
            raise ValueError("option max_calls belongs to the function: give it to @remote, not to .options()")
        per_yield = changed.get("_num_objects_per_yield", self.num_objects_per_yield)
        if per_yield != self.num_objects_per_yield:
            raise ValueError("option _num_objects_per_yield belongs to the function: give it to @remote")
        _check_returns(changed.get("num_returns"), self.is_generator, stacklevel)
        given = {**self.given, **changed}
        check_group_with_strategy(given)
        warn_of_deprecated_group(overrides, stacklevel)
        return TaskOptions(given, self.is_generator)

    def resources_for_placement(self) -> dict[str, float]:
        """What a node must offer, zeros left out."""
        return ResourceSet.from_amounts(self._requested()).amounts()

    lifetime_resources = resources_for_placement
    """A task holds what it asked for while it runs."""


class ActorOptions(PlacedOptions):
    """Options of an actor class."""

    __slots__ = ()
    actor_generator_backpressure_num_objects: int
    allow_out_of_order_execution: bool | None
    checkpoint: CheckpointPolicy | None
    concurrency_groups: dict[str, int] | None
    enable_tensor_transport: bool | None
    get_if_exists: bool
    lifetime: str | None
    max_concurrency: int | None
    max_pending_calls: int
    max_restarts: int
    max_task_retries: int
    namespace: str | None
    rules: ClassVar[Rules] = ACTOR_RULES

    def merge(self, overrides: Mapping[str, object], *, stacklevel: int = 2) -> ActorOptions:
        """These options with `overrides` over them, as `.options()` does: shallowly, so None clears a dict."""
        _refuse_unknown(ACTOR_RULES, overrides, "actors")
        changed = checked(ACTOR_RULES, overrides)
        if "concurrency_groups" in overrides:
            raise ValueError("option concurrency_groups belongs to the class: give it to @remote, not to .options()")
        return _actor_options({**self.given, **changed}, overrides, stacklevel + 1)

    def lifetime_resources(self) -> dict[str, float]:
        """What the actor holds until it dies: by default nothing; with any resource besides memory, a CPU too."""
        amounts = self._requested()
        if "CPU" not in amounts and set(amounts) - _NOT_COUNTED:
            amounts["CPU"] = 1.0
        return ResourceSet.from_amounts(amounts).amounts()

    def resources_for_placement(self) -> dict[str, float]:
        """What a node must have in total to be chosen: an actor that names no resource needs a node with a CPU."""
        amounts = self.lifetime_resources()
        return amounts if set(self._requested()) - _NOT_COUNTED else {"CPU": 1.0, **amounts}

    def resolve_concurrency(self, is_async: bool) -> tuple[int, bool]:
        """How many calls run at a time, and whether they may overtake each other (R 2.27, 2.34)."""
        default = ASYNC_ACTOR_CONCURRENCY_DEFAULT if is_async else 1
        limit = default if self.max_concurrency is None else max(1, self.max_concurrency)
        wanted = self.allow_out_of_order_execution
        if wanted is False and (is_async or limit > 1):
            kind = "async" if is_async else "threaded"
            raise ValueError(
                f"option allow_out_of_order_execution=False: {kind} actors run calls side by side and cannot keep "
                "their order; leave the option out, or use a plain actor with max_concurrency=1"
            )
        return limit, is_async or limit > 1 or bool(self.concurrency_groups) if wanted is None else wanted


class MethodOptions(Options):
    """Options of an actor method, from `@method` or from one call. None: as the actor says, or the default."""

    __slots__ = ("is_generator",)
    concurrency_group: str | None
    enable_task_events: bool | None
    fallback: Held | None
    generator_backpressure_num_objects: int | None
    is_generator: bool | None
    labels: dict[str, str] | None
    max_backoff_s: float | None
    max_task_retries: int | None
    name: str | None
    num_objects_per_yield: int | None
    num_returns: int | str | None
    replicas: int
    retry_backoff_s: float | None
    retry_exceptions: RetryExceptions | None
    tensor_transport: str | None
    rules: ClassVar[Rules] = METHOD_RULES

    def __init__(self, given: Mapping[str, object], is_generator: bool | None = None) -> None:
        super().__init__(given)
        object.__setattr__(self, "is_generator", is_generator)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (dict(self.given), self.is_generator)

    @property
    def returns(self) -> int | str:
        """`num_returns` with its default: "streaming" for generator methods, else 1."""
        return _returns(self.num_returns, self.is_generator)

    def merge(self, overrides: Mapping[str, object], *, stacklevel: int = 2) -> MethodOptions:
        """The method's options with those of one call over them; None in a call means the method's own."""
        changed = parse_method_options(overrides, is_generator=self.is_generator, stacklevel=stacklevel + 1).given
        told = {name: value for name, value in changed.items() if value is not None}
        return MethodOptions({**self.given, **told}, self.is_generator)

    def retries(self, actor: ActorOptions) -> int:
        """Call options win over `@method`, that over the actor's options, those over the class's decorator (R 2.26)."""
        return actor.max_task_retries if self.max_task_retries is None else self.max_task_retries


def parse_task_options(
    written: Mapping[str, object], *, is_generator: bool | None = None, stacklevel: int = 2
) -> TaskOptions:
    """The options of `@remote(...)` on a function. `num_returns` is checked against the function by `is_generator`."""
    _refuse_unknown(TASK_RULES, written, "remote functions")
    given = checked(TASK_RULES, written)
    check_group_with_strategy(given)
    _check_returns(given.get("num_returns"), is_generator, stacklevel)
    warn_of_deprecated_group(written, stacklevel)
    if given.get("num_gpus") and written.get("max_calls") is None:
        given["max_calls"] = 1  # a process that used a GPU often keeps its memory: end it after the task (R 2.3)
    return TaskOptions(given, is_generator)


def parse_actor_options(written: Mapping[str, object], *, stacklevel: int = 2) -> ActorOptions:
    """The options of `@remote(...)` on a class."""
    _refuse_unknown(ACTOR_RULES, written, "actors")
    return _actor_options(checked(ACTOR_RULES, written), written, stacklevel + 1)


def parse_method_decorator(
    written: Mapping[str, object], *, is_generator: bool | None = None, stacklevel: int = 2
) -> MethodOptions:
    """The options of `@method(...)`. An unknown one is an AssertionError, as in Ray (R 1.23)."""
    problem = unknown(METHOD_DECORATOR_RULES, written, "actor methods")
    if problem is not None:
        raise AssertionError(problem)
    given = checked(METHOD_DECORATOR_RULES, written)
    _check_returns(given.get("num_returns"), is_generator, stacklevel)
    return MethodOptions(given, is_generator)


def parse_method_options(
    written: Mapping[str, object], *, is_generator: bool | None = None, stacklevel: int = 2
) -> MethodOptions:
    """The options of one call, `actor.m.options(...)`. An unknown one is a TypeError, as in Ray (R 2.37)."""
    if "_num_objects_per_yield" in written:
        raise ValueError("option _num_objects_per_yield belongs to the method: give it to @method")
    problem = unknown(METHOD_CALL_RULES, written, "calls of actor methods")
    if problem is not None:
        raise TypeError(problem)
    given = checked(METHOD_CALL_RULES, written)
    _check_returns(given.get("num_returns"), is_generator, stacklevel)
    return MethodOptions(given, is_generator)


def _actor_options(given: dict[str, object], written: Mapping[str, object], stacklevel: int) -> ActorOptions:
    if given.get("get_if_exists") and not given.get("name"):
        raise ValueError("option get_if_exists needs the option name: it finds the actor by it")
    check_group_with_strategy(given)
    warn_of_deprecated_group(written, stacklevel)
    if "object_store_memory" in written:
        warnings.warn(
            "option object_store_memory is deprecated for actors: it reserves nothing",
            DeprecationWarning,
            stacklevel=stacklevel,
        )
    return ActorOptions(given)


def _refuse_unknown(rules: Rules, written: Mapping[str, object], what: str) -> None:
    problem = unknown(rules, written, what)
    if problem is not None:
        raise ValueError(problem)


def _check_returns(num_returns: object, is_generator: bool | None, stacklevel: int) -> None:
    if num_returns == "dynamic":
        warnings.warn('num_returns="dynamic" is deprecated: use "streaming"', RayDeprecationWarning, stacklevel + 1)
    if num_returns in ("streaming", "dynamic") and is_generator is False:
        raise ValueError(f'option num_returns="{num_returns}" needs a generator function: one that uses yield')


def _returns(num_returns: int | str | None, is_generator: bool | None) -> int | str:
    if num_returns is not None:
        return num_returns
    return "streaming" if is_generator else 1
