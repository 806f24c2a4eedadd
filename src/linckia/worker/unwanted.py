"""Results that nobody waits for any more: of a cancelled call that ended all the same, of an attempt that was given up
before its answer came, of a process that died after it had made them and before it could say so. Their memory in the
store is ours to give back: nobody else knows of it, and nobody gives it back twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from linckia.base.addresses import node_of
from linckia.model.wire import Block
from linckia.protocol import messages as m
from linckia.worker.refs import BLOCK

if TYPE_CHECKING:
    from linckia.model.wire import Result
    from linckia.worker.runtime import Runtime
    from linckia.worker.tasks import Peer

ID_BYTES = 24
FIRST_ITEM = 2
"""Of a task id, and the number in the object id of a generator's first item; returns count from 1."""


class Unwanted:
    """One per runtime. Within the mutex."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self._lost: dict[bytes, dict[bytes, int]] = {}  # dead process -> its tasks, see Peer.lost

    # --- answers that come too late -----------------------------------------------------------------------------------

    def drop_results(self, peer: Peer, message: m.DoneMany) -> None:
        """Free their blocks, and let go of the references in them."""
        peer.lost.pop(message.task_id, None)
        for index, result in enumerate(message.results):
            self._drop(message.task_id + (index + 1).to_bytes(4, "little"), result)

    def drop_item(self, message: m.Yielded) -> None:
        """The same for an item of a generator."""
        self._drop(message.task_id + (message.index + FIRST_ITEM).to_bytes(4, "little"), message.result)

    def _drop(self, object_id: bytes, result: Result) -> None:
        if result.contained:
            self.runtime.borrowing.received(result.contained, b"")  # registered for us already: received, and dropped
        if result.block is not None and not self._is_taken(object_id, result.block.offset):
            self.runtime.objects.free(object_id, result.block)

    def _is_taken(self, object_id: bytes, offset: int) -> bool:
        """The answer was taken in before: this very block is the value."""
        ref = self.runtime.borrowing.by_id.get(object_id)
        return ref is not None and ref.state == BLOCK and ref.value.offset == offset

    # --- answers that never come --------------------------------------------------------------------------------------

    @staticmethod
    def note(peer: Peer) -> None:
        """These tasks are taken away from a process that may have run them."""
        for task_id, record in peer.tasks.items():
            peer.lost[task_id] = record.stream.received if record.stream is not None else 0

    def hung_up(self, peer: Peer) -> None:
        """All that it sent has been read: what did it make that it did not tell us of?"""
        self.note(peer)
        if not peer.lost or self.runtime.closing:
            return
        worker_id = peer.address.worker_id
        raylet = self.runtime.raylets.at(node_of(peer.address.endpoint))
        if not raylet.closed:
            self._lost.setdefault(worker_id, {}).update(peer.lost)
            raylet.conn.post(m.LeftBehind(worker_id))

    def on_left(self, peer: Peer, message: m.BlocksLeft) -> None:
        """Free what nobody has heard of: results of the tasks that it did not answer, items that did not arrive."""
        lost = self._lost.pop(message.worker_id, {})
        here = peer is self.runtime.raylet_peer
        node_id = self.runtime.node_id if here else peer.address.worker_id
        for object_id, offset, size in message.blocks:
            task_id, number = object_id[:ID_BYTES], int.from_bytes(object_id[ID_BYTES:], "little")
            received = lost.get(task_id)
            if received is None or 0 <= number - FIRST_ITEM < received or self._is_taken(object_id, offset):
                continue
            self.runtime.objects.free(object_id, Block(offset, size, node_id))
