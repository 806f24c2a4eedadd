"""Messages between a raylet and the head, in both directions, across connections that break: none is lost, none comes
twice.

Both ends count, so that nothing is added to a message. A connection keeps order; when it breaks, the ends tell each
other how many they have received (`LinkHello`, `LinkWelcome`), and the rest is sent again. What was received is told
from time to time (`LinkAck`), so that the sender can forget it. The shells are raylet/gcs_link.py and gcs/links.py.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class SendWindow(Generic[T]):
    """What was sent, or is to be sent, and is not known to have arrived. Holds at most ``limit`` messages: with more,
    the session is over (``overflowed``), and both ends begin anew.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._messages: deque[T] = deque()
        self._acked = 0
        self.overflowed = False

    def __len__(self) -> int:
        return len(self._messages)

    def add(self, message: T) -> None:
        """One more."""
        if len(self._messages) >= self._limit:
            self.overflowed = True
            self._messages.popleft()
            self._acked += 1
        self._messages.append(message)

    def acked(self, count: int) -> None:
        """The other end has received ``count`` in all; less than before is old news."""
        messages = self._messages
        while messages and self._acked < count:
            messages.popleft()
            self._acked += 1

    def can_resume(self, received: int) -> bool:
        """Whether the other end, which has that many, misses nothing that is not here any more."""
        return not self.overflowed and self._acked <= received <= self._acked + len(self._messages)

    def unacked(self) -> list[T]:
        """In order."""
        return list(self._messages)


class ReceiveCount:
    """How many messages came, and whether it is time to say so: after ``every`` of them; the rest by a timer."""

    __slots__ = ("_every", "_told", "count")

    def __init__(self, every: int) -> None:
        self._every = every
        self.count = self._told = 0

    def add(self, messages: int = 1) -> bool:
        """They came. True when the other end should be told now."""
        self.count += messages
        return self.count - self._told >= self._every

    @property
    def untold(self) -> bool:
        """The other end does not know of all."""
        return self.count > self._told

    def told(self) -> int:
        """It is being told: how many."""
        self._told = self.count
        return self.count

    def restart(self) -> None:
        """A new session."""
        self.count = self._told = 0
