"""Answer a repeated request from memory, so that a retry never runs twice. Pure bookkeeping, bounded per client and
over all clients.
"""

from __future__ import annotations

from collections import OrderedDict

from linckia.core.tables.budget import TableFacts
from linckia.protocol.messages import Message

REMEMBERED_REPLIES_PER_CLIENT = 1024
REMEMBERED_REPLIES = 65_536
REPLY_BYTES = 500
"""So many of all clients, of so many bytes each with its place (measured): replies to requests that change something
are small, and those that only read are not remembered (gcs/service.py)."""


class RecentReplies:
    """Per (client, rid): running, or the reply that was sent. Over ``total`` those of the client go whose last request
    is the longest ago: it is the least likely to ask again. At ``limit`` a client's own oldest go.
    """

    def __init__(self, limit: int = REMEMBERED_REPLIES_PER_CLIENT, total: int = REMEMBERED_REPLIES) -> None:
        self._limit, self._total = limit, total
        self._clients: OrderedDict[bytes, OrderedDict[int, Message | None]] = OrderedDict()
        self._count = self._evicted = 0

    def __len__(self) -> int:
        return self._count

    def begin(self, client: bytes, rid: int) -> tuple[bool, Message | None]:
        """(True, None): run it. (False, reply): repeat that reply. (False, None): the first still runs, drop it."""
        replies = self._clients.get(client)
        if replies is None:
            replies = self._clients[client] = OrderedDict()
        elif rid in replies:
            return False, replies[rid]
        self._clients.move_to_end(client)
        replies[rid] = None
        self._count += 1
        if len(replies) > self._limit:
            self._evict(client)
        if self._count > self._total:
            self._evict(next(iter(self._clients)))
        return True, None

    def _evict(self, client: bytes) -> None:
        replies = self._clients[client]
        replies.popitem(last=False)
        self._count -= 1
        self._evicted += 1
        if not replies:
            del self._clients[client]

    def finish(self, client: bytes, rid: int, reply: Message) -> None:
        """Remember the reply for retries."""
        replies = self._clients.get(client)
        if replies is not None and rid in replies:
            replies[rid] = reply

    def forget(self, client: bytes) -> None:
        """The client is gone for good."""
        self._count -= len(self._clients.pop(client, ()))

    def facts(self, table: str) -> TableFacts:
        """For `linckia status -v`."""
        rule = "those of the client that asked nothing for the longest time"
        held, budget, evicted = (REPLY_BYTES * count for count in (self._count, self._total, self._evicted))
        return TableFacts(table, 0, self._count, held, budget, self._evicted, evicted, rule)
