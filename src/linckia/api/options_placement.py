"""Options that say where work runs: strategies, labels, the deprecated placement_group options.

Checks for the tables in `options_rules.py`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

from linckia.api.options_values import bad_value, wrong_type
from linckia.api.scheduling_strategies import (
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
    PlacementGroupSchedulingStrategy,
    check_bundle_index,
)
from linckia.base.labels import Selector

DEFAULT_GROUP = "default"  # of the option placement_group: "whatever the parent says"
_STRATEGY_WORDS = ("DEFAULT", "SPREAD")
_STRATEGIES = (PlacementGroupSchedulingStrategy, NodeAffinitySchedulingStrategy, NodeLabelSchedulingStrategy)
_DEPRECATED = {
    "placement_group": DEFAULT_GROUP,
    "placement_group_bundle_index": -1,
    "placement_group_capture_child_tasks": None,
}


def strategy(name: str, value: object) -> object:
    """None, "DEFAULT", "SPREAD" or one of the strategy objects."""
    expected = '"DEFAULT", "SPREAD", None, or a PlacementGroup-, NodeAffinity- or NodeLabelSchedulingStrategy'
    if value is None or isinstance(value, _STRATEGIES):
        return value
    if not isinstance(value, str):
        raise wrong_type(name, expected, value)
    if value not in _STRATEGY_WORDS:
        raise bad_value(name, expected, value)
    return value


def group(name: str, value: object) -> object:
    """A placement group, None (in none), or "default"."""
    expected = 'a placement group, None or "default"'
    if isinstance(value, str) and value != DEFAULT_GROUP:
        raise bad_value(name, expected, value)
    if value is not None and not isinstance(value, str) and not hasattr(value, "bundle_specs"):
        raise wrong_type(name, expected, value)
    return value


def bundle_index(_name: str, value: object) -> object:
    """-1 for any bundle, or the number of one."""
    check_bundle_index(value)
    return value


def label_selector(name: str, value: object) -> object:
    """A dict of node label to condition, or None."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise wrong_type(name, "a dict of node label to condition, or None", value)
    try:
        Selector.parse(value)
    except (TypeError, ValueError) as error:
        raise type(error)(f"option {name}: {error}") from None
    return dict(value)


def fallback_strategy(name: str, value: object) -> object:
    """A list of `{"label_selector": {...}}`, tried in order, or None."""
    if value is None:
        return None
    if not isinstance(value, list):
        raise wrong_type(name, 'a list of {"label_selector": {...}}, or None', value)
    for entry in value:
        if not isinstance(entry, dict) or set(entry) != {"label_selector"}:
            raise bad_value(name, 'a list of dicts whose only key is "label_selector"', value)
        selector = entry["label_selector"]
        if not isinstance(selector, dict) and selector is not None:
            raise bad_value(name, "a list of dicts whose label_selector is a dict", value)
        label_selector(name, selector)
    return list(value)


def check_group_with_strategy(given: Mapping[str, object]) -> None:
    """ValueError when both the old and the new way to name a placement group are used."""
    if given.get("placement_group", DEFAULT_GROUP) not in (DEFAULT_GROUP, None) and given.get("scheduling_strategy"):
        raise ValueError(
            "options placement_group and scheduling_strategy exclude each other: use "
            "scheduling_strategy=PlacementGroupSchedulingStrategy(group)"
        )


def warn_of_deprecated_group(written: Mapping[str, object], stacklevel: int) -> None:
    """DeprecationWarning for each of the three old options that the user wrote."""
    for name, default in _DEPRECATED.items():
        value = written.get(name, default)
        if value != default:
            warnings.warn(
                f"option {name} is deprecated: use scheduling_strategy=PlacementGroupSchedulingStrategy(...)",
                DeprecationWarning,
                stacklevel=stacklevel + 1,
            )
