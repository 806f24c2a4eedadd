"""The TLS handshake of one connection, done by the reactor without blocking.

Stands for the connection's socket meanwhile, taking nothing. The side that opens sends the route preamble plain, then
begins TLS; the side that accepts has read the preamble (rpc/front_door.py). Who does not speak TLS is told so in a
plain frame. Bounds of time are the owner's: the connection's handshake deadline closes this too.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from linckia.rpc.connection import NoSocket
from linckia.rpc.handshake import refusal
from linckia.rpc.tls import sentences
from linckia.rpc.tls.secure_socket import SecureSocket
from linckia.rpc.tls.sentences import TlsError

if TYPE_CHECKING:
    from linckia.rpc.reactor import Reactor
    from linckia.rpc.tls.contexts import Tls

TLS_RECORD_TYPES = b"\x14\x15\x16"  # the first byte of what TLS says before it is open; no frame of ours begins so
LINGER_S = 1.0
DISCARD_BYTES = 1 << 16


class Opening(NoSocket):
    """Calls ``opened`` or ``failed`` once, unless it is closed before. Owns the socket until ``opened``."""

    def __init__(
        self,
        reactor: Reactor,
        tls: Tls,
        sock: socket.socket,
        opened: Callable[[Any], None],
        failed: Callable[[str], None],
        *,
        server_side: bool,
        preamble: bytes,
    ) -> None:
        sock.setblocking(False)
        self.reactor, self.tls, self.raw = reactor, tls, sock
        self.opened, self.failed = opened, failed
        self.server_side = server_side
        self._unsent = preamble
        self._fd = sock.fileno()
        self._heard = False
        self._ended = self._linger = False
        self._interest = select.EPOLLIN if server_side else select.EPOLLOUT
        reactor.register(self._fd, self._on_event, self._interest)

    def close(self) -> None:
        """Give up; nobody is called. The peer of a failed handshake gets a moment to read why."""
        if self._ended:
            return
        self._ended = True
        self.reactor.unregister(self._fd)
        if self._linger:
            try:
                socket.socket.shutdown(self.raw, socket.SHUT_WR)
            except OSError:
                self.raw.close()
                return
            self.reactor.register(self._fd, self._discard)
            self._timer = self.reactor.call_later(LINGER_S, self._drop)
        else:
            self.raw.close()

    def _on_event(self, _events: int) -> None:
        try:
            self._step()
        except (ssl.SSLWantReadError, BlockingIOError):
            self._watch(select.EPOLLOUT if self._unsent else select.EPOLLIN)
        except ssl.SSLWantWriteError:
            self._watch(select.EPOLLOUT)
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            self._fail(sentences.HUNG_UP)
        except OSError as error:
            self._fail(sentences.of_peer(error, self.tls.files))

    def _watch(self, interest: int) -> None:
        if interest != self._interest:
            self._interest = interest
            self.reactor.modify(self._fd, interest)

    def _step(self) -> None:
        if not isinstance(self.raw, SecureSocket):
            if self.server_side:
                self._check_first_byte()
            else:
                self._send_preamble()
            self.raw = self.tls.wrap(self.raw, server_side=self.server_side)
        elif not self._heard:
            self._check_first_byte()
        secure = self.raw
        secure.do_handshake()
        certificate = self.tls.certificate if self.server_side else secure.getpeercert(binary_form=True)
        secure.binding = certificate or b""
        self._ended = True
        self.reactor.unregister(self._fd)
        self.opened(secure)

    def _send_preamble(self) -> None:
        failed = self.raw.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failed:
            raise OSError(failed, os.strerror(failed))
        while self._unsent:
            sent = self.raw.send(self._unsent, socket.MSG_NOSIGNAL)
            self._unsent = self._unsent[sent:]
        self.connected = True

    def _check_first_byte(self) -> None:
        """BlockingIOError until there is one; TlsError unless it is one of TLS."""
        first = socket.socket.recv(self.raw, 1, socket.MSG_PEEK)
        if not first:
            raise TlsError(sentences.HUNG_UP)
        self._heard = True
        if first not in TLS_RECORD_TYPES:
            if self.server_side:
                told = refusal(sentences.PLAIN_CLIENT)
                self.raw.send(struct.pack("<I", len(told)) + told, socket.MSG_NOSIGNAL)
            raise TlsError(sentences.PLAIN_CLIENT if self.server_side else sentences.PLAIN_SERVER)

    def _fail(self, reason: str) -> None:
        self._linger = self.server_side
        self.failed(reason)
        self.close()

    def _discard(self, _events: int) -> None:
        """A reset because of what we did not read would overtake our last words."""
        try:
            if socket.socket.recv(self.raw, DISCARD_BYTES):
                return
        except BlockingIOError:
            return
        except OSError:
            pass  # it has gone
        self._timer.cancel()
        self._drop()

    def _drop(self) -> None:
        if self.raw.fileno() >= 0:
            self.reactor.unregister(self._fd)
            self.raw.close()
