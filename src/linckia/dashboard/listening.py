"""The socket that the dashboard listens on: the wanted port, or the next one that is free (R 1.9). Opened by its node,
which can name the address before anything of the dashboard has been loaded.
"""

from __future__ import annotations

import errno
import socket

from linckia.base.limits import DASHBOARD_PORTS_TRIED

BACKLOG = 128
LAST_PORT = 65535


class ListenError(Exception):
    """There is nowhere to listen; the text says where it was tried and what to do."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises ListenError."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except OSError as error:
        raise ListenError(f"dashboard host {host!r} is no address of this machine: {error.strerror}") from error
    last = min(port + DASHBOARD_PORTS_TRIED, LAST_PORT) if port else 0
    for candidate in range(port, last + 1):
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # its predecessor's connections may linger
            sock.bind((address[0], candidate))
            sock.listen(BACKLOG)
        except OSError as error:
            sock.close()
            if error.errno != errno.EADDRINUSE:
                raise ListenError(f"the dashboard cannot listen at {host}:{candidate}: {error.strerror}") from error
        else:
            return sock
    raise ListenError(f"ports {port} to {last} of {host} are taken: name another one with --dashboard-port")
