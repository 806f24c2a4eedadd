"""Replies that are remembered for retries: each client's latest, and of all clients those who asked last."""

from __future__ import annotations

import tracemalloc

import pytest

from linckia.protocol import messages as m
from linckia.rpc.idempotence import REPLY_BYTES, RecentReplies


def answered(recent: RecentReplies, client: bytes, rid: int) -> None:
    assert recent.begin(client, rid) == (True, None)
    recent.finish(client, rid, m.KvReply(rid))


def is_known(recent: RecentReplies, client: bytes, rid: int) -> bool:
    return rid in recent._clients.get(client, {})


@pytest.mark.row("P7")
def test_a_client_s_oldest_reply_goes_first() -> None:
    recent = RecentReplies(limit=2)
    for rid in (1, 2, 3):
        answered(recent, b"a", rid)
    assert [is_known(recent, b"a", rid) for rid in (1, 2, 3)] == [False, True, True]
    assert len(recent) == 2


@pytest.mark.row("P7")
def test_over_the_total_those_of_the_client_go_that_asked_the_longest_ago() -> None:
    recent = RecentReplies(total=3)
    asked = ((b"a", 1), (b"b", 1), (b"b", 2), (b"a", 2))
    for client, rid in asked:
        answered(recent, client, rid)
    assert [is_known(recent, *each) for each in asked] == [True, False, True, True]
    answered(recent, b"a", 3)
    assert not is_known(recent, b"b", 2)
    assert b"b" not in recent._clients, "nothing is left of a client without replies"
    facts = recent.facts("replies")
    assert (facts.ended, facts.evicted, facts.bytes) == (3, 2, 3 * REPLY_BYTES)


def test_who_is_gone_for_good_is_forgotten() -> None:
    recent = RecentReplies()
    answered(recent, b"a", 1)
    recent.forget(b"a")
    recent.forget(b"a")
    assert len(recent) == 0
    recent.finish(b"a", 1, m.KvReply(1))
    assert recent.begin(b"a", 1) == (True, None)


@pytest.mark.row("P7")
def test_a_reply_takes_about_what_is_counted_for_it() -> None:
    recent = RecentReplies(limit=100)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(20_000):
        answered(recent, b"%028d" % (number // 100), 2**40 + number)
    took = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert 20_000 * REPLY_BYTES / 4 < took < 20_000 * REPLY_BYTES
