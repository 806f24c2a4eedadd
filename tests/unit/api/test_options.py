"""Options as a whole: merging, what follows from them (resources, concurrency, returns), freezing, pickling."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable
from typing import Any

import cloudpickle
import pytest

from linckia.api.options import (
    ActorOptions,
    TaskOptions,
    parse_actor_options,
    parse_method_decorator,
    parse_method_options,
    parse_task_options,
)
from linckia.api.options_strategy import encoded_strategy
from linckia.api.scheduling_strategies import (
    Exists,
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
)
from linckia.base.errors import RayDeprecationWarning
from linckia.model.placement import Strategy, decode_strategy

NODE = "ab" * 28
T4 = {"CPU": 1.0, "accelerator_type:T4": 0.001}


class Group:
    bundle_specs: tuple[object, ...] = ()


def task(**written: object) -> TaskOptions:
    return parse_task_options(written)


def actor(**written: object) -> ActorOptions:
    return parse_actor_options(written)


@pytest.mark.row("2.1")
@pytest.mark.parametrize(
    ("written", "resources"),
    [
        ({}, {"CPU": 1.0}),
        ({"num_cpus": 0}, {}),
        ({"num_cpus": None}, {}),  # as in Ray: given and empty is not the same as not given
        ({"num_cpus": 0.5, "num_gpus": 2}, {"CPU": 0.5, "GPU": 2.0}),
        ({"memory": 100.9}, {"CPU": 1.0, "memory": 100.0}),
        ({"resources": {"a": 2, "b": 0}}, {"CPU": 1.0, "a": 2.0}),
        ({"accelerator_type": "A100"}, {"CPU": 1.0, "accelerator_type:A100": 0.001}),
    ],
)
def test_resources_of_a_task(written: dict[str, object], resources: dict[str, float]) -> None:
    options = parse_task_options(written)
    assert options.resources_for_placement() == options.lifetime_resources() == resources


@pytest.mark.row("2.2", "14.1", "2.2")
@pytest.mark.parametrize(
    ("written", "held", "placed"),
    [
        ({}, {}, {"CPU": 1.0}),
        ({"memory": 100}, {"memory": 100.0}, {"CPU": 1.0, "memory": 100.0}),
        ({"num_cpus": 0}, {}, {}),
        ({"num_cpus": 2}, {"CPU": 2.0}, {"CPU": 2.0}),
        ({"num_gpus": 1}, {"CPU": 1.0, "GPU": 1.0}, {"CPU": 1.0, "GPU": 1.0}),
        ({"num_gpus": 0}, {"CPU": 1.0}, {"CPU": 1.0}),
        ({"num_gpus": None}, {}, {"CPU": 1.0}),
        ({"resources": {"a": 1}}, {"CPU": 1.0, "a": 1.0}, {"CPU": 1.0, "a": 1.0}),
        ({"resources": {"a": 0}}, {"CPU": 1.0}, {"CPU": 1.0}),
        ({"resources": {}}, {}, {"CPU": 1.0}),
        ({"accelerator_type": "T4"}, T4, T4),
        ({"num_cpus": 0, "num_gpus": 1}, {"GPU": 1.0}, {"GPU": 1.0}),
    ],
)  # fmt: skip
def test_resources_of_an_actor(written: dict[str, object], held: dict[str, float], placed: dict[str, float]) -> None:
    options = parse_actor_options(written)
    assert options.lifetime_resources() == held
    assert options.resources_for_placement() == placed


@pytest.mark.row("2.3", "2.22")
def test_a_gpu_task_ends_its_worker_after_each_call() -> None:
    assert task(num_gpus=1).max_calls == 1
    assert task(num_gpus=1, max_calls=None).max_calls == 1
    assert task(num_gpus=1, max_calls=0).max_calls == 0
    assert task(num_gpus=1, max_calls=7).max_calls == 7
    assert task(num_gpus=0).max_calls == 0
    assert task().merge({"num_gpus": 1}).max_calls == 0, "only the decorator decides"
    assert task(num_gpus=1).merge({"num_gpus": 0}).max_calls == 1


@pytest.mark.row("2.22", "2.24", "2.28")
@pytest.mark.parametrize("value", [1, None])
def test_options_of_the_function_or_class_cannot_be_overridden(value: object) -> None:
    with pytest.raises(ValueError, match="max_calls"):
        task(max_calls=3).merge({"max_calls": value})
    with pytest.raises(ValueError, match="concurrency_groups"):
        actor(concurrency_groups={"io": 1}).merge({"concurrency_groups": {"io": 2} if value else None})
    with pytest.raises(ValueError, match="_num_objects_per_yield"):
        task(_num_objects_per_yield=3).merge({"_num_objects_per_yield": value})
    with pytest.raises(ValueError, match="_num_objects_per_yield"):
        parse_method_options({"_num_objects_per_yield": value})


@pytest.mark.row("2.24")
def test_the_same_objects_per_yield_may_be_repeated() -> None:
    assert task(_num_objects_per_yield=3).merge({"_num_objects_per_yield": 3}).num_objects_per_yield == 3


@pytest.mark.row("2.4", "2.10")
def test_merging_is_shallow_and_keeps_the_base() -> None:
    base = task(num_cpus=2, resources={"a": 1, "b": 1}, max_calls=5, name="f")
    merged = base.merge({"resources": {"c": 2}, "num_gpus": 1})
    assert merged.resources == {"c": 2.0}
    assert (merged.num_cpus, merged.name, merged.max_calls) == (2, "f", 5)
    assert merged.resources_for_placement() == {"CPU": 2.0, "GPU": 1.0, "c": 2.0}
    assert base.merge({"resources": None}).resources_for_placement() == {"CPU": 2.0}
    assert base.resources == {"a": 1.0, "b": 1.0}
    assert base.merge({}) == base
    assert actor(concurrency_groups={"io": 1}, name="a").merge({"name": "b"}).concurrency_groups == {"io": 1}


@pytest.mark.row("2.32")
def test_get_if_exists_needs_a_name_after_merging_too() -> None:
    both = actor(get_if_exists=True, name="x")
    assert both.get_if_exists
    assert actor(name="x").merge({"get_if_exists": True}).get_if_exists
    with pytest.raises(ValueError, match="get_if_exists needs"):
        both.merge({"name": None})
    with pytest.raises(ValueError, match="get_if_exists needs"):
        actor().merge({"get_if_exists": True})


@pytest.mark.row("2.19")
def test_streaming_needs_a_generator() -> None:
    for kind in ("streaming", "dynamic"):
        with (
            pytest.raises(ValueError, match=kind),
            pytest.warns(RayDeprecationWarning) if kind == "dynamic" else _nothing(),
        ):
            parse_task_options({"num_returns": kind}, is_generator=False)
        with (
            pytest.raises(ValueError, match=kind),
            pytest.warns(RayDeprecationWarning) if kind == "dynamic" else _nothing(),
        ):
            parse_task_options({}, is_generator=False).merge({"num_returns": kind})
        with (
            pytest.raises(ValueError, match=kind),
            pytest.warns(RayDeprecationWarning) if kind == "dynamic" else _nothing(),
        ):
            parse_method_decorator({}, is_generator=False).merge({"num_returns": kind})
    assert parse_task_options({"num_returns": "streaming"}, is_generator=True).returns == "streaming"
    assert parse_task_options({"num_returns": "streaming"}).returns == "streaming", "unknown function: not checked here"


@pytest.mark.row("2.19")
def test_the_default_number_of_returns_follows_from_the_function() -> None:
    assert parse_task_options({}, is_generator=True).returns == "streaming"
    assert parse_task_options({}, is_generator=False).returns == 1
    assert parse_task_options({"num_returns": 0}, is_generator=True).returns == 0
    assert parse_task_options({}, is_generator=True).merge({"num_cpus": 2}).returns == "streaming"
    assert parse_method_decorator({}, is_generator=True).merge({"name": "x"}).returns == "streaming"


@pytest.mark.row("2.19")
@pytest.mark.parametrize(
    "write",
    [
        lambda: parse_task_options({"num_returns": "dynamic"}, is_generator=True),
        lambda: parse_task_options({}, is_generator=True).merge({"num_returns": "dynamic"}),
        lambda: parse_method_decorator({"num_returns": "dynamic"}, is_generator=True),
        lambda: parse_method_decorator({}, is_generator=True).merge({"num_returns": "dynamic"}),
    ],
    ids=["task", "task.options", "method", "method.options"],
)
def test_dynamic_returns_warn_at_the_users_line(write: Callable[[], Any]) -> None:
    with pytest.warns(RayDeprecationWarning, match="streaming") as caught:
        options = write()
    assert [(warning.filename, warning.lineno) for warning in caught] == [(__file__, inspect.getsourcelines(write)[1])]
    if isinstance(options, TaskOptions):
        options.merge({"num_cpus": 2})  # written once, warned once (warnings are errors here)


def _nothing() -> Any:
    return pytest.MonkeyPatch.context()


@pytest.mark.row("2.27", "2.34", "14.16")
@pytest.mark.parametrize(
    ("written", "is_async", "answer"),
    [
        ({}, False, (1, False)),
        ({}, True, (1000, True)),
        ({"max_concurrency": 4}, False, (4, True)),
        ({"max_concurrency": 4}, True, (4, True)),
        ({"max_concurrency": 0}, False, (1, False)),
        ({"concurrency_groups": {"io": 1}}, False, (1, True)),
        ({"allow_out_of_order_execution": True}, False, (1, True)),
        ({"allow_out_of_order_execution": False}, False, (1, False)),
    ],
)
def test_concurrency(written: dict[str, object], is_async: bool, answer: tuple[int, bool]) -> None:
    assert parse_actor_options(written).resolve_concurrency(is_async) == answer


@pytest.mark.row("2.34")
@pytest.mark.parametrize(("written", "is_async"), [({}, True), ({"max_concurrency": 2}, False)])
def test_order_cannot_be_kept_by_concurrent_actors(written: dict[str, object], is_async: bool) -> None:
    options = parse_actor_options({"allow_out_of_order_execution": False, **written})
    with pytest.raises(ValueError, match="allow_out_of_order_execution=False: (async|threaded)"):
        options.resolve_concurrency(is_async)


@pytest.mark.row("2.20")
def test_the_cluster_may_have_another_default_of_retries() -> None:
    assert task().max_retries == task(max_retries=None).max_retries == 3
    for options in (task(), task(max_retries=None), task(max_retries=1).merge({"max_retries": None})):
        assert options.retries(7) == 7
    assert task(max_retries=0).retries(7) == task(max_retries=0).max_retries == 0


@pytest.mark.row("2.26")
def test_the_nearest_retries_win() -> None:
    decorated = actor(max_task_retries=1)
    optioned = decorated.merge({"max_task_retries": 2})
    method = parse_method_decorator({"max_task_retries": 3})
    assert parse_method_decorator({}).retries(actor()) == 0
    assert parse_method_decorator({}).retries(decorated) == 1
    assert parse_method_decorator({}).retries(optioned) == 2
    assert method.retries(optioned) == 3
    assert method.merge({"max_task_retries": 0}).retries(optioned) == 0
    assert method.merge({"max_task_retries": None}).retries(optioned) == 3, "None in a call means the method's own"


@pytest.mark.row("2.8", "2.9", "2.10", "2.12")
@pytest.mark.parametrize("parse", [parse_task_options, parse_actor_options], ids=["task", "actor"])
@pytest.mark.parametrize(
    ("written", "kind", "selectors"),
    [
        ({"label_selector": {"a": "b"}}, "DEFAULT", [{"a": "b"}]),
        ({"fallback_strategy": [{"label_selector": {"a": "b"}}]}, "DEFAULT", [{}, {"a": "b"}]),
        ({"scheduling_strategy": NodeLabelSchedulingStrategy({"a": Exists()})}, "NODE_LABEL", []),
        ({"scheduling_strategy": NodeAffinitySchedulingStrategy(NODE, True)}, "NODE_AFFINITY", []),
        ({"scheduling_strategy": "SPREAD"}, "SPREAD", []),
    ],
)
def test_where_work_may_run_travels_with_it(
    parse: Callable[..., Any], written: dict[str, object], kind: str, selectors: list[dict[str, str]]
) -> None:
    options = parse(written)
    strategy = decode_strategy(encoded_strategy(options))
    assert (strategy.kind, strategy.selectors) == (kind, selectors)
    assert encoded_strategy(options.merge(dict.fromkeys(written))) == b"", "taken back in a call"


NOTHING = [{}, {"label_selector": {}, "fallback_strategy": []}, {"scheduling_strategy": "DEFAULT"}]


@pytest.mark.parametrize("written", NOTHING)
def test_what_says_nothing_costs_nothing(written: dict[str, object]) -> None:
    assert encoded_strategy(parse_task_options(written)) == b""
    assert encoded_strategy(parse_actor_options(written)) == b""


@pytest.mark.row("2.11")
def test_node_affinity_as_messages_carry_it() -> None:
    assert task().strategy() == b""
    assert decode_strategy(task(scheduling_strategy="SPREAD").strategy()).kind == "SPREAD"
    hard = task(scheduling_strategy=NodeAffinitySchedulingStrategy(NODE, False, _fail_on_unavailable=True))
    assert decode_strategy(hard.strategy()) == Strategy("NODE_AFFINITY", bytes.fromhex(NODE), False, False, True)
    soft = actor(scheduling_strategy=NodeAffinitySchedulingStrategy(NODE, True, _spill_on_unavailable=True))
    assert decode_strategy(soft.strategy()) == Strategy("NODE_AFFINITY", bytes.fromhex(NODE), True, True, False)


@pytest.mark.row("2.15", "4.4")
@pytest.mark.filterwarnings("ignore:.* has no effect yet")
def test_equal_environments_have_equal_keys() -> None:
    one = task(runtime_env={"pip": ["a"], "env_vars": {"A": "1", "B": "2"}})
    other = task(runtime_env={"env_vars": {"B": "2", "A": "1"}, "pip": ["a"]})
    third = task(runtime_env={"pip": ["b"], "env_vars": {"A": "1", "B": "2"}})
    assert one.runtime_env_key() == other.runtime_env_key() != third.runtime_env_key()
    assert task().runtime_env_key() == task(runtime_env={}).runtime_env_key() == ""


@pytest.mark.filterwarnings("ignore:.* has no effect yet")
def test_options_are_frozen_and_do_not_follow_the_users_dict() -> None:
    written: dict[str, Any] = {"resources": {"a": 1}, "label_selector": {"a": "b"}, "runtime_env": {"pip": ["a"]}}
    options = parse_task_options(written)
    for value in written.values():
        value["later"] = "x"
    assert options.resources == {"a": 1.0}
    assert options.label_selector == {"a": "b"}
    assert options.runtime_env == {"pip": ["a"]}
    with pytest.raises(AttributeError, match="num_cpus is read-only"):
        options.num_cpus = 3
    with pytest.raises(AttributeError, match="num_cpus is read-only"):
        del options.num_cpus
    with pytest.raises(AttributeError):
        _ = options.__dict__  # slots only: no room for typos


@pytest.mark.parametrize("pickler", [pickle, cloudpickle], ids=["pickle", "cloudpickle"])
def test_options_travel_inside_remote_functions(pickler: Any) -> None:
    strategy = NodeAffinitySchedulingStrategy(NODE, True)
    samples = [
        parse_task_options({"num_cpus": 2, "max_calls": 3, "scheduling_strategy": strategy}, is_generator=True),
        actor(name="a", concurrency_groups={"io": 1}),
        parse_method_decorator({"retry_exceptions": [ValueError]}, is_generator=True),
    ]
    for options in samples:
        back = pickler.loads(pickler.dumps(options))
        assert back == options
        assert repr(back) == repr(options)
        assert getattr(back, "is_generator", None) == getattr(options, "is_generator", None)
    assert samples[0] != task(num_cpus=2)
    assert "num_cpus=2" in repr(samples[0])
