"""`linckia health-check`: does a node answer? Small on purpose: it is run again and again by whoever supervises nodes.

Called by cli/main.py and, for nodes with TLS, by linckia_command.py, which asks others itself in 20 ms. No token is
needed where TLS asks for a certificate.
"""

from __future__ import annotations

import socket
import sys
import time

from linckia.base.addresses import parse_host_port
from linckia.host import environment, session, tls_files, tokens
from linckia.protocol.messages import Ping
from linckia.rpc import tls
from linckia.rpc.ask import AskError, ask
from linckia.rpc.endpoints import Target, route_frame
from linckia.rpc.front_door import HEALTH_ANSWER, SECURE_HEALTH_ROUTE
from linckia.rpc.reactor import Reactor, connected_socket

TIMEOUT_S = 5.0


def health_check(address: str) -> int:
    """0: it answers. 1: it does not, and why on standard error. Without an address: the newest node of this user."""
    try:
        files = tls_files.configured_for(address) if address else None
        if files is not None:
            ask_securely(address, files)
        else:
            endpoint, token = _where(address)
            ask(endpoint, token.encode(), Ping(1), TIMEOUT_S)
    except (AskError, OSError, tls_files.TlsFilesError, tokens.TokenError, LookupError, ValueError) as error:
        sys.stderr.write(f"linckia: {error}\n")
        return 1
    return 0


def _where(address: str) -> tuple[str, str]:
    if address:
        return f"tcp:{address}", tokens.token_for(address)
    for path, facts in reversed(session.live_sessions(environment.temporary_directory())):
        endpoint = facts.get("endpoint")
        if endpoint:
            with open(f"{path}/token", encoding="ascii") as file:
                return str(endpoint), file.read().strip()
    raise LookupError("no node of yours runs on this machine; `linckia start --head` starts one")


def ask_securely(address: str, files: tls_files.TlsFiles) -> None:
    """Returns when the node at host:port answers inside TLS. AskError, TlsFilesError, OSError, ValueError."""
    reactor = Reactor()
    try:
        tls.use(reactor, files, check=True)
        assert reactor.tls is not None
        heard: list[str] = []

        def opened(sock: socket.socket) -> None:
            sock.settimeout(TIMEOUT_S)
            with sock:
                heard.append("" if sock.recv(len(HEALTH_ANSWER)) == HEALTH_ANSWER else "it is not a healthy node")

        sock = connected_socket(Target("", *parse_host_port(address)))
        preamble = route_frame(SECURE_HEALTH_ROUTE)
        opening = reactor.tls.open(reactor, sock, opened, heard.append, server_side=False, preamble=preamble)
        deadline_s = time.monotonic() + TIMEOUT_S
        while not heard and time.monotonic() < deadline_s:
            reactor.poll(deadline_s - time.monotonic())
        opening.close()
    finally:
        reactor.close()
    why = heard[0] if heard else f"no answer within {TIMEOUT_S:g} s"
    if why:
        raise AskError(f"no healthy node at {address}: {why}")
