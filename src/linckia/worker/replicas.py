"""Replicas of this process's objects: asks nodes to hold copies, and others when one of them dies or has no room.

A replica is an ordinary copy that its node keeps until the owner frees the object, so reading, promoting and freeing
are those of copies (``locations.py``). Values inside their owner have no replicas. Nothing waits for a replica. The
primary's node is told too: what has replicas outlives this process, once references have left it (``share``).
Runs under ``Runtime.mutex``.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from linckia.core.objects.replicas import RETRY_AFTER_S, ReplicaTable
from linckia.protocol import messages as m
from linckia.worker.refs import BLOCK, ObjectRef

if TYPE_CHECKING:
    from linckia.worker.runtime import Runtime
    from linckia.worker.tasks import Peer


class Replicas:
    """One per runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.table = ReplicaTable()
        self._asked: dict[int, tuple[bytes, bytes]] = {}  # rid -> object, node
        self._again = False

    def wanted(self, ref: ObjectRef[Any], copies: int, *, shared: bool = True) -> None:
        """An own object in shared memory has its value: it shall have so many copies. ``shared`` False: nobody can have
        a reference yet.
        """
        if ref.state == BLOCK and copies > 1:
            self.table.want(ref._id, copies, shared=shared)
            self._ask(0, ref, ref.value.node_id)
            self.see_to(ref._id)

    def share(self, object_id: bytes) -> None:
        """A reference to it leaves this process."""
        entry = self.table.objects.get(object_id)
        if entry is None or entry.shared:
            return
        runtime = self.runtime
        with runtime.mutex:
            nodes = self.table.share(object_id)
            ref = runtime.borrowing.by_id.get(object_id)
            if ref is not None and ref.state == BLOCK:
                nodes.append(ref.value.node_id)
            for node_id in nodes:
                raylet = runtime.raylets.at(node_id)
                if not raylet.closed:
                    raylet.conn.send(m.CopiesShared([object_id]))  # before the reference leaves

    def freed(self, object_id: bytes, node_id: bytes) -> None:
        """Nobody refers to it any more; its primary was on that node."""
        if self.table.objects.get(object_id) is None:
            return
        self.table.freed(object_id)
        raylet = self.runtime.raylets.at(node_id)
        if not raylet.closed:
            raylet.conn.post(m.FreeCopies([object_id]))

    def _ask(self, rid: int, ref: ObjectRef[Any], node_id: bytes) -> bool:
        runtime, block, entry = self.runtime, ref.value, self.table.objects[ref._id]
        raylet = runtime.raylets.at(node_id)
        if raylet.closed:
            return False
        item = m.Wanted(ref._id, block.size, runtime.address, block)
        raylet.conn.post(m.KeepCopy(rid, item, entry.wanted, entry.shared))
        return True

    def see_to(self, object_id: bytes) -> None:
        """Ask nodes for what is missing. While the primary is being replaced, that comes first."""
        if object_id not in self.table.objects:
            return
        runtime = self.runtime
        ref = runtime.borrowing.by_id.get(object_id)
        if ref is None or ref.state != BLOCK:
            return
        block, raylets = ref.value, runtime.raylets
        nodes = [node for node in (runtime.node_id, *raylets.nodes) if node not in raylets.preempted]
        runtime.locations.table.begin(object_id, block)
        for node_id in self.table.choose(object_id, block.node_id, nodes, time.monotonic()):
            rid = runtime.next_rid()
            self._asked[rid] = (object_id, node_id)
            if not self._ask(rid, ref, node_id):
                del self._asked[rid]
                self._refused(object_id, node_id)

    def on_kept(self, _peer: Peer, message: m.CopyKept) -> None:
        """A node's answer."""
        asked = self._asked.pop(message.rid, None)
        if asked is None:
            return
        if message.reason:
            self._refused(*asked)
        else:
            self.table.kept(*asked)

    def _refused(self, object_id: bytes, node_id: bytes) -> None:
        self.table.refused(object_id, node_id, time.monotonic())
        self.see_to(object_id)
        self._look_later()

    def _look_later(self) -> None:
        if not self._again:
            self._again = True
            self.runtime.reactor.call_later(RETRY_AFTER_S, self._try_again)

    def _try_again(self) -> None:
        with self.runtime.mutex:
            self._again = False
            if self.runtime.closing:
                return
            self.nodes_joined()
            if self.table.is_refused(time.monotonic()):
                self._look_later()

    def nodes_joined(self) -> None:
        """There may be room now."""
        for object_id in self.table.lacking() if self.table.objects else ():
            self.see_to(object_id)

    def raylet_gone(self, node_id: bytes) -> None:
        """The connection is lost, and with it the answers: ask again in a while, there or elsewhere."""
        for asked in self._take_asked(node_id):
            self._refused(*asked)

    def _take_asked(self, node_id: bytes) -> list[tuple[bytes, bytes]]:
        return [self._asked.pop(rid) for rid, asked in list(self._asked.items()) if asked[1] == node_id]

    def node_dead(self, node_id: bytes) -> None:
        """What it held is held by another from now on."""
        self._take_asked(node_id)
        for object_id in self.table.node_dead(node_id):
            self.see_to(object_id)
