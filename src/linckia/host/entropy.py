"""Random bytes from the operating system: the only place where the product draws chance.

Importing it gives `NodeID.from_random()` and its siblings their source. Deterministic runs do not import it: they pass
their own seeded source to whatever mints.
"""

from __future__ import annotations

import os
import random

from linckia.base.ids import RandomID


def random_bytes(size_bytes: int) -> bytes:
    """`size_bytes` bytes that nobody can guess: fit for ids and for tokens."""
    return os.urandom(size_bytes)


def random_generator() -> random.Random:
    """A generator for jitter and tie-breaking, seeded from the operating system. One per owner, never shared."""
    return random.Random(os.urandom(16))


RandomID.entropy = staticmethod(random_bytes)
