"""What concerns every node, told to all of them soon: gathered, so that a storm of changes costs messages by its length
in time, not by changes times nodes. Used by gcs/nodes.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from linckia.base.limits import ANNOUNCE_EVERY_S, NEWS_PER_S_MAX
from linckia.protocol import messages as m
from linckia.protocol.batch import encode_batch


class News:
    """``broadcast(message)`` sends to all living nodes, ``receivers()`` counts them, ``now_s()`` is monotonic."""

    def __init__(
        self,
        call_later: Callable[[float, Callable[[], None]], Any],
        broadcast: Callable[[m.Message], None],
        receivers: Callable[[], int],
        now_s: Callable[[], float],
    ) -> None:
        self._call_later, self._broadcast, self._receivers, self._now_s = call_later, broadcast, receivers, now_s
        self._news: list[m.Message] = []  # in order
        self._joined: dict[bytes, bytes] = {}  # nodes that joined since: id -> info
        self._told_s = 0.0
        self._telling = False

    def announce(self, message: m.Message) -> None:
        """Within ``ANNOUNCE_EVERY_S``, with many nodes later, in one message with what else there is to say."""
        self._news.append(message)
        self._tell_soon()

    def joined(self, node_id: bytes, info: bytes) -> None:
        """A node is new: said before what is said of it."""
        self._joined[node_id] = info
        self._tell_soon()

    def knows_of(self, node_id: bytes) -> bool:
        """Whether all have been told of that node."""
        return node_id not in self._joined

    def _tell_soon(self) -> None:
        if not self._telling:
            self._telling = True
            pause_s = pause_between_s(ANNOUNCE_EVERY_S, self._receivers())
            self._call_later(max(0.0, self._told_s + pause_s - self._now_s()), self._tell)

    def _tell(self) -> None:
        self._telling = False
        news, self._news = self._news, []
        joined, self._joined = list(self._joined.values()), {}
        self._told_s = self._now_s()
        if joined:
            news.insert(0, m.NodesChanged(joined=joined))
        self._broadcast(m.Announced(encode_batch(news)))


def pause_between_s(least_s: float, receivers: int) -> float:
    """Between two messages to so many nodes."""
    return max(least_s, receivers / NEWS_PER_S_MAX)
