"""Who was asked for something and has not even said that it heard it. Pure; used by gcs/links.py.

A node whose heartbeats arrive may be deaf all the same, and one that is silent need not be waited for until several
heartbeats are missing when there is something to ask it.
"""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Answers(Generic[T]):
    """Costs nothing for those who are asked nothing, and the same for each question, however many there are."""

    def __init__(self, within_s: float) -> None:
        self._within_s = within_s
        self._since_s: dict[T, float] = {}  # by the time of the first question that is open
        self._late: set[T] = set()

    def asked(self, who: T, now_s: float) -> None:
        """Something is on its way to them. Who is late already is not counted again."""
        if who not in self._late:
            self._since_s.setdefault(who, now_s)

    def answered(self, who: T) -> bool:
        """They have heard all of it. True when they were late."""
        self._since_s.pop(who, None)
        was_late = who in self._late
        self._late.discard(who)
        return was_late

    def late(self, now_s: float) -> list[T]:
        """Who is too late since the last look."""
        found = []
        for who, since_s in self._since_s.items():
            if since_s + self._within_s > now_s:
                break
            found.append(who)
        for who in found:
            del self._since_s[who]
            self._late.add(who)
        return found

    def next_look_s(self) -> float | None:
        """When somebody will be too late at the earliest; None when nothing is open."""
        return next((since_s + self._within_s for since_s in self._since_s.values()), None)
