"""Looking for copies of values whose owners have ended: few questions, an answer each, and never too late."""

from __future__ import annotations

from typing import Any

from linckia.core.objects.orphan_search import AskHead, AskNode, Copy, Found, OrphanSearch, Search
from linckia.model.wire import Block

MAX_S = 15.0
A, B, C = b"a", b"b", b"c"
ONE, TWO = b"1", b"2"
OWNER = b"owner"


def search(waiter: int = 1, object_id: bytes = ONE, exclude: tuple[bytes, ...] = (), **more: Any) -> Search:
    return Search(waiter, object_id, OWNER, exclude, **more)


def here(size: int = 10, offset: int = -1) -> Copy:
    return Copy(size, offset, complete=True)


ARRIVES, NONE = Copy(10), Copy(-1)


def test_the_head_is_asked_once_and_each_node_once() -> None:
    of = OrphanSearch(A, MAX_S)
    assert of.want(search(), 0.0) == [AskHead(1, OWNER)]
    assert of.keepers(1, [B, C], []) == [AskNode(1, B, [ONE]), AskNode(1, C, [ONE])]
    assert of.told(1, B, [here(10, 64)]) == [Found(1, [Block(64, 10, B)], "")], "it does not wait for the others"
    assert of.told(1, C, [here()]) == [] and of.next_deadline() is None


def test_what_is_wanted_meanwhile_shares_the_next_round() -> None:
    of = OrphanSearch(A, MAX_S)
    of.want(search(1, ONE), 0.0)
    assert of.want(search(2, TWO), 0.0) == of.want(search(3, ONE), 0.0) == []
    of.keepers(1, [B], [])
    assert of.told(1, B, [here()]) == [Found(1, [Block(-1, 10, B)], ""), AskHead(2, OWNER)]
    assert of.keepers(2, [B], []) == [AskNode(2, B, [TWO, ONE])]
    found = of.told(2, B, [NONE, here()])
    assert [(each.waiter, len(each.sources)) for each in found if isinstance(each, Found)] == [(2, 0), (3, 1)]


def test_no_copy_is_left() -> None:
    of = OrphanSearch(A, MAX_S)
    of.want(search(), 0.0)
    (found,) = of.keepers(1, [], [])
    assert isinstance(found, Found) and found.sources == [] and "no other node kept one" in found.why
    of.want(search(), 0.0)
    (found,) = of.keepers(2, [], ["deadbeef"])
    assert isinstance(found, Found) and "deadbeef" in found.why and "dead" in found.why
    of.want(search(), 0.0)
    of.keepers(3, [B, C], [])
    of.told(3, B, [Copy(-1, why="its copy was not complete")])
    (found,) = of.silent(3, C, "c cannot be reached")
    assert isinstance(found, Found)
    assert "its copy was not complete" in found.why and "c cannot be reached" in found.why


def test_a_copy_that_arrives_will_do_when_there_is_no_better_one() -> None:
    of = OrphanSearch(A, MAX_S)
    of.want(search(), 0.0)
    of.keepers(1, [B, C], [])
    assert of.told(1, B, [ARRIVES]) == []
    assert of.told(1, C, [NONE]) == [Found(1, [Block(-1, 10, B)], "")]


def test_who_keeps_a_copy_that_lacks_bytes_waits_for_nobody_who_does() -> None:
    of = OrphanSearch(A, MAX_S)
    of.want(search(takes_unfinished=False), 0.0)
    of.keepers(1, [B], [])
    (found,) = of.told(1, B, [ARRIVES])
    assert isinstance(found, Found) and found.sources == []


def test_what_was_tried_is_not_tried_again() -> None:
    of = OrphanSearch(A, MAX_S)
    of.want(search(exclude=(B,)), 0.0)
    of.keepers(1, [B, C], [])
    assert of.told(1, B, [here()]) == []
    assert of.told(1, C, [here()]) == [Found(1, [Block(-1, 10, C)], "")]
    of.want(search(exclude=(B, C)), 0.0)
    of.keepers(2, [B, C], [])
    of.told(2, B, [here()])
    (found,) = of.told(2, C, [here()])
    assert isinstance(found, Found) and found.sources == [] and "2 of its copies" in found.why


def test_it_ends_in_time_whoever_is_silent() -> None:
    of = OrphanSearch(A, MAX_S)
    of.want(search(1), 100.0)
    of.want(search(2), 104.0)
    assert of.next_deadline() == 115.0 and of.tick(114.0) == []
    first = of.tick(115.0)
    assert isinstance(first[0], Found) and "head" in first[0].why and first[1] == AskHead(2, OWNER)
    assert of.keepers(2, [B], []) == [AskNode(2, B, [ONE])]
    assert of.next_deadline() == 119.0, "the second began to wait at 104"
    (second,) = of.tick(119.0)
    assert isinstance(second, Found) and "nodes have not answered" in second.why
    assert of.told(2, B, [here()]) == [] and of.keepers(1, [B], []) == [], "late answers mean nothing"


def test_another_head_is_asked_what_the_last_one_did_not_answer() -> None:
    of = OrphanSearch(A, MAX_S)
    of.want(search(), 0.0)
    assert of.ask_again() == [AskHead(1, OWNER)]
    of.keepers(1, [B], [])
    assert of.ask_again() == []
    assert of.keepers(1, [C], []) == [], "answered twice"


def test_a_new_head_names_nodes_as_they_come() -> None:
    of = OrphanSearch(A, MAX_S)
    of.want(search(1, ONE), 0.0)
    assert of.keepers(1, [], [], is_final=False) == []
    assert of.keepers(1, [B], [], is_final=False) == [AskNode(1, B, [ONE])]
    assert of.told(1, B, [NONE]) == [], "there may be more"
    assert of.keepers(1, [B, C], [], is_final=False) == [AskNode(1, C, [ONE])], "each is asked once"
    assert of.told(1, C, [here()]) == [Found(1, [Block(-1, 10, C)], "")]
    assert of.keepers(1, [B, C], ["dead"]) == [] and of.next_deadline() is None, "nobody waits any more"
    of.want(search(2, TWO), 0.0)
    of.keepers(2, [B], [], is_final=False)
    of.told(2, B, [NONE])
    (found,) = of.keepers(2, [B], ["cafe"])
    assert isinstance(found, Found) and "cafe" in found.why


def test_who_wants_all_is_answered_when_all_have_answered() -> None:
    of = OrphanSearch(A, MAX_S)
    both = [search(1, ONE, (A,), wants_all=True), search(2, TWO, (A,), wants_all=True)]
    assert of.want_each(both, 0.0) == [AskHead(1, OWNER)], "one round for both"
    of.keepers(1, [A, B, C], [])
    assert of.told(1, A, [here(), here()]) == of.told(1, B, [here(), ARRIVES]) == []
    first, second = of.told(1, C, [here(), NONE])
    assert first == Found(1, [Block(-1, 10, B), Block(-1, 10, C)], "")
    assert second == Found(2, [], "", (B,))


def test_who_wants_all_is_told_what_waits_for_room_somewhere() -> None:
    of = OrphanSearch(A, MAX_S)
    of.want(search(wants_all=True), 0.0)
    of.keepers(1, [B, C], [])
    of.told(1, B, [Copy(-1, why="not yet", is_coming=True)])
    assert of.told(1, C, [NONE]) == [Found(1, [], "", (B,))]


def test_who_wants_all_is_told_what_is_not_sure() -> None:
    of = OrphanSearch(A, MAX_S)
    of.want(search(wants_all=True), 0.0)
    of.keepers(1, [B, C], [], is_final=False)
    of.silent(1, B, "it is dead")
    assert of.tick(MAX_S) == [Found(1, [], "", (B, C), is_whole=False)]
