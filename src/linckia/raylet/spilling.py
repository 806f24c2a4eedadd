"""The shell around spilling: store pressure and owners' answers in; questions, files and freed memory out (R 3.15).

Decides nothing: what goes when is core/objects/spilling.py's, who may be asked is the owners' (worker/spilling.py).
Files are written by threads, straight from the segment. Whatever state an object is in, ``source`` finds its bytes by
its id; raylet/pull_manager.py reads them for this node and for others. Built by raylet/service.py.
"""

from __future__ import annotations

import errno
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from linckia.core.objects import spill_records as r
from linckia.core.objects.spilling import SpillQueue
from linckia.host import environment
from linckia.host.own_log import say
from linckia.protocol import messages as m
from linckia.raylet.store_host import StoreHost
from linckia.rpc.reactor import Reactor, Timer
from linckia.shm import pressure
from linckia.shm.effects import size_text
from linckia.shm.segment import Segment
from linckia.shm.spill_files import SpillFiles

CLIENT, READER, COPIES = b"spilling", b"readers by id", b"copies"
LOOK_AGAIN_S = 0.05
FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def options_from_environment() -> r.SpillOptions:
    """What may be changed: Ray's names where Ray has one."""
    option, default = environment.option, r.SpillOptions()
    return r.SpillOptions(
        threshold=float(option("object_spilling_threshold", str(default.threshold))),
        batch_bytes=int(option("min_spilling_size", str(default.batch_bytes))),
        batch_objects=int(option("max_fused_object_count", str(default.batch_objects))),
        used_max=float(option("local_fs_capacity_threshold", str(default.used_max))),
        free_min_bytes=int(option("spill_free_min_bytes", str(default.free_min_bytes))),
        max_bytes=int(option("spill_max_bytes", "0")),
        writers=int(option("max_io_workers", str(default.writers))),
    )


class SpillHost:
    """``connection_of(worker_id)`` is how an owner is reached now, or None."""

    def __init__(
        self, reactor: Reactor, store: StoreHost, files: SpillFiles, connection_of: Callable[[bytes], Any]
    ) -> None:
        self.reactor, self.store, self.files, self._connection_of = reactor, store, files, connection_of
        self.queue = SpillQueue(r.options_for(store.core.capacity_bytes, options_from_environment()))
        self.spilled_objects = self.spilled_bytes = self.restored_bytes = 0
        self._timer: Timer | None = None
        self._is_looking = False
        self._rest_until_s = 0.0  # nothing could be asked for: do not look at every change
        self._is_closed = False
        self._jobs: queue.SimpleQueue[r.Batch | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._adopted: dict[bytes, int] = {}  # blocks of owners that did not agree, read by id: how many readers
        store.core.evictable = frozenset({COPIES})
        store.join_internal(CLIENT, "objects being spilled", lambda _message: None)
        store.join_internal(READER, "objects being copied", lambda _message: None)
        store.on_change = self.look_soon
        store.on_gone = self.owner_gone

    def handlers(self) -> dict[type[m.Message], Callable[[Any, Any], None]]:
        """Message type -> handler(peer, message)."""
        return {m.SpillAllowed: self.on_allowed, m.FreeSpilled: self.on_free}

    # --- pressure -----------------------------------------------------------------------------------------------------

    def look_soon(self) -> None:
        """The store has changed: see whether it is too full, once per turn of the reactor."""
        core = self.store.core
        over = core.primary_bytes > self.queue.options.threshold * core.capacity_bytes
        if not (over or core.requests_waiting) or self._is_looking or self._is_closed:
            return
        if time.monotonic() >= self._rest_until_s:
            self._is_looking = True
            self.reactor.call_soon(self._look)

    def _look(self) -> None:
        self._is_looking = False
        if self._is_closed:
            return
        core, now_s = self.store.core, time.monotonic()
        wanted = pressure.wanted_bytes(core, self.queue.options.threshold)
        effects = self.queue.pressed(wanted, pressure.spillable(core, CLIENT), self.files.space(), now_s)
        if not effects:
            self._rest_until_s = now_s + LOOK_AGAIN_S
        self._carry_out(effects)

    def _tick(self) -> None:
        self._timer = None
        if not self._is_closed:
            self._carry_out(self.queue.tick(self.files.space(), time.monotonic()))
            self._look()

    # --- messages -----------------------------------------------------------------------------------------------------

    def on_allowed(self, peer: Any, message: m.SpillAllowed) -> None:
        """An owner's answer: the memory changes hands in this very moment."""
        owner = peer.peer_id
        taken = [
            entry.object_id
            for entry in self.queue.asked(owner, message.rid, message.object_ids)
            if self.store.take_over(entry.offset, entry.object_id, owner, CLIENT)
        ]
        space = self.files.space()
        self._carry_out(self.queue.answered(owner, message.rid, taken, space, time.monotonic()))

    def on_free(self, peer: Any, message: m.FreeSpilled) -> None:
        """An owner needs these no more."""
        effects, unknown = self.queue.freed(message.object_ids)
        self._carry_out(effects)
        for object_id in unknown:  # given back to it, while this message was under way
            block = pressure.find(self.store.core, object_id)
            if block is not None and block.owner == peer.peer_id:
                self.store.free_blocks(peer.peer_id, [block.offset])

    def let_go(self, object_id: bytes) -> None:
        """Nobody needs it, wherever it is on its way to disk."""
        self._carry_out(self.queue.freed([object_id])[0])

    def owner_gone(self, worker_id: bytes) -> None:
        """A process has ended."""
        if self.queue.entries:
            self._carry_out(self.queue.owner_gone(worker_id))

    # --- effects ------------------------------------------------------------------------------------------------------

    def _carry_out(self, effects: Iterable[r.Effect]) -> None:
        for effect in effects:
            match effect:
                case r.Ask():
                    self._ask(effect)
                case r.Write():
                    self._write(effect.batch)
                case r.FreeMemory():
                    self.store.free_blocks(CLIENT, [effect.entry.offset])
                case r.DropShare():
                    self.files.drop_share(effect.file)
                case r.GiveBack():
                    self._give_back(effect.entry)
                case r.Say():
                    say(effect.text)
        self._tell_store()

    def _tell_store(self) -> None:
        now_s = time.monotonic()
        kind, why = "", ""
        if self.queue.trouble:
            kind = "disk_full" if self.queue.is_disk_full else "spill_failed"
            why = f"Objects cannot be spilled to disk: {self.queue.trouble}."
        elif self.store.core.requests_waiting:
            why = "Nothing more can be spilled to disk: what is left is being read, or an argument of running tasks."
        self.store.core.spilling(now_s, kind, why, is_busy=self.queue.is_busy(now_s))
        due_s = self.queue.next_deadline(now_s)
        if due_s is None and self.store.core.requests_waiting:
            due_s = now_s + LOOK_AGAIN_S
        if due_s is not None and self._timer is None and not self._is_closed:
            self._timer = self.reactor.call_later(max(due_s - now_s, 0.005), self._tick)

    def _ask(self, effect: r.Ask) -> None:
        connection = self._connection_of(effect.owner)
        if connection is None or connection.closed:
            refuse = self.queue.answered
            self.reactor.call_soon(
                lambda: self._carry_out(refuse(effect.owner, effect.rid, [], self.files.space(), time.monotonic()))
            )
            return
        connection.post(m.MaySpill(effect.rid, effect.object_ids))

    def _give_back(self, entry: r.SpillEntry) -> None:
        if not self.store.take_over(entry.offset, entry.object_id, CLIENT, entry.owner):
            return
        connection = self._connection_of(entry.owner)
        if connection is not None:
            connection.post(m.SpillUndone([(entry.object_id, entry.offset, entry.size)]))

    # --- files --------------------------------------------------------------------------------------------------------

    def _write(self, batch: r.Batch) -> None:
        try:
            self.files.open()
        except OSError as error:
            self.reactor.call_soon(lambda failed=error: self._written(batch, failed))  # type: ignore[misc]
            return
        if len(self._threads) < self.queue.options.writers:
            thread = threading.Thread(target=self._write_all, name="linckia-spill", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._jobs.put(batch)

    def _write_all(self) -> None:
        while (batch := self._jobs.get()) is not None:
            failed: OSError | None = None
            views = [self.store.segment.write_view(entry.offset, entry.size) for entry in batch.entries]
            try:
                self.files.write(batch.file, [(e.position, view) for e, view in zip(batch.entries, views, strict=True)])
            except OSError as error:
                failed = error
            finally:
                for view in views:
                    view.release()
            self.reactor.call_soon(lambda done=batch, error=failed: self._written(done, error))  # type: ignore[misc]

    def _written(self, batch: r.Batch, error: OSError | None) -> None:
        if self._is_closed:
            return
        now_s, space = time.monotonic(), self.files.space()
        if error is not None:
            reason = f"writing {size_text(batch.size)} to {self.files.path} failed: {error.strerror or error}"
            is_full = error.errno in FULL_ERRORS
            self._carry_out(self.queue.failed(batch.file, reason, space, now_s, is_full=is_full))
            return
        self.files.complete(batch.file, batch.size, len(batch.entries))
        self.spilled_objects += len(batch.entries)
        self.spilled_bytes += batch.size
        self._carry_out(self.queue.written(batch.file, self.files.space(), now_s))

    def close(self) -> None:
        """The node ends: nothing stays on disk."""
        self._is_closed = True
        for _ in self._threads:
            self._jobs.put(None)
        self.files.close()

    # --- reading ------------------------------------------------------------------------------------------------------

    def source(self, object_id: bytes) -> FileSource | MemorySource | None:
        """The bytes of an object of this node, pinned until ``release``; None when it has none."""
        entry = self.queue.begin_read(object_id)
        segment = self.store.segment
        if entry is not None and entry.in_memory:
            taken = entry
            return MemorySource(segment, entry.offset, entry.size, lambda: self._carry_out(self.queue.end_read(taken)))
        if entry is not None:
            self.restored_bytes += entry.size
            return FileSource(self.files.open_for_reading(entry.file), entry.position, entry.size)
        block = pressure.find(self.store.core, object_id)
        if block is None:
            return None
        readers = self._adopted.get(object_id, 0)
        if not readers:
            self.store.seal(READER, [(block.offset, block.size, object_id, READER)])  # adopts it
        self._adopted[object_id] = readers + 1
        return MemorySource(segment, block.offset, block.size, lambda: self._unadopt(object_id, block.offset))

    def _unadopt(self, object_id: bytes, offset: int) -> None:
        self._adopted[object_id] -= 1
        if not self._adopted[object_id]:
            del self._adopted[object_id]
            self.store.free_blocks(READER, [offset])


class FileSource:
    """An object in a spill file; see raylet/transfer/server.py."""

    on_disk = True

    def view(self, start: int, length: int) -> memoryview | None:
        """It is not in memory."""
        return None

    def __init__(self, fd: int, offset: int, size: int) -> None:
        self.fd, self.offset, self.size = fd, offset, size

    def wait(self, upto: int, timeout_s: float) -> bool:
        """It is complete."""
        return True

    def release(self) -> None:
        """Not read any more; once."""
        os.close(self.fd)


class MemorySource:
    """An object that is still in memory."""

    on_disk = False

    def __init__(self, segment: Segment, offset: int, size: int, release: Callable[[], None]) -> None:
        self.fd, self.offset, self.size, self._segment, self._release = segment.fd, offset, size, segment, release

    def view(self, start: int, length: int) -> memoryview:
        """A part of it."""
        return self._segment.write_view(self.offset + start, length)

    def wait(self, upto: int, timeout_s: float) -> bool:
        """It is complete."""
        return True

    def release(self) -> None:
        """Not read any more; once."""
        self._release()
