"""This process's certificate and whom it trusts, read from files once, when the first connection needs them.

A ``Tls`` is hung onto a Reactor (``reactor.tls``), whose connections over TCP then use it. TLS 1.3 only: both ends are
Linckia. Names in certificates are not compared, because nodes are reached by changing addresses: a peer needs a
certificate of the CA *and* the token, whose proof is bound to the server's certificate (docs/many-machines.md).
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from linckia.host.tls_files import TlsFiles
from linckia.rpc.tls import sentences
from linckia.rpc.tls.opening import Opening
from linckia.rpc.tls.secure_socket import SecureSocket
from linckia.rpc.tls.sentences import TlsError

if TYPE_CHECKING:
    from linckia.rpc.connection import Connection
    from linckia.rpc.reactor import Reactor

ADVICE = "`linckia tls init` makes certificates"
BEGIN = "-----BEGIN "
ROUNDS = 10  # of a handshake in memory; three are needed


class Tls:
    """Contexts of one process."""

    def __init__(self, files: TlsFiles) -> None:
        self.files = files

    # --- files --------------------------------------------------------------------------------------------------------

    @cached_property
    def certificate(self) -> bytes:
        """Our own, DER. TlsError when the file has none."""
        text = _read(self.files.cert, "certificate", "CERTIFICATE")
        end = text.index("-----END CERTIFICATE-----") + len("-----END CERTIFICATE-----")
        try:
            found = ssl.PEM_cert_to_DER_cert(text[text.index(f"{BEGIN}CERTIFICATE-----") : end])
        except ValueError:
            found = b""
        if not found:
            raise TlsError(f"TLS: the certificate {self.files.cert} is damaged; {ADVICE}")
        return found

    @cached_property
    def client(self) -> ssl.SSLContext:
        """For connections that we open. TlsError names the file that is wrong."""
        return self._context(ssl.PROTOCOL_TLS_CLIENT)

    @cached_property
    def server(self) -> ssl.SSLContext:
        """For connections that we accept."""
        context = self._context(ssl.PROTOCOL_TLS_SERVER)
        context.num_tickets = 0  # no session is resumed
        return context

    def _context(self, side: int) -> ssl.SSLContext:
        files = self.files
        _ = self.certificate  # first, as the one with the clearest words
        _read(files.key, "key", "")
        _read(files.ca, "CA certificate", "CERTIFICATE")
        context = ssl.SSLContext(side)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # a CA of a company's department is enough
        context.sslsocket_class = SecureSocket
        try:
            context.load_cert_chain(files.cert, files.key, password=self._no_password)
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise TlsError(f"TLS: the key {files.key} does not belong to the certificate {files.cert}") from None
            raise TlsError(
                f"TLS: {files.cert} and {files.key} are not a certificate and its key in PEM format; {ADVICE}"
            ) from None
        try:
            context.load_verify_locations(files.ca)
        except ssl.SSLError:
            raise TlsError(f"TLS: the CA certificate {files.ca} is damaged; {ADVICE}") from None
        return context

    def _no_password(self) -> str:
        raise TlsError(f"TLS: the key {self.files.key} is encrypted; nodes start unattended and need it without")

    def check(self) -> None:
        """TlsError unless a peer with the same CA would accept us now: files, dates, purposes. Talks to itself."""
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = self.client.wrap_bio(to_client, to_server)
        server = self.server.wrap_bio(to_server, to_client, server_side=True)
        try:
            for _ in range(ROUNDS):
                waiting = False
                for end in (client, server):
                    try:
                        end.do_handshake()
                    except ssl.SSLWantReadError:
                        waiting = True
                if not waiting:
                    return
        except ssl.SSLError as error:
            raise TlsError(sentences.of_own(error, self.files)) from None
        raise TlsError(f"TLS: {self.files.cert} and {self.files.ca} do not work together")

    # --- connections --------------------------------------------------------------------------------------------------

    def wrap(self, sock: socket.socket, *, server_side: bool) -> SecureSocket:
        """Takes over a connected socket; the handshake is still to be done. OSError."""
        context = self.server if server_side else self.client
        wrapped = context.wrap_socket(sock, server_side=server_side, do_handshake_on_connect=False)
        assert isinstance(wrapped, SecureSocket)
        wrapped.files, wrapped.lock = self.files, threading.RLock()
        return wrapped

    def open(
        self,
        reactor: Reactor,
        sock: socket.socket,
        opened: Callable[[SecureSocket], None],
        failed: Callable[[str], None],
        *,
        server_side: bool,
        preamble: bytes = b"",
    ) -> Opening:
        """Do the handshake within the reactor, then call ``opened`` with the socket, or ``failed`` with the reason."""
        return Opening(reactor, self, sock, opened, failed, server_side=server_side, preamble=preamble)

    def secure(
        self, reactor: Reactor, connection: Connection, sock: socket.socket, *, server_side: bool, preamble: bytes = b""
    ) -> None:
        """``connection`` was made without a socket: it gets this one when TLS stands."""
        connection.sock = self.open(  # type: ignore[assignment]  # has the surface of a socket that takes nothing
            reactor, sock, connection.attach, connection.close, server_side=server_side, preamble=preamble
        )


def _read(path: str, what: str, kind: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            text = file.read()
    except OSError as error:
        raise TlsError(f"TLS: cannot read the {what} {path}: {error.strerror}; {ADVICE}") from None
    except UnicodeDecodeError:
        text = ""
    if f"{BEGIN}{kind}" not in text or (kind and f"-----END {kind}-----" not in text):
        raise TlsError(f"TLS: the {what} {path} is not in PEM format; {ADVICE}")
    return text
