"""Functions and classes to bytes, once per definition: by reference when importable, else by value.

Called when a remote function or actor class is first used. It names blobs by their content and refuses monstrous ones
(R 3.12); it does not store or send them.
"""

from __future__ import annotations

import hashlib
import warnings
from typing import Any

ID_BYTES = 28
WARN_BYTES = 10 * 1024 * 1024
LIMIT_BYTES = 100 * 1024 * 1024


def dumps_function(obj: Any, limit_bytes: int = LIMIT_BYTES) -> bytes:
    """Pickle a function or class. TypeError names what inside it cannot be pickled, ValueError when it is too large.

    References that it captures are not collected: their ``__reduce__`` sees no dump running and pins them (R 1.47).
    """
    from linckia.serialization import pickler as pickling  # noqa: PLC0415  (start-up time: imports cloudpickle)

    blob = pickling.dump_in_band(obj)
    _check_size(obj, len(blob), limit_bytes)
    return blob


def function_id(blob: bytes) -> bytes:
    """The 28 bytes that name this blob in all processes."""
    return hashlib.blake2b(blob, digest_size=ID_BYTES).digest()


def _check_size(obj: Any, size_bytes: int, limit_bytes: int) -> None:
    if size_bytes <= min(WARN_BYTES, limit_bytes):
        return
    kind = "class" if isinstance(obj, type) else "function"
    name = getattr(obj, "__qualname__", repr(obj))
    text = (
        f"The {kind} {name} is {size_bytes / 2**20:.1f} MiB when pickled ({{}}). Does it capture a large object of its "
        f"enclosing scope or module? Use put() for that object and pass the reference instead."
    )
    if size_bytes > limit_bytes:
        raise ValueError(text.format(f"the limit is {limit_bytes / 2**20:.0f} MiB"))
    warnings.warn(text.format(f"above {WARN_BYTES / 2**20:.0f} MiB calls get slow"), stacklevel=3)
