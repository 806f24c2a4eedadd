"""Finding the head that leads: one attempt at a time, from one head to the next, never back to an older term."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, cast

import pytest

from linckia.protocol import messages as m
from linckia.raylet.gcs_link import GcsLink
from linckia.rpc.handshake import Identity
from linckia.rpc.reactor import Reactor

AT_ONCE_S = 0.5


class Conn:
    """A connection as the real one behaves: whoever closes it, its owner is told."""

    is_stuck = False

    def __init__(self, endpoint: str, on_messages: Callable[..., None], on_close: Callable[..., None]) -> None:
        self.endpoint, self._on_messages, self._on_close = endpoint, on_messages, on_close
        self.on_established: Callable[[Any], None] = lambda _conn: None
        self.said: list[m.Message] = []
        self.closed = False

    def post(self, message: m.Message) -> None:
        self.said.append(message)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self, reason: str) -> None:
        if not self.closed:
            self.closed = True
            self._on_close(self, reason)

    def hear(self, *messages: m.Message) -> None:
        self._on_messages(self, list(messages))


class Timer:
    cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class World:
    """The reactor: connections and timers by hand."""

    def __init__(self) -> None:
        self.conns: list[Conn] = []
        self.timers: list[tuple[float, Timer, Callable[[], None]]] = []

    def connect(self, endpoint: str, _identity: object, on_messages: Any, on_close: Any, *, route: bytes) -> Conn:
        assert route == b"gcs"
        self.conns.append(Conn(endpoint, on_messages, on_close))
        return self.conns[-1]

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        timer = Timer()
        self.timers.append((delay_s, timer, callback))
        return timer

    def run_timers(self, up_to_s: float = 10.0) -> None:
        """All that were set until now for so long or less."""
        due = [each for each in self.timers if each[0] <= up_to_s]
        self.timers = [each for each in self.timers if each[0] > up_to_s]
        for _, timer, callback in due:
            if not timer.cancelled:
                callback()

    @property
    def living(self) -> list[Conn]:
        return [conn for conn in self.conns if not conn.closed]


@pytest.fixture
def world() -> World:
    return World()


def link_to(world: World, *heads: str, established: bool = True) -> tuple[GcsLink, list[list[m.Message]]]:
    begun: list[list[m.Message]] = []
    link = GcsLink(
        cast(Reactor, world),
        [f"tcp:{head}" for head in heads],
        b"node",
        cast(Identity, None),
        lambda _link, _batch: None,
        begun.append,
        lambda _reason: None,
    )
    link.rng = Random(1)
    link.open()
    if established:
        world.conns[-1].on_established(world.conns[-1])
    return link, begun


def test_a_standby_sends_it_on_by_one_connection(world: World) -> None:
    _link, begun = link_to(world, "a:1")
    world.conns[0].hear(m.NotLeader("b:1", 5, ["a:1", "b:1"]))
    assert [conn.endpoint for conn in world.living] == ["tcp:b:1"]
    world.run_timers(AT_ONCE_S)
    assert len(world.living) == 1, "hanging up is no reason to try again"
    world.conns[-1].on_established(world.conns[-1])
    world.conns[-1].hear(m.LinkWelcome(b"head", 5, resumed=False))
    world.run_timers()
    assert [conn.endpoint for conn in world.living] == ["tcp:b:1"]
    assert begun == [[]]


def test_who_neither_leads_nor_knows_is_left_after_a_while(world: World) -> None:
    link_to(world, "a:1", "b:1")
    world.conns[0].hear(m.NotLeader("", 0, []))
    for _ in range(4):
        world.run_timers()
        assert len(world.living) <= 1
    assert {conn.endpoint for conn in world.conns} == {"tcp:a:1", "tcp:b:1"}


def test_a_stopped_head_does_not_keep_who_joins_from_asking_the_next(world: World) -> None:
    """Its node takes the connection, and the head never answers the handshake; that would be given up after 10 s."""
    link_to(world, "a:1", "b:1", established=False)
    assert world.timers[-1][0] <= 1.0
    world.run_timers()
    world.run_timers()
    assert [conn.endpoint for conn in world.living] == ["tcp:b:1"]
    world.conns[-1].on_established(world.conns[-1])
    world.conns[-1].hear(m.LinkWelcome(b"head", 5, resumed=False))
    world.run_timers()
    assert [conn.endpoint for conn in world.living] == ["tcp:b:1"]


def test_patience_with_heads_grows_with_the_rounds(world: World) -> None:
    link_to(world, "a:1", "b:1", established=False)
    waited = []
    for _ in range(8):
        waited += [delay_s for delay_s, timer, _ in world.timers if not timer.cancelled and delay_s >= 1.0]
        world.run_timers()
    assert waited == sorted(waited)
    assert waited[-1] >= 2.0, "a machine that needs a second for a handshake joins all the same"


def test_an_only_head_that_does_not_answer_is_asked_again(world: World) -> None:
    """It may be stopped, and its node say soon who leads instead."""
    link_to(world, "a:1", established=False)
    world.run_timers()
    world.run_timers(AT_ONCE_S)
    world.run_timers(0.9)
    assert [conn.endpoint for conn in world.conns] == ["tcp:a:1"] * 2
    assert len(world.living) == 1


def test_an_older_term_is_not_listened_to(world: World) -> None:
    link, begun = link_to(world, "a:1", "b:1")
    world.conns[0].hear(m.LinkWelcome(b"new", 9, resumed=False))
    world.conns[0].close("connection lost")
    world.run_timers()
    old = world.conns[-1]
    old.on_established(old)
    old.hear(m.LinkWelcome(b"old", 7, resumed=False))
    assert old.closed
    assert not link.up
    assert (link.epoch, len(begun)) == (9, 1)


def test_a_new_leader_that_calls_is_followed_at_once(world: World) -> None:
    link, _ = link_to(world, "a:1")
    world.conns[0].hear(m.LinkWelcome(b"one", 3, resumed=False))
    link.leader_is("b:1", 2)
    assert [conn.endpoint for conn in world.living] == ["tcp:a:1"], "an older term"
    link.leader_is("b:1", 4)
    world.run_timers(AT_ONCE_S)
    assert [conn.endpoint for conn in world.living] == ["tcp:b:1"]


def test_what_was_not_acknowledged_is_for_the_next_head_and_comes_again_to_the_same(world: World) -> None:
    link, begun = link_to(world, "a:1")
    world.conns[0].hear(m.LinkWelcome(b"one", 3, resumed=False))
    for rid in (1, 2, 3):
        link.post(m.Ping(rid))
    link.post(m.Heartbeat(b"node"))
    world.conns[0].hear(m.LinkAck(1))
    world.conns[0].close("connection lost")
    world.run_timers()
    again = world.conns[-1]
    again.on_established(again)
    again.hear(m.LinkWelcome(b"one", 3, resumed=True, received=2))
    assert again.said[1:] == [m.Ping(3)]
    again.close("connection lost")
    world.run_timers()
    world.conns[-1].on_established(world.conns[-1])
    world.conns[-1].hear(m.LinkWelcome(b"two", 8, resumed=False))
    assert begun == [[], [m.Ping(3)]]
