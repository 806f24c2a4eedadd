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

import msgspec

from linckia.core.mvcc.errors import StoreError
from linckia.core.mvcc.records import Compare, Op, Txn, TxnResult
from linckia.gcs.chunks import Chunks, joined
from linckia.protocol import messages as m
from linckia.store.errors import StoreUnavailableError, UnknownOutcomeError
from linckia.store.interface import Store

SILENCE = (StoreUnavailableError, UnknownOutcomeError)
RECORDS_PREFIX = b"gcs/"
Encoder = Callable[[bytes], "bytes | None"]


class Speaker(Protocol):
    """Who transmits: a `NodeLink`."""

    def transmit(self, message: m.Message) -> None: ...


class Mending(msgspec.Struct, frozen=True):
    """How a leader makes sure, after a silence, that its earlier writes are done by now or never (core/leadership)."""

    claim: Callable[[], Txn]
    """Changes what the fence looks at, if we still lead."""
    fence: Callable[[int], Compare]
    """What to compare after a claim that was done at that revision."""
    later: Callable[[int, Callable[[], None]], object]
    """Call after a pause, the longer the more attempts there were (from 1)."""


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
    """``fence`` is compared by every write. ``on_failed(reason)`` is called once when the store takes no more of us:
    another head leads, or it is broken. What was not acknowledged by then is never said.

    A store that does not answer, or not whether it wrote, ends nothing: what is open is written again. Before that
    ``mending`` makes sure that no earlier attempt is still carried out, behind a later write.
    """

    def __init__(
        self, store: Store, fence: Compare, on_failed: Callable[[str], None], mending: Mending | None = None
    ) -> None:
        super().__init__()
        self._store, self._fence, self._on_failed, self._mending = store, fence, on_failed, mending
        self._touched: dict[tuple[bytes, bytes], None] = {}
        self._said: list[tuple[Speaker, m.Message]] = []
        self._open: deque[_Write] = deque()  # in order, what is not acknowledged, and what that holds back
        self._sent = 0  # so many of them are on their way
        self._is_broken = False  # nothing is sent until it is mended
        self._mends = 0  # attempts, since the last one that worked
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
        elif self._open:
            self._open[-1].said += said
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
            self._submit(_Write(tuple(batch), []))
        self._submit(_Write(tuple(batches[-1]), said))

    def _submit(self, write: _Write) -> None:
        self._open.append(write)
        self._send()

    def _send(self) -> None:
        """All that is open, or as much as one transaction takes. The next one waits for its answer: otherwise a later
        turn could be in the store without an earlier one.
        """
        if self._sent or not self._open or self._is_broken:
            return
        self._sent, ops = joined((write.ops for write in self._open), self._store.limits)
        self._store.txn(Txn((self._fence,), ops), self._done)

    def _done(self, answer: TxnResult | StoreError) -> None:
        sent, self._sent = self._sent, 0
        if self.failed:
            return
        if isinstance(answer, TxnResult) and answer.succeeded:
            self.revision = answer.revision
            said = [self._open.popleft().said for _ in range(sent)]
            self._send()
            for each in said:
                _transmit(each)
        elif self._can_mend(answer):
            self._is_broken = True
            self._mend()
        else:
            self._fail(_reason(answer))

    def _fail(self, reason: str) -> None:
        self.failed = reason
        self._open.clear()
        self._said.clear()
        self._on_failed(reason)

    # --- a store that did not say whether it wrote --------------------------------------------------------------------

    def _can_mend(self, answer: TxnResult | StoreError) -> bool:
        """A comparison that does not hold may be our own doing: a claim that was carried out late."""
        silent = not isinstance(answer, StoreError) or isinstance(answer, SILENCE)
        return self._mending is not None and silent

    def _mend(self) -> None:
        if self._mending is not None and not self.failed:
            self._store.txn(self._mending.claim(), self._mended)

    def _mended(self, answer: TxnResult | StoreError) -> None:
        if self.failed or self._mending is None:
            return
        if isinstance(answer, StoreError):
            if self._can_mend(answer):
                self._mends += 1
                self._mending.later(self._mends, self._mend)
            else:
                self._fail(_reason(answer))
        elif not answer.succeeded:
            self._fail(_reason(answer))
        else:
            self._fence = self._mending.fence(answer.revision)
            self._is_broken, self._mends = False, 0
            self._send()


class _Write(msgspec.Struct):
    """A transaction, and what is said when it is in the store."""

    ops: tuple[Op, ...]
    said: list[tuple[Speaker, m.Message]]


def _reason(answer: TxnResult | StoreError) -> str:
    return f"the store did not take a change: {answer}" if isinstance(answer, StoreError) else "another head leads"


def _transmit(said: list[tuple[Speaker, m.Message]]) -> None:
    for who, message in said:
        who.transmit(message)
