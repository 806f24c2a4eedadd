"""Which GPU ids a lease gets: whole devices for whole amounts, the fullest device that fits for fractions. Pure."""

from __future__ import annotations

from linckia.core.leases.vectors import UNITS_PER_ONE

Assignment = dict[int, int]
"""GPU id -> units of it."""


class GpuLedger:
    """Free units per GPU id."""

    def __init__(self, total_units: int) -> None:
        whole, rest = divmod(total_units, UNITS_PER_ONE)
        self.free: dict[int, int] = dict.fromkeys(range(whole), UNITS_PER_ONE)
        if rest:
            self.free[whole] = rest

    @classmethod
    def of(cls, assignment: Assignment) -> GpuLedger:
        """A ledger of these devices only: those of a bundle."""
        ledger = cls(0)
        ledger.free = dict(assignment)
        return ledger

    def fits(self, units: int) -> bool:
        """True when :meth:`take` would succeed: a sum of crumbs on several devices does not."""
        if units < UNITS_PER_ONE:
            return any(free >= units for free in self.free.values())
        whole, rest = divmod(units, UNITS_PER_ONE)
        untouched = sum(1 for free in self.free.values() if free == UNITS_PER_ONE)
        if untouched < whole:
            return False
        return not rest or untouched > whole or any(rest <= free < UNITS_PER_ONE for free in self.free.values())

    def take(self, units: int) -> Assignment:
        """Assign ``units``; call only when :meth:`fits`."""
        taken: Assignment = {}
        whole, rest = divmod(units, UNITS_PER_ONE)
        for gpu in sorted(self.free):
            if len(taken) == whole:
                break
            if self.free[gpu] == UNITS_PER_ONE:
                taken[gpu] = UNITS_PER_ONE
                self.free[gpu] = 0
        if rest:
            gpu = min((gpu for gpu, free in self.free.items() if free >= rest), key=lambda g: (self.free[g], g))
            taken[gpu] = rest
            self.free[gpu] -= rest
        return taken

    def give_back(self, assignment: Assignment) -> None:
        """Undo :meth:`take`."""
        for gpu, units in assignment.items():
            self.free[gpu] += units
