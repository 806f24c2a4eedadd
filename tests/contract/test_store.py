"""One suite over all backends of the metadata store: revisions, reads of the past, transactions, order, limits."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from stores import Kit

from linckia.base.limits import TXN_OPS_MAX
from linckia.core.mvcc.records import (
    KEYSPACE_END,
    Compare,
    Delete,
    KeyValue,
    Put,
    Range,
    RangeResult,
    Txn,
    TxnResult,
    WatchQuery,
    Written,
    prefix_end,
)
from linckia.store.errors import (
    CompactedError,
    FutureRevisionError,
    InvalidRequestError,
    LeaseNotFoundError,
    StoreClosedError,
)


def keys(result: RangeResult) -> list[bytes]:
    return [kv.key for kv in result.kvs]


def test_each_write_makes_the_next_revision_and_keys_count_theirs(kit: Kit) -> None:
    store = kit.store
    first = store.put(b"a", b"1")
    assert store.put(b"b", b"1") == first + 1
    assert store.put(b"a", b"2") == first + 2
    assert store.get(b"a") == KeyValue(b"a", b"2", first, first + 2, 2)
    assert store.delete(b"a") == first + 3
    assert store.get(b"a") is None
    assert store.put(b"a", b"3") == first + 4
    assert store.get(b"a") == KeyValue(b"a", b"3", first + 4, first + 4, 1), "a key made again begins again"
    assert store.get(b"b") == KeyValue(b"b", b"1", first + 1, first + 1, 1)
    assert store.status().revision == first + 4


def test_what_writes_nothing_makes_no_revision(kit: Kit) -> None:
    revision = kit.store.put(b"a", b"1")
    assert kit.store.delete(b"nothing") == revision
    assert kit.store.txn(Txn()) == TxnResult(revision, True)
    assert kit.store.txn(Txn((Compare(b"a", "version", "=", 9),), (Put(b"b", b"1"),))) == TxnResult(revision, False)
    assert kit.store.range(b"a").revision == revision


def test_spans(kit: Kit) -> None:
    for key in (b"b/2", b"a", b"b/1", b"c", b"b", b"b/\xff", b"b0"):
        kit.store.put(key, key)
    everything = [b"a", b"b", b"b/1", b"b/2", b"b/\xff", b"b0", b"c"]
    assert keys(kit.store.range(b"", KEYSPACE_END)) == everything
    assert keys(kit.store.range(b"b/2", KEYSPACE_END)) == everything[3:]
    assert keys(kit.store.range(b"b", b"c")) == everything[1:6]
    assert keys(kit.store.prefix(b"b/")) == [b"b/1", b"b/2", b"b/\xff"]
    assert keys(kit.store.range(b"b")) == [b"b"]
    assert keys(kit.store.range(b"x", KEYSPACE_END)) == []
    cut = kit.store.prefix(b"b/", limit=2)
    assert (keys(cut), cut.more) == ([b"b/1", b"b/2"], True)
    whole = kit.store.prefix(b"b/", limit=3)
    assert (len(whole.kvs), whole.more) == (3, False)


def test_any_bytes_are_keys_and_values(kit: Kit) -> None:
    odd = [b"\x00", b"\x00\x00", b"\xff" * 300, "ünï".encode(), b"a/../b", b" ", b"\xff\xff"]
    for key in odd:
        kit.store.put(key, key + bytes(range(256)) * 100)
    assert keys(kit.store.range(b"", KEYSPACE_END)) == sorted(odd)
    assert keys(kit.store.prefix(b"\xff")) == [b"\xff\xff", b"\xff" * 300]
    for key in odd:
        kv = kit.store.get(key)
        assert kv is not None
        assert kv.value == key + bytes(range(256)) * 100
    kit.store.put(b"empty", b"")
    kv = kit.store.get(b"empty")
    assert kv is not None
    assert kv.value == b""


def test_the_past_can_be_read(kit: Kit) -> None:
    store = kit.store
    first = store.put(b"a", b"1")
    store.put(b"b", b"1")
    store.put(b"a", b"2")
    store.delete(b"b")
    last = store.put(b"c", b"1")
    assert [kv.value for kv in store.prefix(b"", revision=first).kvs] == [b"1"]
    assert keys(store.prefix(b"", revision=first + 1)) == [b"a", b"b"]
    assert keys(store.prefix(b"", revision=first + 3)) == [b"a"]
    assert keys(store.prefix(b"", revision=last)) == [b"a", b"c"]
    past = store.get(b"a", revision=first + 1)
    assert past == KeyValue(b"a", b"1", first, first, 1)
    assert store.range(b"a", revision=first).revision == last, "the store's revision, not the one asked for"
    with pytest.raises(FutureRevisionError, match=f"revision {last + 1} was asked for.* at revision {last}"):
        store.get(b"a", revision=last + 1)


def test_what_is_compacted_is_refused_by_name(kit: Kit) -> None:
    store = kit.store
    first = store.put(b"a", b"1")
    store.put(b"a", b"2")
    at = store.put(b"b", b"1")
    store.delete(b"b")
    last = store.put(b"a", b"3")
    store.compact(at)
    with pytest.raises(CompactedError) as caught:
        store.get(b"a", revision=first)
    assert (caught.value.asked, caught.value.compacted) == (first, at)
    assert f"revision {first} was asked for" in str(caught.value)
    assert f"revision {at} is compacted" in str(caught.value)
    kv = store.get(b"a", revision=at)
    assert kv is not None
    assert kv.value == b"2", "the state at the compacted revision stays"
    assert keys(store.prefix(b"", revision=at)) == [b"a", b"b"]
    assert store.compact(at) == last, "again is no error"
    assert store.compact(first) == last
    with pytest.raises(FutureRevisionError):
        store.compact(last + 1)
    store.compact(last)
    assert keys(store.prefix(b"")) == [b"a"]
    assert store.put(b"a", b"4") == last + 1, "compaction is no write"
    with pytest.raises(CompactedError):
        store.txn(Txn(then=(Range(b"a", revision=first), Put(b"a", b"never"))))
    kv = store.get(b"a")
    assert kv is not None
    assert kv.value == b"4"


COMPARISONS = [
    (Compare(b"a", "value", "=", b"2"), True),
    (Compare(b"a", "value", "=", b"1"), False),
    (Compare(b"a", "value", "!=", b"1"), True),
    (Compare(b"a", "value", ">", b"1"), True),
    (Compare(b"a", "value", "<", b"1"), False),
    (Compare(b"a", "version", "=", 2), True),
    (Compare(b"a", "version", "<", 2), False),
    (Compare(b"a", "version", ">", 1), True),
    (Compare(b"a", "version", "!=", 2), False),
    (Compare(b"none", "version", "=", 0), True),
    (Compare(b"none", "create_revision", "=", 0), True),
    (Compare(b"none", "mod_revision", "<", 1), True),
    (Compare(b"none", "value", "=", b""), False),
    (Compare(b"none", "value", "!=", b"1"), False),
    (Compare(b"deleted", "version", "=", 0), True),
    (Compare(b"deleted", "mod_revision", "=", 0), True),
]


def test_comparisons(kit: Kit) -> None:
    store = kit.store
    created = store.put(b"a", b"1")
    store.put(b"deleted", b"1")
    store.delete(b"deleted")
    changed = store.put(b"a", b"2")
    more = [
        (Compare(b"a", "create_revision", "=", created), True),
        (Compare(b"a", "create_revision", "=", changed), False),
        (Compare(b"a", "mod_revision", "=", changed), True),
        (Compare(b"a", "mod_revision", "<", changed), False),
        (Compare(b"a", "mod_revision", ">", created), True),
    ]
    for compare, holds in COMPARISONS + more:
        assert store.txn(Txn((compare,))).succeeded is holds, compare
    both = Txn((COMPARISONS[0][0], COMPARISONS[1][0]))
    assert not store.txn(both).succeeded, "all have to hold"


def test_a_transaction_does_one_branch_in_order_at_one_revision(kit: Kit) -> None:
    store = kit.store
    revision = store.put(b"a", b"1")
    store.put(b"old/1", b"")
    revision = store.put(b"old/2", b"")
    txn = Txn(
        (Compare(b"a", "value", "=", b"1"),),
        (
            Range(b"a"),
            Put(b"a", b"2"),
            Range(b"a"),
            Put(b"b", b"1"),
            Delete(b"old/", prefix_end(b"old/")),
            Range(b"old/", prefix_end(b"old/")),
            Delete(b"nothing"),
            Range(b"a", revision=revision),
        ),
        (Range(b"b"),),
    )
    result = store.txn(txn)
    assert result.succeeded
    assert result.revision == revision + 1
    before, wrote, after, _, deleted, none, nothing, past = result.results
    assert isinstance(before, RangeResult)
    assert isinstance(after, RangeResult)
    assert isinstance(past, RangeResult)
    assert [kv.value for kv in before.kvs] == [b"1"]
    assert [kv.value for kv in after.kvs] == [b"2"], "it sees what it wrote"
    assert after.kvs[0].mod_revision == revision + 1
    assert [kv.value for kv in past.kvs] == [b"1"]
    assert (wrote, deleted, nothing) == (Written(1), Written(2), Written(0))
    assert isinstance(none, RangeResult)
    assert none.kvs == ()
    again = store.txn(txn)
    assert not again.succeeded
    assert again.revision == revision + 1
    (read,) = again.results
    assert isinstance(read, RangeResult)
    assert [(kv.key, kv.mod_revision) for kv in read.kvs] == [(b"b", revision + 1)]


def test_a_refused_transaction_leaves_no_trace(kit: Kit) -> None:
    revision = kit.store.put(b"a", b"1")
    with pytest.raises(LeaseNotFoundError, match="lease 77 does not exist"):
        kit.store.txn(Txn(then=(Put(b"a", b"2"), Put(b"b", b"2", lease=77))))
    with pytest.raises(FutureRevisionError):
        kit.store.txn(Txn(then=(Put(b"a", b"2"), Range(b"a", revision=revision + 5))))
    kv = kit.store.get(b"a")
    assert kv is not None
    assert (kv.value, kv.mod_revision) == (b"1", revision)
    assert kit.store.get(b"b") is None
    assert kit.store.put(b"c", b"") == revision + 1


REFUSED: list[tuple[str, Txn | Range]] = [
    ("must not be empty", Txn(then=(Put(b"", b"1"),))),
    ("must not be empty", Txn(then=(Delete(b""),))),
    ("must not be empty", Txn((Compare(b"", "version", "=", 1),))),
    ("must not be empty", Range(b"")),
    ("ends after it starts", Range(b"b", b"a")),
    ("ends after it starts", Txn(then=(Delete(b"b", b"b"),))),
    ("limit is at least 1", Range(b"a", b"b", limit=0)),
    ("put twice", Txn(then=(Put(b"a", b"1"), Put(b"a", b"2")))),
    ("put and deleted", Txn(then=(Put(b"a", b"1"), Delete(b"a")))),
    ("put and deleted", Txn(then=(Delete(b"", KEYSPACE_END), Put(b"a", b"1")))),
    ("put twice", Txn(otherwise=(Put(b"a", b"1"), Put(b"a", b"2")))),
    ("needs bytes", Txn((Compare(b"a", "value", "=", 1),))),
    ("needs int", Txn((Compare(b"a", "version", "=", b"1"),))),
    (f"at most {TXN_OPS_MAX}", Txn(then=tuple(Put(b"%d" % n, b"") for n in range(TXN_OPS_MAX + 1)))),
]


@pytest.mark.parametrize(("text", "request_"), REFUSED, ids=range(len(REFUSED)))
def test_senseless_requests_are_refused_alike(kit: Kit, text: str, request_: Txn | Range) -> None:
    with pytest.raises(InvalidRequestError, match=text):
        if isinstance(request_, Txn):
            kit.store.txn(request_)
        else:
            kit.store.range(request_.start, request_.end, limit=request_.limit)


def test_the_limits_are_told_and_held(kit: Kit) -> None:
    limits = kit.raw.limits
    assert limits.txn_ops == TXN_OPS_MAX
    kit.store.txn(Txn(then=tuple(Put(b"%03d" % n, b"x") for n in range(limits.txn_ops))))
    assert len(kit.store.prefix(b"").kvs) == limits.txn_ops
    size = min(limits.txn_bytes, 2**20)
    kit.store.put(b"large", bytes(size - 5))
    kv = kit.store.get(b"large")
    assert kv is not None
    assert len(kv.value) == size - 5
    with pytest.raises(InvalidRequestError, match=f"at most {limits.txn_bytes} bytes"):
        kit.store.put(b"large", bytes(limits.txn_bytes))


def test_a_write_behind_a_fence(kit: Kit) -> None:
    """What a head does: every write compares the leader key's create_revision."""
    store = kit.store
    free = Compare(b"leader", "create_revision", "=", 0)
    epoch = store.txn(Txn((free,), (Put(b"leader", b"head 1"),))).revision
    assert not store.txn(Txn((free,), (Put(b"leader", b"head 2"),))).succeeded
    mine = Compare(b"leader", "create_revision", "=", epoch)
    assert store.txn(Txn((mine,), (Put(b"actor", b"1"),))).succeeded
    store.delete(b"leader")
    second = store.txn(Txn((free,), (Put(b"leader", b"head 2"),))).revision
    assert second > epoch
    late = store.txn(Txn((mine,), (Put(b"actor", b"stale"),), (Range(b"leader"),)))
    assert not late.succeeded
    assert isinstance(late.results[0], RangeResult)
    assert late.results[0].kvs[0].create_revision == second, "and it learns who leads"
    kv = store.get(b"actor")
    assert kv is not None
    assert kv.value == b"1"


def test_writes_handed_in_one_after_the_other_are_done_and_answered_in_order(kit: Kit) -> None:
    answers: list[tuple[int, Any]] = []
    fence = (Compare(b"leader", "version", "=", 0),)
    count = 300
    for n in range(count):
        put = Put(b"same" if n % 3 else b"other-%d" % n, b"%d" % n)
        kit.raw.txn(Txn(fence, (put,)), lambda answer, n=n: answers.append((n, answer)))  # type: ignore[misc]
    kit.until(lambda: len(answers) == count)
    assert [n for n, _ in answers] == list(range(count))
    assert all(isinstance(answer, TxnResult) and answer.succeeded for _, answer in answers)
    revisions = [answer.revision for _, answer in answers]
    assert revisions == sorted(revisions)
    kv = kit.store.get(b"same")
    assert kv is not None
    assert kv.value == b"299" if (count - 1) % 3 else b"298"
    assert len(kit.store.prefix(b"other-").kvs) == count // 3


def test_one_that_fails_does_not_take_its_neighbours_along(kit: Kit) -> None:
    answers: dict[int, Any] = {}
    for n in range(20):
        lease = 99 if n % 5 == 2 else 0
        txn = Txn(then=(Put(b"k%d" % n, b"", lease),))
        kit.raw.txn(txn, lambda answer, n=n: answers.update({n: answer}))  # type: ignore[misc]
    kit.until(lambda: len(answers) == 20)
    failed = [n for n, answer in sorted(answers.items()) if isinstance(answer, LeaseNotFoundError)]
    assert failed == [2, 7, 12, 17]
    assert len(kit.store.prefix(b"k").kvs) == 16


def test_a_callback_that_raises_does_not_stop_the_store(kit: Kit, caplog: pytest.LogCaptureFixture) -> None:
    if kit.name != "etcd":
        pytest.skip("the other backends raise it in the user's own loop")

    def burst(_answer: object) -> None:
        raise RuntimeError("a bug of the user")

    kit.raw.txn(Txn(then=(Put(b"a", b"1"),)), burst)
    assert kit.store.put(b"b", b"2")
    assert "a bug of the user" in caplog.text


def test_a_closed_store_says_so(kit: Kit) -> None:
    kit.store.put(b"a", b"1")
    watch = kit.store.watch(WatchQuery(b"zzz", None, kit.store.status().revision + 1))
    kit.close()
    kit.close()
    with pytest.raises(StoreClosedError):
        kit.store.get(b"a")
    with pytest.raises(StoreClosedError):
        kit.store.put(b"a", b"2")
    with pytest.raises(StoreClosedError):
        watch.next()
    if kit.name != "memory":
        kit.until(lambda: not any(thread.name.startswith("store-") for thread in threading.enumerate()))


def test_how_it_is(kit: Kit) -> None:
    revision = kit.store.put(b"a", b"x" * 1000)
    status = kit.store.status()
    assert (status.backend, status.revision, status.health) == (kit.name, revision, "ok")
    assert status.size_bytes >= 1000
    assert status.where
