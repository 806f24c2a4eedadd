"""Resource vectors as ``{name: units of 1e-4}``: the few sums the lease manager needs. Pure; called by core/leases
only.
"""

from __future__ import annotations

from collections.abc import Iterable

UNITS_PER_ONE = 10_000

Units = dict[str, int]


def to_units(amounts: dict[str, float]) -> Units:
    """Whole units; names with amount zero are left out."""
    units = {name: round(amount * UNITS_PER_ONE) for name, amount in amounts.items()}
    return {name: count for name, count in units.items() if count}


def to_amounts(units: Units) -> dict[str, float]:
    """Back to what users write."""
    return {name: count / UNITS_PER_ONE for name, count in units.items()}


def fits(need: Units, available: Units) -> bool:
    """True when every needed amount is there."""
    for name, count in need.items():  # noqa: SIM110 - twice as quick as all(), and asked for every node and shape
        if available.get(name, 0) < count:
            return False
    return True


def add(target: Units, more: Units) -> None:
    """``target += more`` in place."""
    for name, count in more.items():
        target[name] = target.get(name, 0) + count


def subtract(target: Units, less: Units) -> None:
    """``target -= less`` in place; may go below zero (an unblocked worker takes its CPU back at once)."""
    for name, count in less.items():
        target[name] = target.get(name, 0) - count


def together(many: Iterable[Units]) -> Units:
    """Their sum."""
    total: Units = {}
    for units in many:
        add(total, units)
    return total


def shape_of(units: Units) -> tuple[tuple[str, int], ...]:
    """A hashable key, equal for equal vectors."""
    return tuple(sorted(units.items()))


def describe(units: Units) -> str:
    """``{CPU: 1, GPU: 0.5}`` for messages."""
    inside = ", ".join(f"{name}: {count / UNITS_PER_ONE:g}" for name, count in sorted(units.items()))
    return "{" + inside + "}"
