"""One suite over all backends: watches without gap or repetition, and leases whose keys vanish with them."""

from __future__ import annotations

import time
from typing import Any

import pytest
from stores import Kit

from linckia.core.mvcc.records import (
    KEYSPACE_END,
    Delete,
    Event,
    EventKind,
    KeyValue,
    Lease,
    Put,
    Range,
    RangeResult,
    Txn,
    TxnResult,
    WatchBatch,
    WatchQuery,
    prefix_end,
)
from linckia.store.blocking import BlockingWatch
from linckia.store.errors import CompactedError, InvalidRequestError, LeaseNotFoundError

PUT, DELETE = EventKind.PUT, EventKind.DELETE


def watch_all(kit: Kit, start: int | None, *, with_previous: bool = False) -> BlockingWatch:
    return kit.store.watch(WatchQuery(b"", KEYSPACE_END, start, with_previous))


def read_until(watch: BlockingWatch, revision: int) -> list[Event]:
    """Events up to a revision, which has one."""
    events: list[Event] = []
    while not events or events[-1].kv.mod_revision < revision:
        batch = watch.next()
        assert batch.revision == batch.events[-1].kv.mod_revision
        events += batch.events
    return events


def brief(events: list[Event]) -> list[tuple[EventKind, bytes, bytes, int]]:
    return [(event.kind, event.kv.key, event.kv.value, event.kv.mod_revision) for event in events]


def test_the_past_then_the_present_without_gap(kit: Kit) -> None:
    first = kit.store.put(b"a", b"1")
    kit.store.put(b"b", b"1")
    watch = watch_all(kit, first)
    kit.store.put(b"a", b"2")
    last = kit.store.delete(b"b")
    assert brief(read_until(watch, last)) == [
        (PUT, b"a", b"1", first),
        (PUT, b"b", b"1", first + 1),
        (PUT, b"a", b"2", first + 2),
        (DELETE, b"b", b"", first + 3),
    ]
    last = kit.store.put(b"c", b"1")
    assert brief(read_until(watch, last)) == [(PUT, b"c", b"1", last)]
    later = watch_all(kit, last)
    assert brief(read_until(later, last)) == [(PUT, b"c", b"1", last)], "that revision is included"


def test_a_watch_sees_its_span_only(kit: Kit) -> None:
    first = kit.store.put(b"a", b"1")
    one = kit.store.watch(WatchQuery(b"b", None, first))
    some = kit.store.watch(WatchQuery(b"b/", prefix_end(b"b/"), first))
    kit.store.put(b"b/1", b"1")
    kit.store.put(b"b", b"1")
    kit.store.put(b"c", b"1")
    last = kit.store.txn(Txn(then=(Put(b"b", b"2"), Put(b"b/2", b"1"), Put(b"c", b"2")))).revision
    assert [(event.kv.key, event.kv.value) for event in read_until(one, last)] == [(b"b", b"1"), (b"b", b"2")]
    assert [event.kv.key for event in read_until(some, last)] == [b"b/1", b"b/2"]


def test_previous_values_on_request(kit: Kit) -> None:
    first = kit.store.put(b"a", b"1")
    with_previous = watch_all(kit, first, with_previous=True)
    without = watch_all(kit, first)
    kit.store.put(b"a", b"2")
    last = kit.store.delete(b"a")
    events = read_until(with_previous, last)
    assert [event.prev and event.prev.value for event in events] == [None, b"1", b"2"]
    assert events[2].prev == KeyValue(b"a", b"2", first, first + 1, 2)
    assert [event.prev for event in read_until(without, last)] == [None, None, None]
    assert events[2].kv == KeyValue(b"a", b"", 0, last, 0)


def test_a_revision_is_never_divided(kit: Kit) -> None:
    many = tuple(Put(b"%03d" % n, b"1") for n in range(100))
    first = kit.store.txn(Txn(then=many)).revision
    live = watch_all(kit, first + 1)
    kit.store.txn(Txn(then=many))
    last = kit.store.delete(b"", KEYSPACE_END)
    for watch, wanted in ((live, 2), (watch_all(kit, first), 3)):
        sizes: dict[int, int] = {}
        while len(sizes) < wanted:
            batch = watch.next()
            for revision in {event.kv.mod_revision for event in batch.events}:
                assert revision not in sizes, "told before"
                sizes[revision] = sum(event.kv.mod_revision == revision for event in batch.events)
        assert list(sizes.values()) == [100] * wanted
        assert max(sizes) == last


def test_a_watch_may_begin_in_the_future(kit: Kit) -> None:
    now = kit.store.put(b"a", b"1")
    watch = watch_all(kit, now + 3)
    for n in range(4):
        kit.store.put(b"a", b"%d" % n)
    assert [event.kv.mod_revision for event in read_until(watch, now + 4)] == [now + 3, now + 4]


def test_a_watch_of_what_is_compacted_says_so_by_name(kit: Kit) -> None:
    first = kit.store.put(b"a", b"1")
    kit.store.put(b"a", b"2")
    at = kit.store.delete(b"a")
    last = kit.store.put(b"a", b"4")
    kit.store.compact(at)
    for start in (first, at):
        with pytest.raises(CompactedError) as caught:
            watch_all(kit, start).next()
        assert (caught.value.asked, caught.value.compacted) == (start, at)
    watch = watch_all(kit, at + 1, with_previous=True)
    assert brief(read_until(watch, last)) == [(PUT, b"a", b"4", last)]
    kit.store.compact(last)
    last = kit.store.put(b"a", b"5")
    events = read_until(watch, last)
    assert brief(events) == [(PUT, b"a", b"5", last)], "a running watch does not mind compaction"
    assert events[0].prev is not None
    assert events[0].prev.value == b"4"


def test_a_cancelled_watch_is_silent(kit: Kit) -> None:
    first = kit.store.put(b"a", b"1")
    told: list[Any] = []
    watch = kit.raw.watch(WatchQuery(b"", KEYSPACE_END, first), told.append)
    kit.until(lambda: told)
    watch.cancel()
    watch.cancel()
    other = watch_all(kit, first)
    read_until(other, kit.store.put(b"a", b"2"))
    assert len(told) == 1


def test_a_watch_from_now_on(kit: Kit) -> None:
    kit.store.put(b"a", b"before")
    told: list[Any] = []
    kit.raw.watch(WatchQuery(b"a", None), told.append)

    def is_told() -> bool:
        kit.store.put(b"a", b"after")
        return bool(told)

    kit.until(is_told)
    assert isinstance(told[0], WatchBatch)
    assert told[0].events[0].kv.value == b"after"


def test_many_writers_one_watch(kit: Kit) -> None:
    watch = watch_all(kit, kit.store.put(b"start", b"") + 1)
    answers: list[Any] = []
    for n in range(500):
        kit.raw.txn(Txn(then=(Put(b"k%d" % (n % 50), b"%d" % n),)), answers.append)
    events: list[Event] = []
    while len(events) < 500:
        events += watch.next().events
    kit.until(lambda: len(answers) == 500)
    revisions = [event.kv.mod_revision for event in events]
    assert revisions == sorted(revisions)
    assert [int(event.kv.value) for event in events] == list(range(500)), "in the order they were handed in"


# --- leases -----------------------------------------------------------------------------------------------------------


def leased(kit: Kit, *keys: bytes) -> tuple[Lease, TxnResult]:
    """A short lease and its keys, in one transaction. Tried again where the machine slept longer than the lease."""
    while True:
        lease = kit.store.grant(kit.ttl_s)
        puts = tuple(Put(key, b"1", lease.lease_id) for key in keys)
        try:
            return lease, kit.store.txn(Txn(then=(*puts, Range(keys[0]))))
        except LeaseNotFoundError:
            assert kit.name != "memory"


def test_keys_vanish_with_their_lease(kit: Kit) -> None:
    first = kit.store.put(b"stays", b"1")
    lease, made = leased(kit, b"a", b"b")
    assert lease.ttl_s >= kit.ttl_s
    seen = made.results[-1]
    assert isinstance(seen, RangeResult)
    assert seen.kvs[0].lease == lease.lease_id
    watch = watch_all(kit, first, with_previous=True)
    kit.until_gone(b"a")
    events = read_until(watch, first + 2)
    assert sorted((event.kind.value, event.kv.key, event.kv.mod_revision) for event in events[3:]) == [
        ("delete", b"a", first + 2),
        ("delete", b"b", first + 2),
    ]
    assert [event.prev and event.prev.lease for event in events[3:]] == [lease.lease_id] * 2
    assert [each.key for each in kit.store.prefix(b"").kvs] == [b"stays"]
    for ask in (
        lambda: kit.store.keep_alive(lease.lease_id),
        lambda: kit.store.revoke(lease.lease_id),
        lambda: kit.store.time_to_live(lease.lease_id),
        lambda: kit.store.put(b"c", b"", lease=lease.lease_id),
    ):
        with pytest.raises(LeaseNotFoundError, match=f"lease {lease.lease_id} does not exist"):
            ask()


def test_a_lease_that_is_kept_alive_lasts(kit: Kit) -> None:
    while not outlives(kit):
        kit.store.delete(b"", KEYSPACE_END)


def outlives(kit: Kit) -> bool:
    """A lease that is renewed outlives another. False where the machine slept and could not renew in time."""
    kept, _ = leased(kit, b"kept")
    other, _ = leased(kit, b"other")
    renewed_s = time.monotonic()
    while kit.store.get(b"other") is not None:
        kit.pump()
        try:
            assert kit.store.keep_alive(kept.lease_id).lease_id == kept.lease_id
        except LeaseNotFoundError:
            assert time.monotonic() - renewed_s > 0.8 * kit.ttl_s, "it ended although it was renewed"
            return False
        renewed_s = time.monotonic()
    try:
        info = kit.store.time_to_live(kept.lease_id)
    except LeaseNotFoundError:
        assert time.monotonic() - renewed_s > 0.8 * kit.ttl_s, "it ended although it was renewed"
        return False
    assert info.keys == (b"kept",)
    assert 0 <= info.left_s <= info.ttl_s
    with pytest.raises(LeaseNotFoundError):
        kit.store.time_to_live(other.lease_id)
    return True


def test_revoking_deletes_all_keys_in_one_revision(kit: Kit) -> None:
    lease = kit.store.grant(600)
    for key in (b"b", b"a", b"c"):
        last = kit.store.put(key, b"", lease=lease.lease_id)
    assert kit.store.time_to_live(lease.lease_id).keys == (b"a", b"b", b"c")
    assert kit.store.revoke(lease.lease_id) == last + 1
    assert kit.store.prefix(b"").kvs == ()
    empty = kit.store.grant(600)
    assert kit.store.revoke(empty.lease_id) == last + 1, "without keys nothing is written"
    assert empty.lease_id != lease.lease_id


def test_a_key_hangs_on_the_last_lease_it_was_given(kit: Kit) -> None:
    one, two = kit.store.grant(600), kit.store.grant(600)
    for key in (b"free", b"moved", b"gone"):
        kit.store.put(key, b"", lease=one.lease_id)
    kit.store.put(b"free", b"")
    kit.store.put(b"moved", b"", lease=two.lease_id)
    kit.store.txn(Txn(then=(Delete(b"gone"),)))
    kit.store.put(b"gone", b"again")
    assert kit.store.time_to_live(one.lease_id).keys == ()
    kit.store.revoke(one.lease_id)
    assert [kv.key for kv in kit.store.prefix(b"").kvs] == [b"free", b"gone", b"moved"]
    kit.store.revoke(two.lease_id)
    assert [kv.key for kv in kit.store.prefix(b"").kvs] == [b"free", b"gone"]


def test_revoking_waits_for_the_writes_before_it(kit: Kit) -> None:
    lease = kit.store.grant(600)
    answers: list[Any] = []
    for n in range(20):
        kit.raw.txn(Txn(then=(Put(b"k%d" % n, b"", lease.lease_id),)), answers.append)
    kit.raw.revoke(lease.lease_id, answers.append)
    kit.raw.txn(Txn(then=(Put(b"after", b""),)), answers.append)
    kit.until(lambda: len(answers) == 22)
    assert [kv.key for kv in kit.store.prefix(b"").kvs] == [b"after"]


@pytest.mark.parametrize("ttl_s", [0, -1, 1e12, float("nan")])
def test_senseless_leases_are_refused(kit: Kit, ttl_s: float) -> None:
    with pytest.raises(InvalidRequestError, match="a lease lasts"):
        kit.store.grant(ttl_s)
