"""A simulated runtime process, driver or worker: connections, requests that are repeated until answered, references.

The reference counter is the real one (core/objects/reference_counter.py); this is its shell on the simulated network.
Owners (``owner.py``) and workers (``worker.py``) are built on it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from linckia.core.objects.reference_counter import ReferenceCounter
from linckia.core.objects.references import Acknowledge, Answer, Effect, End, Free, Ref, Register, Value
from linckia.model.wire import Address, Block, RefInfo, Result
from linckia.protocol import messages as m
from linckia.rpc.idempotence import RecentReplies
from linckia.testing.network import SimConnection
from linckia.testing.node import NODE
from linckia.testing.peer import SimPeer

if TYPE_CHECKING:
    from linckia.testing.cluster import SimCluster


class SimProcess(SimPeer):
    """What drivers and workers have in common."""

    def __init__(self, cluster: SimCluster, name: bytes, role: str) -> None:
        super().__init__(cluster, name, role)
        self.cluster = cluster
        self.address = Address(name, f"sim:{name.decode()}")
        self.refs = ReferenceCounter(name)
        self.recent = RecentReplies()
        self.blocks: dict[bytes, Block] = {}  # our objects in shared memory
        self.freed: set[bytes] = set()
        self.extents: dict[int, int] = {}  # what we hold of the store
        self._fetching: dict[bytes, dict[bytes, None]] = {}  # owner -> what we sent for
        self.job_id = b""
        connection = cluster.network.connect(self.endpoint, NODE)
        assert connection is not None, "the node lives as long as the simulation"
        self.raylet = connection
        self.handlers = {
            m.AddBorrower: self._on_add_borrower,
            m.BorrowEnded: lambda c, msg: self.carry(self.refs.ended(c.peer_id, msg.object_ids)),
            m.GetObject: lambda c, msg: self.carry(self.refs.serve(msg.object_id, c.peer_id)),
            m.ObjectValue: self._on_value,
            m.FreeBlocks: self._on_free_blocks,
            m.RecallExtents: lambda _c, _msg: None,
            m.WorkerFailed: self._on_worker_failed,
            m.DriverMessage: lambda _c, _msg: None,
        }

    def peer(self, name: bytes) -> SimConnection | None:
        """The connection to another process; when it is dead, its end is heard of soon."""
        connection = self.cluster.network.connect(self.endpoint, name)
        if connection is None:
            self.later(0.001, lambda: self.process_died(name))
        return connection

    # --- deaths of others ---------------------------------------------------------------------------------------------

    def on_close(self, connection: SimConnection, reason: str) -> None:
        """A connection closed: all its peer sent has been read."""
        if connection is self.raylet:
            self.cluster.crash(self.name, "its raylet hung up")
            return
        self.process_died(connection.peer_id)

    def _on_worker_failed(self, _connection: SimConnection, message: m.WorkerFailed) -> None:
        if message.worker_id not in self.endpoint.connections:  # else its connection will say so, after all it sent
            self.process_died(message.worker_id)

    def process_died(self, name: bytes) -> None:
        """Another process is gone."""
        for rid in [rid for rid, request in self.requests.items() if request.connection.peer_id == name]:
            del self.requests[rid]
        self.carry(self.refs.died(name))
        for object_id in self._fetching.pop(name, {}):
            self.carry(self.refs.fetched(object_id, None))

    # --- references ---------------------------------------------------------------------------------------------------

    def carry(self, effects: list[Effect]) -> None:
        """Send what the reference counter wants sent."""
        for effect in effects:
            match effect:
                case Register():
                    self._register(effect)
                case Acknowledge(to, rid, known):
                    reply = m.BorrowerAdded(rid, known)
                    self.recent.finish(to, rid, reply)
                    self._post(to, reply)
                case End(owner, object_ids):
                    self._post(owner, m.BorrowEnded(list(object_ids)))
                case Answer():
                    self.answer(effect)
                case Value(to, object_id, contained):
                    result = Result(contained=infos(contained)) if contained is not None else None
                    self._post(to, m.ObjectValue(object_id, result, unknown=contained is None))
                case Free(object_id):
                    self._free(object_id)

    def _post(self, to: bytes, message: m.Message) -> None:
        connection = self.peer(to)
        if connection is not None:
            connection.post(message)

    def _register(self, effect: Register) -> None:
        connection = self.peer(effect.owner)
        if connection is not None:
            address = Address(effect.borrower, "")
            message = m.AddBorrower(self.next_rid(), effect.object_id, address)
            acknowledged = self.refs.acknowledged
            self.ask(connection, message, lambda reply: self.carry(acknowledged(effect.rid, known=reply.known)))

    def answer(self, effect: Answer) -> None:
        """Only workers answer tasks."""
        raise NotImplementedError

    def _free(self, object_id: bytes) -> None:
        assert object_id not in self.freed, f"{object_id!r} is freed twice"
        self.freed.add(object_id)
        self.cluster.freed(object_id)
        block = self.blocks.pop(object_id, None)
        if block is not None:
            self.raylet.post(m.FreeBlocks([block.offset]))

    def _on_add_borrower(self, connection: SimConnection, message: m.AddBorrower) -> None:
        first, reply = self.recent.begin(connection.peer_id, message.rid)
        if first:
            name = message.borrower.worker_id
            self.carry(self.refs.add_borrower(connection.peer_id, message.rid, message.object_id, name))
        elif reply is not None:
            connection.post(reply)

    def fetch(self, object_id: bytes, owner: bytes) -> None:
        """Send for the value of a borrowed object."""
        connection = self.peer(owner)
        if connection is not None and object_id not in self._fetching.get(owner, {}):
            self.refs.fetch(object_id)
            self._fetching.setdefault(owner, {})[object_id] = None
            connection.post(m.GetObject(object_id))

    def _on_value(self, connection: SimConnection, message: m.ObjectValue) -> None:
        if self._fetching.get(connection.peer_id, {}).pop(message.object_id, self) is None:
            contained = refs(message.result.contained) if message.result is not None else None
            self.carry(self.refs.fetched(message.object_id, contained))

    # --- shared memory ------------------------------------------------------------------------------------------------

    def store(self, object_id: bytes, owner: bytes, size: int, stored: Callable[[Block | None], None]) -> None:
        """Put a large value into the node's store: one extent each."""

        def granted(reply: Any) -> None:
            if isinstance(reply, m.ExtentDenied):
                stored(None)
                return
            self.extents[reply.offset] = reply.size
            self.raylet.post(m.Sealed([(reply.offset, size, object_id, owner)]))
            stored(Block(reply.offset, size))

        self.ask(self.raylet, m.AllocExtent(self.next_rid(), size), granted)

    def _on_free_blocks(self, _connection: SimConnection, message: m.FreeBlocks) -> None:
        for offset in message.offsets:
            size = self.extents.pop(offset, None)
            if size is not None:
                self.raylet.post(m.ExtentReturned([(offset, size)]))


def infos(some: tuple[Ref, ...]) -> list[RefInfo]:
    """The wire form of references."""
    return [RefInfo(ref.object_id, Address(ref.owner, "")) for ref in some]


def refs(some: list[RefInfo]) -> tuple[Ref, ...]:
    """Back from the wire."""
    return tuple(Ref(info.object_id, info.owner.worker_id) for info in some)
