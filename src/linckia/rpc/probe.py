"""Is there still somebody at a node's port? Without blocking: the outcome comes by a callback from the reactor.

Only the node's own answer to the health question counts: the kernel of a process that is being killed still takes
connections, and so does that of a stopped one. Where nodes use TLS the answer comes inside it: nobody else can keep a
dead node alive.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from linckia.base.addresses import join_host_port
from linckia.base.limits import PROBE_MAX_S
from linckia.rpc.connection import NoSocket
from linckia.rpc.endpoints import resolve, route_frame
from linckia.rpc.front_door import HEALTH_ANSWER, HEALTH_ROUTE, SECURE_HEALTH_ROUTE
from linckia.rpc.reactor import Reactor, open_socket

if TYPE_CHECKING:
    from linckia.rpc.tls.contexts import Tls

Outcome = Callable[[str, str], None]
AGAIN_AFTER_S = 0.05


def probe(reactor: Reactor, endpoint: str, outcome: Outcome) -> None:
    """Call ``outcome(how, text)`` once: ``refused`` (its kernel says nobody listens), ``answered`` or ``silent``."""
    target = resolve(endpoint, "")
    if target.path:
        outcome("refused", "it has no port")
        return
    _Probe(reactor, f"tcp:{join_host_port(target.host, target.port)}", outcome).connect()


class _Probe:
    """One question, asked again when there was no way, or the connection was cut before the answer: then somebody was
    just ending.
    """

    def __init__(self, reactor: Reactor, where: str, outcome: Outcome) -> None:
        self.reactor, self.where, self.outcome = reactor, where, outcome
        self.sock: socket.socket | NoSocket | None = None
        self.done = False
        self.why = ""
        self.timer = reactor.call_later(PROBE_MAX_S, self._give_up)

    def connect(self) -> None:
        if self.done:
            return
        sock, address = open_socket(self.where)
        sock.setblocking(False)
        error = sock.connect_ex(address)
        if error not in (0, errno.EINPROGRESS):
            sock.close()
            self._failed(error)
            return
        self.sock = sock
        self.reactor.register(sock.fileno(), self._connected, select.EPOLLOUT)

    def _connected(self, _events: int) -> None:
        sock = self.sock
        assert isinstance(sock, socket.socket)
        self.reactor.unregister(sock.fileno())
        try:
            failed = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if failed:
                self._failed(failed)
                return
            if self.reactor.tls is not None:
                self._ask_securely(self.reactor.tls, sock)
                return
            sock.send(route_frame(HEALTH_ROUTE))
        except OSError:
            self._cut()
            return
        self.reactor.register(sock.fileno(), self._answer)

    def _ask_securely(self, tls: Tls, sock: socket.socket) -> None:
        def secured(secure: socket.socket) -> None:
            self.sock = secure
            self.reactor.register(secure.fileno(), self._answer)

        def failed(_reason: str) -> None:
            self._cut()

        preamble = route_frame(SECURE_HEALTH_ROUTE)
        self.sock = tls.open(self.reactor, sock, secured, failed, server_side=False, preamble=preamble)

    def _answer(self, _events: int) -> None:
        assert isinstance(self.sock, socket.socket)
        try:
            heard = self.sock.recv(len(HEALTH_ANSWER))
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            heard = b""
        if heard:
            self._finish("answered", "its port answers")
        else:
            self._cut()

    def _failed(self, error: int) -> None:
        """Only a refusal proves that the process is gone; a host that cannot be reached may be there in a moment."""
        if error in (errno.ECONNREFUSED, errno.ECONNRESET):
            self._finish("refused", os.strerror(error))
            return
        self.why = f" ({os.strerror(error)})"
        self._cut()

    def _give_up(self) -> None:
        self._finish("silent", f"and its port does not answer within {PROBE_MAX_S:g} s{self.why}")

    def _cut(self) -> None:
        self._hang_up()
        self.reactor.call_later(AGAIN_AFTER_S, self.connect)

    def _hang_up(self) -> None:
        if self.sock is not None:
            self.reactor.unregister(self.sock.fileno())
            self.sock.close()
            self.sock = None

    def _finish(self, how: str, text: str) -> None:
        if not self.done:
            self.done = True
            self.timer.cancel()
            self._hang_up()
            self.outcome(how, text)
