"""When a standby is sure that the leader is dead: it has answered and then nobody does, or for a while nobody has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from linckia.core.leadership.records import HeadFacts, HeadsView
from linckia.node import standby
from linckia.node.standby import LOOK_AGAIN_S, UNMET_MAX_S, LeaderWatch
from linckia.rpc.handshake import Identity

REFUSED = "Connection refused"


class Conn:
    def __init__(self, lost: Callable[[Any, str], None]) -> None:
        self.established = False
        self.on_established: Callable[[Any], None] = lambda _conn: None
        self._lost = lost

    def answer(self) -> None:
        self.established = True
        self.on_established(self)

    def end(self, why: str) -> None:
        self._lost(self, why)

    def post(self, _message: Any) -> None: ...

    def close(self, _why: str) -> None: ...


class World:
    """Stands for the reactor, the leadership, the replica and the clock."""

    revision = 1

    def __init__(self) -> None:
        self.now_s, self.gone, self.conns = 100.0, list[int](), list[Conn]()
        self.timers: list[tuple[float, Callable[[], object]]] = []

    def monotonic(self) -> float:
        return self.now_s

    def connect(self, _where: str, _identity: Any, _said: Any, lost: Callable[[Any, str], None], route: bytes) -> Conn:
        assert route
        self.conns.append(Conn(lost))
        return self.conns[-1]

    def call_later(self, delay_s: float, then: Callable[[], object]) -> None:
        self.timers.append((self.now_s + delay_s, then))

    def leader_gone(self, epoch: int) -> None:
        self.gone.append(epoch)

    def pass_time(self, for_s: float) -> None:
        end_s = self.now_s + for_s
        while due := sorted((each for each in self.timers if each[0] <= end_s), key=lambda each: each[0]):
            self.timers.remove(due[0])
            self.now_s = max(self.now_s, due[0][0])
            due[0][1]()
        self.now_s = end_s


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(standby, "time", made)
    return made


def watch(world: World, epoch: int = 5) -> Conn:
    parts: Any = world
    facts = [HeadFacts(head_id, "h", 1) for head_id in (b"mine", b"theirs")]
    watched = LeaderWatch(parts, Identity("gcs", b"gcs", b""), facts[0], parts, parts)
    watched.look_at(HeadsView(facts[1], epoch, tuple(facts)))
    return world.conns[-1]


def test_one_that_has_answered_and_then_refuses_is_gone_at_once(world: World) -> None:
    watch(world).answer()
    world.pass_time(10.0)
    world.conns[-1].end("peer closed the connection")
    assert world.gone == [], "it may be the way between"
    world.conns[-1].end(REFUSED)
    assert world.gone == [5]


def test_one_that_was_just_elected_is_asked_again(world: World) -> None:
    watch(world).end("peer closed the connection")
    assert world.gone == [], "its node may hang up for the head before"
    world.pass_time(LOOK_AGAIN_S)
    assert len(world.conns) == 2
    world.conns[-1].answer()
    world.pass_time(2 * UNMET_MAX_S)
    assert world.gone == []


def test_one_that_never_answers_is_gone_after_a_moment(world: World) -> None:
    watch(world)
    began_s = world.now_s
    while not world.gone:
        world.conns[-1].end(REFUSED)
        assert world.now_s < began_s + 2 * UNMET_MAX_S
        world.pass_time(LOOK_AGAIN_S)
    assert world.now_s >= began_s + UNMET_MAX_S


def test_silence_proves_nothing(world: World) -> None:
    watch(world)
    for _ in range(20):
        world.pass_time(UNMET_MAX_S)
        world.conns[-1].end("timed out")
    assert world.gone == []
