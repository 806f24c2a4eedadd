"""What a candidate may ask of the world. ``node/leadership.py`` carries it out and reports back to ``Election``.

``sent_s`` is the candidate's time when it decided to ask, so at the latest the time when the request was sent: what a
lease is good for is counted from there, never from the answer.
"""

from __future__ import annotations

import msgspec


class GrantLease(msgspec.Struct, frozen=True):
    """Get a lease. Answer: ``granted`` or ``grant_failed``."""

    ttl_s: float
    sent_s: float


class Renew(msgspec.Struct, frozen=True):
    """Keep the lease alive. Answer: ``renewed`` or ``refused``."""

    lease: int
    sent_s: float


class Register(msgspec.Struct, frozen=True):
    """Write the head's facts under its lease. Answer: ``registered`` or
    ``register_failed``."""

    lease: int


class Campaign(msgspec.Struct, frozen=True):
    """Create the leader key under the lease if it is absent, else read it. Answer: ``campaigned`` or
    ``campaign_failed``.
    """

    lease: int


class Look(msgspec.Struct, frozen=True):
    """Read the leader key. Answer: ``observed`` or ``look_failed``."""


class Evict(msgspec.Struct, frozen=True):
    """End the lease of a leader whose process is gone. The campaign that follows tells whether it worked."""

    lease: int


class Release(msgspec.Struct, frozen=True):
    """End the head's own lease. Answer: ``released``, whatever came of it."""

    lease: int


class Elected(msgspec.Struct, frozen=True):
    """Serve. Once per term; ``revision`` is the store's at which that was known."""

    epoch: int
    revision: int


class Deposed(msgspec.Struct, frozen=True):
    """The term is over. Once per term that ``Elected`` began."""

    why: str


class Paused(msgspec.Struct, frozen=True):
    """The head does not serve until ``Resumed`` or ``Deposed``: its lease may have ended."""


class Resumed(msgspec.Struct, frozen=True):
    """It serves again, by the same epoch."""


Command = GrantLease | Renew | Register | Campaign | Look | Evict | Release | Elected | Deposed | Paused | Resumed
