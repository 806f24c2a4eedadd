"""Arithmetic of what nodes offer and have left. Used by gcs/nodes.py."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from linckia.core.leases import vectors


def patch(amounts: vectors.Units, news: vectors.Units) -> list[str]:
    """Carry out; the names whose amount is another one now. Negative: the name is gone."""
    changed = [name for name, count in news.items() if amounts.get(name, -1) != max(count, -1)]
    for name in changed:
        if news[name] < 0:
            del amounts[name]
        else:
            amounts[name] = news[name]
    return changed


def total_of(amounts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """By name."""
    total: dict[str, float] = {}
    for vector in amounts:
        for name, amount in vector.items():
            total[name] = round(total.get(name, 0.0) + amount, 4)
    return total
