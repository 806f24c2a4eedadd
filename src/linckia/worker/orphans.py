"""What a borrower does when it learns that an owner has ended: before it says `OwnerDiedError` it asks its raylet for a
copy (raylet/orphans.py; docs/fault-tolerance.md, section Replication).

A large value that was known is looked for when it is used next; one that is being asked for, at once. The raylet
answers within ORPHAN_SEARCH_MAX_S. Runs under ``Runtime.mutex``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from linckia.base import errors
from linckia.protocol import messages as m
from linckia.worker.borrowing import BorrowToken
from linckia.worker.refs import BLOCK, ORPHANED, PENDING, ObjectRef

if TYPE_CHECKING:
    from linckia.worker.runtime import Runtime
    from linckia.worker.tasks import Peer


def owner_died(ref: ObjectRef[Any]) -> errors.OwnerDiedError:
    """The error of a ref whose owner has ended and of which no copy is left."""
    error = errors.OwnerDiedError(ref.hex(), ref.owner_address(), ref.call_site())
    error.detail = ref.value if type(ref.value) is str else ""
    return error


class Orphans:
    """One per runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self._open: dict[int, tuple[ObjectRef[Any], str]] = {}  # rid -> whose copy is looked for, what became of owner

    def bereft(self, ref: ObjectRef[Any]) -> None:
        """The owner of a large value that this process knows has ended."""
        extra = ref.extra
        assert extra is not None
        extra.token, extra.fetching = ORPHANED, False
        ref.value, ref.state = None, PENDING

    def search(self, ref: ObjectRef[Any], why: str) -> None:
        """Somebody waits for a value whose owner has ended, or cannot be reached (``why``)."""
        runtime = self.runtime
        owner = ref.extra.owner if ref.extra is not None else None
        if ref.state or runtime.closing or runtime.raylet.closed or owner is None:
            runtime.complete_lost(ref, why)
            return
        rid = runtime.next_rid()
        self._open[rid] = (ref, why)
        runtime.raylet.send(m.FindOrphan(rid, ref._id, owner))

    def on_found(self, _peer: Peer, message: m.OrphanFound) -> None:
        """The raylet's answer."""
        ref, why = self._open.pop(message.rid, (None, ""))
        if ref is None or ref.state:
            return
        block = message.block
        if block is None:
            self.runtime.complete_lost(ref, f"{why}; {message.why}")
            return
        assert ref.extra is not None
        ref.extra.token = ORPHANED
        if block.node_id == self.runtime.node_id and block.offset >= 0:
            self._adopt(ref, block)
        ref.value, ref.state = block, BLOCK
        self.runtime.fire(ref)

    def _adopt(self, ref: ObjectRef[Any], block: m.Block) -> None:
        """It is in this node's memory: it stays there as long as we read it."""
        runtime, extra = self.runtime, ref.extra
        assert extra is not None and extra.owner is not None
        token = extra.token = BorrowToken(runtime, ref._id, extra.owner)
        token.block, token.adopted = block, True
        runtime.raylet.send(m.Sealed([(block.offset, block.size, ref._id, runtime.address.worker_id)]))

    def fail_all(self) -> None:
        """The node process is gone."""
        waiting, self._open = self._open, {}
        for ref, why in waiting.values():
            self.runtime.complete_lost(ref, why)
