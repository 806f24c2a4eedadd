"""A connection between two rooms of one process, with the surface of ``rpc/connection.py``: the head and node rooms of
a head machine.

Messages are handed over by the reactor in a later turn, in order and in batches, never inside ``post``: a room is never
re-entered. Struct instances are passed as they are; rooms treat messages as frozen.
"""

from __future__ import annotations

from typing import Any

from linckia.protocol.messages import Message
from linckia.rpc.connection import MessageHandler
from linckia.rpc.reactor import Reactor


class LocalLink:
    """One end; ``is_local`` marks it as of this process. ``peer_id`` and ``peer_role`` describe the other room;
    ``state`` is free for the owner.
    """

    is_local = True

    def __init__(self, reactor: Reactor, peer_id: bytes, peer_role: str) -> None:
        self.reactor, self.peer_id, self.peer_role = reactor, peer_id, peer_role
        self.on_messages: Any = None
        self.state: Any = None
        self.closed = False
        self.established = True
        self._other: LocalLink = self
        self._queue: list[Message] = []

    @classmethod
    def pair(cls, reactor: Reactor, first: tuple[bytes, str], second: tuple[bytes, str]) -> tuple[LocalLink, LocalLink]:
        """Two ends; ``first`` and ``second`` are (id, role) of the rooms that *hold* the first and second end."""
        at_first, at_second = cls(reactor, *second), cls(reactor, *first)
        at_first._other, at_second._other = at_second, at_first
        return at_first, at_second

    def listen(self, on_messages: MessageHandler | Any) -> None:
        """Messages that arrive at this end go to ``on_messages(link, batch)``."""
        self.on_messages = on_messages

    @property
    def is_heard(self) -> bool:
        """Nothing is between us."""
        return not self.closed

    def post(self, message: Message) -> None:
        """Hand over to the other room in the reactor's next turn."""
        other = self._other
        other._queue.append(message)
        if len(other._queue) == 1:
            self.reactor.call_soon(other._deliver)

    send = post

    def flush(self) -> None:
        """Nothing to do: delivery is scheduled."""

    def close(self, reason: str = "") -> None:
        """Both ends live as long as their process; only the flag is set."""
        self.closed = True

    def _deliver(self) -> None:
        batch, self._queue = self._queue, []
        if not self.closed and self.on_messages is not None:
            self.on_messages(self, batch)
