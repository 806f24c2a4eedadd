"""When a process asks its raylet to look at a node: bytes that stay unacknowledged, not those that come and go."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from linckia.model.wire import Address
from linckia.protocol import messages as m
from linckia.worker.reach import LOOK_EVERY_S, SILENT_S, Reach
from linckia.worker.tasks import Peer

NODE, HERE = b"n" * 28, b"h" * 28


class World:
    """A runtime's surface with one worker on another node; ``turn`` lets a look happen."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s, self.asked = 0.0, list[bytes]()
        self.due: list[Callable[[], None]] = []
        conn: Any = SimpleNamespace(stuck_at_most_s=None)
        self.peer = Peer(conn, Address(b"w" * 28, f"node:{NODE.hex()}:10.0.0.2:1:/w"))
        self.nodes: dict[bytes, object] = {NODE: object()}
        runtime: Any = SimpleNamespace(
            mutex=threading.Lock(),
            closing=False,
            node_id=HERE,
            peers={b"w": self.peer},
            raylets=SimpleNamespace(peers={}, nodes=self.nodes),
            raylet=SimpleNamespace(post=self._asked),
            reactor=SimpleNamespace(call_later=lambda _delay_s, call: self.due.append(call)),
        )
        monkeypatch.setattr("linckia.worker.reach.time.monotonic", lambda: self.now_s)
        self.reach = Reach(runtime)
        self.reach.watch(self.peer)

    def _asked(self, message: m.NodeSilent) -> None:
        self.asked.append(message.node_id)

    def turn(self, *, stuck: bool, heard_before_s: float = 3600.0) -> None:
        """``heard_before_s``: so long before this look something was acknowledged."""
        self.peer.conn.stuck_at_most_s = heard_before_s if stuck else None
        self.now_s += LOOK_EVERY_S
        (look,) = self.due
        self.due.clear()
        look()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


@pytest.mark.row("S18")
def test_a_connection_that_goes_nowhere_is_looked_into(world: World) -> None:
    for _ in range(int(SILENT_S / LOOK_EVERY_S)):
        world.turn(stuck=True)
    assert world.asked == []
    world.turn(stuck=True)
    assert world.asked == [NODE]
    assert world.reach.silent_s(NODE) == SILENT_S
    world.turn(stuck=False)
    assert world.asked == [NODE]
    assert world.reach.silent_s(NODE) == 0.0


def test_traffic_that_is_acknowledged_now_and_then_is_none_of_its_business(world: World) -> None:
    for number in range(30):
        world.turn(stuck=number % 3 != 0)
    assert world.asked == []


@pytest.mark.row("S15", "S17")
def test_a_network_that_was_back_between_two_looks_was_not_away_all_the_time(world: World) -> None:
    for _ in range(4):
        world.turn(stuck=True)
    world.turn(stuck=True, heard_before_s=0.7)
    assert world.reach.silent_s(NODE) == pytest.approx(0.7)
    for number in range(1, 4):
        world.turn(stuck=True, heard_before_s=0.7 + number)
    assert world.reach.silent_s(NODE) == pytest.approx(3.7)
    assert world.asked == []


def test_it_sleeps_while_there_is_no_connection_to_another_node(world: World) -> None:
    world.peer.closed = True
    world.turn(stuck=True)
    assert world.due == []
    for near in ("unix:/run/w.sock", f"node:{HERE.hex()}:10.0.0.1:1:/w"):
        world.reach.watch(Peer(world.peer.conn, Address(b"v" * 28, near)))
    assert world.due == []
    world.peer.closed = False
    world.reach.watch(world.peer)
    world.reach.watch(world.peer)
    assert len(world.due) == 1


def test_a_node_that_is_not_known_yet_is_looked_at_when_it_is(world: World) -> None:
    known = dict(world.nodes)
    world.nodes.clear()
    for _ in range(10):
        world.turn(stuck=True)
    assert world.asked == []
    world.nodes.update(known)
    for _ in range(int(SILENT_S / LOOK_EVERY_S) + 1):
        world.turn(stuck=True)
    assert world.asked == [NODE]
