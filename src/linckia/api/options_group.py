"""Work in a placement group: which group and bundle the options name (or the parent's), and what it then asks for.

Called when work is submitted (`remote_function.py`, `actor_creation.py`). ValueError when the group can never hold it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from linckia.api.current_group import captures_children, current_group_id
from linckia.api.options_placement import DEFAULT_GROUP
from linckia.api.scheduling_strategies import PlacementGroupSchedulingStrategy
from linckia.worker import current

if TYPE_CHECKING:
    from linckia.api.options import PlacedOptions


class GroupTarget(NamedTuple):
    """A group (hex), a bundle (-1: any) and whether children stay in the group."""

    group: str
    bundle: int
    captures: bool

    def asked(self, amounts: dict[str, float]) -> dict[str, float]:
        """``amounts`` under the group's names."""
        from linckia.core.leases.vectors import to_amounts, to_units  # noqa: PLC0415  (start-up time)
        from linckia.core.placement import names  # noqa: PLC0415  (start-up time)

        return to_amounts(names.asked(self.group, self.bundle, to_units(amounts)))


def group_target(options: PlacedOptions, amounts: dict[str, float]) -> GroupTarget | None:
    """Where work that needs ``amounts`` goes; None: into no group."""
    chosen = options.scheduling_strategy
    if isinstance(chosen, PlacementGroupSchedulingStrategy):
        if chosen.placement_group is None:
            return None
        captures = bool(chosen.placement_group_capture_child_tasks)
        return _checked(chosen.placement_group, chosen.placement_group_bundle_index, captures, amounts)
    if options.placement_group not in (None, DEFAULT_GROUP):
        captures = bool(options.placement_group_capture_child_tasks)
        return _checked(options.placement_group, options.placement_group_bundle_index, captures, amounts)
    if chosen is None and options.placement_group == DEFAULT_GROUP and captures_children():
        group = current_group_id()
        return _fitting(group, _bundles(group), -1, True, amounts) if group else None
    return None


def _bundles(group: str) -> list[dict[str, float]]:
    """Of the group that the calling code runs in."""
    runtime: Any = current.runtime
    found: list[dict[str, float]] = runtime.groups.bundles(bytes.fromhex(group))
    return found


def _checked(group: Any, index: int, captures: bool, amounts: dict[str, float]) -> GroupTarget:
    if group.is_empty:
        raise ValueError("the placement group is empty: it has no bundles")
    bundles = group.bundle_specs
    if index >= len(bundles):
        raise ValueError(f"placement_group_bundle_index={index}: the group has {len(bundles)} bundles, numbered from 0")
    return _fitting(group.id.hex(), bundles, index, captures, amounts)


def _fitting(
    group: str, bundles: list[dict[str, float]], index: int, captures: bool, amounts: dict[str, float]
) -> GroupTarget:
    candidates = bundles if index < 0 else [bundles[index]]
    if not any(all(bundle.get(name, 0) >= amount for name, amount in amounts.items()) for bundle in candidates):
        which = "no bundle of the group" if index < 0 else f"bundle {index}"
        raise ValueError(f"{which} can ever hold {amounts}: the bundles are {bundles}")
    return GroupTarget(group, index, captures)
