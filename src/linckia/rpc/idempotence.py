"""Answer a repeated request from memory, so that a retry never runs twice. Pure bookkeeping, bounded per client."""

from __future__ import annotations

from collections import OrderedDict

from linckia.protocol.messages import Message

REMEMBERED_REPLIES_PER_CLIENT = 1024


class RecentReplies:
    """Per (client, rid): running, or the reply that was sent."""

    def __init__(self, limit: int = REMEMBERED_REPLIES_PER_CLIENT) -> None:
        self._limit = limit
        self._clients: dict[bytes, OrderedDict[int, Message | None]] = {}

    def begin(self, client: bytes, rid: int) -> tuple[bool, Message | None]:
        """(True, None): run it. (False, reply): repeat that reply. (False, None): the first still runs, drop it."""
        replies = self._clients.setdefault(client, OrderedDict())
        if rid in replies:
            return False, replies[rid]
        replies[rid] = None
        while len(replies) > self._limit:
            replies.popitem(last=False)
        return True, None

    def finish(self, client: bytes, rid: int, reply: Message) -> None:
        """Remember the reply for retries."""
        replies = self._clients.get(client)
        if replies is not None and rid in replies:
            replies[rid] = reply

    def forget(self, client: bytes) -> None:
        """The client is gone for good."""
        self._clients.pop(client, None)
