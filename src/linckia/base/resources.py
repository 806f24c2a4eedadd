"""Resource vectors: how much of what a task needs, a node has and is in use.

Amounts are whole multiples of 1/10,000, so that adding and taking away a thousand times ends where it began. Used by
the API to check requests, by leases and placement to decide. This module knows names and numbers only; what `CPU`
means, and which names a user may choose, is decided above.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, SupportsFloat

from linckia.base.limits import RESOURCE_AMOUNT_MAX

UNITS_PER_ONE: Final = 10_000
ResourceKey = tuple[tuple[str, int], ...]


class InsufficientResourcesError(ValueError):
    """More was to be taken than is there. The caller should have asked `fits_in` first; nothing was changed."""


class ResourceSet:
    """An immutable vector of non-negative amounts; names that are not in it count as zero, and zeros are not kept."""

    __slots__ = ("_units", "key")

    key: ResourceKey
    """Names and units, sorted: equal sets have equal keys, so a key names a shape in dictionaries and messages."""

    def __init__(self, units: Mapping[str, int] | None = None) -> None:
        """Trusts its caller: `units` are 1/10,000 of the amounts. Users' numbers go through `from_amounts`."""
        self._units: dict[str, int] = {}
        for name in sorted(units or ()):
            amount = (units or {})[name]
            if amount < 0:
                raise InsufficientResourcesError(f"resource {name!r} would become {_shown(amount)}, which is negative")
            if amount:
                self._units[name] = amount
        self.key = tuple(self._units.items())

    @classmethod
    def from_amounts(cls, amounts: Mapping[str, float]) -> ResourceSet:
        """The set of a user's `amounts`.

        TypeError for a name that is not text or an amount that is not a number; ValueError for an empty name and for an
        amount that is negative, not finite, above 1e14 or positive below 0.0001.
        """
        return cls({_checked_name(name): _checked_units(name, amount) for name, amount in amounts.items()})

    @classmethod
    def node_total(cls, amounts: Mapping[str, float]) -> ResourceSet:
        """What a node offers: as `from_amounts`, and ValueError unless each amount is whole."""
        total = cls.from_amounts(amounts)
        for name, units in total._units.items():
            if units % UNITS_PER_ONE:
                raise ValueError(f"a node's resource {name!r} must be a whole number, got {_shown(units)}")
        return total

    def amounts(self) -> dict[str, float]:
        """The amounts as users write them; whole amounts are whole floats."""
        return {name: units / UNITS_PER_ONE for name, units in self._units.items()}

    def units(self, name: str) -> int:
        """1/10,000 of resource `name`; 0 when it is not in the set."""
        return self._units.get(name, 0)

    def amount(self, name: str) -> float:
        """Amount of resource `name`; 0 when it is not in the set."""
        return self._units.get(name, 0) / UNITS_PER_ONE

    def fits_in(self, room: ResourceSet) -> bool:
        """True when `room` has at least this much of everything."""
        have = room._units
        return all(have.get(name, 0) >= units for name, units in self._units.items())

    def shortfall(self, room: ResourceSet) -> list[str]:
        """Why this does not fit into `room`, one sentence per resource by name; empty when it fits."""
        return [
            f"needs {_shown(units)} {name}, {_shown(room.units(name))} there"
            for name, units in self._units.items()
            if room.units(name) < units
        ]

    def scale(self, times: int) -> ResourceSet:
        """This set `times` over; ValueError for a negative number."""
        if times < 0:
            raise ValueError(f"a resource set cannot be taken {times} times")
        return ResourceSet({name: units * times for name, units in self._units.items()})

    def only(self, *names: str) -> ResourceSet:
        """The part of this set with these `names`, such as the CPU that a blocked task gives back."""
        return ResourceSet({name: self._units[name] for name in names if name in self._units})

    def without(self, *names: str) -> ResourceSet:
        """This set but for these `names`."""
        return ResourceSet({name: units for name, units in self._units.items() if name not in names})

    def __add__(self, other: ResourceSet) -> ResourceSet:
        units = dict(self._units)
        for name, more in other._units.items():
            units[name] = units.get(name, 0) + more
        return ResourceSet(units)

    def __sub__(self, other: ResourceSet) -> ResourceSet:
        """What is left. InsufficientResourcesError, naming the resource, when `other` is not within this set."""
        units = dict(self._units)
        for name, less in other._units.items():
            units[name] = units.get(name, 0) - less
        return ResourceSet(units)

    def __iter__(self) -> Iterator[str]:
        """Names of the resources that are not zero, sorted."""
        return iter(self._units)

    def __contains__(self, name: object) -> bool:
        return name in self._units

    def __len__(self) -> int:
        return len(self._units)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ResourceSet) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return "ResourceSet(" + ", ".join(f"{name}: {_shown(units)}" for name, units in self._units.items()) + ")"

    def __reduce__(self) -> tuple[Any, ...]:
        return (ResourceSet, (self._units,))


class ResourceBalance:
    """A node's total against what is in use. Immutable: each change returns the next balance.

    `used` may exceed `total` only through `regain`, for a task that was blocked and resumes: it must not wait for
    itself. `available` never shows less than nothing.
    """

    __slots__ = ("available", "total", "used")

    def __init__(self, total: ResourceSet, used: ResourceSet | None = None) -> None:
        self.total = total
        self.used = used or ResourceSet()
        self.available = ResourceSet({name: max(0, total.units(name) - self.used.units(name)) for name in total})

    def feasible(self, request: ResourceSet) -> bool:
        """True when `request` would fit into the node if it were empty."""
        return request.fits_in(self.total)

    def take(self, request: ResourceSet) -> ResourceBalance:
        """The balance after granting `request`. InsufficientResourcesError says what is missing."""
        if not request.fits_in(self.available):
            missing = "; ".join(request.shortfall(self.available))
            raise InsufficientResourcesError(f"cannot take {request!r}: {missing}")
        return ResourceBalance(self.total, self.used + request)

    def regain(self, request: ResourceSet) -> ResourceBalance:
        """As `take`, but grants at once even if that oversubscribes the node, which nothing new may then join."""
        return ResourceBalance(self.total, self.used + request)

    def give_back(self, request: ResourceSet) -> ResourceBalance:
        """The balance after `request` ended. InsufficientResourcesError when it was never taken."""
        return ResourceBalance(self.total, self.used - request)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ResourceBalance) and (self.total, self.used) == (other.total, other.used)

    def __hash__(self) -> int:
        return hash((self.total, self.used))

    def __repr__(self) -> str:
        return f"ResourceBalance(total={self.total!r}, used={self.used!r})"


def _shown(units: int) -> str:
    """The amount as a user would write it: `2`, `0.5`."""
    whole, rest = divmod(abs(units), UNITS_PER_ONE)
    sign = "-" if units < 0 else ""
    return f"{sign}{whole}" + (f".{rest:04}".rstrip("0") if rest else "")


def _checked_name(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"a resource name must be text, got {name!r} ({type(name).__name__})")
    if not name:
        raise ValueError("a resource name must not be empty")
    return name


def _checked_units(name: object, amount: object) -> int:
    if isinstance(amount, bool) or not isinstance(amount, SupportsFloat):
        raise TypeError(f"amount of resource {name!r} must be a number, got {amount!r} ({type(amount).__name__})")
    number = float(amount)  # also numpy's scalars, which are numbers to their users
    if not 0 <= number <= RESOURCE_AMOUNT_MAX:  # false for NaN too
        raise ValueError(f"amount of resource {name!r} must be 0 to {RESOURCE_AMOUNT_MAX:.0e}, got {amount!r}")
    exact = amount if isinstance(amount, int) else number
    units = round(exact * UNITS_PER_ONE)
    if 0 < number * UNITS_PER_ONE < 1 and abs(number * UNITS_PER_ONE - 1) > 1e-9:
        raise ValueError(f"amount of resource {name!r} must be 0 or at least {1 / UNITS_PER_ONE}, got {amount!r}")
    return units
