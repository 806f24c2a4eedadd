"""A network of simulated processes: connections that keep their order, and requests that do not arrive, or twice.

What a connection carries arrives in the order sent, after a random delay; messages that carry a ``rid`` are subject to
``rpc/faults.py`` as well. A dead process still delivers what it has written, then its connections close; what is sent
to it is lost. A partition stalls the messages between two processes until it heals; a severed connection loses what is
on its way, and both ends hear that it broke. All chance comes from one ``rng``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from linckia.protocol.messages import Message
from linckia.rpc.faults import FaultPlan, Faults
from linckia.testing.clock import VirtualClock

MessageHandler = Callable[["SimConnection", Message], None]
CloseHandler = Callable[["SimConnection", str], None]


@dataclass(eq=False, slots=True)
class Packet:
    """A message on its way."""

    message: Message
    due_s: float
    arrived: bool = False


class Endpoint:
    """A process on the network: who it is and where its messages go."""

    def __init__(self, name: bytes, role: str, on_message: MessageHandler, on_close: CloseHandler) -> None:
        self.name, self.role = name, role
        self.on_message, self.on_close = on_message, on_close
        self.alive = True
        self.connections: dict[bytes, SimConnection] = {}  # by peer


class SimConnection:
    """One end, with the surface of ``rpc/connection.py``."""

    def __init__(self, network: FaultyNetwork, here: Endpoint, there: Endpoint) -> None:
        self.network, self.here, self.there = network, here, there
        self.peer_id, self.peer_role = there.name, there.role
        self.state: Any = None
        self.is_local = False  # the other end is a room of the same process
        self.closed = False
        self.established = True
        self.last_due_s = 0.0  # of what was sent from this end
        self.other: SimConnection = self
        self.in_flight: list[Packet] = []  # sent from this end

    def post(self, message: Message) -> None:
        """Send; lost when the connection is closed."""
        if not self.closed:
            self.network.carry(self, message)

    send = post

    def flush(self) -> None:
        """Nothing is held back."""

    def drain(self) -> None:
        """Deliver now what the other end, which is dead, has written."""
        if not self.there.alive:
            self.network.deliver_all(self.other)

    def close(self, reason: str = "closed") -> None:
        """Hang up: the other end hears of it after what was sent before."""
        if not self.closed:
            self.closed = True
            self.here.connections.pop(self.peer_id, None)
            self.network.hang_up(self, reason)
            if self.here.alive:
                self.here.on_close(self, reason)


class FaultyNetwork:
    """All processes and their connections. ``faults`` may be replaced at any time; None is a perfect network."""

    def __init__(self, clock: VirtualClock, rng: Random, plan: FaultPlan | None = None) -> None:
        self.clock, self.rng = clock, rng
        self.faults: Faults | None = Faults(plan) if plan is not None else None
        self.mean_delay_s = 0.001
        self.endpoints: dict[bytes, Endpoint] = {}
        self.cut_until_s: dict[tuple[bytes, bytes], float] = {}
        self.island: dict[bytes, None] = {}  # cut off from all others until island_until_s
        self.island_since_s = self.island_until_s = 0.0
        self.on_delivery: Callable[[SimConnection, Message], None] = lambda _connection, _message: None

    def join(self, name: bytes, role: str, on_message: MessageHandler, on_close: CloseHandler) -> Endpoint:
        """A process starts."""
        endpoint = self.endpoints[name] = Endpoint(name, role, on_message, on_close)
        return endpoint

    def connect(self, here: Endpoint, to: bytes) -> SimConnection | None:
        """The connection to another process, made when there is none; None when that process is dead."""
        known = here.connections.get(to)
        if known is not None:
            return known
        there = self.endpoints.get(to)
        if there is None or not there.alive or not here.alive:
            return None
        near, far = SimConnection(self, here, there), SimConnection(self, there, here)
        near.other, far.other = far, near
        here.connections[to], there.connections[here.name] = near, far
        return near

    def carry(self, connection: SimConnection, message: Message) -> None:
        """Schedule the arrival of a message."""
        copies = self.faults.copies(message) if self.faults is not None else (0.0,)
        for extra_s in copies:
            due_s = self.clock.now_s + self.rng.expovariate(1.0 / self.mean_delay_s)
            if extra_s:
                due_s += extra_s
            else:
                due_s = connection.last_due_s = max(connection.last_due_s, due_s)
            packet = Packet(message, due_s)
            connection.in_flight.append(packet)
            self._schedule(connection, packet)

    def _schedule(self, connection: SimConnection, packet: Packet) -> None:
        self.clock.call_at(packet.due_s, lambda: self._arrive(connection, packet))

    def _arrive(self, connection: SimConnection, packet: Packet) -> None:
        if packet.arrived:
            return
        healed_s = self.blocked_until_s(connection.here.name, connection.there.name)
        if healed_s > self.clock.now_s:
            packet.due_s = healed_s
            connection.last_due_s = max(connection.last_due_s, healed_s)
            self._schedule(connection, packet)
            return
        self._deliver(connection, packet)

    def _deliver(self, connection: SimConnection, packet: Packet) -> None:
        packet.arrived = True
        connection.in_flight.remove(packet)
        far = connection.other
        if connection.there.alive and not far.closed:
            self.on_delivery(connection, packet.message)
            connection.there.on_message(far, packet.message)

    def deliver_all(self, connection: SimConnection) -> None:
        """What was sent from this end arrives at once, in order."""
        for packet in sorted(connection.in_flight, key=lambda packet: packet.due_s):
            if not packet.arrived:
                self._deliver(connection, packet)

    def hang_up(self, connection: SimConnection, reason: str) -> None:
        """The other end learns that this one is closed."""
        due_s = max(connection.last_due_s, self.clock.now_s + self.rng.expovariate(1.0 / self.mean_delay_s))
        healed_s = self.blocked_until_s(connection.here.name, connection.there.name)
        connection.last_due_s = due_s = max(due_s, healed_s)
        self.clock.call_at(due_s, lambda: self._hear(connection, reason))

    def _hear(self, connection: SimConnection, reason: str) -> None:
        """Behind all that was sent, which a partition since may have held up."""
        healed_s = self.blocked_until_s(connection.here.name, connection.there.name)
        due_s = max(healed_s, connection.last_due_s)
        if due_s > self.clock.now_s:
            self.clock.call_at(due_s, lambda: self._hear(connection, reason))
            return
        far = connection.other
        if connection.there.alive and not far.closed:
            far.closed = True
            connection.there.connections.pop(connection.here.name, None)
            connection.there.on_close(far, reason)

    def crash(self, name: bytes, reason: str = "the process is gone") -> None:
        """The process is dead from now on."""
        endpoint = self.endpoints[name]
        if endpoint.alive:
            endpoint.alive = False
            for connection in list(endpoint.connections.values()):
                connection.close(reason)

    def cut(self, one: bytes, other: bytes, for_s: float) -> None:
        """Nothing gets from ``one`` to ``other`` for a while (one direction)."""
        self.cut_until_s[one, other] = self.clock.now_s + for_s

    def isolate(self, island: list[bytes], for_s: float) -> None:
        """Nothing passes between these processes and the others for a while."""
        self.island, self.island_since_s = dict.fromkeys(island), self.clock.now_s
        self.island_until_s = self.clock.now_s + for_s

    def is_cut(self, one: bytes, other: bytes) -> bool:
        """Something between them gets lost now, in one direction or in both."""
        return max(self.blocked_until_s(one, other), self.blocked_until_s(other, one)) > self.clock.now_s

    def blocked_until_s(self, one: bytes, other: bytes) -> float:
        """When messages from ``one`` reach ``other`` again; a time that is past when they do."""
        until_s = self.cut_until_s.get((one, other), 0.0)
        if self.island_until_s > until_s and (one in self.island) is not (other in self.island):
            return self.island_until_s
        return until_s

    def sever(self, one: bytes, other: bytes, reason: str = "connection reset") -> None:
        """The connection breaks: what is on its way is lost, and both ends hear of it at once."""
        near = self.endpoints[one].connections.get(other)
        if near is None:
            return
        for end in (near, near.other):
            for packet in end.in_flight:
                packet.arrived = True
            end.in_flight.clear()
            end.closed = True
            end.here.connections.pop(end.peer_id, None)
        for end in (near, near.other):
            if end.here.alive:
                end.here.on_close(end, reason)
