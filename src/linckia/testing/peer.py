"""What every simulated runtime process does: it is on the network, and repeats its requests until they are answered.

Processes of one machine (``process.py``) and of many (``fleet/``) are built on it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

from linckia.protocol import messages as m
from linckia.testing.clock import VirtualClock
from linckia.testing.network import FaultyNetwork, SimConnection

RETRY_FIRST_S, RETRY_MAX_S = 0.02, 0.5


@dataclass
class Request:
    """A request without an answer yet."""

    message: Any
    connection: SimConnection
    answered: Callable[[Any], None]
    wait_s: float = RETRY_FIRST_S


class World(Protocol):
    """What a process needs of the simulation that it lives in."""

    seed: int
    clock: VirtualClock
    network: FaultyNetwork


class SimPeer:
    """A process, its requests and its message table ``handlers``."""

    def __init__(self, world: World, name: bytes, role: str) -> None:
        self.name, self.clock, self.network = name, world.clock, world.network
        self.rng = Random(f"{world.seed} {name!r}")  # one stream each, so that a new process does not disturb others
        self.endpoint = world.network.join(name, role, self._on_message, self.on_close)
        self.requests: dict[int, Request] = {}
        self.handlers: dict[type, Callable[[SimConnection, Any], None]] = {}
        self._rids = itertools.count(1)

    @property
    def alive(self) -> bool:
        """Not crashed."""
        return self.endpoint.alive

    def _on_message(self, connection: SimConnection, message: m.Message) -> None:
        request = self.requests.get(getattr(message, "rid", 0))
        if type(message) in self.handlers:
            self.handlers[type(message)](connection, message)
        elif request is not None and request.connection is connection:
            del self.requests[message.rid]  # type: ignore[attr-defined]
            request.answered(message)

    def on_close(self, connection: SimConnection, reason: str) -> None:
        """A connection closed: all its peer sent has been read."""
        raise NotImplementedError

    def later(self, delay_s: float, callback: Callable[[], None]) -> None:
        """Call after a while, if this process still lives."""
        self.clock.call_later(delay_s, lambda: callback() if self.alive else None)

    def next_rid(self) -> int:
        """A fresh request id."""
        return next(self._rids)

    def ask(self, connection: SimConnection, message: Any, answered: Callable[[Any], None]) -> int:
        """Send a request again and again until it is answered."""
        self.requests[message.rid] = Request(message, connection, answered)
        self._repeat(message.rid)
        return int(message.rid)

    def _repeat(self, rid: int) -> None:
        request = self.requests.get(rid)
        if request is None or request.connection.closed:
            self.requests.pop(rid, None)
            return
        request.connection.post(request.message)
        request.wait_s = min(RETRY_MAX_S, request.wait_s * 2)
        self.later(request.wait_s * self.rng.uniform(0.5, 1.0), lambda: self._repeat(rid))
