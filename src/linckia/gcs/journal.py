"""Output commit: what a head says is held back until what it follows from is in the store.

The services change their tables in memory and post messages as if there were no store. They `touch` the records that
they change; at the end of each turn of the reactor the touched records go into one transaction (which also compares the
leader's key: an old leader writes nothing), and what was said since leaves, in order, when the store has answered. So
an acknowledged change is always in the store, a question never shows what might still be lost, and services need no
continuation. Turns that touch nothing wait for nothing.

Without a store (embedded clusters, the simulator's plain head) `Outbox` passes everything through.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from linckia.core.mvcc.errors import StoreError
from linckia.core.mvcc.records import Compare, Op, Txn, TxnResult
from linckia.gcs.chunks import Chunks
from linckia.protocol import messages as m
from linckia.store.interface import Store

RECORDS_PREFIX = b"gcs/"
Encoder = Callable[[bytes], "bytes | None"]


class Speaker(Protocol):
    """Who transmits: a `NodeLink`."""

    def transmit(self, message: m.Message) -> None: ...


class Outbox:
    """Passes on at once. ``tables``: name -> what encodes the record of a key now (None: it is gone)."""

    def __init__(self) -> None:
        self.tables: dict[bytes, Encoder] = {}

    def touch(self, table: bytes, key: bytes = b"") -> None:
        """That record has changed, or is new, or gone."""

    def say(self, who: Speaker, message: m.Message) -> None:
        """Transmit, after what was said before."""
        who.transmit(message)

    def end_turn(self) -> None:
        """Whoever ran in this turn is done."""


class Journal(Outbox):
    """``on_failed(reason)`` is called once when the store takes no more of us: another head leads, or it is away. What
    was not acknowledged by then is never said.
    """

    def __init__(self, store: Store, fence: Compare, on_failed: Callable[[str], None]) -> None:
        super().__init__()
        self._store, self._fence, self._on_failed = store, fence, on_failed
        self._touched: dict[tuple[bytes, bytes], None] = {}
        self._said: list[tuple[Speaker, m.Message]] = []
        self._waiting: deque[list[tuple[Speaker, m.Message]]] = deque()  # per transaction under way, what it holds back
        self._chunks = Chunks(store.limits)
        self.failed = ""
        self.revision = 0

    def adopt(self, stored: dict[bytes, bytes]) -> None:
        """What the store has already: before the first turn."""
        self._chunks.adopt(stored)

    def touch(self, table: bytes, key: bytes = b"") -> None:
        """See `Outbox`."""
        self._touched[table, key] = None

    def say(self, who: Speaker, message: m.Message) -> None:
        """See `Outbox`."""
        self._said.append((who, message))

    def end_turn(self) -> None:
        """Write what was touched; what was said follows it."""
        if self.failed or not (self._touched or self._said):
            return
        said, self._said = self._said, []
        if self._touched:
            self._write(said)
        elif self._waiting:
            self._waiting[-1] += said
        else:
            _transmit(said)

    def _write(self, said: list[tuple[Speaker, m.Message]]) -> None:
        touched, self._touched = self._touched, {}
        ops: list[Op] = []
        for table, key in touched:
            value = self.tables[table](key)
            name = RECORDS_PREFIX + table + b"/" + key
            ops += self._chunks.put(name, value) if value is not None else self._chunks.delete(name)
        batches = self._chunks.batches(ops)
        for batch in batches[:-1]:
            self._submit(batch, [])
        self._submit(batches[-1], said)

    def _submit(self, ops: list[Op], said: list[tuple[Speaker, m.Message]]) -> None:
        self._waiting.append(said)
        self._store.txn(Txn((self._fence,), tuple(ops)), self._done)

    def _done(self, answer: TxnResult | StoreError) -> None:
        """In the order of the transactions."""
        if self.failed:
            return
        if isinstance(answer, StoreError):
            self._fail(f"the store did not take a change: {answer}")
        elif not answer.succeeded:
            self._fail("another head leads")
        else:
            self.revision = answer.revision
            _transmit(self._waiting.popleft())

    def _fail(self, reason: str) -> None:
        self.failed = reason
        self._waiting.clear()
        self._said.clear()
        self._on_failed(reason)


def _transmit(said: list[tuple[Speaker, m.Message]]) -> None:
    for who, message in said:
        who.transmit(message)
