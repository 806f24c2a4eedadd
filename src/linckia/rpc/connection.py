"""A symmetric, authenticated message connection over a stream socket.

``post`` queues a message and marks the connection dirty; ``flush`` encodes everything queued as one frame and writes
what the kernel takes; the reactor finishes the rest when the socket is writable. Messages of one connection arrive in
the order posted, and nothing is delivered before the handshake is done. Used by every process; owned by a
``rpc/reactor.py`` Reactor, whose polling thread runs all callbacks. Any thread may ``post`` and ``flush``.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from linckia.base.invariant import invariant
from linckia.base.limits import CONNECT_MAX_S, HANDSHAKE_MAX_S
from linckia.host.entropy import random_bytes
from linckia.protocol.batch import MALFORMED, decode_batch, encode_batch
from linckia.protocol.messages import Message
from linckia.rpc.handshake import HANDSHAKE_FRAME_MAX_BYTES, Handshake, HandshakeError, Identity, refusal

if TYPE_CHECKING:
    from linckia.rpc.reactor import Reactor

HEADER = struct.Struct("<I")
FD_RECEIVE_BYTES = 1 << 16
FRAME_MAX_BYTES = 1 << 30
SEND_FLAGS = int(socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)  # as int: or-ing the enums costs a microsecond
RECEIVE_FLAGS = int(socket.MSG_DONTWAIT)
OUTBOX_FLUSH_COUNT = 64
TCP_INFO_RETRANSMITS, STUCK_TRIES = 2, 3  # a byte of struct tcp_info; the third try comes after about 1.4 s
TCP_INFO_LAST_ACK = struct.Struct("=56xI")  # of the same: milliseconds since anything was acknowledged

MessageHandler = Callable[["Connection", list[Message]], None]
CloseHandler = Callable[["Connection", str], None]


class NoSocket:
    """Stands for the socket of a connection that waits for a free descriptor: takes nothing, has nothing."""

    connected = False  # TLS on the way (rpc/tls/opening.py) says otherwise

    def setblocking(self, _flag: bool) -> None: ...
    def shutdown(self, _how: int) -> None: ...
    def close(self) -> None: ...
    def fileno(self) -> int:
        """None yet."""
        return -1

    def send(self, _data: object, _flags: int = 0) -> int:
        """Not yet."""
        raise BlockingIOError

    recv = send


class Connection:
    """One peer. Public attributes: ``peer_id``, ``peer_role``, ``state`` (free for the owner), ``closed``."""

    def __init__(
        self,
        reactor: Reactor,
        sock: socket.socket | NoSocket,
        identity: Identity,
        on_messages: MessageHandler,
        on_close: CloseHandler,
        *,
        initiator: bool,
        preamble: bytes = b"",
    ) -> None:
        sock.setblocking(False)
        self.reactor, self.fd = reactor, sock.fileno()
        self.sock: socket.socket = sock  # type: ignore[assignment]  # NoSocket until attach() has the surface we use
        self.on_messages, self.on_close = on_messages, on_close
        self.state: Any = None
        self.outbox: list[Message] = []
        self.dirty = False
        self.closed = False
        self.established = False
        self.shortage = ""  # why nothing was ever sent: the limit of this process that was reached
        self.on_established: Callable[[Connection], None] | None = None
        self.expect_fds = False
        self.received_fds: deque[int] = deque()
        self._lock = threading.Lock()
        self._unsent = bytearray(preamble)
        self._fds: deque[tuple[bytes, int]] = deque()  # frames that carry a descriptor, behind what is unsent
        self._input = bytearray()
        self._handshake = Handshake(identity, random_bytes(32), initiator=initiator)
        self._initiator, self._error = initiator, ""  # what the kernel said when it would not send
        self._deadline = reactor.call_later(CONNECT_MAX_S, self._check_connected)
        if self.fd >= 0:  # last: from here on the polling thread may use, and close, this connection
            reactor.register(self.fd, self._on_event, select.EPOLLIN)
        if initiator:
            self._write_frame(self._handshake.hello())

    def attach(self, sock: socket.socket) -> None:
        """The socket of a connection that was made without one; what was posted leaves now."""
        if self.closed:
            sock.close()
            return
        sock.setblocking(False)
        self._handshake.binding = getattr(sock, "binding", b"")  # of a socket with TLS
        self.sock, self.fd = sock, sock.fileno()
        self.reactor.register(self.fd, self._on_event, select.EPOLLIN)
        self._write_unsent()

    def _check_connected(self) -> None:
        """The kernel takes no byte before it is connected: our first frame is still here, so nobody has answered."""
        if self._initiator and self._unsent and not self.established and not getattr(self.sock, "connected", False):
            self.close(f"no connection within {CONNECT_MAX_S:g} s")
            return
        self._deadline = self.reactor.call_later(HANDSHAKE_MAX_S - CONNECT_MAX_S, self._check_established)

    def expect_peer(self, peer_id: bytes) -> None:
        """Nobody else may answer; before the handshake."""
        self._handshake.expected_id = peer_id

    def _check_established(self) -> None:
        if not self.established:
            self.close(f"no handshake within {HANDSHAKE_MAX_S:g} s")

    @property
    def peer_id(self) -> bytes:
        """The worker, node or driver id that the peer proved to belong to the cluster with."""
        return self._handshake.peer_id

    @property
    def peer_role(self) -> str:
        """driver | worker | raylet | gcs | cli."""
        return self._handshake.peer_role

    @property
    def unsent_bytes(self) -> int:
        """What the kernel has not taken yet: a peer that does not read."""
        return len(self._unsent)

    @property
    def is_stuck(self) -> bool:
        """The other host has acknowledged nothing since bytes were sent to it ``STUCK_TRIES`` times again (TCP)."""
        return self.stuck_at_most_s is not None

    @property
    def stuck_at_most_s(self) -> float | None:
        """None when it is not stuck; else since when the other host has acknowledged nothing, which may be longer than
        it is stuck: there may have been nothing to acknowledge.
        """
        if self.closed or not self.established:
            return None
        try:
            info = self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_LAST_ACK.size)
        except OSError:  # a Unix socket, or another thread has just closed it
            return None
        is_stuck = info[TCP_INFO_RETRANSMITS] >= STUCK_TRIES
        return float(TCP_INFO_LAST_ACK.unpack(info)[0]) / 1000 if is_stuck else None

    # --- sending ------------------------------------------------------------------------------------------------------

    def post(self, message: Message) -> None:
        """Queue a message; it leaves with the next flush (of the reactor, at the latest when it polls)."""
        self.outbox.append(message)
        if not self.dirty:
            self.dirty = True
            self.reactor.dirty.append(self)

    def mark_dirty(self) -> None:
        """Something is in the outbox: flush it with the reactor's next turn."""
        if not self.dirty:
            self.dirty = True
            self.reactor.dirty.append(self)

    def send(self, message: Message) -> None:
        """Queue a message and flush now."""
        self.outbox.append(message)
        self.flush()

    def flush(self) -> None:
        """Write everything queued as one frame, as far as the kernel takes it; in order, whoever calls. What waits for
        ``Reactor.told_first`` leaves before.
        """
        if not self.established:
            return
        first = self.reactor.told_first
        if first is not None and first.dirty and first is not self:
            first.flush()
        with self._lock:
            self.dirty = False
            if self.closed or not self.outbox or self._fds:
                return
            batch, self.outbox = self.outbox, []
            body = encode_batch(batch)
            size = len(body)
            if self._unsent:
                self._unsent += HEADER.pack(size)
                self._unsent += body
                return
            data = HEADER.pack(size) + body
            try:
                sent = self.sock.send(data, SEND_FLAGS)
            except BlockingIOError:
                sent = 0
            except OSError:
                return  # the hang-up is seen by the reader, which reports it once
            if sent < len(data):
                self._unsent += memoryview(data)[sent:]
                self.reactor.modify(self.fd, select.EPOLLIN | select.EPOLLOUT)

    def send_with_fd(self, message: Message, fd: int) -> None:
        """Send one message with a file descriptor attached (Unix sockets only), in order, without blocking. The
        descriptor stays the caller's.
        """
        self.flush()
        body = encode_batch([message])
        with self._lock:
            if self.established and not (self._unsent or self._fds or self.outbox or self.closed):
                frame = HEADER.pack(len(body)) + body
                try:  # at once, while it may: keeping it for later takes a descriptor
                    sent = socket.send_fds(self.sock, [frame], [fd], SEND_FLAGS)
                except OSError:
                    sent = 0
                if sent:
                    self._unsent += frame[sent:]
                    if self._unsent:
                        self.reactor.modify(self.fd, select.EPOLLIN | select.EPOLLOUT)
                    return
            self._fds.append((HEADER.pack(len(body)) + body, os.dup(fd)))
        self._write_unsent()

    def _write_fds(self) -> None:
        """Under the lock, with nothing unsent: the frames that carry descriptors. BlockingIOError when it is full."""
        while self._fds:
            frame, fd = self._fds[0]
            sent = socket.send_fds(self.sock, [frame], [fd], SEND_FLAGS)
            self._fds.popleft()
            os.close(fd)
            if sent < len(frame):
                self._unsent += frame[sent:]
                raise BlockingIOError

    def _write_frame(self, body: bytes) -> None:
        with self._lock:
            self._unsent += HEADER.pack(len(body)) + body
        self._write_unsent()

    def _write_unsent(self) -> None:
        with self._lock:
            if self.closed:
                return
            try:
                while self._unsent:
                    piece = memoryview(self._unsent)[: 1 << 20]
                    sent = self.sock.send(piece, SEND_FLAGS)
                    piece.release()  # a bytearray with a view cannot shrink
                    del self._unsent[:sent]
                    if not self._unsent:
                        self._write_fds()
                self._write_fds()
            except BlockingIOError:
                self.reactor.modify(self.fd, select.EPOLLIN | select.EPOLLOUT)
                return
            except OSError as error:  # said once: the reader only sees the end of the stream
                self._error = str(error)
                return
            self.reactor.modify(self.fd, select.EPOLLIN)
        if self.outbox:
            self.flush()

    # --- receiving (the polling thread only) --------------------------------------------------------------------------

    def _on_event(self, events: int) -> None:
        if events & select.EPOLLOUT:
            self._write_unsent()
        if events & ~select.EPOLLOUT:
            self.on_readable()

    def on_readable(self) -> None:
        """Read what is there and deliver complete batches. The peer's hang-up closes the connection."""
        try:
            if self.expect_fds:
                data, fds, _flags, _addr = socket.recv_fds(self.sock, FD_RECEIVE_BYTES, 4)
                self.received_fds += fds
                size = len(data)
                received = memoryview(data)
            else:
                received = self.reactor.received
                size = self.sock.recv_into(received, 0, RECEIVE_FLAGS)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            refused = "refused:" in str(error)  # by TLS: it says it all
            self.close(str(error) if refused else f"connection lost: {error}")
            return
        if not size:
            self.close(f"connection lost: {self._error}" if self._error else "peer closed the connection")
            return
        pending = self._input
        if not pending and self.established and size >= 4 and HEADER.unpack_from(received)[0] == size - 4:
            self._deliver(received[4:size])  # the common case: exactly one frame
            return
        pending += received[:size]
        self._consume()

    def drain(self) -> None:
        """Deliver what the peer sent before it died: read until there is nothing left or the hang-up."""
        while not self.closed:
            try:
                if not self.sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                    self.on_readable()
                    return
            except (BlockingIOError, OSError):
                return
            self.on_readable()

    def _consume(self) -> None:
        pending, position = self._input, 0
        size = len(pending)
        while size - position >= 4 and not self.closed:
            (length,) = HEADER.unpack_from(pending, position)
            if length > (FRAME_MAX_BYTES if self.established else HANDSHAKE_FRAME_MAX_BYTES):
                if not self.established:  # so that a peer that begins TLS sees at once that we do not
                    self._write_frame(refusal("refused: this is no handshake of Linckia without TLS"))
                self.close(f"refused: a frame of {length} bytes is over the limit")
                return
            if size - position - 4 < length:
                break
            body = bytes(memoryview(pending)[position + 4 : position + 4 + length])
            position += 4 + length
            if self.established:
                self._deliver(body)
            else:
                self._on_handshake_frame(body)
        del pending[:position]

    def _deliver(self, body: bytes | memoryview) -> None:
        try:
            messages = decode_batch(body)
        except MALFORMED as error:
            self.close(f"refused: malformed batch: {error}")
            return
        try:
            self.on_messages(self, messages)
        except Exception as error:
            if self.reactor.on_error is None:
                raise
            self.reactor.on_error(error)
            self.close(f"refused: what the peer said could not be handled: {error!r}")

    def _on_handshake_frame(self, body: bytes) -> None:
        try:
            answer = self._handshake.receive(body)
        except HandshakeError as error:
            self._write_frame(refusal(str(error)))
            self.close(str(error))
            return
        if answer is not None:
            self._write_frame(answer)
        if self._handshake.done:
            self.established = True
            self._deadline.cancel()
            if self.on_established is not None:
                self.on_established(self)
            self.flush()

    def close(self, reason: str = "closed by this process") -> None:
        """Close once; ``on_close`` is called once, by whoever closes first."""
        with self._lock:
            if self.closed:
                return
            self.closed = True
        self._deadline.cancel()
        self.reactor.unregister(self.fd)
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        while self._fds:
            os.close(self._fds.popleft()[1])
        self.on_close(self, reason)

    def detach(self) -> socket.socket:
        """Hand the socket over, blocking, to a caller that speaks another protocol from here on; ``on_close`` is not
        called. Only when the peer has agreed not to send before it knows that we are done.
        """
        with self._lock:
            invariant(not self.closed, "a connection was detached after it was closed")
            self.closed = True
            unsent = bytes(self._unsent)
            self._unsent.clear()
        self._deadline.cancel()
        self.reactor.unregister(self.fd)
        self.sock.setblocking(True)
        if unsent:
            self.sock.sendall(unsent)
        return self.sock
