"""The autoscaler's process: its loop (scaling/monitor.py) and its way to the head, a socket on descriptor 0.

Started by node/scaler_child.py. It has no state: when it fails it ends, with the reason on its log, and the next one
goes on. When the socket closes the head is gone, and so is everything that it could do.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import time
from collections.abc import Callable

import msgspec

from linckia.core.autoscaling.records import Limits, NodeType
from linckia.host import process
from linckia.host.entropy import random_bytes
from linckia.protocol import messages as m
from linckia.rpc.connection import Connection
from linckia.rpc.handshake import Identity
from linckia.rpc.reactor import Reactor
from linckia.scaling.monitor import Monitor
from linckia.scaling.providers.local import LocalProvider

CHANNEL = 0
NAME_BYTES = 6
_encode = msgspec.msgpack.encode


class HeadConnection:
    """Questions to the head, in order."""

    def __init__(self, reactor: Reactor, sock: socket.socket, on_settings: Callable[[Limits], None]) -> None:
        self._reactor, self._on_settings = reactor, on_settings
        self._rid = 0
        self._waiting: dict[int, Callable[[bytes], None]] = {}
        identity = Identity("autoscaler", b"autoscaler", b"")
        self._conn = Connection(reactor, sock, identity, self._on_messages, self._on_close, initiator=True)

    def ask(self, what: str, body: bytes, then: Callable[[bytes], None]) -> None:
        """See scaling/monitor.py's `Head`."""
        self._rid += 1
        self._waiting[self._rid] = then
        self._conn.post(m.AskHead(self._rid, what, body))

    def tell(self, what: str, body: bytes) -> None:
        """Without waiting for an answer."""
        self.ask(what, body, lambda _answer: None)

    def _on_messages(self, _conn: Connection, batch: list[m.Message]) -> None:
        for message in batch:
            if isinstance(message, m.HeadSays):
                if message.rid:
                    self._waiting.pop(message.rid)(message.body)
                else:
                    self._on_settings(msgspec.msgpack.decode(message.body, type=Limits))

    def _on_close(self, _conn: Connection, _reason: str) -> None:
        self._reactor.stop()


def main() -> None:
    """Entry of the process."""
    process.die_with_parent(os.getppid())
    process.set_process_name("linckia-scaler")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    reactor = Reactor()

    def begin(limits: Limits) -> None:
        def start(name: str, node_type: NodeType) -> None:
            head.tell("start", _encode((name, node_type)))

        provider = LocalProvider(start, lambda name: head.tell("end", _encode(name)))
        Monitor(
            limits, provider, head, reactor.call_later, time.monotonic, lambda: f"node-{random_bytes(NAME_BYTES).hex()}"
        ).start()

    head = HeadConnection(reactor, socket.socket(fileno=os.dup(CHANNEL)), begin)
    gc.enable()
    reactor.run()
    os._exit(0)
