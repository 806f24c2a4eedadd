"""What one simulated machine has for an operating system: timers that end with it, and connections that it opens.

It has the surface of ``rpc/reactor.py`` that raylets and ``raylet/gcs_link.py`` use. Connections open after a while,
are refused when nobody lives there, and hang while the way is cut.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from linckia.base.limits import HANDSHAKE_MAX_S
from linckia.protocol.messages import Message
from linckia.rpc.reactor import Timer
from linckia.testing.clock import VirtualClock
from linckia.testing.network import Endpoint, FaultyNetwork, SimConnection


class Wire:
    """A connection that this machine opened, with the surface of ``rpc/connection.py``."""

    def __init__(self, host: Host, to: bytes, on_messages: Callable[..., None], on_close: Callable[..., None]) -> None:
        self.host, self.to, self.on_messages, self.on_close = host, to, on_messages, on_close
        self.on_established: Callable[[Any], None] = lambda _wire: None
        self.closed = False
        self.conn: SimConnection | None = None
        self.begun_s = host.clock.now_s

    @property
    def established(self) -> bool:
        """Both ends know of it."""
        return self.conn is not None

    def attempt(self) -> None:
        """Try to reach the other side."""
        if self.closed or not self.host.alive:
            return
        network, clock = self.host.network, self.host.clock
        there_s = network.blocked_until_s(self.host.endpoint.name, self.to)
        back_s = network.blocked_until_s(self.to, self.host.endpoint.name)
        give_up_s = self.begun_s + HANDSHAKE_MAX_S
        if max(there_s, back_s) > clock.now_s:
            self.host.at(min(max(there_s, back_s), give_up_s), self.attempt)
            if clock.now_s >= give_up_s:
                self.lost("timed out")
            return
        self.conn = network.connect(self.host.endpoint, self.to)
        if self.conn is None:
            self.lost("connection refused")
            return
        self.host.wires[self.conn] = self
        self.on_established(self)

    def post(self, message: Message) -> None:
        """Send; lost before it is established and after it is closed."""
        if self.conn is not None:
            self.conn.post(message)

    send = post

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self, reason: str = "closed") -> None:
        """Hang up."""
        self.closed = True
        if self.conn is not None:
            self.host.wires.pop(self.conn, None)
            self.conn.close(reason)

    def lost(self, reason: str) -> None:
        """It broke, or never came about."""
        if not self.closed:
            self.closed = True
            self.on_close(self, reason)


class Host:
    """One machine's timers and connections. ``endpoint`` is set by the machine."""

    endpoint: Endpoint

    def __init__(self, clock: VirtualClock, network: FaultyNetwork) -> None:
        self.clock, self.network = clock, network
        self.alive = True
        self.wires: dict[SimConnection, Wire] = {}

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Once after ``delay_s``, if the machine still runs."""
        return self.at(self.clock.now_s + max(0.0, delay_s), callback)

    def call_soon(self, callback: Callable[[], None]) -> None:
        """In a later turn."""
        self.at(self.clock.now_s, callback)

    def at(self, due_s: float, callback: Callable[[], None]) -> Timer:
        """Once at ``due_s``, if the machine still runs."""
        return self.clock.call_at(due_s, lambda: callback() if self.alive else None)

    def connect(
        self,
        endpoint: str,
        _identity: object,
        on_messages: Callable[..., None],
        on_close: Callable[..., None],
        *,
        route: bytes = b"",
    ) -> Wire:
        """Begin to connect; endpoints are ``sim:<name in hex>``; ``route`` is of no use here."""
        wire = Wire(self, bytes.fromhex(endpoint.rpartition(":")[2]), on_messages, on_close)
        self.call_later(self.network.mean_delay_s, wire.attempt)
        return wire

    def wire_of(self, connection: SimConnection) -> Wire | None:
        """The wire that a connection belongs to; None for those that others opened."""
        return self.wires.get(connection)

    def hung_up(self, connection: SimConnection, reason: str) -> bool:
        """True when it was one of ours, which has been told."""
        wire = self.wires.pop(connection, None)
        if wire is not None:
            wire.lost(reason)
        return wire is not None
