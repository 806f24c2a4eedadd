"""Bad options are refused where they are written: unknown names, wrong types, impossible values.

One compact table through the public API; the exact texts are the subject of unit tests.
"""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from engine import better, ray

pytestmark = pytest.mark.usefixtures("cluster")


def function() -> None:
    pass


def items() -> Any:
    yield 1


class Plain:
    def method(self) -> int:
        return 1


class Asynchronous:
    async def method(self) -> int:
        return 1


BOTH: list[tuple[str, Any, type[Exception]]] = [
    ("num_cpus", -1, ValueError),
    ("num_cpus", "1", TypeError),
    ("num_cpus", 0.00001, ValueError),
    ("num_gpus", -1, ValueError),
    ("num_gpus", "1", TypeError),
    ("memory", -1, ValueError),
    ("memory", "1", TypeError),
    ("resources", [1], TypeError),
    ("resources", {"CPU": 1}, ValueError),
    ("resources", {"GPU": 1}, ValueError),
    ("accelerator_type", 5, TypeError),
    ("name", 5, TypeError),
    ("_labels", "x", TypeError),
    ("runtime_env", 5, TypeError),
    ("enable_task_events", 5, TypeError),
    ("no_such_option", 1, ValueError),
]
TASK: list[tuple[str, Any, type[Exception]]] = [
    ("num_returns", -1, ValueError),
    ("num_returns", 1.5, TypeError),
    ("num_returns", "streaming", ValueError),
    ("max_retries", -2, ValueError),
    ("max_retries", 1.5, TypeError),
    ("retry_exceptions", 5, TypeError),
    ("retry_exceptions", [5], ValueError),
    ("object_store_memory", 10**8, ValueError),
    ("_generator_backpressure_num_objects", 0, ValueError),
    ("max_restarts", 1, ValueError),
    ("max_concurrency", 1, ValueError),
    ("lifetime", "detached", ValueError),
]
ACTOR: list[tuple[str, Any, type[Exception]]] = [
    ("max_restarts", -2, ValueError),
    ("max_restarts", 1.5, TypeError),
    ("max_task_retries", -2, ValueError),
    ("max_concurrency", -1, ValueError),
    ("max_concurrency", "2", TypeError),
    ("max_pending_calls", 1.5, TypeError),
    ("lifetime", "forever", ValueError),
    ("lifetime", 5, TypeError),
    ("namespace", "", ValueError),
    ("namespace", 5, TypeError),
    ("get_if_exists", True, ValueError),
    ("name", "", ValueError),
    ("_actor_generator_backpressure_num_objects", 0, ValueError),
    ("max_calls", 1, ValueError),
    ("num_returns", 2, ValueError),
    ("max_retries", 2, ValueError),
    ("retry_exceptions", True, ValueError),
]


def name_of(value: Any) -> str:
    return getattr(value, "__name__", repr(value))


@pytest.mark.row("2.1", "2.3", "2.4", "2.5", "2.7", "2.16", "2.17", "2.18", "2.19", "2.20", "2.21", "2.6", "2.23")
@pytest.mark.parametrize(("option", "value", "error"), BOTH + TASK, ids=name_of)
def test_task_options(option: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=option):
        ray.remote(**{option: value})(function).remote()
    with pytest.raises(error, match=option):
        ray.remote(function).options(**{option: value}).remote()


@pytest.mark.row(
    "2.1", "2.2", "2.3", "2.4", "2.5", "2.7", "2.25", "2.26", "2.27", "2.29", "2.30", "2.31", "2.32", "2.33", "2.36"
)
@pytest.mark.parametrize(("option", "value", "error"), BOTH + ACTOR, ids=name_of)
def test_actor_options(option: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=option):
        ray.remote(**{option: value})(Plain).remote()
    with pytest.raises(error, match=option):
        ray.remote(Plain).options(**{option: value}).remote()


@pytest.mark.row("2.4")
@pytest.mark.parametrize("key", ["memory", "object_store_memory", "bundle"])
def test_system_resources_are_no_custom_resources(key: str) -> None:
    with pytest.raises(ValueError, match=key):
        ray.remote(resources={key: 1})(function).remote()


@pytest.mark.row("2.4")
@pytest.mark.parametrize("amounts", [{"disk": -1}, {"disk": 0.00001}, {"disk": "1"}])
def test_bad_custom_amounts_are_refused(amounts: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        ray.remote(resources=amounts)(function).remote()


@pytest.mark.row("2.4", "2.19")
@better("Ray stumbles over these with an AttributeError or a comparison that makes no sense")
def test_a_resource_that_is_no_name_and_a_count_that_is_no_word_are_refused() -> None:
    with pytest.raises(TypeError, match="resources"):
        ray.remote(resources={5: 1})(function).remote()
    with pytest.raises(ValueError, match="num_returns"):
        ray.remote(num_returns="many")(function).remote()


@pytest.mark.row("2.1")
@pytest.mark.parametrize("amount", [0, 0.5, 0.0001, 1, 2, None])
def test_good_cpu_amounts_are_accepted(amount: float | None) -> None:
    assert ray.get(ray.remote(num_cpus=amount)(function).remote()) is None


@pytest.mark.row("2.6")
def test_object_store_memory_of_an_actor_is_deprecated() -> None:
    with pytest.warns(DeprecationWarning):
        ray.remote(object_store_memory=100 * 2**20)(Plain)


@pytest.mark.row("2.19")
@pytest.mark.parametrize("value", ["streaming", "dynamic"])
def test_generator_returns_need_a_generator(value: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match="generator|num_returns"):
            ray.remote(num_returns=value)(function).remote()
        ray.remote(num_returns=value)(items)


@pytest.mark.row("2.22")
def test_max_calls_belongs_to_the_decorator() -> None:
    with pytest.raises(ValueError, match="max_calls"):
        ray.remote(function).options(max_calls=1)
    with pytest.raises(ValueError, match="max_calls"):
        ray.remote(max_calls=-1)(function)


@pytest.mark.row("2.24")
@pytest.mark.parametrize("value", [0, -1])
def test_objects_per_yield_are_positive(value: int) -> None:
    with pytest.raises(ValueError, match="_num_objects_per_yield"):
        ray.remote(_num_objects_per_yield=value)(items).remote()


@pytest.mark.row("2.24")
def test_objects_per_yield_are_not_changed_per_call() -> None:
    with pytest.raises(ValueError, match="_num_objects_per_yield"):
        ray.remote(items).options(_num_objects_per_yield=2)


@pytest.mark.row("2.28")
def test_concurrency_groups_belong_to_the_decorator() -> None:
    with pytest.raises(ValueError, match="concurrency_groups"):
        ray.remote(Plain).options(concurrency_groups={"io": 1})


@pytest.mark.row("2.28")
def test_an_undeclared_concurrency_group_is_refused() -> None:
    class Grouped:
        @ray.method(concurrency_group="undeclared")
        def method(self) -> None:
            pass

    with pytest.raises((AssertionError, ValueError)):
        ray.remote(concurrency_groups={"io": 1})(Grouped).remote()


@pytest.mark.row("2.34")
@pytest.mark.parametrize(("kind", "options"), [(Asynchronous, {}), (Plain, {"max_concurrency": 2})])
def test_order_cannot_be_demanded_of_concurrent_actors(kind: type, options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="allow_out_of_order_execution"):
        ray.remote(allow_out_of_order_execution=False, **options)(kind).remote()


@pytest.mark.row("2.35")
def test_tensor_transport_is_off_unless_enabled() -> None:
    actor = ray.remote(Plain).remote()
    with pytest.raises((ValueError, NotImplementedError)):
        actor.method.options(tensor_transport="nccl").remote()


@pytest.mark.row("2.37")
@pytest.mark.parametrize("option", ["num_cpus", "max_retries", "runtime_env", "no_such_option"])
def test_unknown_method_options_are_refused(option: str) -> None:
    actor = ray.remote(Plain).remote()
    with pytest.raises((TypeError, ValueError), match=option):
        actor.method.options(**{option: 1}).remote()


@pytest.mark.row("2.37")
def test_known_method_options_are_accepted() -> None:
    actor = ray.remote(Plain).remote()
    options = {"name": "n", "num_returns": 1, "max_task_retries": 1, "retry_exceptions": True, "_labels": {"k": "v"}}
    assert ray.get(actor.method.options(enable_task_events=False, **options).remote()) == 1


@pytest.mark.row("2.10")
@pytest.mark.parametrize("strategy", [None, "DEFAULT", "SPREAD"])
def test_simple_scheduling_strategies_are_accepted(strategy: str | None) -> None:
    assert ray.get(ray.remote(scheduling_strategy=strategy)(function).remote()) is None


@pytest.mark.row("2.10")
@pytest.mark.parametrize(("strategy", "errors"), [("SIDEWAYS", ValueError), (5, (TypeError, ValueError))])
def test_other_scheduling_strategies_are_refused(strategy: Any, errors: Any) -> None:
    with pytest.raises(errors):
        ray.remote(scheduling_strategy=strategy)(function).remote()


@pytest.mark.row("2.15")
def test_a_local_working_dir_is_refused_per_task(tmp_path: Any) -> None:
    with pytest.raises(ValueError, match="working_dir|URI|directory"):
        ray.remote(runtime_env={"working_dir": str(tmp_path)})(function).remote()


@pytest.mark.row("2.1")
@better("Ray names the option but not what to write instead")
def test_the_refusal_of_an_unknown_option_lists_the_valid_ones() -> None:
    with pytest.raises(ValueError, match=r"num_cpus.*resources|resources.*num_cpus"):
        ray.remote(num_cpu=1)(function)


@pytest.mark.row("2.1", "2.4")
def test_options_merge_shallowly_over_the_decorator() -> None:
    @ray.remote(num_cpus=0, resources={"no such resource": 1})
    def granted() -> Any:
        return ray.get_runtime_context().get_assigned_resources()

    assert ray.get(granted.options(resources=None).remote()) == {}
    assert ray.get(granted.options(resources={"node:__internal_head__": 0.5}).remote()) == {
        "node:__internal_head__": 0.5
    }
