"""Ray's `ray.experimental`: what exists of it here is `tqdm_ray` and the places of objects; and `heads`, which is ours.

User programs import it. Other names answer with a sentence that says what is missing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from linckia.api.cluster_info import heads
    from linckia.experimental import tqdm_ray
    from linckia.experimental.locations import get_local_object_locations, get_object_locations

NOT_THERE_YET = {
    "channel": "pass values through actor calls",
    "internal_kv": "keep shared state in a named actor (name=..., get_if_exists=True)",
    "set_resource": "give the resources to linckia.init(resources=...) or to single tasks",
}

LOCATIONS = ("get_local_object_locations", "get_object_locations")

__all__ = ["get_local_object_locations", "get_object_locations", "heads", "tqdm_ray"]


def __getattr__(name: str) -> object:
    if name in LOCATIONS:
        return getattr(importlib.import_module(f"{__name__}.locations"), name)
    if name == "heads":
        return importlib.import_module("linckia.api.cluster_info").heads
    if name == "tqdm_ray":
        return importlib.import_module(f"{__name__}.{name}")
    advice = NOT_THERE_YET.get(name)
    reason = f"is not in this version of Linckia: {advice}." if advice else "does not exist"
    raise AttributeError(f"linckia.experimental.{name} {reason}", name=name)
