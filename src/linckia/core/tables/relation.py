"""Which one place each member has, and which members each place has. Pure bookkeeping, in the order of putting; all
costs are those of what is asked for. Used for actors on nodes, in placement groups and by owners.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic

from linckia.core.tables.index import Index, Member
from linckia.core.tables.index import Key as Place


class Relation(Generic[Member, Place]):
    """Both directions. ``nowhere`` is the place of a member that has none."""

    def __init__(self, nowhere: Place) -> None:
        self._nowhere = nowhere
        self._place_of: dict[Member, Place] = {}
        self._at: Index[Place, Member] = Index()

    def __contains__(self, member: object) -> bool:
        return member in self._place_of

    def __len__(self) -> int:
        return len(self._place_of)

    def __iter__(self) -> Iterator[Member]:
        """All members."""
        return iter(self._place_of)

    def put(self, member: Member, place: Place) -> None:
        """It is there, and nowhere else."""
        self.pop(member)
        self._place_of[member] = place
        self._at.add(place, member)

    def pop(self, member: Member) -> None:
        """It has no place any more. Idempotent."""
        if member in self._place_of:
            self._at.discard(self._place_of.pop(member), member)

    def get(self, member: Member) -> Place:
        """Its place, or ``nowhere``."""
        return self._place_of.get(member, self._nowhere)

    def at(self, place: Place) -> list[Member]:
        """Members at a place."""
        return self._at.of(place)

    def has(self, place: Place) -> bool:
        """Some member is there."""
        return place in self._at
