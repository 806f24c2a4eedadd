"""Options of our own: back-off, filter functions, fallback, replicas, checkpoint. Checked, told apart, pickled."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

import linckia
from linckia.api.options import (
    MethodOptions,
    TaskOptions,
    parse_actor_options,
    parse_method_options,
    parse_task_options,
)
from linckia.api.options_held import Held, hold


def written(options: TaskOptions | MethodOptions) -> str:
    """What templates are found by."""
    return repr(sorted(options.given.items()))


def test_equal_small_values_are_one_option_and_functions_are_themselves() -> None:
    first, second = (lambda error: 1), (lambda error: 2)
    assert written(parse_task_options({"fallback": 0})) == written(parse_task_options({"fallback": 0}))
    assert written(parse_task_options({"fallback": 0})) != written(parse_task_options({"fallback": False}))
    assert written(parse_task_options({"fallback": "0"})) != written(parse_task_options({"fallback": 0}))
    kept = parse_task_options({"fallback": first})
    assert written(kept) == written(parse_task_options({"fallback": first}))
    assert written(kept) != written(parse_task_options({"fallback": second}))


def test_values_that_look_alike_are_not_the_same_option() -> None:
    class Model:
        def __repr__(self) -> str:
            return "Model()"

    first, second = parse_task_options({"fallback": Model()}), parse_task_options({"fallback": Model()})
    assert written(first) != written(second)


def test_a_name_does_not_pass_to_another_value() -> None:
    names = {hold([number]).name for number in range(100)}
    assert len(names) == 100


def test_none_is_a_fallback_and_no_option_is_none() -> None:
    given = parse_task_options({"fallback": None})
    assert given.fallback is not None and given.fallback.value is None
    assert parse_task_options({}).fallback is None


def test_merging_keeps_and_replaces() -> None:
    options = parse_task_options({"fallback": 1, "retry_backoff_s": 2})
    assert options.merge({"num_cpus": 2}).fallback == hold(1)
    assert options.merge({"fallback": 5}).fallback == hold(5)
    assert (options.retry_backoff_s, options.merge({"retry_backoff_s": 0}).retry_backoff_s) == (2.0, 0.0)


def test_they_survive_pickling() -> None:
    options = parse_method_options({"fallback": {"a": [1]}, "max_backoff_s": 4})
    again = pickle.loads(pickle.dumps(options))
    assert isinstance(again.fallback, Held) and again.fallback.value == {"a": [1]}
    assert again.max_backoff_s == 4.0


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("retry_backoff_s", -1, ValueError),
        ("retry_backoff_s", float("inf"), ValueError),
        ("retry_backoff_s", "1", TypeError),
        ("max_backoff_s", True, TypeError),
        ("replicas", 0, ValueError),
        ("replicas", 1.5, TypeError),
        ("retry_exceptions", ValueError, TypeError),
        ("retry_exceptions", 7, TypeError),
    ],
)
def test_wrong_values_name_the_option(option: str, value: Any, error: type[Exception]) -> None:
    for parse in (parse_task_options, parse_method_options):
        with pytest.raises(error, match=option):
            parse({option: value})


def test_a_function_is_a_filter() -> None:
    def judge(error: BaseException) -> bool:
        return "again" in str(error)

    held = parse_task_options({"retry_exceptions": judge}).retry_exceptions
    assert isinstance(held, Held) and held.value is judge


def test_a_checkpoint_option_takes_a_policy_only() -> None:
    policy = linckia.CheckpointPolicy(every_calls=1)
    assert parse_actor_options({"checkpoint": policy}).checkpoint is policy
    with pytest.raises(TypeError, match="checkpoint"):
        parse_actor_options({"checkpoint": {"every_calls": 1}})
    with pytest.raises(ValueError, match="checkpoint"):
        parse_task_options({"checkpoint": policy})
