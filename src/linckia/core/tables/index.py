"""What belongs to what, many to many: members of each key, in the order in which they came. A key without members is
not there. Pure bookkeeping; all costs are those of what is asked for.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Member = TypeVar("Member", bound=Hashable)


class Index(Generic[Key, Member]):
    """From keys to members."""

    def __init__(self) -> None:
        self._members: dict[Key, dict[Member, None]] = {}

    def __len__(self) -> int:
        """How many keys have members."""
        return len(self._members)

    def __iter__(self) -> Iterator[Key]:
        """The keys that have members."""
        return iter(self._members)

    def __contains__(self, key: object) -> bool:
        return key in self._members

    def add(self, key: Key, member: Member) -> None:
        """It belongs to the key. Idempotent."""
        self._members.setdefault(key, {})[member] = None

    def discard(self, key: Key, member: Member) -> None:
        """It does not belong to the key any more. Idempotent."""
        members = self._members.get(key)
        if members is not None:
            members.pop(member, None)
            if not members:
                del self._members[key]

    def of(self, key: Key) -> list[Member]:
        """The members of a key; empty when it has none."""
        return list(self._members.get(key, ()))

    def first(self, key: Key) -> Member:
        """The member that came first. KeyError when the key has none."""
        return next(iter(self._members[key]))

    def pop(self, key: Key) -> list[Member]:
        """Its members, which belong to it no more."""
        return list(self._members.pop(key, ()))
