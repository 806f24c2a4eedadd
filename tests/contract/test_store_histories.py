"""Concurrent clients of every backend: what they saw has one order that respects real time (linearizability)."""

from __future__ import annotations

import itertools
import queue
import random
from typing import Any

import pytest
from stores import Kit

from linckia.core.mvcc.records import (
    KEYSPACE_END,
    Compare,
    Delete,
    Put,
    Range,
    RangeResult,
    Txn,
    WatchQuery,
)
from linckia.store.errors import StoreError
from linckia.store.interface import Store
from linckia.testing.linearizability import Operation, Read, Swap, Write, check_each, register

CLIENTS, CALLS, KEYS, VALUES = 8, 60, 3, 4


class Client:
    """Calls one thing after the other, each when the one before it is answered."""

    def __init__(self, store: Store, rng: random.Random, tick: itertools.count[int], answered: Any) -> None:
        self.store, self.rng, self.tick, self.answered = store, rng, tick, answered
        self.left = CALLS
        self.histories: dict[bytes, list[Operation]] = {}
        self.writes: list[tuple[int, int, int]] = []  # called, returned, revision

    def call(self) -> None:
        """The next one."""
        self.left -= 1
        key = b"k%d" % self.rng.randrange(KEYS)
        value, expected = (b"v%d" % self.rng.randrange(VALUES) for _ in range(2))
        called = next(self.tick)
        match self.rng.randrange(5):
            case 0 | 1:
                query = Range(key)
                self.store.range(query, lambda answer: self.done(key, Read(), called, answer))
            case 2:
                put = Txn(then=(Put(key, value),))
                self.store.txn(put, lambda answer: self.done(key, Write(value), called, answer))
            case 3:
                compare = Compare(key, "value", "=", expected)
                swap = Txn((compare,), (Put(key, value),), (Range(key),))
                self.store.txn(swap, lambda answer: self.done(key, Swap(expected, value), called, answer))
            case _:
                delete = Txn(then=(Delete(key),))
                self.store.txn(delete, lambda answer: self.done(key, Write(None), called, answer))

    def done(self, key: bytes, argument: Any, called: int, answer: Any) -> None:
        """In whatever thread."""
        returned = next(self.tick)
        assert not isinstance(answer, StoreError), answer
        seen: Any = None
        if isinstance(answer, RangeResult):
            seen = answer.kvs[0].value if answer.kvs else None
        elif isinstance(argument, Swap):
            seen = answer.succeeded
        wrote = (isinstance(argument, Write) and argument.value is not None) or (isinstance(argument, Swap) and seen)
        if wrote:
            self.writes.append((called, returned, answer.revision))
        self.histories.setdefault(key, []).append(Operation(argument, seen, called, returned))
        self.answered.put(self)


@pytest.mark.parametrize("seed", range(3))
def test_histories_are_linearizable(kit: Kit, seed: int) -> None:
    rng, tick = random.Random(seed), itertools.count()
    answered: queue.SimpleQueue[Client] = queue.SimpleQueue()
    first = kit.store.put(b"start", b"")
    watch = kit.store.watch(WatchQuery(b"", KEYSPACE_END, first + 1))
    clients = [Client(kit.raw, random.Random(rng.random()), tick, answered) for _ in range(CLIENTS)]
    for client in clients:
        client.call()
    running = CLIENTS
    while running:
        kit.until(lambda: not answered.empty())
        client = answered.get()
        if client.left:
            client.call()
        else:
            running -= 1
    histories: dict[bytes, list[Operation]] = {}
    for client in clients:
        for key, history in client.histories.items():
            histories.setdefault(key, []).extend(history)
    assert sum(map(len, histories.values())) == CLIENTS * CALLS
    wrong = check_each(histories, None, register)
    assert wrong is None, f"key {wrong[0]!r}: {wrong[1].text()}"
    writes = sorted(write for client in clients for write in client.writes)
    check_revisions(writes)
    told: set[int] = set()
    last = max(revision for _, _, revision in writes)
    while not told or max(told) < last:
        told.update(event.kv.mod_revision for event in watch.next().events)
    assert {revision for _, _, revision in writes} <= told


def check_revisions(writes: list[tuple[int, int, int]]) -> None:
    """A write that was called after another was answered has a higher revision."""
    for (_, returned, earlier), (called, _, later) in itertools.combinations(writes, 2):
        assert called < returned or earlier < later, "revisions go back in time"
