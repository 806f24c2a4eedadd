"""What is told of a supervised part (core/supervision)."""

from __future__ import annotations

import msgspec


class PartFacts(msgspec.Struct, array_like=True, frozen=True):
    """``down_since_s`` on the wall clock, 0 while it is up; ``why`` of its last failure; ``failures`` so far."""

    name: str
    is_up: bool
    down_since_s: float = 0.0
    why: str = ""
    failures: int = 0


class DashboardFacts(msgspec.Struct, array_like=True, frozen=True):
    """The dashboard of a node: ``url`` is ``host:port`` (empty: it has never listened), ``pid`` 0 while it is down."""

    url: str
    pid: int
    part: PartFacts
