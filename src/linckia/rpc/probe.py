"""Is there still somebody at a node's port? Without blocking: the outcome comes by a callback from the reactor."""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Callable

from linckia.base.limits import PROBE_MAX_S
from linckia.rpc.endpoints import join_host_port, resolve
from linckia.rpc.reactor import Reactor, open_socket

Outcome = Callable[[str, str], None]


def probe(reactor: Reactor, endpoint: str, outcome: Outcome) -> None:
    """Call ``outcome(how, text)`` once: ``refused`` (its kernel says nobody listens), ``answered`` or ``silent``."""
    target = resolve(endpoint, "")
    if target.path:
        outcome("refused", "it has no port")
        return
    sock, address = open_socket(f"tcp:{join_host_port(target.host, target.port)}")
    sock.setblocking(False)
    error = sock.connect_ex(address)
    if error not in (0, errno.EINPROGRESS):
        sock.close()
        outcome(_meaning(error), os.strerror(error))
        return
    done = False

    def finish(how: str, text: str) -> None:
        nonlocal done
        if not done:
            done = True
            reactor.unregister(sock.fileno())
            sock.close()
            outcome(how, text)

    def ready(_events: int) -> None:
        failed = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failed:
            finish(_meaning(failed), os.strerror(failed))
        else:
            finish("answered", "its port answers")

    reactor.register(sock.fileno(), ready, select.EPOLLOUT)
    reactor.call_later(PROBE_MAX_S, lambda: finish("silent", f"and its port does not answer within {PROBE_MAX_S:g} s"))


def _meaning(error: int) -> str:
    """Only a refusal proves that the process is gone; an unreachable host may be back."""
    return "refused" if error in (errno.ECONNREFUSED, errno.ECONNRESET) else "silent"
