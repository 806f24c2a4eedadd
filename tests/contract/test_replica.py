"""A standby's copy of the store: what is there, what follows, and when it has everything. All backends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest
from stores import EtcdKit, Kit, MemoryKit

from linckia.base import limits
from linckia.core.mvcc.records import Delete, Put, Txn, WatchBatch
from linckia.node.following import SpanFollower
from linckia.node.replica import MARK, Replica
from linckia.store.errors import CompactedError, StoreClosedError, StoreError
from linckia.testing.clock import VirtualClock

DATA = b"data/"


class Standby:
    """A replica whose callbacks may come in the store's threads: its own lock-free life is the reactor's elsewhere."""

    def __init__(self, kit: Kit, prefix: bytes = DATA) -> None:
        self.kit = kit
        self.errors: list[StoreError] = []
        self.clock = kit.clock if isinstance(kit, MemoryKit) else VirtualClock()
        self.replica = Replica(kit.raw, prefix, self.errors.append, self.clock.call_later, Random(1))
        self.replica.start()

    def until_at(self, revision: int) -> None:
        reached: list[int] = []
        self.replica.when_at(revision, lambda: reached.append(self.replica.revision))
        self.kit.until(lambda: reached or self.step())
        assert reached[0] >= revision

    def step(self) -> None:
        if not isinstance(self.kit, MemoryKit):
            self.clock.step()

    def there(self) -> dict[bytes, bytes]:
        """What the store has."""
        return {kv.key: kv.value for kv in self.kit.store.prefix(DATA).kvs if kv.key != DATA + MARK}


@pytest.fixture
def standby(kit: Kit) -> Iterator[Callable[..., Standby]]:
    made: list[Standby] = []

    def make(**how: Any) -> Standby:
        made.append(Standby(kit, **how))
        return made[-1]

    yield make
    for each in made:
        each.replica.close()


def test_what_is_there_and_what_follows(kit: Kit, standby: Callable[..., Standby]) -> None:
    kit.store.put(DATA + b"a", b"1")
    last = kit.store.put(DATA + b"b", b"1")
    kit.store.put(b"elsewhere", b"1")
    copy = standby()
    copy.until_at(last)
    assert copy.replica.records == {DATA + b"a": b"1", DATA + b"b": b"1"}
    kit.store.put(DATA + b"a", b"2")
    last = kit.store.txn(Txn(then=(Delete(DATA + b"b"), Put(DATA + b"c", b"1")))).revision
    copy.until_at(last)
    assert copy.replica.records == {DATA + b"a": b"2", DATA + b"c": b"1"}
    assert copy.errors == []


def test_it_is_read_in_pages_at_one_revision(
    kit: Kit, standby: Callable[..., Standby], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "REPLICA_PAGE_KEYS", 7)
    kit.store.txn(Txn(then=tuple(Put(DATA + b"%03d" % n, b"%d" % n) for n in range(100))))
    copy = standby()
    last = 0
    for n in range(20):
        last = kit.store.txn(Txn(then=(Put(DATA + b"%03d" % n, b"new"), Delete(DATA + b"%03d" % (99 - n))))).revision
    copy.until_at(last)
    assert copy.replica.records == copy.there()
    assert len(copy.replica.records) == 80


@pytest.mark.row("S4")
def test_it_knows_when_it_has_everything_though_nothing_changed_in_its_span(
    kit: Kit, standby: Callable[..., Standby]
) -> None:
    """A term that begins with a key outside of the span."""
    kit.store.put(DATA + b"a", b"1")
    copy = standby()
    copy.until_at(1)
    epoch = 0
    for n in range(5):
        epoch = kit.store.put(b"leader", b"%d" % n)
    copy.until_at(epoch)
    assert copy.replica.records == {DATA + b"a": b"1"}
    kit.until(lambda: kit.store.get(DATA + MARK) is None)
    copy.until_at(epoch)


def test_the_first_read_tells_by_itself(
    kit: Kit, standby: Callable[..., Standby], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written before: it may be another cluster's store."""
    monkeypatch.setattr(limits, "REPLICA_PAGE_KEYS", 1)
    kit.store.txn(Txn(then=tuple(Put(DATA + b"%03d" % n, b"") for n in range(20))))
    now = kit.store.put(b"elsewhere", b"")
    standby().until_at(now)
    assert kit.store.status().revision == now


def test_callers_are_called_in_order_of_revisions(kit: Kit, standby: Callable[..., Standby]) -> None:
    copy = standby()
    now = kit.store.put(b"leader", b"")
    called: list[int] = []
    for ahead in (3, 1, 2):
        copy.replica.when_at(now + ahead, lambda ahead=ahead: called.append(ahead))  # type: ignore[misc]
    for n in range(3):
        kit.store.put(DATA + b"a", b"%d" % n)
    kit.until(lambda: len(called) == 3 or copy.step())
    assert called == [1, 2, 3]


def test_lost_history_is_no_loss(kit: Kit, standby: Callable[..., Standby], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its watch is refused because the history is compacted: it reads what is there."""
    broken: list[bool] = []
    real = SpanFollower._on_batch

    def on_batch(self: SpanFollower, turn: int, batch: WatchBatch | StoreError) -> None:
        if isinstance(batch, WatchBatch) and not broken:
            batch = CompactedError(1, batch.revision)
        if isinstance(batch, CompactedError):  # etcd's own, when the watch came too late
            broken.append(True)
        real(self, turn, batch)

    monkeypatch.setattr(SpanFollower, "_on_batch", on_batch)
    kit.store.put(DATA + b"a", b"1")
    copy = standby()
    copy.until_at(1)
    kit.store.put(DATA + b"a", b"2")
    last = kit.store.delete(DATA + b"a")
    kit.store.compact(last)
    copy.until_at(last)
    assert broken
    assert copy.replica.records == {}
    copy.until_at(kit.store.put(DATA + b"b", b"1"))
    assert copy.replica.records == {DATA + b"b": b"1"}


def test_the_whole_store_without_ever_writing_a_mark(kit: Kit, standby: Callable[..., Standby]) -> None:
    """With the leader key in its span the election itself is what it waits for."""
    if isinstance(kit, EtcdKit):
        pytest.skip("an answer of etcd may be there before its event")
    copy = standby(prefix=b"")
    copy.until_at(1)
    epoch = kit.store.put(b"leader", b"")
    copy.until_at(epoch)
    assert copy.replica.records == {b"leader": b""}
    assert kit.store.status().revision == epoch


def test_a_closed_store_ends_it_by_name(kit: Kit, standby: Callable[..., Standby]) -> None:
    copy = standby()
    copy.until_at(kit.store.put(DATA + b"a", b"1"))
    kit.close()
    kit.until(lambda: copy.errors)
    assert isinstance(copy.errors[0], StoreClosedError)
    assert len(copy.errors) == 1


def test_records_are_never_a_mixture(kit: Kit, standby: Callable[..., Standby]) -> None:
    """A transaction that moves a value is seen whole, at every revision."""
    copy = standby()
    seen: list[int] = []
    last = 0
    for n in range(50):
        here, gone = DATA + b"%d" % (n % 3), DATA + b"%d" % ((n + 2) % 3)
        last = kit.store.txn(Txn(then=(Put(here, b"%d" % n), Delete(gone)))).revision
        copy.replica.when_at(last, lambda: seen.append(len(copy.replica.records)))
    copy.until_at(last)
    assert copy.replica.records == copy.there()
    assert set(seen) == {1}
