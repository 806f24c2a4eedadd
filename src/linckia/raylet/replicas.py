"""Copies that this node keeps for an owner until it frees the object: replicas.

To the pull queue this is one more process that reads objects and does not let go; it is never evicted. All replicas
together take at most a share of the store. Built by raylet/object_host.py; which node keeps what is the owner's
decision (worker/replicas.py).
"""

from __future__ import annotations

import itertools
import time
from typing import Any

from linckia.base.limits import REPLICAS_STORE_SHARE
from linckia.core.objects.pull_records import Item
from linckia.protocol import messages as m
from linckia.protocol.transfer_messages import REPLICA
from linckia.raylet.pull_manager import PullManager

CLIENT = b"replicas"


class _Kept:
    """A replica on its way or here. ``asked``: whom to answer, and by which number."""

    __slots__ = ("asked", "item", "rid")

    def __init__(self, rid: int, item: m.Wanted) -> None:
        self.rid, self.item = rid, item
        self.asked: list[tuple[Any, int]] = []


class ReplicaHost:
    """One per raylet."""

    closed = False  # to the pull queue it is a process that never ends

    def __init__(self, pulls: PullManager, capacity_bytes: int) -> None:
        self.pulls = pulls
        self.room_bytes = int(capacity_bytes * REPLICAS_STORE_SHARE)
        self.held_bytes = 0
        self._kept: dict[bytes, _Kept] = {}
        self._rids = itertools.count(1)

    def on_keep(self, peer: Any, message: m.KeepCopy) -> None:
        """An owner wants a copy here. A repeated request is answered like the first."""
        item = message.item
        kept = self._kept.get(item.object_id)
        if kept is None:
            if self.held_bytes + item.size > self.room_bytes:
                text = f"its replicas hold {self.held_bytes} bytes and may hold {self.room_bytes}"
                peer.post(m.CopyKept(message.rid, f"no room for {item.size} bytes: {text}"))
                return
            kept = self._kept[item.object_id] = _Kept(next(self._rids), item)
            self.held_bytes += item.size
            kept.asked.append((peer, message.rid))
            wanted = [Item(item.object_id, item.size, item.owner, item.block)]
            self.pulls.carry_out(self.pulls.queue.want(CLIENT, kept.rid, wanted, REPLICA, time.monotonic()))
        elif kept.rid:
            kept.asked.append((peer, message.rid))
        else:
            peer.post(m.CopyKept(message.rid))

    def post(self, message: m.Message) -> None:
        """The pull queue's answer."""
        if isinstance(message, m.ObjectFetched):
            kept = self._by_rid(message.rid)
            if kept is not None:
                kept.rid = 0
                self._answer(kept, "")
        elif isinstance(message, m.FetchFailed):
            kept = self._by_rid(message.rid)
            if kept is not None:
                self._forget(kept)
                self._answer(kept, message.reason or message.kind)

    def released(self, object_ids: list[bytes]) -> None:
        """Their owner has freed them, or made our copy the primary, which stays without us."""
        for object_id in object_ids:
            kept = self._kept.get(object_id)
            if kept is None:
                continue
            self._forget(kept)
            now_s, queue = time.monotonic(), self.pulls.queue
            effects = queue.cancel(CLIENT, kept.rid, now_s) if kept.rid else queue.unpin(CLIENT, [object_id], now_s)
            self.pulls.carry_out(effects)

    def owner_gone(self, worker_id: bytes) -> None:
        """Nobody needs what it owned."""
        self.released([each for each, kept in self._kept.items() if kept.item.owner.worker_id == worker_id])

    def _answer(self, kept: _Kept, reason: str) -> None:
        for peer, rid in kept.asked:
            peer.post(m.CopyKept(rid, reason))
        kept.asked.clear()

    def _forget(self, kept: _Kept) -> None:
        del self._kept[kept.item.object_id]
        self.held_bytes -= kept.item.size

    def _by_rid(self, rid: int) -> _Kept | None:
        return next((kept for kept in self._kept.values() if kept.rid == rid), None)
