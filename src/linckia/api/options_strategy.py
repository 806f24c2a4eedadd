"""From the options a user wrote to the strategy that travels in requests. Called when work is bound to a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from linckia.api.scheduling_strategies import (
    In,
    LabelMatchExpression,
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
    NotIn,
)

if TYPE_CHECKING:
    from linckia.api.options import PlacedOptions
    from linckia.model.placement import LabelRule

_OPERATORS = {"In": "in", "NotIn": "not_in", "Exists": "exists", "DoesNotExist": "absent"}


def encoded_strategy(options: PlacedOptions) -> bytes:
    """An encoded model.placement.Strategy; empty for the default. Equal strategies give equal bytes."""
    chosen = options.scheduling_strategy
    selectors = _selectors(options)
    if not selectors and (
        chosen in (None, "DEFAULT")
        or not isinstance(chosen, (str, NodeAffinitySchedulingStrategy, NodeLabelSchedulingStrategy))
    ):
        return b""
    import msgspec  # noqa: PLC0415  (start-up time)

    from linckia.model.placement import Strategy  # noqa: PLC0415  (start-up time)

    strategy = Strategy(selectors=selectors)
    if chosen == "SPREAD":
        strategy = Strategy("SPREAD", selectors=selectors)
    elif isinstance(chosen, NodeAffinitySchedulingStrategy):
        strategy = Strategy(
            "NODE_AFFINITY",
            bytes.fromhex(chosen.node_id),
            chosen.soft,
            chosen._spill_on_unavailable,
            chosen._fail_on_unavailable,
            selectors=selectors,
        )
    elif isinstance(chosen, NodeLabelSchedulingStrategy):
        strategy = Strategy(
            "NODE_LABEL", hard_labels=_rules(chosen.hard), soft_labels=_rules(chosen.soft), selectors=selectors
        )
    return msgspec.msgpack.encode(strategy)


def _selectors(options: PlacedOptions) -> list[dict[str, str]]:
    """The label selector, then those of the fallback strategy."""
    fallback = [entry["label_selector"] for entry in options.fallback_strategy or []]
    if not options.label_selector and not fallback:
        return []
    return [dict(sorted((selector or {}).items())) for selector in [options.label_selector or {}, *fallback]]


def _rules(expressions: list[LabelMatchExpression]) -> list[LabelRule]:
    from linckia.model.placement import LabelRule  # noqa: PLC0415  (start-up time)

    return [
        LabelRule(
            each.key,
            _OPERATORS[type(each.operator).__name__],
            each.operator.values if isinstance(each.operator, (In, NotIn)) else [],
        )
        for each in expressions
    ]
