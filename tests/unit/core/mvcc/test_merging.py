"""Joining transactions changes nothing but how many revisions they make."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linckia.core.mvcc.merging import divided, leading_group, merged
from linckia.core.mvcc.records import KEYSPACE_END, Compare, Delete, Op, Put, Range, Txn, TxnResult, Written
from linckia.core.mvcc.state import Effects, Mvcc

FENCE = (Compare(b"leader", "create_revision", "=", 2),)
OTHER = (Compare(b"a", "version", "<", 3),)
LARGE = 10_000


def put(key: bytes, lease: int = 0, compare: tuple[Compare, ...] = FENCE) -> Txn:
    return Txn(compare, (Put(key, b"v", lease),))


@pytest.mark.parametrize(
    ("waiting", "count"),
    [
        ([put(b"a")], 1),
        ([put(b"a"), put(b"b"), put(b"c")], 3),
        ([put(b"a"), put(b"b"), put(b"a")], 2),
        ([put(b"a"), put(b"b", compare=()), put(b"c")], 1),
        ([put(b"a"), put(b"leader"), put(b"c")], 1),
        ([put(b"leader"), put(b"b")], 1),
        ([put(b"a"), put(b"b", lease=1), put(b"c")], 1),
        ([put(b"a", lease=1), put(b"b")], 1),
        ([put(b"a"), Txn(FENCE, (Delete(b"x"),)), put(b"c")], 1),
        ([put(b"a"), Txn(FENCE, (Put(b"b", b""),), (Range(b"leader"),))], 1),
        ([put(b"%d" % n) for n in range(300)], 128),
        ([Txn(FENCE, (Put(b"%d" % n, bytes(3000)),)) for n in range(9)], 3),
        ([Txn((), (Put(b"a", bytes(2 * LARGE)),))], 1),
    ],
)
def test_who_joins(waiting: list[Txn], count: int) -> None:
    assert leading_group(waiting, LARGE) == count


def test_all_of_a_group_fail_together() -> None:
    txns = [put(b"a"), put(b"b")]
    assert divided(txns, TxnResult(7, False)) == [TxnResult(7, False)] * 2
    assert divided(txns, TxnResult(8, True, (Written(1), Written(1)))) == [TxnResult(8, True, (Written(1),))] * 2


KEYS = st.sampled_from([b"a", b"b", b"c", b"leader"])
PUTS = st.dictionaries(KEYS, st.sampled_from([b"1", b"2"]), max_size=3).map(
    lambda puts: tuple(Put(key, value) for key, value in puts.items())
)
OPS: st.SearchStrategy[tuple[Op, ...]] = st.one_of(PUTS, PUTS, PUTS, st.just((Delete(b"b", KEYSPACE_END),)))
TXNS = st.builds(Txn, st.sampled_from([(), FENCE, OTHER]), OPS, st.sampled_from([(), (), (Put(b"lost", b""),)]))


@settings(max_examples=150, deadline=None)
@given(st.lists(TXNS, max_size=12))
def test_together_is_as_one_after_the_other(txns: list[Txn]) -> None:
    alone, joined = begun(), begun()
    one_by_one = [alone.apply(txn, 0.0, Effects()) for txn in txns]
    waiting, answers = deque(txns), list[TxnResult]()
    while waiting:
        group = [waiting.popleft() for _ in range(leading_group(waiting, LARGE))]
        answer = joined.apply(merged(group), 0.0, Effects())
        assert isinstance(answer, TxnResult)
        answers += divided(group, answer)
    assert [outcome(each) for each in answers] == [outcome(each) for each in one_by_one]
    assert content(joined) == content(alone)


def outcome(answer: object) -> tuple[bool, object]:
    assert isinstance(answer, TxnResult)
    return answer.succeeded, answer.results


def begun() -> Mvcc:
    mvcc = Mvcc()
    mvcc.apply(Txn(then=(Put(b"leader", b"me"),)), 0.0, Effects())
    return mvcc


def content(mvcc: Mvcc) -> list[tuple[bytes, bytes, int]]:
    return [(kv.key, kv.value, kv.version) for kv in mvcc.range(Range(b"", KEYSPACE_END)).kvs]
