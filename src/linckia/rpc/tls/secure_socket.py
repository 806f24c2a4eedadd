"""A connected TLS socket with the surface that plain sockets have for rpc/connection.py and raylet/transfer.

Made by rpc/tls/contexts.py. OpenSSL allows one call at a time on a connection, and here one thread reads while others
write: hence the lock. Nothing is ever sent plain: ``read`` and ``write`` of SSLSocket refuse when TLS is gone.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from typing import Any

from linckia.host.tls_files import TlsFiles
from linckia.rpc.tls import sentences

RECORD_BYTES = 1 << 14  # TLS's largest; asked for whole, so that none is left where epoll does not see it
FILE_PIECE_BYTES = 1 << 18


class SecureSocket(ssl.SSLSocket):
    """Flags other than MSG_PEEK mean nothing here: non-blocking is a mode of the socket."""

    files: TlsFiles
    lock: Any  # threading.RLock()
    binding: bytes  # the server's certificate: what the token's proof is bound to (rpc/handshake.py)

    def send(self, data: Any, flags: int = 0) -> int:
        """As many whole records as the kernel takes. BlockingIOError: none; the same bytes have to come again."""
        view = memoryview(data)
        size, sent = len(view), 0
        try:
            with self.lock:
                while sent < size:
                    sent += self.write(view[sent : sent + RECORD_BYTES])
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            if not sent:
                raise BlockingIOError(errno.EAGAIN, "the kernel takes no more") from None
        except (ssl.SSLError, ValueError) as error:
            raise self._told(error) from None
        return sent

    def sendall(self, data: Any, flags: int = 0) -> None:
        """All of it; blocking, for streams."""
        view = memoryview(data).cast("B")
        sent = 0
        while sent < len(view):
            sent += self.send(view[sent:])

    def recv(self, buflen: int = RECORD_BYTES, flags: int = 0) -> bytes:
        """At most one record; empty: the peer hung up. With MSG_PEEK: whether encrypted bytes are there."""
        if flags & socket.MSG_PEEK:
            return socket.socket.recv(self, buflen, flags)
        try:
            with self.lock:
                return self.read(min(buflen, RECORD_BYTES))
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError(errno.EAGAIN, "nothing is there") from None
        except (ssl.SSLError, ValueError) as error:
            raise self._told(error) from None

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        """At most one record, in place."""
        try:
            with self.lock:
                return self.read(nbytes or len(buffer), buffer)  # type: ignore[return-value]  # with a buffer: a count
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError(errno.EAGAIN, "nothing is there") from None
        except (ssl.SSLError, ValueError) as error:
            raise self._told(error) from None

    def send_file(self, fd: int, offset: int, length: int) -> None:
        """Bytes of a file or segment; they pass through this process, which has to encrypt them."""
        end = offset + length
        while offset < end:
            piece = os.pread(fd, min(FILE_PIECE_BYTES, end - offset), offset)
            if not piece:
                raise OSError("the file is shorter than the object")
            self.sendall(piece)
            offset += len(piece)

    def shutdown(self, how: int) -> None:
        """Of the connection below: SSLSocket's would go on unencrypted."""
        socket.socket.shutdown(self, how)

    def _told(self, error: Exception) -> OSError:
        if isinstance(error, ssl.SSLError):
            return sentences.TlsError(sentences.of_peer(error, self.files))
        return OSError(errno.EBADF, os.strerror(errno.EBADF))
