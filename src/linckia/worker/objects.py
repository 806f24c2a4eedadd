"""Objects of this process: put, load, fetch from owners, shared-memory blocks. Used by the API, the executor and the
caller side.
"""

from __future__ import annotations

import os
import pickle
import threading
import time
from typing import TYPE_CHECKING, Any

from linckia.base import errors
from linckia.base.addresses import node_of
from linckia.base.limits import HUGE_PAGES_FROM_BYTES
from linckia.model.wire import Block, Dependency, RefInfo, Result
from linckia.protocol import messages as m
from linckia.serialization import values
from linckia.serialization.context import loading
from linckia.worker.borrowing import BorrowToken, UnseenError
from linckia.worker.orphans import owner_died
from linckia.worker.refs import BLOCK, ERROR, INLINE, ORPHANED, ObjectRef, RefExtra

if TYPE_CHECKING:
    from collections.abc import Sequence

    from linckia.shm.arena import Arena
    from linckia.shm.segment import Segment
    from linckia.worker.runtime import Runtime
    from linckia.worker.tasks import Peer

INLINE_MAX_BYTES = 100 * 1024
SEGMENT_TIMEOUT_S = 10.0
SEALED_TOGETHER, SEALED_AT_ONCE_BYTES = 16, 4 << 20  # news of small blocks that share a write
Serialized = values.Serialized


class WaitCount:
    """Wait until ``need`` of several refs are ready."""

    __slots__ = ("need", "state")

    def __init__(self, need: int) -> None:
        self.need = need
        self.state = 0

    def __call__(self, _ref: Any) -> None:
        self.need -= 1
        if self.need <= 0:
            self.state = 1


class Objects:
    """One per runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.segment: Segment | None = None
        self.arena: Arena | None = None
        self.segment_fd = -1
        self.capacity = 0
        self._segment_lock = threading.Lock()  # not the mutex: messages must flow while we ask for the segment

    # --- make -------------------------------------------------------------------------------------------------------

    def put(self, value: Any, limit: int = INLINE_MAX_BYTES) -> ObjectRef[Any]:
        """A new object owned by this process; in shared memory when it has more than ``limit`` bytes."""
        data = values.dumps(value)
        ref: ObjectRef[Any] = ObjectRef(self.runtime.next_task_id() + b"\x00\x00\x00\x80")
        self.store(ref, data, limit)
        return ref

    def store(self, ref: ObjectRef[Any], data: bytes | Serialized, limit: int = INLINE_MAX_BYTES) -> None:
        """Give a fresh, owned ref its value."""
        if type(data) is bytes and len(data) <= limit:
            ref.value, ref.state = data, INLINE
            return
        result = self.to_result(data, ref._id, self.runtime.address.worker_id, limit)
        if isinstance(data, Serialized) and data.contained:
            extra = ref.extra = RefExtra()
            extra.contained = list(data.contained)
        if result.block is not None:
            self.runtime.borrowing.own(ref, result.block)
        else:
            ref.value, ref.state = result.inline, INLINE

    def to_result(
        self, data: bytes | Serialized, object_id: bytes, owner_id: bytes, limit: int = INLINE_MAX_BYTES
    ) -> Result:
        """Inline bytes when small, else a sealed block of shared memory. ``contained`` is the caller's to fill."""
        size = len(data) if isinstance(data, bytes) else data.size_bytes
        if size <= limit:
            return Result(inline=data if isinstance(data, bytes) else data.to_bytes())
        offset = self._allocate(size)
        arena = self._arena()
        if size >= HUGE_PAGES_FROM_BYTES:
            arena.segment.prepare(offset, size)
        view = arena.segment.write_view(offset, size)
        if isinstance(data, bytes):
            view[:size] = data
        else:
            data.write_into(view)
        view.release()
        self._tell_sealed(m.Sealed([(offset, size, object_id, owner_id)]), size, owner_id)
        return Result(block=Block(offset, size, self.runtime.node_id))

    def _tell_sealed(self, sealed: m.Sealed, size: int, owner_id: bytes) -> None:
        """The store hears of the object before anybody else does (Reactor.told_first). At once when another process
        owns it: were we killed in between, its block would be reclaimed. What we own would go with us, so it may wait
        for the next ones: waking the store's process costs a quarter of a put of 1 MiB.
        """
        runtime = self.runtime
        raylet = runtime.raylet
        waits = owner_id == runtime.address.worker_id and size < SEALED_AT_ONCE_BYTES
        if waits and not runtime.progress.loop_leads and len(raylet.outbox) < SEALED_TOGETHER:
            raylet.post(sealed)
            runtime.progress.touch()
        else:
            raylet.send(sealed)

    # --- read -------------------------------------------------------------------------------------------------------

    def load(self, ref: ObjectRef[Any]) -> Any:
        """The value of a ready ref; raises what the task raised."""
        state = ref.state
        if state == INLINE:
            data = ref.value
            if data[0] == 0x80:
                return pickle.loads(data) if ref.extra is None else self.load_bytes(data, ref)
            return self.load_bytes(data, ref)
        if state == BLOCK:
            extra: Any = ref.extra
            token = extra.token  # before its place: who holds the token keeps the object there (spilling.py)
            block = ref.value
            if type(block) is not Block or block.offset < 0 or block.node_id != self.runtime.node_id:
                del token  # it need not stay where it is for our sake
                return self.runtime.fetching.load(ref)
            return self.load_bytes(self.view(block, token), ref)
        if state == ERROR:
            if ref.extra is not None and isinstance(ref.extra.token, UnseenError):
                ref.extra.token.seen = True
            raise self.error_of(ref.value)
        if not state:  # its owner has ended just now
            return self.get([ref], None)[0]
        raise owner_died(ref)

    def error_of(self, data: bytes) -> BaseException:
        """The exception behind an error value, fresh, with the user's class among its bases."""
        error = errors.decode_error(data, pickle.loads)
        if isinstance(error, errors.RayTaskError):
            return error.as_instanceof_cause()
        return error

    def load_bytes(self, data: Any, ref: Any) -> Any:
        """Unpickle the value of a ref."""
        with loading(ref):
            return values.loads(data)

    def view(self, block: Block, pin: object) -> memoryview:
        """Read-only bytes of a block; ``pin`` lives as long as any view of them."""
        if isinstance(pin, BorrowToken):
            pin.block = block
        return self.segment_now().read_view(block.offset, block.size, pin)

    def dependency_bytes(self, dependency: Dependency) -> bytes | memoryview:
        """The serialised value of an argument that can be read in place; a view of shared memory is pinned by what is
        made of it.
        """
        if dependency.inline is not None:
            return dependency.inline
        runtime = self.runtime
        assert dependency.block is not None
        with runtime.mutex:
            if dependency.ref.owner.worker_id == runtime.address.worker_id:
                ref = runtime.borrowing.by_id.get(dependency.ref.object_id)
                pin: object = ref.extra.token if ref is not None and ref.extra is not None else ref
            else:
                pin = runtime.borrowing.token(dependency.ref)
                ids = getattr(runtime.borrowing.arguments, "ids", None)
                if ids is not None:
                    ids.add(dependency.ref.object_id)
        return self.view(dependency.block, pin)

    def get(self, refs: Sequence[Any], timeout_s: float | None) -> list[Any]:
        """Values in order. An error that is already there ends the wait for the rest (the lowest index wins)."""
        runtime = self.runtime
        deadline_s = None if timeout_s is None or timeout_s < 0 else time.monotonic() + timeout_s
        for ref in refs:
            if not ref.state and ref.extra is not None:
                self.fetch_now(ref)
        out = []
        load = self.load
        target = None
        fetching = runtime.fetching
        ahead = fetching.ahead(refs) if len(refs) > 1 and fetching.needed else None
        for index, ref in enumerate(refs):
            if not ref.state:
                target = target or _ValueOrError(runtime)
                target.ref = ref
                self._wait_one(target, refs, index, (deadline_s, timeout_s))
            if ref.state == BLOCK and fetching.is_away(ref.value):
                out.append(fetching.load(ref, (deadline_s, timeout_s)))
            else:
                out.append(load(ref))
        del ahead
        if runtime.interrupt_pending:
            runtime.check_interrupt()
        return out

    def _wait_one(
        self, target: _ValueOrError, refs: Sequence[Any], index: int, until: tuple[float | None, float | None]
    ) -> None:
        ref = refs[index]
        deadline_s, timeout_s = until
        while not ref.state:
            if _is_bereft(ref):
                self.fetch_now(ref)
            for later in refs[index + 1 :] if target.error_seen() else ():
                if later.state >= ERROR:
                    self.load(later)  # raises
            left_s = None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
            if not self.runtime.wait_target(target, left_s) and not ref.state:
                raise errors.GetTimeoutError(
                    f"get: {ref!r} was not ready within {timeout_s} s; "
                    "linckia.util.why_pending(ref) tells what it waits for"
                )

    # --- values owned elsewhere -------------------------------------------------------------------------------------

    def fetch_now(self, ref: ObjectRef[Any]) -> None:
        """Ask the owner for the value of a borrowed ref, once."""
        with self.runtime.mutex:
            self.fetch(ref)

    def fetch(self, ref: ObjectRef[Any]) -> None:
        """See :meth:`fetch_now`; under the mutex."""
        extra = ref.extra
        if ref.state or extra is None or extra.owner is None or extra.fetching:
            return
        extra.fetching = True
        if extra.token is ORPHANED or node_of(extra.owner.endpoint) in self.runtime.raylets.dead:
            self.runtime.orphans.search(ref, f"its owner at {extra.owner.endpoint} has ended")
            return
        peer = self.runtime.peer(extra.owner)
        if peer.closed:
            self.runtime.orphans.search(ref, f"its owner at {extra.owner.endpoint} cannot be reached")
            return
        peer.fetching[ref._id] = ref
        peer.conn.send(m.GetObject(ref._id))

    def on_get(self, peer: Peer, message: m.GetObject) -> None:
        """A borrower wants a value of ours: answer when it is there."""
        ref = self.runtime.borrowing.by_id.get(message.object_id)
        if ref is None:
            peer.conn.post(m.ObjectValue(message.object_id, None, unknown=True))
            return
        if ref.state:
            self._answer_get(peer, ref)
        else:
            ref.hooks = [*(ref.hooks or []), lambda done: self._answer_get(peer, done)]

    def _answer_get(self, peer: Peer, ref: ObjectRef[Any]) -> None:
        if peer.closed:
            return
        contained = ref.extra.contained if ref.extra is not None and ref.extra.contained else []
        borrowing = self.runtime.borrowing
        infos: list[RefInfo] = []
        for inner in contained:
            infos.append(borrowing.info(inner))
            if inner.extra is None or inner.extra.owner is None:
                borrowing.lend(inner, peer.address.worker_id)
        result = Result(contained=infos)
        if ref.state == INLINE:
            result.inline = ref.value
        elif ref.state == BLOCK:
            result.block = ref.value
            borrowing.lend(ref, peer.address.worker_id)
        elif ref.state == ERROR:
            result.error = ref.value
        else:
            result.error = self.runtime.encode_error(owner_died(ref))
        peer.conn.post(m.ObjectValue(ref._id, result))

    def on_value(self, peer: Peer, message: m.ObjectValue) -> None:
        """The owner's answer."""
        ref = peer.fetching.pop(message.object_id, None)
        if ref is None:
            return
        if message.result is None:
            error = errors.ObjectLostError(
                ref.hex(), ref.owner_address(), "its owner does not know it (freed, or never made)"
            )
            self.runtime.complete_error(ref, self.runtime.encode_error(error))
            return
        token = ref.extra.token if ref.extra is not None else None
        if message.result.block is not None and token is not None:
            token.registered = True  # type: ignore[attr-defined]
        self.runtime.complete_result(ref, message.result, peer.address.worker_id, owned=False)

    # --- shared memory ----------------------------------------------------------------------------------------------

    def segment_now(self) -> Segment:
        """The node's shared memory; asks for it when this process has none yet."""
        if self.segment is None:
            from linckia.shm.segment import Segment  # noqa: PLC0415  (ctypes and mmap only for who uses shared memory)

            with self._segment_lock:
                if self.segment is None:
                    if self.segment_fd < 0:
                        self.segment_fd = self._request_segment()
                    self.segment = Segment.attach(self.segment_fd, self.capacity)
                    self.segment_fd = -1  # the segment closes it
        return self.segment

    def _request_segment(self) -> int:
        self.runtime.call(self.runtime.raylet, m.SegmentRequest(self.runtime.next_rid()), SEGMENT_TIMEOUT_S)
        return self.segment_fd

    def on_segment(self, peer: Peer, message: m.SegmentPassed) -> None:
        """The node passed the segment's descriptor."""
        self.segment_fd = peer.conn.received_fds.popleft()
        self.runtime.requests.on_answer(peer, message)

    def _arena(self) -> Arena:
        if self.arena is None:
            from linckia.shm.arena import Arena  # noqa: PLC0415  (see _segment)

            self.arena = Arena(self.segment_now(), self._request_extent, self._return_extents)
        return self.arena

    def _allocate(self, size: int) -> int:
        """Offset of ``size`` bytes; asks the store for an extent when ours are full (never while holding the mutex)."""
        arena = self._arena()
        while True:
            with self.runtime.mutex:
                self.runtime.drain_released()
                offset = arena.try_allocate(size)
            if offset is not None:
                return offset
            extent = self._lease_extent(arena, size)
            with self.runtime.mutex:
                arena.add_extent(*extent)

    def _lease_extent(self, arena: Arena, size: int) -> tuple[int, int]:
        preferred, least = arena.extent_sizes(size)
        try:
            return self._request_extent(preferred)
        except (errors.ObjectStoreFullError, errors.OutOfDiskError):
            with self.runtime.mutex:
                gave_back = arena.trim()
            if not gave_back and preferred == least:
                raise
            return self._request_extent(least)

    def _request_extent(self, size: int) -> tuple[int, int]:
        answer = self.runtime.call(self.runtime.raylet, m.AllocExtent(self.runtime.next_rid(), size))
        if isinstance(answer, m.ExtentDenied):
            kind = errors.OutOfDiskError if answer.kind == "disk_full" else errors.ObjectStoreFullError
            raise kind(answer.reason)
        return answer.offset, answer.size

    def _return_extents(self, extents: list[tuple[int, int]]) -> None:
        self.runtime.raylet.post(m.ExtentReturned(extents))

    def free(self, object_id: bytes, block: Block) -> None:
        """The owner needs the object no more: recycle its memory here if it is ours, else tell the store."""
        if block.offset < 0:
            raylet = self.runtime.raylets.at(block.node_id)
            if not raylet.closed:
                raylet.conn.post(m.FreeSpilled([object_id]))
            return
        if block.node_id != self.runtime.node_id:
            raylet = self.runtime.raylets.at(block.node_id)
            if not raylet.closed:
                raylet.conn.post(m.FreeBlocks([block.offset]))
            return
        arena = self.arena
        if arena is not None and arena.holds(block.offset):
            arena.free(block.offset)
        if not self.runtime.raylet.closed:
            self.runtime.raylet.post(m.FreeBlocks([block.offset]))

    def on_free(self, message: m.FreeBlocks) -> None:
        """The store says that blocks in our extents are not needed by their owners any more."""
        if self.arena is not None:
            for offset in message.offsets:
                if self.arena.holds(offset):
                    self.arena.free(offset)

    def trim(self) -> None:
        """Give unused extents back."""
        if self.arena is not None:
            self.arena.trim()

    def pickle_plain(self, value: Any) -> bytes:
        """One self-contained pickle, by value where needed (errors, retry lists)."""
        from linckia.serialization.values import dumps_plain  # noqa: PLC0415  (name kept local: rarely used)

        return dumps_plain(value)

    def close(self) -> None:
        """Unmap."""
        self.arena = None
        segment, self.segment = self.segment, None
        if segment is not None:
            segment.close()
        if self.segment_fd >= 0:
            os.close(self.segment_fd)
            self.segment_fd = -1


def _is_bereft(ref: Any) -> bool:
    """It had a place, which went with its owner before who waited could look: nobody looks for a copy yet."""
    extra = ref.extra
    return extra is not None and extra.token is ORPHANED and not extra.fetching


class _ValueOrError:
    """Wait for one ref, or for any error to arrive in this process (then look whether it is one of ours, R 1.24)."""

    __slots__ = ("ref", "runtime", "seen")

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.ref: Any = None
        self.seen = -1

    def error_seen(self) -> bool:
        """True once per new error (and the first time)."""
        changed = self.seen != self.runtime.error_count
        self.seen = self.runtime.error_count
        return changed

    @property
    def state(self) -> int:
        return 1 if self.ref.state or self.seen != self.runtime.error_count or _is_bereft(self.ref) else 0
