"""Each row of the option tables: which values pass, which error the others give, and that it names the option.

Kinds of errors were compared with real Ray 2.60 (decorator, `.options()` or `.remote()`, whichever refuses first).
Where Ray accepts nonsense or fails later with an unrelated error, the refusal here is the better one (marked `better`).
"""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from linckia.api.options import (
    ActorOptions,
    MethodOptions,
    TaskOptions,
    parse_actor_options,
    parse_method_decorator,
    parse_method_options,
    parse_task_options,
)
from linckia.api.scheduling_strategies import NodeAffinitySchedulingStrategy

NAN, INF = float("nan"), float("inf")
HUGE = 10**30
Parser = Callable[[Mapping[str, object]], Any]


class Group:
    """What the options need to know of a placement group."""

    bundle_specs: tuple[object, ...] = ()


GROUP = Group()

PLACED_BAD: list[tuple[str, str, object, type[Exception]]] = [
    ("2.1", "num_cpus", "1", TypeError),
    ("2.1", "num_cpus", [1], TypeError),
    ("2.1", "num_cpus", -1, ValueError),
    ("2.1", "num_cpus", -0.5, ValueError),
    ("2.1", "num_cpus", NAN, ValueError),
    ("2.1", "num_cpus", INF, ValueError),  # better: Ray gives OverflowError
    ("2.1", "num_cpus", 1e30, ValueError),  # better: waits for ever in Ray
    ("2.1", "num_cpus", 10**400, ValueError),
    ("2.1", "num_cpus", 0.00001, ValueError),
    ("2.3", "num_gpus", "1", TypeError),
    ("2.3", "num_gpus", -1, ValueError),
    ("2.3", "num_gpus", NAN, ValueError),
    ("2.3", "num_gpus", 1.5, ValueError),
    ("2.4", "resources", [1], TypeError),
    ("2.4", "resources", {"CPU": 1}, ValueError),
    ("2.4", "resources", {"GPU": 1}, ValueError),
    ("2.4", "resources", {"memory": 1}, ValueError),
    ("2.4", "resources", {"object_store_memory": 1}, ValueError),
    ("2.4", "resources", {"bundle": 1}, ValueError),
    ("2.4", "resources", {"a": "1"}, TypeError),
    ("2.4", "resources", {"a": None}, TypeError),
    ("2.4", "resources", {"a": -1}, ValueError),
    ("2.4", "resources", {"a": NAN}, ValueError),
    ("2.4", "resources", {"a": INF}, ValueError),
    ("2.4", "resources", {1: 1}, TypeError),  # better: AttributeError in Ray
    ("2.4", "resources", {"": 1}, ValueError),  # better: accepted by Ray
    ("2.5", "memory", "1", TypeError),
    ("2.5", "memory", -1, ValueError),
    ("2.5", "memory", NAN, ValueError),
    ("2.5", "memory", 0.00001, ValueError),
    ("2.5", "memory", HUGE, ValueError),
    ("2.7", "accelerator_type", 3, TypeError),
    ("2.7", "accelerator_type", "", ValueError),  # better: accepted by Ray
    ("2.8", "label_selector", "a", TypeError),
    ("2.8", "label_selector", {"a b": "x"}, ValueError),
    ("2.8", "label_selector", {"a": "-"}, ValueError),
    ("2.8", "label_selector", {"a": "(x)"}, ValueError),  # better: accepted by Ray
    ("2.8", "label_selector", {"a": "in()"}, ValueError),
    ("2.8", "label_selector", {"a" * 64: "x"}, ValueError),
    ("2.8", "label_selector", {"p" * 254 + "/a": "x"}, ValueError),
    ("2.8", "label_selector", {"a": 5}, TypeError),
    ("2.8", "label_selector", {5: "a"}, TypeError),
    ("2.9", "fallback_strategy", {}, TypeError),
    ("2.9", "fallback_strategy", [{}], ValueError),
    ("2.9", "fallback_strategy", [1], ValueError),
    ("2.9", "fallback_strategy", [{"x": 1}], ValueError),
    ("2.9", "fallback_strategy", [{"label_selector": 5}], ValueError),
    ("2.9", "fallback_strategy", [{"label_selector": {"a": "-"}}], ValueError),
    ("2.10", "scheduling_strategy", 5, TypeError),
    ("2.10", "scheduling_strategy", "FOO", ValueError),
    ("2.14", "placement_group", 5, TypeError),
    ("2.14", "placement_group", "foo", ValueError),  # better: AssertionError in Ray
    ("2.14", "placement_group_bundle_index", None, TypeError),
    ("2.14", "placement_group_bundle_index", -2, ValueError),
    ("2.14", "placement_group_capture_child_tasks", 1, TypeError),
    ("2.15", "runtime_env", 5, TypeError),
    ("2.15", "runtime_env", {"working_dir": "./dir"}, ValueError),
    ("2.15", "runtime_env", {"working_dir": "/tmp"}, ValueError),
    ("2.15", "runtime_env", {"working_dir": "/tmp/x.zip"}, ValueError),
    ("2.15", "runtime_env", {"py_modules": ["./x"]}, ValueError),
    ("2.15", "runtime_env", {"py_modules": [datetime]}, TypeError),
    ("2.15", "runtime_env", {"py_modules": "s3://a/b.zip"}, TypeError),
    ("2.15", "runtime_env", {"env_vars": {"a": 1}}, TypeError),
    ("2.16", "name", 5, TypeError),
    ("2.17", "enable_task_events", None, TypeError),
    ("2.17", "enable_task_events", 1, TypeError),
    ("2.18", "_labels", 5, TypeError),
    ("2.18", "_labels", {"a": 1}, ValueError),
]
TASK_BAD: list[tuple[str, str, object, type[Exception]]] = [
    ("2.6", "object_store_memory", 1, ValueError),
    ("2.19", "num_returns", -1, ValueError),
    ("2.19", "num_returns", 1.5, TypeError),
    ("2.19", "num_returns", "foo", ValueError),  # better: TypeError "'>=' not supported" in Ray
    ("2.20", "max_retries", -2, ValueError),
    ("2.20", "max_retries", 1.5, TypeError),
    ("2.20", "max_retries", "3", TypeError),
    ("2.20", "max_retries", HUGE, ValueError),  # better: OverflowError in Ray
    ("2.21", "retry_exceptions", None, TypeError),
    ("2.21", "retry_exceptions", ValueError, TypeError),
    ("2.21", "retry_exceptions", 1, TypeError),
    ("2.21", "retry_exceptions", [1], ValueError),
    ("2.21", "retry_exceptions", [KeyboardInterrupt], ValueError),
    ("2.22", "max_calls", -1, ValueError),
    ("2.22", "max_calls", 1.0, TypeError),
    ("2.23", "_generator_backpressure_num_objects", 0, ValueError),
    ("2.23", "_generator_backpressure_num_objects", 1.5, TypeError),
    ("2.24", "_num_objects_per_yield", 0, ValueError),
    ("2.24", "_num_objects_per_yield", "2", TypeError),
]
ACTOR_BAD: list[tuple[str, str, object, type[Exception]]] = [
    ("2.6", "object_store_memory", -1, ValueError),
    ("2.25", "max_restarts", -2, ValueError),
    ("2.25", "max_restarts", 2**63, ValueError),
    ("2.25", "max_restarts", 1.0, TypeError),
    ("2.26", "max_task_retries", -2, ValueError),
    ("2.26", "max_task_retries", "a", TypeError),
    ("2.27", "max_concurrency", -1, ValueError),
    ("2.27", "max_concurrency", 1.5, TypeError),
    ("2.28", "concurrency_groups", 5, TypeError),
    ("2.28", "concurrency_groups", [1], TypeError),  # the rest of the row is better: accepted by Ray
    ("2.28", "concurrency_groups", {1: 2}, TypeError),
    ("2.28", "concurrency_groups", {"io": "x"}, TypeError),
    ("2.28", "concurrency_groups", {"io": None}, TypeError),
    ("2.28", "concurrency_groups", {"io": 0}, ValueError),
    ("2.29", "max_pending_calls", -2, ValueError),
    ("2.29", "max_pending_calls", "x", TypeError),
    ("2.30", "name", "", ValueError),
    ("2.31", "namespace", "", ValueError),
    ("2.31", "namespace", 5, TypeError),
    ("2.32", "get_if_exists", None, TypeError),
    ("2.32", "get_if_exists", True, ValueError),
    ("2.33", "lifetime", "x", ValueError),
    ("2.33", "lifetime", 5, TypeError),
    ("2.34", "allow_out_of_order_execution", 1, TypeError),
    ("2.35", "enable_tensor_transport", 1, TypeError),
    ("2.36", "_actor_generator_backpressure_num_objects", 0, ValueError),
    ("2.36", "_actor_generator_backpressure_num_objects", -5, ValueError),
]
METHOD_BAD: list[tuple[str, str, object, type[Exception]]] = [
    ("2.19", "num_returns", -1, ValueError),
    ("2.19", "num_returns", "foo", ValueError),  # better, as all below: accepted by Ray's decorator
    ("2.37", "max_task_retries", "a", TypeError),
    ("2.37", "max_task_retries", -2, ValueError),
    ("2.37", "retry_exceptions", 5, TypeError),
    ("2.37", "concurrency_group", 5, TypeError),
    ("2.37", "concurrency_group", "", ValueError),
    ("2.37", "_generator_backpressure_num_objects", 0, ValueError),
    ("2.37", "enable_task_events", 1, TypeError),
    ("2.35", "tensor_transport", "nccl", ValueError),
    ("2.35", "tensor_transport", 5, TypeError),
]
PLACED_GOOD: list[tuple[str, str, object, object]] = [  # written, kept
    ("2.1", "num_cpus", 0, 0.0),
    ("2.1", "num_cpus", 0.5, 0.5),
    ("2.1", "num_cpus", 0.0001, 0.0001),
    ("2.1", "num_cpus", True, 1.0),
    ("2.1", "num_cpus", None, None),
    ("2.3", "num_gpus", 0.25, 0.25),
    ("2.3", "num_gpus", 4, 4.0),
    ("2.3", "num_gpus", 2.0, 2.0),
    ("2.4", "resources", {"a": 2, "node:10.0.0.1": 0.001}, {"a": 2.0, "node:10.0.0.1": 0.001}),
    ("2.4", "resources", {"a": 0}, {"a": 0.0}),
    ("2.4", "resources", None, None),
    ("2.5", "memory", 1.7, 1),
    ("2.5", "memory", 0.5, 0),
    ("2.5", "memory", 5 * 1024**3 + 1, 5 * 1024**3 + 1),
    ("2.7", "accelerator_type", "A100", "A100"),
    ("2.8", "label_selector", {"a": "v", "b": "!v", "x.y/c": "in(a,b)", "d": "!in(a, b)"},
     {"a": "v", "b": "!v", "x.y/c": "in(a,b)", "d": "!in(a, b)"}),
    ("2.8", "label_selector", None, None),
    ("2.9", "fallback_strategy", [{"label_selector": {"a": "b"}}], [{"label_selector": {"a": "b"}}]),
    ("2.9", "fallback_strategy", [], []),
    ("2.10", "scheduling_strategy", "DEFAULT", "DEFAULT"),
    ("2.10", "scheduling_strategy", "SPREAD", "SPREAD"),
    ("2.10", "scheduling_strategy", None, None),
    ("2.14", "placement_group", None, None),
    ("2.14", "placement_group", "default", "default"),
    ("2.14", "placement_group_bundle_index", -1, -1),
    ("2.14", "placement_group_capture_child_tasks", None, None),
    ("2.15", "runtime_env", {"working_dir": "s3://a/b.zip", "py_modules": ["https://x/y.whl"], "pip": ["a"]},
     {"working_dir": "s3://a/b.zip", "py_modules": ["https://x/y.whl"], "pip": ["a"]}),
    ("2.15", "runtime_env", {"env_vars": {"A": "1"}}, {"env_vars": {"A": "1"}}),
    ("2.16", "name", None, None),
    ("2.17", "enable_task_events", False, False),
    ("2.18", "_labels", {"a": "any text!"}, {"a": "any text!"}),
]  # fmt: skip
TASK_GOOD: list[tuple[str, str, object, object]] = [
    ("2.16", "name", "", ""),
    ("2.6", "object_store_memory", None, None),
    ("2.19", "num_returns", 0, 0),
    ("2.19", "num_returns", 3, 3),
    ("2.19", "num_returns", "streaming", "streaming"),
    ("2.19", "num_returns", None, None),
    ("2.20", "max_retries", -1, -1),
    ("2.20", "max_retries", 0, 0),
    ("2.20", "max_retries", None, 3),
    ("2.21", "retry_exceptions", True, True),
    ("2.21", "retry_exceptions", [ValueError, OSError], (ValueError, OSError)),
    ("2.21", "retry_exceptions", (), ()),
    ("2.22", "max_calls", 5, 5),
    ("2.22", "max_calls", None, 0),
    ("2.23", "_generator_backpressure_num_objects", 3, 3),
    ("2.23", "_generator_backpressure_num_objects", -1, -1),
    ("2.23", "_generator_backpressure_num_objects", None, -1),
    ("2.24", "_num_objects_per_yield", 2, 2),
    ("2.24", "_num_objects_per_yield", None, 1),
]
ACTOR_GOOD: list[tuple[str, str, object, object]] = [
    ("2.30", "name", "a", "a"),
    ("2.25", "max_restarts", -1, -1),
    ("2.25", "max_restarts", None, 0),
    ("2.26", "max_task_retries", 3, 3),
    ("2.27", "max_concurrency", 0, 0),
    ("2.27", "max_concurrency", None, None),
    ("2.28", "concurrency_groups", {"io": 2, "compute": 4}, {"io": 2, "compute": 4}),
    ("2.28", "concurrency_groups", [], None),
    ("2.29", "max_pending_calls", 0, 0),
    ("2.29", "max_pending_calls", None, -1),
    ("2.31", "namespace", "ns", "ns"),
    ("2.33", "lifetime", "detached", "detached"),
    ("2.33", "lifetime", "non_detached", "non_detached"),
    ("2.33", "lifetime", None, None),
    ("2.34", "allow_out_of_order_execution", True, True),
    ("2.34", "allow_out_of_order_execution", None, None),
    ("2.35", "enable_tensor_transport", None, None),
    ("2.25", "max_restarts", 2**63 - 1, 2**63 - 1),
    ("2.35", "enable_tensor_transport", True, True),
    ("2.36", "_actor_generator_backpressure_num_objects", -1, -1),
    ("2.36", "_actor_generator_backpressure_num_objects", 8, 8),
]
METHOD_GOOD: list[tuple[str, str, object, object]] = [
    ("2.37", "num_returns", 2, 2),
    ("2.37", "max_task_retries", -1, -1),
    ("2.37", "retry_exceptions", [ValueError], (ValueError,)),
    ("2.37", "retry_exceptions", None, None),
    ("2.37", "concurrency_group", "io", "io"),
    ("2.37", "_generator_backpressure_num_objects", 4, 4),
    ("2.37", "enable_task_events", False, False),
    ("2.37", "enable_task_events", None, None),
    ("2.35", "tensor_transport", None, None),
]
PARSERS: dict[str, Parser] = {
    "task": lambda written: parse_task_options(written),
    "actor": lambda written: parse_actor_options(written),
    "method": parse_method_decorator,
    "call": parse_method_options,
    "task.options": lambda written: parse_task_options({}).merge(written),
    "actor.options": lambda written: parse_actor_options({}).merge(written),
    "method.options": lambda written: parse_method_decorator({}).merge(written),
}


def line_of(parser: Any) -> int:
    line: int = parser.__code__.co_firstlineno
    return line


def cases(table: list[tuple[Any, ...]], *parsers: str) -> list[Any]:
    """One case per parser and line, marked with the line's row."""
    return [
        pytest.param(
            PARSERS[parser], *line[1:], marks=pytest.mark.row(line[0]), id=f"{parser}-{line[1]}={line[2]!r:.30}"
        )
        for line in table
        for parser in parsers
        if not (
            parser.endswith(".options") and line[1] in ("max_calls", "concurrency_groups", "_num_objects_per_yield")
        )
    ]


@pytest.mark.parametrize(
    ("parse", "name", "value", "error"),
    [
        *cases(PLACED_BAD, "task", "actor", "task.options", "actor.options"),
        *cases(TASK_BAD, "task", "task.options"),
        *cases(ACTOR_BAD, "actor", "actor.options"),
        *cases(METHOD_BAD, "method", "call", "method.options"),
    ],
)
def test_a_bad_value_is_refused_and_named(parse: Parser, name: str, value: object, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        parse({name: value})
    assert name in str(caught.value)
    if name == "resources" and isinstance(value, dict):
        assert all(repr(resource) in str(caught.value) for resource in value if resource), "which of them is wrong?"
    assert isinstance(caught.value, (TypeError, ValueError)) and not isinstance(caught.value, OverflowError)


@pytest.mark.filterwarnings("ignore:option placement_group is deprecated")
@pytest.mark.parametrize(
    ("parse", "name", "value", "kept"),
    [
        *cases(PLACED_GOOD, "task", "actor", "task.options", "actor.options"),
        *cases(TASK_GOOD, "task", "task.options"),
        *cases(ACTOR_GOOD, "actor", "actor.options"),
        *cases(METHOD_GOOD, "method", "call", "method.options"),
    ],
)
@pytest.mark.filterwarnings("ignore:.* has no effect yet")
def test_a_good_value_is_kept(parse: Parser, name: str, value: object, kept: object) -> None:
    options = parse({name: value})
    assert getattr(options, name.lstrip("_")) == kept
    assert isinstance(getattr(options, name.lstrip("_")), type(kept))


@pytest.mark.parametrize(
    ("options", "defaults"),
    [
        (
            parse_task_options({}),
            {"num_cpus": 1, "num_gpus": None, "max_retries": 3, "retry_exceptions": False, "max_calls": 0,
             "num_returns": None, "generator_backpressure_num_objects": -1, "num_objects_per_yield": 1, "labels": None,
             "enable_task_events": True, "placement_group": "default", "placement_group_bundle_index": -1},
        ),
        (
            parse_actor_options({}),
            {"num_cpus": None, "max_restarts": 0, "max_task_retries": 0, "max_concurrency": None, "lifetime": None,
             "max_pending_calls": -1, "get_if_exists": False, "name": None, "namespace": None,
             "concurrency_groups": None, "allow_out_of_order_execution": None,
             "actor_generator_backpressure_num_objects": -1},
        ),
        (
            parse_method_decorator({}),
            {"num_returns": None, "max_task_retries": None, "retry_exceptions": None, "concurrency_group": None,
             "generator_backpressure_num_objects": None, "num_objects_per_yield": None, "name": None},
        ),
    ],
    ids=["task", "actor", "method"],
)  # fmt: skip
def test_defaults(options: TaskOptions | ActorOptions | MethodOptions, defaults: dict[str, object]) -> None:
    assert {name: getattr(options, name) for name in defaults} == defaults
    assert options.given == {}


@pytest.mark.row("2.37", "1.23")
@pytest.mark.parametrize(
    ("parser", "error", "listed"),
    [
        ("task", ValueError, "max_retries"),
        ("task.options", ValueError, "max_retries"),
        ("actor", ValueError, "max_restarts"),
        ("actor.options", ValueError, "max_restarts"),
        ("method", AssertionError, "num_returns"),
        ("call", TypeError, "num_returns"),
        ("method.options", TypeError, "num_returns"),
    ],
)
def test_an_unknown_option_is_refused_with_a_list_of_the_valid_ones(
    parser: str, error: type[Exception], listed: str
) -> None:
    with pytest.raises(error, match=f"no option 'num_cpu'.*{listed}"):
        PARSERS[parser]({"num_cpu": 1})


@pytest.mark.parametrize(
    ("parser", "name"),
    [("task", "lifetime"), ("task", "max_restarts"), ("task", "tensor_transport"), ("task", "namespace"),
     ("actor", "num_returns"), ("actor", "max_retries"), ("actor", "max_calls"), ("actor", "retry_exceptions"),
     ("method", "name"), ("method", "_labels"), ("method", "num_cpus"), ("call", "num_cpus"), ("call", "max_retries")],
)  # fmt: skip
def test_options_of_another_kind_are_unknown(parser: str, name: str) -> None:
    with pytest.raises((ValueError, TypeError, AssertionError), match=f"no option '{name}'"):
        PARSERS[parser]({name: 1})


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ({"max_retries": -2}, "option max_retries must be -1 (no limit), 0 or a positive integer, got -2"),
        ({"max_calls": -1}, "option max_calls must be 0 or a positive integer, got -1"),
        ({"_num_objects_per_yield": 0}, "option _num_objects_per_yield must be a positive integer, got 0"),
        (
            {"_generator_backpressure_num_objects": 0},
            "option _generator_backpressure_num_objects must be -1 (no limit) or a positive integer, got 0",
        ),
        (
            {"num_returns": "x"},
            "option num_returns must be 0 or a positive integer, \"streaming\", \"dynamic\" or None, got 'x'",
        ),
        ({"name": 5}, "option name must be a str or None, got 5 (int)"),
        ({"name": ["x" * 1000]}, "option name must be a str or None, got ['xxxxxxxxxxxx...xxxxxxxxxxxxx'] (list)"),
    ],
)  # fmt: skip
def test_refusals_say_what_is_allowed_and_what_was_found(written: dict[str, object], told: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        parse_task_options(written)
    assert str(caught.value) == told


@pytest.mark.row("2.14")
@pytest.mark.parametrize("parser", ["task", "actor", "task.options", "actor.options"])
def test_the_old_group_options_warn_at_the_users_line(parser: str) -> None:
    for name, value in (
        ("placement_group", GROUP),
        ("placement_group", None),
        ("placement_group_bundle_index", 1),
        ("placement_group_capture_child_tasks", True),
    ):
        with pytest.warns(DeprecationWarning, match=name) as caught:
            PARSERS[parser]({name: value})
        assert [(one.filename, one.lineno) for one in caught] == [(__file__, line_of(PARSERS[parser]))]


@pytest.mark.row("2.14")
def test_the_old_group_options_at_their_defaults_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parse_task_options({"placement_group": "default", "placement_group_bundle_index": -1})
        options = parse_task_options({})
    with pytest.warns(DeprecationWarning):
        old = options.merge({"placement_group": GROUP})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        old.merge({"num_cpus": 2})  # written once, warned once


@pytest.mark.row("2.14")
@pytest.mark.parametrize("parser", ["task", "actor"])
def test_old_and_new_way_to_name_a_group_exclude_each_other(parser: str) -> None:
    with pytest.raises(ValueError, match="exclude each other"):
        PARSERS[parser]({"placement_group": GROUP, "scheduling_strategy": "SPREAD"})
    with pytest.warns(DeprecationWarning):
        PARSERS[parser]({"placement_group": None, "scheduling_strategy": "SPREAD"})
    first = PARSERS[parser]({"scheduling_strategy": NodeAffinitySchedulingStrategy("ab" * 28, True)})
    with pytest.raises(ValueError, match="exclude each other"):
        first.merge({"placement_group": GROUP})


@pytest.mark.row("2.6")
def test_object_store_memory_of_an_actor_warns_at_the_users_line() -> None:
    for parser in ("actor", "actor.options"):
        for value in (1000, None):
            with pytest.warns(DeprecationWarning, match="object_store_memory") as caught:
                PARSERS[parser]({"object_store_memory": value})
            assert (caught[0].filename, caught[0].lineno) == (__file__, line_of(PARSERS[parser]))
