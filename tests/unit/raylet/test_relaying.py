"""What a new head hears of the processes of a node: what has no answer, and who listens to what."""

from __future__ import annotations

from typing import Any

from linckia.model.placement import GroupSpec
from linckia.protocol import messages as m
from linckia.protocol.batch import decode_batch, encode_batch
from linckia.raylet.relaying import Relaying


class Peer:
    peer_role = "driver"

    def __init__(self, peer_id: bytes) -> None:
        self.peer_id = peer_id
        self.got: list[m.Message] = []

    def post(self, message: m.Message) -> None:
        self.got.append(message)


class Head:
    def __init__(self) -> None:
        self.said: list[m.Message] = []

    def post(self, message: m.Message) -> None:
        self.said.append(message)

    def inner(self) -> list[m.Message]:
        """What was relayed since the last time."""
        said, self.said = self.said, []
        return [each for message in said if isinstance(message, m.Relayed) for each in decode_batch(message.batch)]


def relay() -> tuple[Relaying, Head, Peer]:
    head = Head()
    return Relaying(head), head, Peer(b"d")


def answer(relaying: Relaying, *messages: m.Message) -> None:
    relaying.from_head(m.RelayedBack(b"d", encode_batch(list(messages))))


def test_what_has_no_answer_is_asked_again_once() -> None:
    relaying, head, driver = relay()
    for rid in (1, 2, 3):
        relaying.to_head(driver, m.GetActorByName(rid, "a", "n"))
    on_the_way = [head.said[2]]
    head.inner()
    answer(relaying, m.ActorFound(1, None))
    relaying.again(on_the_way)
    assert [each.rid for each in head.inner() if isinstance(each, m.GetActorByName)] == [2]
    assert driver.got == [m.ActorFound(1, None)]


def test_what_is_asked_twice_is_on_its_way_once() -> None:
    relaying, head, driver = relay()
    for _ in range(2):
        relaying.to_head(driver, m.GetActorByName(1, "a", "n"))
    assert len(head.inner()) == 1
    answer(relaying, m.ActorFound(1, None))
    relaying.to_head(driver, m.GetActorByName(1, "a", "n"))
    assert len(head.inner()) == 1, "its answer was lost behind us"


def test_what_was_answered_is_not_asked_of_another_head_though_the_last_one_did_not_acknowledge_it() -> None:
    """A name that was refused must not be given later, when nobody wants it any more."""
    relaying, head, driver = relay()
    relaying.to_head(driver, m.CreateGroup(1, GroupSpec(b"g", [{"CPU": 1.0}], "PACK")))
    relaying.to_head(driver, m.RemoveGroup(b"g"))
    relaying.to_head(driver, m.GetActorByName(2, "a", "n"))
    relaying.to_head(driver, m.KillActor(3, b"a", no_restart=True))
    unacked = list(head.said)
    assert not any(relaying.is_answered(message) for message in unacked)
    answer(relaying, m.GroupCreated(1, "a placement group of that name exists"))
    assert [relaying.is_answered(message) for message in unacked] == [True, False, False, False]


def test_a_kill_is_not_said_again() -> None:
    relaying, head, driver = relay()
    relaying.to_head(driver, m.KillActor(1, b"a", no_restart=True))
    head.inner()
    relaying.again([])
    assert head.inner() == []


def test_who_listened_listens_again_and_to_what_is_over_no_more() -> None:
    relaying, head, driver = relay()
    relaying.to_head(driver, m.SubscribeActor(b"a"))
    relaying.to_head(driver, m.SubscribeActor(b"b"))
    relaying.to_head(driver, m.SubscribeGroup(b"g"))
    answer(relaying, m.ActorRegistered(7, actor_id=b"c"), m.ActorUpdate(b"b", "DEAD", None, 0))
    head.inner()
    relaying.listen_again()
    assert head.inner() == [m.SubscribeActor(b"a"), m.SubscribeActor(b"c"), m.SubscribeGroup(b"g")]


def test_a_process_that_has_hung_up_is_forgotten() -> None:
    relaying, head, driver = relay()
    relaying.to_head(driver, m.GetActorByName(1, "a", "n"))
    relaying.ended(driver)
    other: Any = Peer(b"d")
    relaying.ended(other)  # a connection that another one has replaced
    head.said.clear()
    relaying.again([])
    relaying.listen_again()
    assert head.said == []
