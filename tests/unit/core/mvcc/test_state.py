"""The pure core against a naive model: a full copy of the keys for every revision, and leases as plain deadlines."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from linckia.base import limits
from linckia.core.mvcc import state
from linckia.core.mvcc.errors import CompactedError, FutureRevisionError, LeaseNotFoundError
from linckia.core.mvcc.records import (
    KEYSPACE_END,
    Compact,
    Compare,
    Delete,
    Event,
    EventKind,
    Grant,
    KeepAlive,
    KeyValue,
    Lease,
    Put,
    Range,
    RangeResult,
    Revoke,
    TimeToLive,
    Txn,
    TxnResult,
    WatchQuery,
    in_span,
)
from linckia.core.mvcc.state import Effects, Mvcc, unseen

KEYS = st.sampled_from([b"a", b"aa", b"ab", b"b", b"ba", b"c"])
ENDS = st.sampled_from([None, KEYSPACE_END, b"ab", b"b", b"d"])
VALUES = st.sampled_from([b"", b"1", b"2", b"three"])
SPANS = st.tuples(KEYS, ENDS).filter(lambda span: span[1] in (None, KEYSPACE_END) or span[1] > span[0])
EVERYTHING = (b"", KEYSPACE_END)


class Model(RuleBasedStateMachine):
    """Every rule does the same to both."""

    @initialize()
    def begin(self) -> None:
        self.mvcc = Mvcc()
        self.now_s = 100.0
        self.effects = Effects()
        self.copies: dict[int, dict[bytes, KeyValue]] = {1: {}}
        self.current = 1
        self.compacted = 0
        self.leases: dict[int, tuple[float, float]] = {}
        self.told: list[Event] = []
        self.watcher = self.mvcc.watcher(WatchQuery(*EVERYTHING, 1, with_previous=True))

    def apply(self, request: Any) -> Any:
        """With everything that shells do around it."""
        effects = Effects()
        try:
            return self.mvcc.apply(request, self.now_s, effects)
        finally:
            self.publish(effects)

    def publish(self, effects: Effects) -> None:
        batch = unseen(self.watcher, effects.events)
        self.told += batch.events if batch else ()

    def write(self, changes: dict[bytes, tuple[bytes, int] | None]) -> None:
        """The model's side of a revision."""
        before = self.copies[self.current]
        if not any(change is not None or key in before for key, change in changes.items()):
            return
        revision = self.current + 1
        after = dict(before)
        for key, change in changes.items():
            prev = after.pop(key, None)
            if change is not None:
                value, lease = change
                made, version = (prev.create_revision, prev.version + 1) if prev else (revision, 1)
                after[key] = KeyValue(key, value, made, revision, version, lease)
        self.current = revision
        self.copies[revision] = after

    @rule(key=KEYS, value=VALUES, lease=st.integers(0, 4))
    def put(self, key: bytes, value: bytes, lease: int) -> None:
        request = Txn(then=(Put(key, value, lease),))
        if lease and lease not in self.leases:
            with pytest.raises(LeaseNotFoundError):
                self.apply(request)
            return
        self.write({key: (value, lease)})
        assert self.apply(request).revision == self.current

    @rule(span=SPANS)
    def delete(self, span: tuple[bytes, bytes | None]) -> None:
        before = self.copies[self.current]
        gone = [key for key in before if in_span(key, *span)]
        self.write(dict.fromkeys(gone))
        result = self.apply(Txn(then=(Delete(*span),)))
        assert (result.revision, result.results[0].count) == (self.current, len(gone))

    @rule(key=KEYS, expected=VALUES, puts=st.dictionaries(KEYS, VALUES, max_size=3), span=SPANS)
    def swap(self, key: bytes, expected: bytes, puts: dict[bytes, bytes], span: tuple[bytes, bytes | None]) -> None:
        before = self.copies[self.current]
        holds = key in before and before[key].value == expected
        ops = tuple(Put(name, value) for name, value in puts.items())
        if holds:
            self.write({name: (value, 0) for name, value in puts.items()})
        result = self.apply(Txn((Compare(key, "value", "=", expected),), (*ops, Range(*span)), (Range(*span),)))
        assert isinstance(result, TxnResult)
        assert (result.succeeded, result.revision) == (holds, self.current)
        seen = result.results[-1]
        assert isinstance(seen, RangeResult)
        assert list(seen.kvs) == self.expected_span(span, self.current)

    @rule(span=SPANS, back=st.integers(-2, 12), limit=st.none() | st.integers(1, 4))
    def read(self, span: tuple[bytes, bytes | None], back: int, limit: int | None) -> None:
        revision = self.current - back
        query = Range(*span, revision, limit)
        if revision > self.current:
            with pytest.raises(FutureRevisionError):
                self.apply(query)
        elif revision < max(1, self.compacted):
            with pytest.raises(CompactedError) as caught:
                self.apply(query)
            assert (caught.value.asked, caught.value.compacted) == (revision, self.compacted)
        else:
            wanted = self.expected_span(span, revision)
            result = self.apply(query)
            assert list(result.kvs) == (wanted if limit is None else wanted[:limit])
            assert result.more == (limit is not None and len(wanted) > limit)

    def expected_span(self, span: tuple[bytes, bytes | None], revision: int) -> list[KeyValue]:
        return [kv for key, kv in sorted(self.copies[revision].items()) if in_span(key, *span)]

    @rule(back=st.integers(-1, 10))
    def compact(self, back: int) -> None:
        revision = self.current - back
        if revision > self.current:
            with pytest.raises(FutureRevisionError):
                self.apply(Compact(revision))
            return
        self.apply(Compact(revision))
        self.compacted = max(self.compacted, revision)

    @rule(ttl_s=st.sampled_from([1.0, 2.0, 10.0]))
    def grant(self, ttl_s: float) -> None:
        lease = self.apply(Grant(ttl_s))
        assert isinstance(lease, Lease)
        assert lease.lease_id not in self.leases
        self.leases[lease.lease_id] = (ttl_s, self.now_s + ttl_s)

    @rule(lease=st.integers(1, 4))
    def keep_alive(self, lease: int) -> None:
        if lease not in self.leases:
            with pytest.raises(LeaseNotFoundError):
                self.apply(KeepAlive(lease))
            return
        self.apply(KeepAlive(lease))
        ttl_s, _ = self.leases[lease]
        self.leases[lease] = (ttl_s, self.now_s + ttl_s)
        info = self.apply(TimeToLive(lease))
        assert (info.ttl_s, info.left_s) == (ttl_s, ttl_s)
        assert list(info.keys) == self.keys_of(lease)

    def keys_of(self, lease: int) -> list[bytes]:
        return sorted(key for key, kv in self.copies[self.current].items() if kv.lease == lease)

    def end(self, lease: int) -> None:
        del self.leases[lease]
        self.write(dict.fromkeys(self.keys_of(lease)))

    @rule(lease=st.integers(1, 4))
    def revoke(self, lease: int) -> None:
        if lease not in self.leases:
            with pytest.raises(LeaseNotFoundError):
                self.apply(Revoke(lease))
            return
        self.end(lease)
        assert self.apply(Revoke(lease)).revision == self.current

    @rule(passed_s=st.sampled_from([0.5, 1.0, 3.0]))
    def time_passes(self, passed_s: float) -> None:
        self.now_s += passed_s
        for _, lease in sorted((due_s, lease) for lease, (_, due_s) in self.leases.items() if due_s <= self.now_s):
            self.end(lease)
        effects = Effects()
        self.mvcc.expire(self.now_s, effects)
        self.publish(effects)
        due_s = self.mvcc.leases.next_due_s()
        assert due_s == min((due_s for _, due_s in self.leases.values()), default=None)

    @rule(after=st.integers(-2, 10), span=SPANS)
    def watch(self, after: int, span: tuple[bytes, bytes | None]) -> None:
        start = max(1, self.compacted + after)
        query = WatchQuery(*span, start, with_previous=True)
        if start <= self.compacted:
            with pytest.raises(CompactedError):
                self.mvcc.watcher(query)
            return
        batch = self.mvcc.missed(self.mvcc.watcher(query))
        wanted = [e for e in self.differences() if e.kv.mod_revision >= start and in_span(e.kv.key, *span)]
        assert by_revision(list(batch.events) if batch else []) == by_revision(wanted)

    def differences(self) -> list[Event]:
        """What a watcher of everything has to be told, from the copies."""
        events: list[Event] = []
        for revision in range(2, self.current + 1):
            before, after = self.copies[revision - 1], self.copies[revision]
            for key in sorted({*before, *after}):
                if key not in after:
                    events.append(Event(EventKind.DELETE, KeyValue(key, b"", 0, revision, 0), before[key]))
                elif after[key].mod_revision == revision:
                    events.append(Event(EventKind.PUT, after[key], before.get(key)))
        return events

    @invariant()
    def same(self) -> None:
        assert self.mvcc.revision == self.current
        assert list(self.mvcc.range(Range(*EVERYTHING)).kvs) == self.expected_span(EVERYTHING, self.current)
        assert by_revision(self.told) == by_revision(self.differences()), "the watcher was told everything, once"
        live = sum(len(kv.key) + len(kv.value) for kv in self.copies[self.current].values())
        assert self.mvcc.space.live_bytes == live


def by_revision(events: list[Event]) -> list[tuple[int, bytes, Event]]:
    """Within one revision the order of keys is not promised."""
    return sorted((event.kv.mod_revision, event.kv.key, event) for event in events)


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)


def filled(count: int, value: bytes = b"v") -> tuple[Mvcc, Effects]:
    mvcc, effects = Mvcc(), Effects()
    for _ in range(count):
        mvcc.apply(Txn(then=(Put(b"k", value),)), 0.0, effects)
        mvcc.trim(effects)
    return mvcc, effects


def test_the_history_is_bounded_in_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "HISTORY_MAX_EVENTS", 100)
    mvcc, effects = filled(1000)
    assert 40 <= len(mvcc.space.log) <= 100
    assert mvcc.space.compacted >= 900
    assert effects.compacted == mvcc.space.compacted
    assert len(effects.dropped) == mvcc.space.compacted - 2, "all versions before the one that was there then"


def test_the_history_is_bounded_in_bytes() -> None:
    mvcc, _ = filled(200, bytes(2**20))
    assert mvcc.space.history_bytes <= limits.HISTORY_MAX_BYTES
    assert len(mvcc.space.log) > 20
    assert mvcc.space.live_bytes == 2**20 + 1


def test_renewals_do_not_pile_up() -> None:
    mvcc, effects = Mvcc(), Effects()
    lease = mvcc.apply(Grant(5.0), 0.0, effects)
    assert isinstance(lease, Lease)
    for n in range(10_000):
        mvcc.apply(KeepAlive(lease.lease_id), n * 0.1, effects)
    assert len(mvcc.leases._due) < 100
    assert mvcc.leases.next_due_s() == pytest.approx(999.9 + 5.0)


@pytest.mark.parametrize("error", [CompactedError(3, 5), FutureRevisionError(9, 5), LeaseNotFoundError(7)])
def test_errors_survive_pickling(error: Exception) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
