"""Calls of an actor that lives, as far as the head knows, and cannot be reached: tried again, without another call."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from linckia.model.wire import Address
from linckia.protocol import messages as m
from linckia.worker.actor_client import DEATH_WORD_WAIT_S, ActorClient
from linckia.worker.tasks import Peer

WORKER = Address(b"w" * 28, "tcp:10.0.0.2:1")


@pytest.mark.row("5.23", "S15")
def test_a_call_waits_for_no_other_call_when_its_actor_cannot_be_reached_at_once() -> None:
    timers: list[tuple[float, Callable[[], None]]] = []
    conn: Any = SimpleNamespace(flush=lambda: None)
    peers = [Peer(None, WORKER), Peer(None, WORKER), Peer(conn, WORKER)]
    runtime: Any = SimpleNamespace(
        mutex=threading.Lock(),
        peer=lambda _address, fresh: peers.pop(0),
        reactor=SimpleNamespace(call_later=lambda delay_s, call: timers.append((delay_s, call))),
    )
    client = ActorClient(runtime, b"a" * 16, out_of_order=False, class_name="A")
    waiting: Any = SimpleNamespace(waiting=True)
    client.queue.append(waiting)
    client.on_update(m.ActorUpdate(b"a" * 16, "ALIVE", WORKER, 0, None, 7))
    for _ in range(2):
        ((delay_s, again),) = timers
        timers.clear()
        assert (client.peer, delay_s) == (None, DEATH_WORD_WAIT_S)
        again()
    assert client.peer is not None
    assert timers == []


def test_nobody_is_looked_for_while_nobody_waits() -> None:
    timers: list[object] = []
    runtime: Any = SimpleNamespace(
        peer=lambda _address, fresh: Peer(None, WORKER),
        reactor=SimpleNamespace(call_later=lambda _delay_s, call: timers.append(call)),
    )
    client = ActorClient(runtime, b"a" * 16, out_of_order=False, class_name="A")
    client.on_update(m.ActorUpdate(b"a" * 16, "ALIVE", WORKER, 0, None, 7))
    assert timers == []
