"""What bundles of placement groups add to a node's amounts, and which bundle serves work that says "any". Pure; part of
the lease manager, whose ``total`` and ``available`` it changes in place.
"""

from __future__ import annotations

from linckia.core.leases import vectors
from linckia.core.leases.gpus import Assignment, GpuLedger
from linckia.core.leases.vectors import Units
from linckia.core.placement import names


class GroupPool:
    """Offered bundles by group, and the GPUs inside them."""

    def __init__(self, total: Units, available: Units) -> None:
        self._total, self._available = total, available
        self._indexes: dict[str, dict[int, None]] = {}
        self._gpus: dict[str, GpuLedger] = {}  # by the bundle's name for GPUs

    def offer(self, named: Units, gpus: Assignment) -> None:
        """A committed bundle, under its names (`names.of_bundle`)."""
        for name, count in named.items():
            self._total[name] = self._total.get(name, 0) + count
            self._available[name] = self._available.get(name, 0) + count
            plain, index, group = names.split(name) or ("", -1, "")
            if index >= 0:
                self._indexes.setdefault(group, {})[index] = None
                if plain == "GPU":
                    self._gpus[name] = GpuLedger.of(gpus)

    def withdraw(self, named: Units) -> None:
        """The bundle is gone; what is still held of it comes back to nobody."""
        for name, count in named.items():
            _, index, group = names.split(name) or ("", -1, "")
            left = self._total.get(name, 0) - count
            if index >= 0 or left <= 0:
                self._total.pop(name, None)
                self._available.pop(name, None)
            else:
                self._total[name] = left
                self._available[name] = min(left, self._available.get(name, 0) - count)
            if index >= 0:
                self._indexes.get(group, {}).pop(index, None)
                self._gpus.pop(name, None)
            if not self._indexes.get(group, True):
                del self._indexes[group]

    def pin(self, need: Units) -> Units | None:
        """For a need that says "any bundle": the amounts of the first bundle here with room; None: there is none."""
        group = names.group_of(need)
        if not group or any(names.split_index(name) >= 0 for name in need):
            return {}
        for index in self._indexes.get(group, {}):
            pinned = names.pinned(need, index)
            if vectors.fits(pinned, self._available):
                return pinned
        return None

    def take_gpus(self, need: Units, pinned: Units) -> Assignment:
        """GPUs of the bundle that serves this need; empty when it asks for none."""
        for name, units in {**need, **pinned}.items():
            ledger = self._gpus.get(name)
            if ledger is not None:
                return ledger.take(units) if ledger.fits(units) else {}
        return {}

    def give_back_gpus(self, held: Units, gpus: Assignment) -> bool:
        """True when they belonged to a bundle (which may be gone: then the bundle's owner gave them back)."""
        in_group = False
        for name in held:
            ledger = self._gpus.get(name)
            if ledger is not None:
                ledger.give_back(gpus)
                return True
            in_group = in_group or name.startswith("GPU_group_")
        return in_group
