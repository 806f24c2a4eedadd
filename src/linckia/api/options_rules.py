"""The tables of all options: which exist for tasks, actors and methods, how each is checked, what it is by default.

`options.py` reads the tables; a new option is a line here and an attribute there. Rows R 2.1-2.37; `_MEANS` is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from linckia.api import options_placement as placement
from linckia.api import options_values as values


class Rule(NamedTuple):
    """How one option is checked, and its value when it is not given."""

    check: values.Check
    default: object = None


Rules = Mapping[str, Rule]


def _runtime_env(name: str, value: object) -> object:
    if value is None:
        return None
    from linckia.api.runtime_envs import of_task  # noqa: PLC0415  (start-up time: most have none)

    return of_task(name, value)


_PLACED: Rules = {
    "num_cpus": Rule(values.quantity),
    "num_gpus": Rule(values.gpus),
    "memory": Rule(values.whole_bytes),
    "resources": Rule(values.resources),
    "accelerator_type": Rule(values.text(empty_is_allowed=False)),
    "label_selector": Rule(placement.label_selector),
    "fallback_strategy": Rule(placement.fallback_strategy),
    "scheduling_strategy": Rule(placement.strategy),
    "placement_group": Rule(placement.group, placement.DEFAULT_GROUP),
    "placement_group_bundle_index": Rule(placement.bundle_index, -1),
    "placement_group_capture_child_tasks": Rule(values.flag(none_is_allowed=True)),
    "runtime_env": Rule(_runtime_env),
    "enable_task_events": Rule(values.flag(none_is_allowed=False), True),
    "_labels": Rule(values.text_labels),
}
_YIELDING: Rules = {
    "_generator_backpressure_num_objects": Rule(values.count(-1, zero_is_allowed=False, none_means=-1), -1),
    "_num_objects_per_yield": Rule(values.count(1, none_means=1), 1),
}
_PAUSES: Rules = {"retry_backoff_s": Rule(values.seconds), "max_backoff_s": Rule(values.seconds)}
_MEANS: Rules = {**_PAUSES, "fallback": Rule(values.any_value), "replicas": Rule(values.count(1, none_means=1), 1)}
TASK_RULES: Rules = {
    **_PLACED,
    **_YIELDING,
    **_MEANS,
    "num_cpus": Rule(values.quantity, 1),
    "object_store_memory": Rule(values.no_object_store_memory),
    "name": Rule(values.text()),
    "num_returns": Rule(values.returns),
    "max_retries": Rule(values.count(-1)),
    "retry_exceptions": Rule(values.exception_filter(none_is_allowed=False), False),
    "max_calls": Rule(values.count(0, none_means=0), 0),
}
ACTOR_RULES: Rules = {
    **_PLACED,
    "object_store_memory": Rule(values.count(0)),
    "name": Rule(values.text(empty_is_allowed=False)),
    "namespace": Rule(values.text(empty_is_allowed=False)),
    "get_if_exists": Rule(values.flag(none_is_allowed=False), False),
    "lifetime": Rule(values.one_of("detached", "non_detached")),
    "checkpoint": Rule(values.checkpoint_policy),
    "max_restarts": Rule(values.count(-1, none_means=0), 0),
    "max_task_retries": Rule(values.count(-1, none_means=0), 0),
    "max_concurrency": Rule(values.count(0)),
    "concurrency_groups": Rule(values.concurrency_groups),
    "max_pending_calls": Rule(values.count(-1, none_means=-1), -1),
    "allow_out_of_order_execution": Rule(values.flag(none_is_allowed=True)),
    "enable_tensor_transport": Rule(values.flag(none_is_allowed=True)),
    "_actor_generator_backpressure_num_objects": Rule(values.count(-1, zero_is_allowed=False, none_means=-1), -1),
}
_METHOD: Rules = {
    "num_returns": Rule(values.returns),
    "max_task_retries": Rule(values.count(-1)),
    "retry_exceptions": Rule(values.exception_filter(none_is_allowed=True)),
    "concurrency_group": Rule(values.text(empty_is_allowed=False)),
    "_generator_backpressure_num_objects": Rule(values.count(-1, zero_is_allowed=False)),
    "enable_task_events": Rule(values.flag(none_is_allowed=True)),
    "tensor_transport": Rule(values.no_tensor_transport),
}
METHOD_DECORATOR_RULES: Rules = {**_METHOD, **_PAUSES, "_num_objects_per_yield": Rule(values.count(1))}
METHOD_CALL_RULES: Rules = {**_METHOD, **_MEANS, "name": Rule(values.text()), "_labels": Rule(values.text_labels)}
METHOD_RULES: Rules = {**METHOD_DECORATOR_RULES, **METHOD_CALL_RULES}


def checked(rules: Rules, written: Mapping[str, object]) -> dict[str, object]:
    """The user's options, each checked. The caller has made sure that all of them have a rule."""
    return {name: rules[name].check(name, value) for name, value in written.items()}


def unknown(rules: Rules, written: Mapping[str, object], what: str) -> str | None:
    """The sentence about options that do not exist for `what`, or None."""
    strange = [name for name in written if name not in rules]
    if not strange:
        return None
    names = ", ".join(map(repr, strange))
    valid = ", ".join(sorted(rules, key=lambda name: name.lstrip("_")))
    return f"{what} have no option {names}; valid ones are {valid}"
