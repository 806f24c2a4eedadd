"""The shell around pulling: messages of readers, owners and other nodes in, memory and transfers out (R 3.16-3.18).

Decisions are core/objects'. One per raylet; ``handlers`` is merged into the raylet's message table. A spilled object is
read through ``spilled``, by whoever spills.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from linckia.core.objects import pull_records as p
from linckia.core.objects.copies import Copy, CopyTable
from linckia.core.objects.pulls import PullQueue
from linckia.host import environment
from linckia.model.wire import Address, Block
from linckia.protocol import messages as m
from linckia.raylet.copies import CopyMemory
from linckia.raylet.store_host import StoreHost
from linckia.raylet.transfer.links import NodeLinks
from linckia.raylet.transfer.owners import OwnerLinks
from linckia.raylet.transfer.receiver import Receiver
from linckia.raylet.transfer.server import Source, TransferServer
from linckia.rpc.handshake import Identity
from linckia.rpc.reactor import Reactor, Timer
from linckia.shm.segment import Segment

MIB = 1024 * 1024
STREAMS_FROM_BYTES = 64 * MIB
DISK_READERS = 2  # one disk, always with a request ahead

Located = Callable[[list[Block], str], None]
"""See raylet/orphans.py."""


class Surroundings(Protocol):
    """What the raylet supplies."""

    def local(self, worker_id: bytes) -> Any: ...
    def endpoint_of(self, node_id: bytes) -> str: ...
    def warn(self, client: bytes, text: str) -> None: ...


def options_from_environment() -> p.PullOptions:
    """R 3.18: the waits may be changed."""
    return p.PullOptions(
        warn_after_s=float(environment.option("fetch_warn_timeout_milliseconds", "60000")) / 1000,
        fail_after_s=float(environment.option("fetch_fail_timeout_milliseconds", "600000")) / 1000,
    )


class PullManager:
    """``here`` names this node in messages: short id and address."""

    def __init__(
        self,
        reactor: Reactor,
        node_id: bytes,
        here: str,
        store: StoreHost,
        identity: Identity | None,
        around: Surroundings,
    ) -> None:
        self.reactor, self.node_id, self.store, self.around = reactor, node_id, store, around
        self.copies = CopyTable()
        self.queue = PullQueue(node_id, store.core.capacity_bytes, self.copies, options_from_environment())
        self.memory = CopyMemory(store, self._placed, self._denied, self._evict, self._freed_blocks)
        self.links = NodeLinks(reactor, identity, here, around.endpoint_of)
        self.owners = OwnerLinks(reactor, identity, here, around.local, self._dispatch)
        self.server = TransferServer(reactor, self._find, here)
        self.spilled: Callable[[bytes], Source | None] = lambda _object_id: None
        self.find_orphan: Callable[[bytes, Address, Iterable[bytes], Located], None] | None = None
        self.block_owner: Callable[[Copy], bytes] = lambda copy: copy.owner.worker_id
        self.chunk_bytes = int(environment.option("object_manager_default_chunk_size", str(8 * MIB)))
        self.streams = max(1, int(environment.option("object_manager_streams", "2")))
        self.received_bytes = 0
        self._receivers: dict[bytes, Receiver] = {}
        self._attempts: dict[bytes, _Attempt] = {}
        self._leaving: list[tuple[Copy, Receiver | None]] = []  # discarded, still read or written by threads
        self._timer: Timer | None = None
        self.handlers: dict[type, Callable[[Any, Any], None]] = {
            m.FetchObject: self.on_fetch,
            m.CancelFetch: self.on_cancel,
            m.UnpinObject: self.on_unpin,
            m.ObjectLocation: self.owners.on_location,
            m.FreeCopies: self.on_free_copies,
            m.PromoteCopy: self.on_promote,
            **self.server.handlers(),
        }

    # --- messages -----------------------------------------------------------------------------------------------------

    def on_fetch(self, peer: Any, message: m.FetchObject) -> None:
        """A process of this node wants objects here."""
        items = [p.Item(each.object_id, each.size, each.owner, each.block) for each in message.items]
        self.carry_out(self.queue.want(peer.peer_id, message.rid, items, message.priority, time.monotonic()))

    def on_cancel(self, peer: Any, message: m.CancelFetch) -> None:
        """It does not wait any more."""
        self.carry_out(self.queue.cancel(peer.peer_id, message.rid, time.monotonic()))

    def on_unpin(self, peer: Any, message: m.UnpinObject) -> None:
        """It has no views left."""
        self.carry_out(self.queue.unpin(peer.peer_id, message.object_ids, time.monotonic()))

    def on_free_copies(self, _peer: Any, message: m.FreeCopies) -> None:
        """Their owner says that nobody refers to them."""
        self.carry_out(self.queue.freed(message.object_ids))

    def on_promote(self, peer: Any, message: m.PromoteCopy) -> None:
        """Our copy is the primary from now on."""
        peer.post(m.CopyPromoted(message.rid, message.object_id, self.copies.promote(message.object_id)))

    def process_gone(self, worker_id: bytes, reason: str) -> None:
        """A driver or worker of any node has ended: as a reader and as an owner."""
        effects = self.queue.client_gone(worker_id, time.monotonic())
        if effects:
            self.carry_out(effects)
        self.owners.gone(worker_id, reason)

    def peer_gone(self, peer: Any) -> None:
        """A connection is closed; it may have been another node's."""
        self.server.peer_gone(peer)

    def close(self) -> None:
        """The node ends."""
        for receiver in self._receivers.values():
            receiver.stop()
        self.server.close()
        self.links.close()
        self.owners.close()

    def _dispatch(self, conn: Any, message: m.Message) -> None:
        handler = self.handlers.get(type(message))
        if handler is not None:
            handler(conn, message)

    # --- effects ------------------------------------------------------------------------------------------------------

    def carry_out(self, effects: Iterable[p.Effect]) -> None:
        """Do what the queue asks for."""
        for effect in effects:
            match effect:
                case p.Allocate():
                    self.memory.allocate(effect.object_id, effect.size)
                case p.Locate():
                    self._locate(effect)
                case p.Transfer():
                    self._transfer(effect)
                case p.Discard():
                    self._discard(effect)
                case p.Announce():
                    self.owners.post(effect.owner, m.LocationAdded(self.node_id, [effect.object_id]))
                case p.Answer():
                    self._to(effect.client, m.ObjectFetched(effect.rid, effect.offsets))
                case p.Failed():
                    self._to(effect.client, m.FetchFailed(effect.rid, effect.object_id, effect.kind, effect.reason))
                case p.Warn():
                    self.around.warn(effect.client, effect.text)
        self._schedule()

    def _to(self, client: bytes, message: m.Message) -> None:
        peer = self.around.local(client)
        if peer is not None:
            peer.post(message)

    def _schedule(self) -> None:
        due_s = self.queue.next_deadline()
        if due_s is None or (self._timer is not None and self._timer.due_s <= due_s):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.reactor.call_later(max(0.0, due_s - time.monotonic()), self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.carry_out(self.queue.tick(time.monotonic()))

    # --- memory -------------------------------------------------------------------------------------------------------

    def _placed(self, object_id: bytes, offset: int) -> None:
        effects = self.queue.allocated(object_id, offset, time.monotonic())
        if effects is None:
            self.memory.free(offset)
        else:
            self.carry_out(effects)

    def _denied(self, object_id: bytes, reason: str) -> None:
        self.carry_out(self.queue.denied(object_id, reason, time.monotonic()))

    def _evict(self) -> bool:
        effects = self.queue.evict()
        self.carry_out(effects)
        return bool(effects)

    def _freed_blocks(self, offsets: list[int]) -> None:
        found = [self.copies.by_offset[offset].object_id for offset in offsets if offset in self.copies.by_offset]
        self.carry_out(self.queue.freed(found))

    def _discard(self, effect: p.Discard) -> None:
        copy = effect.copy
        receiver = self._receivers.pop(copy.object_id, None) if not copy.complete else None
        if receiver is not None:
            receiver.stop()
            self._end_attempt(copy.object_id)
        if effect.announced:
            self.owners.post(copy.owner, m.LocationRemoved(self.node_id, [copy.object_id]))
        self._leaving.append((copy, receiver))
        self._sweep()

    def _sweep(self) -> None:
        """Give back the memory of discarded copies that no thread touches any more."""
        if not self._leaving:
            return
        leaving, self._leaving = self._leaving, []
        for copy, receiver in leaving:
            if copy.readers or (receiver is not None and receiver.live):
                self._leaving.append((copy, receiver))
                continue
            if receiver is not None:
                receiver.release()
            if copy.offset >= 0:
                self.memory.free(copy.offset)

    # --- sources ------------------------------------------------------------------------------------------------------

    def _locate(self, effect: p.Locate) -> None:
        object_id = effect.object_id

        def located(sources: list[Block], kind: str, reason: str) -> None:
            self.carry_out(self.queue.located(object_id, sources, kind, reason, time.monotonic()))

        def answered(sources: list[Block], kind: str, reason: str) -> None:
            if kind != "owner_died" or self.find_orphan is None:
                located(sources, kind, reason)
                return
            ended = f"{reason}; " if reason else ""
            self.find_orphan(
                object_id,
                effect.owner,
                effect.exclude,
                lambda found, why: located(found, "" if found else kind, ended + why),
            )

        self.owners.locate(
            effect.owner, lambda rid: m.LocateObject(rid, object_id, self.node_id, effect.exclude), answered
        )

    def _transfer(self, effect: p.Transfer) -> None:
        """Begin to read, or go on where the last source has left it."""
        object_id, source, copy = effect
        receiver = self._receivers.get(object_id)
        if receiver is None:
            view = self.store.segment.write_view(copy.offset, copy.size)
            receiver = Receiver(self.reactor, copy, view, self.chunk_bytes, self._on_ended, self.store.segment.prepare)
            self._receivers[object_id] = receiver
        attempt = self._attempts[object_id] = _Attempt(receiver, source.node_id)
        if source.node_id == self.node_id:
            self._read_here(attempt, copy, source)
            return

        def answered(answer: Any, reason: str) -> None:
            if self._attempts.get(object_id) is not attempt:
                if isinstance(answer, m.TransferReady) and answer.ticket:
                    self.links.post(source.node_id, m.TransferDone([answer.ticket]))
            elif isinstance(answer, m.TransferReady):
                self._read_there(attempt, answer)
            else:
                self._attempt_failed(object_id, attempt, reason or getattr(answer, "reason", "") or str(answer))

        self.links.request(
            source.node_id, lambda rid: m.TransferRequest(rid, object_id, source.offset, copy.size), answered
        )

    def _read_here(self, attempt: _Attempt, copy: Copy, source: Block) -> None:
        found = self._find(copy.object_id, source.offset, copy.size, for_copy=True)
        if found is None:
            reason = f"object {copy.object_id.hex()} is neither in memory nor on the disk of its node"
            self.reactor.call_soon(lambda: self._attempt_failed(copy.object_id, attempt, reason))
            return
        attempt.source = found
        for _ in range(DISK_READERS if found.on_disk and copy.size > self.chunk_bytes else 1):
            attempt.receiver.add_file(self.node_id, os.dup(found.fd), found.offset, on_disk=found.on_disk)

    def _read_there(self, attempt: _Attempt, answer: m.TransferReady) -> None:
        receiver, node_id = attempt.receiver, attempt.node_id
        if answer.data is not None:
            receiver.add_data(answer.data)
            self._finish(receiver)
            return
        attempt.ticket = answer.ticket
        count = self.streams if len(receiver.view) >= STREAMS_FROM_BYTES else 1
        attempt.opening = count

        def got(sock: Any, reason: str) -> None:
            attempt.opening -= 1
            if self._attempts.get(receiver.copy.object_id) is not attempt:
                if sock is not None:
                    self.links.give_back(node_id, sock)
            elif sock is None:
                attempt.reason = reason
                self._check(receiver, attempt)
            else:
                receiver.add_stream(
                    node_id,
                    sock,
                    answer.ticket,
                    lambda: self.reactor.call_soon(lambda: self.links.give_back(node_id, sock)),
                )

        for _ in range(count):
            self.links.stream(node_id, got)

    def _on_ended(self, receiver: Receiver, _node_id: bytes, reason: str) -> None:
        """One stream or file has nothing more to do."""
        attempt = self._attempts.get(receiver.copy.object_id)
        if attempt is None or attempt.receiver is not receiver:
            self._sweep()
            return
        attempt.reason = reason or attempt.reason
        if receiver.finished:
            if not receiver.live:
                self._finish(receiver)
        else:
            self._check(receiver, attempt)

    def _check(self, receiver: Receiver, attempt: _Attempt) -> None:
        if not receiver.live and not attempt.opening:
            reason = attempt.reason or "the stream ended early"
            self._attempt_failed(receiver.copy.object_id, attempt, reason)

    def _finish(self, receiver: Receiver) -> None:
        copy = receiver.copy
        self._end_attempt(copy.object_id)
        del self._receivers[copy.object_id]
        receiver.release()
        self.received_bytes += copy.size
        self.memory.seal(copy, self.block_owner(copy))
        self.carry_out(self.queue.transferred(copy.object_id, time.monotonic()))

    def _attempt_failed(self, object_id: bytes, attempt: _Attempt, reason: str) -> None:
        if self._attempts.get(object_id) is not attempt:
            return
        self._end_attempt(object_id)
        self.carry_out(self.queue.transfer_failed(object_id, attempt.node_id, reason, time.monotonic()))

    def _end_attempt(self, object_id: bytes) -> None:
        attempt = self._attempts.pop(object_id, None)
        if attempt is None:
            return
        if attempt.ticket:
            self.links.post(attempt.node_id, m.TransferDone([attempt.ticket]))
        if attempt.source is not None:
            attempt.source.release()

    # --- what this node has -------------------------------------------------------------------------------------------

    def _find(self, object_id: bytes, offset: int, size: int, *, for_copy: bool = False) -> Source | None:
        """Bytes of an object for another node, or for our own copy of it."""
        copy = self.copies.get(object_id)
        if copy is not None and copy.offset >= 0 and not for_copy:
            self.copies.begin_read(copy)
            receiver = None if copy.complete else self._receivers.get(object_id)
            return _CopySource(self, copy, receiver)
        if offset >= 0 and self.memory.pin_block(object_id, offset):
            return _BlockSource(self.memory, self.store.segment, object_id, offset, size)
        return self.spilled(object_id)

    def is_receiving(self, object_id: bytes) -> bool:
        """Bytes of it are arriving: others may read what is there."""
        pull = self.queue.pulls.get(object_id)
        return pull is not None and pull.state == "transferring" and object_id in self._receivers

    def read_ended(self, copy: Copy) -> None:
        """A copy is not sent any more."""
        self.carry_out(self.queue.read_ended(copy))
        self._sweep()


class _Attempt:
    """One source for one object."""

    __slots__ = ("node_id", "opening", "reason", "receiver", "source", "ticket")

    def __init__(self, receiver: Receiver, node_id: bytes) -> None:
        self.receiver, self.node_id = receiver, node_id
        self.ticket = 0
        self.opening = 0  # streams on their way
        self.reason = ""
        self.source: Source | None = None  # when it is on this node


class _CopySource:
    """A local copy, perhaps not complete yet."""

    on_disk = False

    def __init__(self, manager: PullManager, copy: Copy, receiver: Receiver | None) -> None:
        self._manager, self._copy, self._receiver = manager, copy, receiver
        self.fd, self.offset, self.size = manager.store.segment.fd, copy.offset, copy.size

    def wait(self, upto: int, timeout_s: float) -> bool:
        """Until so much is there."""
        if self._copy.complete:
            return True
        return self._receiver is not None and self._receiver.wait(upto, timeout_s)

    def view(self, start: int, length: int) -> memoryview:
        """A part of it."""
        return self._manager.store.segment.write_view(self.offset + start, length)

    def release(self) -> None:
        """Not read any more."""
        self._manager.read_ended(self._copy)


class _BlockSource:
    """A primary of this node."""

    on_disk = False

    def __init__(self, memory: CopyMemory, segment: Segment, object_id: bytes, offset: int, size: int) -> None:
        self._memory, self._segment, self._object_id = memory, segment, object_id
        self.fd, self.offset, self.size = segment.fd, offset, size

    def wait(self, upto: int, timeout_s: float) -> bool:
        """It is complete."""
        return True

    def view(self, start: int, length: int) -> memoryview:
        """A part of it."""
        return self._segment.write_view(self.offset + start, length)

    def release(self) -> None:
        """Not read any more."""
        self._memory.unpin_block(self._object_id, self.offset)
