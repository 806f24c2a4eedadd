"""One object on its way to this node: threads that fill its memory, chunk by chunk, over any number of streams.

What a broken stream left is taken over by the next source. Readers of other nodes are served from what is there
already: they wait for the watermark. The reactor's thread starts and stops it; results come back through ``call_soon``.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from collections.abc import Callable

from linckia.base.limits import HUGE_PAGES_FROM_BYTES
from linckia.core.objects.chunks import ChunkPlan
from linckia.core.objects.copies import Copy
from linckia.raylet.transfer import stream
from linckia.rpc.reactor import Reactor
from linckia.shm.disk_reads import FileReader

AHEAD = 2  # requests under way on one stream, so that the sender never waits for the next

Ended = Callable[["Receiver", bytes, str], None]
"""(receiver, source node, reason); the reason is empty when the stream has nothing left to do."""
Prepare = Callable[[int, int, int], None]
"""(offset, size, end of the block): what shm/segment.py does to memory that is about to be filled."""


class Receiver:
    """``ended`` is called in the reactor's thread once per stream or file."""

    def __init__(
        self, reactor: Reactor, copy: Copy, view: memoryview, chunk_bytes: int, ended: Ended, prepare: Prepare
    ) -> None:
        self.reactor, self.copy, self.view, self.ended, self._prepare = reactor, copy, view, ended, prepare
        self.plan = ChunkPlan(len(view), chunk_bytes)
        self.live = 0  # streams at work; the memory is in use as long
        self.stopped = False
        self._changed = threading.Condition()
        self._sockets: set[socket.socket] = set()

    @property
    def finished(self) -> bool:
        """Every byte is there."""
        return self.plan.finished

    # --- reactor's thread ---------------------------------------------------------------------------------------------

    def add_stream(self, node_id: bytes, sock: socket.socket, ticket: int, done: Callable[[], None]) -> None:
        """Fetch over this socket until nothing is left to take; ``done()`` (in the thread) when it can be reused."""
        self.live += 1
        self._sockets.add(sock)
        threading.Thread(
            target=self._run, args=(node_id, lambda: self._fetch(sock, ticket, done)), name="linckia-pull", daemon=True
        ).start()

    def add_file(self, node_id: bytes, fd: int, offset: int, *, on_disk: bool) -> None:
        """Read from a file of this node, beside others that do the same. Takes over ``fd``."""
        self.live += 1
        threading.Thread(
            target=self._run,
            args=(node_id, lambda: self._read(FileReader(fd, on_disk=on_disk), offset)),
            name="linckia-restore",
            daemon=True,
        ).start()

    def add_data(self, data: bytes) -> None:
        """All of it came with the answer."""
        self.view[:] = data
        with self._changed:
            while (chunk := self.plan.take()) is not None:
                self.plan.complete(chunk[0])
            self._changed.notify_all()

    def stop(self) -> None:
        """Nobody wants it any more: end all streams soon."""
        with self._changed:
            self.stopped = True
            self._changed.notify_all()
            for sock in self._sockets:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # it has ended by itself

    def release(self) -> None:
        """The memory is no longer ours to write."""
        self.view.release()

    # --- serving threads ----------------------------------------------------------------------------------------------

    def wait(self, upto: int, timeout_s: float) -> bool:
        """Until the first ``upto`` bytes are there. False when they do not come."""
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            while self.plan.watermark < upto and not self.stopped:
                if not self._changed.wait(deadline_s - time.monotonic()):
                    break
            return self.plan.watermark >= upto and not self.stopped

    # --- fetching threads ---------------------------------------------------------------------------------------------

    def _run(self, node_id: bytes, work: Callable[[], None]) -> None:
        reason = ""
        try:
            work()
        except OSError as error:
            reason = str(error) or type(error).__name__
        self.reactor.call_soon(lambda: self._ended(node_id, reason))

    def _ended(self, node_id: bytes, reason: str) -> None:
        self.live -= 1
        self.ended(self, node_id, reason)

    def _take(self) -> tuple[int, int] | None:
        with self._changed:
            chunk = None if self.stopped else self.plan.take()
        if chunk is not None and len(self.view) >= HUGE_PAGES_FROM_BYTES:
            offset = self.copy.offset
            self._prepare(offset + chunk[0], chunk[1], offset + len(self.view))
        return chunk

    def _complete(self, start: int) -> None:
        with self._changed:
            if self.plan.complete(start):
                self._changed.notify_all()

    def _give_back(self, starts: deque[tuple[int, int]]) -> None:
        with self._changed:
            for start, _ in starts:
                self.plan.give_back(start)

    def _fetch(self, sock: socket.socket, ticket: int, done: Callable[[], None]) -> None:
        asked: deque[tuple[int, int]] = deque()
        clean = False
        try:
            stream.set_timeouts(sock, 2 * stream.STALL_S)  # the other side may wait for its own source
            while True:
                while len(asked) < AHEAD and (chunk := self._take()) is not None:
                    asked.append(chunk)
                    sock.sendall(stream.REQUEST.pack(ticket, *chunk))
                if not asked:
                    clean = not self.stopped
                    return
                start, length = asked[0]
                stream.receive_answer(sock, self.view[start : start + length])
                asked.popleft()
                self._complete(start)
        finally:
            self._give_back(asked)
            with self._changed:
                self._sockets.discard(sock)
            if clean:
                done()
            else:
                sock.close()

    def _read(self, file: FileReader, offset: int) -> None:
        try:
            while (chunk := self._take()) is not None:
                start, length = chunk
                try:
                    file.read(offset + start, self.view[start : start + length])
                except OSError:
                    self._give_back(deque([chunk]))
                    raise
                self._complete(start)
        finally:
            file.close()
