"""What a scenario is: machines, faults of messages, and what happens. Data; the plots are in ``scenarios.py``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from linckia.testing.fleet.world import Fleet


def usual_machine(slot: int) -> tuple[dict[str, float], dict[str, str]]:
    """Resources and labels of a machine: one in eight has GPUs, zones alternate."""
    resources = {"CPU": 4.0}
    if slot % 8 == 0:
        resources["GPU"] = 2.0
    return resources, {"zone": f"z{slot % 4}"}


@dataclass(frozen=True)
class Scenario:
    """``play`` runs it on a formed cluster. ``faults``: chances that a request or answer is lost, doubled, late."""

    name: str
    play: Callable[[Fleet], None]
    faults: tuple[float, float, float] | None = None
    machine: Callable[[int], tuple[dict[str, float], dict[str, str]]] = usual_machine
    has_store: bool = False  # heads die and are replaced
    refusals: tuple[str, ...] = ("placement_group_removed",)
