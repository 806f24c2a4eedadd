"""A node's one TCP port: reads whom each connection is for and passes it on, before any handshake.

With TLS the preamble is still plain: it names a process, and TLS begins behind it, between the two ends. The node's own
connections become ordinary ones; those for a process of the node are handed over as file descriptors
(``on_route``), so that no byte of theirs passes through the node. A stranger learns nothing here: the handshake, with
the token, is done by whoever gets the socket. Built by node/rooms.py.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

from linckia.base.addresses import join_host_port
from linckia.base.limits import HANDSHAKE_MAX_S
from linckia.rpc.endpoints import ROUTE_HEADER_BYTES, ROUTE_MAX_BYTES, read_route
from linckia.rpc.reactor import Reactor, open_socket

OUT_OF_DESCRIPTORS_PAUSE_S = 0.1
HEALTH_ROUTE, HEALTH_ANSWER = b"?health", b"ok\n"
"""The one question a stranger may ask: are you there? (linckia_command.py)"""
SECURE_HEALTH_ROUTE, SECURE_ONLY = b"?health-tls", b"tls"
"""The same with the answer inside TLS; a node with TLS answers the plain question with SECURE_ONLY."""
NO_TLS = b"no TLS\n"
"""What a node without TLS answers to the question that wants it. OpenSSL reads while it says its first words, and only
the five bytes of a record's header tell it that this is none: with fewer it sees a peer that hung up."""


class FrontDoor:
    """Listens on ``host:port`` (0: any free one, see ``port``). OSError when the port is taken.

    ``on_node(sock)`` takes sockets for the node itself; ``on_route(worker_id, sock)`` the others; both own the socket.
    """

    def __init__(
        self,
        reactor: Reactor,
        host: str,
        port: int,
        on_node: Callable[[socket.socket], None],
        on_route: Callable[[bytes, socket.socket], None],
    ) -> None:
        self.reactor, self.on_node, self.on_route = reactor, on_node, on_route
        self.sock, _ = open_socket(f"tcp:{join_host_port(host, port or 1)}")
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self.sock.bind((host, port))
        except OSError as error:
            self.sock.close()
            where = f"{host} port {port}" if port else host
            advice = "use another --port (0 takes any free one) or --node-ip-address"
            raise OSError(error.errno, f"cannot listen on {where}: {error.strerror}; {advice}") from None
        self.sock.listen(1024)
        self.sock.setblocking(False)
        self.host, self.port = host, int(self.sock.getsockname()[1])
        self._waiting: dict[int, socket.socket] = {}
        reactor.register(self.sock.fileno(), self._accept)

    def _accept(self, _events: int) -> None:
        while True:
            try:
                peer, _ = self.sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError:  # out of descriptors: the backlog waits, the reactor must not spin
                self.reactor.unregister(self.sock.fileno())
                self.reactor.call_later(OUT_OF_DESCRIPTORS_PAUSE_S, self._resume)
                return
            peer.setblocking(False)
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            fd = peer.fileno()
            self._waiting[fd] = peer
            self._watch(fd, peer)

    def _watch(self, fd: int, peer: socket.socket) -> None:
        self.reactor.register(fd, lambda _mask: self._on_route(fd))
        self.reactor.call_later(HANDSHAKE_MAX_S, lambda: self._too_late(fd, peer))

    def _resume(self) -> None:
        if self.sock.fileno() >= 0:
            self.reactor.register(self.sock.fileno(), self._accept)

    def _on_route(self, fd: int) -> None:
        sock = self._waiting[fd]
        try:
            peeked = sock.recv(ROUTE_MAX_BYTES, socket.MSG_PEEK)
            if not peeked:
                self._drop(fd)
                return
            route = read_route(peeked)
        except (BlockingIOError, InterruptedError):
            return
        except (OSError, ValueError):
            self._drop(fd)
            return
        if route is None:
            return
        sock.recv(ROUTE_HEADER_BYTES + len(route))
        del self._waiting[fd]
        self.reactor.unregister(fd)
        if route == SECURE_HEALTH_ROUTE and self.reactor.tls is not None:
            opening = self.reactor.tls.open(self.reactor, sock, _say_healthy, _no_matter, server_side=True)
            self.reactor.call_later(HANDSHAKE_MAX_S, opening.close)
        elif route in (HEALTH_ROUTE, SECURE_HEALTH_ROUTE):
            _say(sock, _health_answer(route, secure=self.reactor.tls is not None))
        elif route:
            self.on_route(route, sock)
        else:
            self.on_node(sock)

    def _too_late(self, fd: int, peer: socket.socket) -> None:
        if self._waiting.get(fd) is peer:
            self._drop(fd)

    def _drop(self, fd: int) -> None:
        self.reactor.unregister(fd)
        with contextlib.suppress(OSError):
            self._waiting.pop(fd).close()

    def close(self) -> None:
        """Stop accepting."""
        self.reactor.unregister(self.sock.fileno())
        self.sock.close()
        for fd in list(self._waiting):
            self._drop(fd)


def _health_answer(route: bytes, *, secure: bool) -> bytes:
    if secure:
        return SECURE_ONLY
    return HEALTH_ANSWER if route == HEALTH_ROUTE else NO_TLS


def _say_healthy(sock: socket.socket) -> None:
    _say(sock, HEALTH_ANSWER)


def _say(sock: socket.socket, last_words: bytes) -> None:
    with contextlib.suppress(OSError):
        sock.send(last_words)
    sock.close()


def _no_matter(_reason: str) -> None:
    """A stranger's handshake failed; it was told why."""
