"""The resource names of a committed bundle: what work in a placement group asks for, as in Ray (R 2.39, 6.10). Pure."""

from __future__ import annotations

from linckia.core.leases.vectors import Units

BUNDLE = "bundle"
GROUP_HEX_CHARS = 36
BUNDLE_UNITS = 1000 * 10_000
SHARE_UNITS = 10
"""Of ``bundle_group_...``: what work takes to be bound to the group's nodes even when it needs nothing else."""


def of_bundle(group: str, index: int, units: Units) -> Units:
    """What bundle ``index`` of group (hex) adds to its node: by index and for the group as a whole."""
    added: Units = {}
    for name, count in {**units, BUNDLE: BUNDLE_UNITS}.items():
        added[f"{name}_group_{index}_{group}"] = count
        added[f"{name}_group_{group}"] = count
    return added


def asked(group: str, index: int, units: Units) -> Units:
    """What work with the needs ``units`` asks for in bundle ``index`` (-1: any) of the group."""
    found: Units = {}
    for name, count in {**units, BUNDLE: SHARE_UNITS}.items():
        found[f"{name}_group_{group}"] = count
        if index >= 0:
            found[f"{name}_group_{index}_{group}"] = count
    return found


def split(name: str) -> tuple[str, int, str] | None:
    """(plain name, bundle index or -1, group hex) of such a name; None for plain ones, also for odd names of users."""
    before, found, rest = name.rpartition("_group_")
    index, _, group = rest.rpartition("_")
    if not found or len(group) != GROUP_HEX_CHARS or not (index.isdecimal() or not index):
        return None
    return before, int(index) if index else -1, group


def split_index(name: str) -> int:
    """The bundle index in such a name; -1 without one."""
    parts = split(name)
    return parts[1] if parts is not None else -1


def group_of(units: dict[str, int] | dict[str, float]) -> str:
    """The group (hex) that a need names; empty when it is in none."""
    for name in units:
        if name.startswith(f"{BUNDLE}_group_"):
            parts = split(name)
            return parts[2] if parts is not None else ""
    return ""


def plain(amounts: dict[str, float]) -> dict[str, float]:
    """What work holds, under the names its user knows."""
    found: dict[str, float] = {}
    for name, amount in amounts.items():
        parts = split(name)
        if parts is None:
            found[name] = amount
        elif parts[1] < 0 and parts[0] != BUNDLE:
            found[parts[0]] = amount
    return found


def pinned(units: Units, index: int) -> Units:
    """The names by index that go with a need that says "any bundle", once bundle ``index`` is chosen for it."""
    found: Units = {}
    for name, count in units.items():
        parts = split(name)
        if parts is not None and parts[1] < 0:
            found[f"{parts[0]}_group_{index}_{parts[2]}"] = count
    return found
