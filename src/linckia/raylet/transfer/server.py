"""The serving side: other nodes ask for objects of this one and read them, small ones in the answer, others on streams.

A ticket stands for one object that one node reads; as long as it is open, its bytes stay where they are. Threads serve
streams, one each, until the stream is idle for ``IDLE_S`` or closed. Which bytes an object has is the business of
``find`` (raylet/pull_manager.py).
"""

from __future__ import annotations

import itertools
import os
import socket
import threading
from collections.abc import Callable
from typing import Any, Protocol

from linckia.protocol import messages as m
from linckia.raylet.transfer import stream
from linckia.rpc.reactor import Reactor

INLINE_MAX_BYTES = 1024 * 1024
IDLE_S = 20.0
LOOK_AGAIN_S = 0.05  # a request may overtake the producer's Sealed: different connections


class Source(Protocol):
    """The bytes of one object: ``size`` bytes of ``fd`` from ``offset`` on, as far as ``wait`` says. ``view`` is a part
    of them in memory; None when they are not.
    """

    on_disk: bool
    fd: int
    offset: int
    size: int

    def wait(self, upto: int, timeout_s: float) -> bool: ...
    def view(self, start: int, length: int) -> memoryview | None: ...
    def release(self) -> None: ...


Find = Callable[[bytes, int, int], Source | None]
"""(object id, offset of its block or -1, size) -> pinned source, None when it is not here."""


class _Ticket:
    __slots__ = ("closing", "peer", "source", "users")

    def __init__(self, peer: Any, source: Source) -> None:
        self.peer, self.source = peer, source
        self.users = 0
        self.closing = False


class TransferServer:
    """One per node. ``here`` names this node in refusals."""

    def __init__(self, reactor: Reactor, find: Find, here: str) -> None:
        self.reactor, self.find, self.here = reactor, find, here
        self.served_bytes = 0
        self._tickets: dict[int, _Ticket] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()

    def handlers(self) -> dict[type, Callable[[Any, Any], None]]:
        """Message type -> handler(peer, message)."""
        return {
            m.TransferRequest: self.on_request,
            m.TransferDone: self.on_done,
            m.OpenStream: self.on_open_stream,
        }

    # --- reactor's thread ---------------------------------------------------------------------------------------------

    def on_request(self, peer: Any, message: m.TransferRequest, *, again: bool = False) -> None:
        """A node wants to read an object."""
        source = self.find(message.object_id, message.offset, message.size)
        if source is None:
            if not again:
                self.reactor.call_later(LOOK_AGAIN_S, lambda: self.on_request(peer, message, again=True))
                return
            peer.post(m.TransferRefused(message.rid, f"{self.here} has no object {message.object_id.hex()}"))
            return
        if source.size <= INLINE_MAX_BYTES and source.wait(source.size, 0.0):
            data = os.pread(source.fd, source.size, source.offset)
            source.release()
            peer.post(m.TransferReady(message.rid, 0, data))
            self.served_bytes += len(data)
            return
        number = next(self._numbers)
        self._tickets[number] = _Ticket(peer, source)
        peer.post(m.TransferReady(message.rid, number))

    def on_done(self, peer: Any, message: m.TransferDone) -> None:
        """A node has read what it wanted."""
        for number in message.tickets:
            ticket = self._tickets.get(number)
            if ticket is not None and ticket.peer is peer:
                self._close(number, ticket)

    def on_open_stream(self, peer: Any, message: m.OpenStream) -> None:
        """This connection is a stream from now on."""
        peer.send(m.StreamReady(message.rid))
        sock = peer.detach()
        self._sockets.add(sock)
        threading.Thread(target=self._serve, args=(sock,), name="linckia-serve", daemon=True).start()

    def peer_gone(self, peer: Any) -> None:
        """A node has hung up: its tickets are void."""
        for number, ticket in list(self._tickets.items()):
            if ticket.peer is peer:
                self._close(number, ticket)

    def close(self) -> None:
        """End all streams."""
        for sock in list(self._sockets):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it has ended by itself

    def _close(self, number: int, ticket: _Ticket) -> None:
        del self._tickets[number]
        with self._lock:
            ticket.closing = True
            idle = ticket.users == 0
        if idle:
            ticket.source.release()

    # --- serving threads ----------------------------------------------------------------------------------------------

    def _serve(self, sock: socket.socket) -> None:
        try:
            stream.set_timeouts(sock, IDLE_S)
            while True:
                number, start, length = stream.receive_struct(sock, stream.REQUEST)
                self._answer(sock, number, start, length)
        except OSError:
            return  # idle, hung up or stalled: whoever reads sees the end of the stream and asks another node
        finally:
            self._sockets.discard(sock)
            sock.close()

    def _answer(self, sock: socket.socket, number: int, start: int, length: int) -> None:
        ticket = self._tickets.get(number)
        with self._lock:
            if ticket is None or ticket.closing:
                ticket = None
            else:
                ticket.users += 1
        if ticket is None:
            stream.send_refusal(sock, f"{self.here} does not know ticket {number}")
            return
        try:
            source = ticket.source
            if start + length > source.size:
                stream.send_refusal(sock, f"bytes {start} to {start + length} of an object of {source.size}")
            elif not source.wait(start + length, stream.STALL_S):
                stream.send_refusal(sock, f"{self.here} does not get the object itself")
            else:
                memory = source.view(start, length)
                if memory is not None:
                    stream.send_memory(sock, memory)
                    memory.release()
                else:
                    stream.send_file(sock, source.fd, source.offset + start, length)
                self.served_bytes += length
        finally:
            with self._lock:
                ticket.users -= 1
                last = ticket.closing and ticket.users == 0
            if last:
                self.reactor.call_soon(ticket.source.release)
