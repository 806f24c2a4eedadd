"""Stand-ins for callbacks that nobody has set. Pure."""

from __future__ import annotations


def nobody_cares(*_what: object) -> None:
    """What happens is of no interest to anybody."""
