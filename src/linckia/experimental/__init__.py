"""Ray's `ray.experimental`: what exists of it here is `tqdm_ray`.

User programs import it. Other names answer with a sentence that says what is missing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from linckia.experimental import tqdm_ray

NOT_THERE_YET = {
    "channel": "pass values through actor calls",
    "get_local_object_locations": "there is one machine, so every object that can be read is here",
    "get_object_locations": "there is one machine, so every object that can be read is here",
    "internal_kv": "keep shared state in a named actor (name=..., get_if_exists=True)",
    "set_resource": "give the resources to linckia.init(resources=...) or to single tasks",
}

__all__ = ["tqdm_ray"]


def __getattr__(name: str) -> object:
    if name == "tqdm_ray":
        return importlib.import_module(f"{__name__}.{name}")
    advice = NOT_THERE_YET.get(name)
    reason = f"is not in this version of Linckia: {advice}." if advice else "does not exist"
    raise AttributeError(f"linckia.experimental.{name} {reason}", name=name)
