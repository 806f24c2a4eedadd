"""One question to a node, without a runtime: for commands and probes. Blocks; made for short-lived processes."""

from __future__ import annotations

import time
from typing import Any

from linckia.host import tls_files
from linckia.host.entropy import random_bytes
from linckia.protocol import messages as m
from linckia.rpc import tls
from linckia.rpc.connection import Connection
from linckia.rpc.handshake import Identity
from linckia.rpc.reactor import Reactor


class AskError(OSError):
    """Nobody answered, or not in time; the text says who and why."""


def ask(endpoint: str, token: bytes, message: Any, timeout_s: float = 5.0) -> Any:
    """The answer to ``message`` (which has a ``rid``) from the node at ``endpoint``, over TLS when it is on and the
    endpoint is ``tcp:``. Raises AskError.
    """
    reactor = Reactor()
    answers: list[m.Message] = []
    lost: list[str] = []
    identity = Identity("cli", random_bytes(28), token)
    try:
        if endpoint.startswith("tcp:"):
            tls.use(reactor, tls_files.configured_for(endpoint.removeprefix("tcp:")), check=True)
        conn = reactor.connect(
            endpoint,
            identity,
            lambda _conn, batch: answers.extend(each for each in batch if getattr(each, "rid", None) == message.rid),
            lambda _conn, reason: lost.append(reason),
        )
    except tls_files.TlsFilesError as error:
        reactor.close()
        raise AskError(str(error)) from None
    except OSError as error:
        reactor.close()
        raise AskError(f"nobody answers at {endpoint}: {error}") from None
    deadline_s = time.monotonic() + timeout_s
    try:
        conn.post(message)
        while not answers and not lost:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise AskError(f"{endpoint} did not answer within {timeout_s:g} s")
            reactor.poll(left_s)
    finally:
        _close(conn)
        reactor.close()
    if not answers:
        raise AskError(f"{endpoint}: {lost[0]}")
    if isinstance(answers[0], m.Failure):
        raise AskError(f"{endpoint}: {answers[0].text}")
    return answers[0]


def _close(conn: Connection) -> None:
    if not conn.closed:
        conn.close()
