"""Ray's import path of the pickler: the `cloudpickle` package under the name `linckia.cloudpickle`.

User programs call `dumps`, `loads` and `register_pickle_by_value`. The runtime's own pickler, which also knows object
refs and shared buffers, is in `linckia.serialization`.
"""

from __future__ import annotations

from cloudpickle import (
    CloudPickler,
    Pickler,
    dump,
    dumps,
    load,
    loads,
    register_pickle_by_value,
    unregister_pickle_by_value,
)

__all__ = [
    "CloudPickler",
    "Pickler",
    "dump",
    "dumps",
    "load",
    "loads",
    "register_pickle_by_value",
    "unregister_pickle_by_value",
]
