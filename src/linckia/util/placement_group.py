"""Placement groups: names and signatures of Ray's API, refused with one sentence until there are several machines.

Imported by `linckia.util` and by programs that name `PlacementGroup` in annotations. It decides nothing: it exists so
that such programs import, and so that the first call that needs a group says what is missing instead of hanging.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NoReturn

NOT_YET = (
    "placement groups are not in this version of Linckia: they come with clusters of many machines (issue 3). "
    "On one machine, use num_cpus and resources of each task or actor instead."
)


def _refuse(what: str) -> NoReturn:
    raise NotImplementedError(f"{what}: {NOT_YET}")


class PlacementGroup:
    """The handle of a group. Nothing can make one yet; the class is here for annotations and isinstance checks."""

    def __init__(self, id: object = None, bundle_cache: Sequence[Mapping[str, float]] | None = None) -> None:
        _refuse("PlacementGroup(...)")


def placement_group(
    bundles: Sequence[Mapping[str, float]],
    strategy: str | None = None,
    name: str = "",
    lifetime: str | None = None,
    _soft_target_node_id: str | None = None,
    bundle_label_selector: Sequence[Mapping[str, str]] | None = None,
    topology_strategy: Mapping[str, str] | None = None,
) -> PlacementGroup:
    """Raise NotImplementedError."""
    _refuse("placement_group(...)")


def get_placement_group(placement_group_name: str) -> PlacementGroup:
    """Raise NotImplementedError."""
    _refuse(f"get_placement_group({placement_group_name!r})")


def get_current_placement_group() -> PlacementGroup | None:
    """The group that the caller runs in: None, because no group can exist."""
    return None


def placement_group_table(placement_group: PlacementGroup | None = None) -> dict[str, object]:
    """Raise NotImplementedError."""
    _refuse("placement_group_table()")


def remove_placement_group(placement_group: PlacementGroup) -> None:
    """Raise NotImplementedError."""
    _refuse("remove_placement_group(...)")
