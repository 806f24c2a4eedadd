"""Output commit: nothing is said before what it follows from is written, and everything is said in order."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, cast

import pytest

from linckia.core.mvcc.records import Compare, Delete, Put, Txn, TxnResult
from linckia.gcs.chunks import PIECES_PREFIX, WHOLE, Chunks, whole
from linckia.gcs.journal import Journal, Mending, Outbox
from linckia.protocol import messages as m
from linckia.store.errors import StoreError, StoreFailedError, StoreUnavailableError, UnknownOutcomeError
from linckia.store.interface import Store, StoreLimits

FENCE = Compare(b"leader", "mod_revision", "=", 7)
CLAIM = Txn((), (Put(b"leader", b"me"),))


class SlowStore:
    """Takes transactions; the test answers them, in order."""

    limits = StoreLimits(4, 10_000_000)

    def __init__(self) -> None:
        self.waiting: list[tuple[Txn, Callable[[Any], None]]] = []
        self.written: dict[bytes, bytes] = {}
        self.revision = 10

    def txn(self, txn: Txn, done: Callable[[Any], None]) -> None:
        self.waiting.append((txn, done))

    def answer(self, *, succeeded: bool = True) -> Txn:
        txn, done = self.waiting.pop(0)
        for op in txn.then if succeeded else ():
            if isinstance(op, Put):
                self.written[op.key] = op.value
            elif isinstance(op, Delete):
                self.written.pop(op.start, None)
        self.revision += 1
        done(TxnResult(self.revision, succeeded))
        return txn


class Ear:
    """Hears what is transmitted."""

    def __init__(self) -> None:
        self.heard: list[int] = []

    def transmit(self, message: m.Message) -> None:
        self.heard.append(cast(m.Pong, message).rid)


def fence_at(revision: int) -> Compare:
    return Compare(b"leader", "mod_revision", "=", revision)


class Desk:
    """A journal with one table, and who listens."""

    def __init__(self, *, mends: bool = False) -> None:
        self.store, self.ear, self.failures = SlowStore(), Ear(), list[str]()
        self.rows: dict[bytes, bytes] = {}
        self.later: list[tuple[int, Callable[[], None]]] = []
        mending = Mending(lambda: CLAIM, fence_at, lambda attempt, callback: self.later.append((attempt, callback)))
        self.journal = Journal(cast(Store, self.store), FENCE, self.failures.append, mending if mends else None)
        self.journal.tables[b"t"] = self.rows.get

    def change(self, key: bytes, value: bytes | None) -> None:
        if value is None:
            self.rows.pop(key, None)
        else:
            self.rows[key] = value
        self.journal.touch(b"t", key)

    def say(self, number: int) -> None:
        self.journal.say(self.ear, m.Pong(number))


def test_what_follows_from_a_change_waits_for_it() -> None:
    desk = Desk()
    desk.change(b"a", b"1")
    desk.say(1)
    desk.journal.end_turn()
    assert desk.ear.heard == []
    txn = desk.store.answer()
    assert txn.compare == (FENCE,), "an old leader writes nothing"
    assert desk.store.written == {b"gcs/t/a": WHOLE + b"1"}
    assert desk.ear.heard == [1]


def test_a_question_waits_for_what_it_saw_and_a_quiet_turn_for_nothing() -> None:
    desk = Desk()
    desk.say(1)
    desk.journal.end_turn()
    assert desk.ear.heard == [1], "nothing was changed"
    desk.change(b"a", b"1")
    desk.journal.end_turn()
    desk.say(2)
    desk.journal.end_turn()
    assert desk.ear.heard == [1], "it may tell of a change that is not written"
    desk.store.answer()
    assert desk.ear.heard == [1, 2]


def test_turns_that_come_while_one_is_written_go_together() -> None:
    """One after the other: else another head could find a later turn in the store without an earlier one."""
    desk = Desk()
    for number in range(3):
        desk.change(b"a", b"%d" % number)
        desk.change(b"only %d" % number, b"x")
        desk.say(number)
        desk.journal.end_turn()
    assert len(desk.store.waiting) == 1
    desk.store.answer()
    assert desk.ear.heard == [0]
    together = desk.store.answer()
    assert desk.ear.heard == [0, 1, 2]
    names = [op.key for op in together.then if isinstance(op, Put)]
    assert sorted(names) == [b"gcs/t/a", b"gcs/t/only 1", b"gcs/t/only 2"], "of each record the last"
    assert desk.store.written[b"gcs/t/a"] == WHOLE + b"2"


def test_a_deposed_head_says_nothing_more() -> None:
    desk = Desk()
    desk.change(b"a", b"1")
    desk.say(1)
    desk.journal.end_turn()
    desk.say(2)
    desk.journal.end_turn()
    desk.store.answer(succeeded=False)
    desk.say(3)
    desk.journal.end_turn()
    assert desk.ear.heard == []
    assert desk.failures == ["another head leads"]


def test_a_store_that_is_away_ends_the_term_of_who_cannot_mend() -> None:
    desk = Desk()
    desk.change(b"a", b"1")
    desk.change(b"b", b"2")
    desk.journal.end_turn()
    desk.store.waiting[0][1](StoreUnavailableError("no server answers"))
    assert len(desk.failures) == 1
    assert "no server answers" in desk.failures[0]


# --- a store that does not say whether it wrote -----------------------------------------------------------------------

LOST = [UnknownOutcomeError("the connection broke"), StoreUnavailableError("no server answers")]


def desk_with_open_writes() -> Desk:
    """Three turns are open, the first is on its way, and each holds back what was said."""
    desk = Desk(mends=True)
    for number in range(3):
        desk.change(b"a", b"%d" % number)
        desk.say(number)
        desk.journal.end_turn()
    return desk


@pytest.mark.row("S11")
@pytest.mark.parametrize("lost", LOST, ids=["unknown", "unavailable"])
def test_what_is_open_is_written_again_behind_a_claim(lost: StoreError) -> None:
    desk = desk_with_open_writes()
    desk.store.answer()
    desk.store.waiting.pop(0)[1](lost)
    assert [txn for txn, _ in desk.store.waiting] == [CLAIM]
    desk.change(b"b", b"x")
    desk.say(3)
    desk.journal.end_turn()
    assert desk.ear.heard == [0], "nobody knows whether the others are in the store"
    assert desk.store.answer() is CLAIM
    again = desk.store.answer()
    assert again.compare == (fence_at(desk.store.revision - 1),), "no earlier attempt can follow"
    assert again.then == (Put(b"gcs/t/a", WHOLE + b"2"), Put(b"gcs/t/b", WHOLE + b"x"))
    assert (desk.ear.heard, desk.failures) == ([0, 1, 2, 3], [])


def test_a_claim_is_tried_until_the_store_answers() -> None:
    desk = desk_with_open_writes()
    desk.store.waiting.pop(0)[1](LOST[1])
    for attempt in (1, 2, 3):
        desk.store.waiting.pop(0)[1](LOST[attempt % 2])
        assert desk.store.waiting == []
        made, callback = desk.later.pop()
        assert made == attempt
        callback()
    desk.store.answer()
    desk.store.answer()
    assert (desk.ear.heard, desk.failures) == ([0, 1, 2], [])


def test_a_claim_that_was_carried_out_late_costs_another_one() -> None:
    """The comparison does not hold, and it is our own doing: the first claim was done behind the second."""
    desk = desk_with_open_writes()
    desk.store.answer(succeeded=False)
    assert desk.store.answer() is CLAIM
    desk.store.answer()
    assert (desk.ear.heard, desk.failures) == ([0, 1, 2], [])


def test_who_cannot_claim_leads_no_more() -> None:
    desk = desk_with_open_writes()
    desk.store.answer(succeeded=False)
    assert desk.store.answer(succeeded=False) is CLAIM
    assert (desk.ear.heard, desk.failures, desk.store.waiting) == ([], ["another head leads"], [])


def test_a_store_that_is_broken_is_not_asked_again() -> None:
    desk = desk_with_open_writes()
    desk.store.waiting.pop(0)[1](StoreFailedError("the disk is gone"))
    assert len(desk.failures) == 1
    assert "the disk is gone" in desk.failures[0]


def test_a_turn_with_many_changes_is_cut_and_said_after_the_last_piece() -> None:
    desk = Desk()
    for number in range(10):
        desk.change(b"%d" % number, b"x")
    desk.say(1)
    desk.journal.end_turn()
    assert len(desk.store.answer().then) == 4
    assert len(desk.store.answer().then) == 4
    assert desk.ear.heard == []
    assert len(desk.store.answer().then) == 2
    assert desk.ear.heard == [1]


def test_what_is_gone_is_deleted() -> None:
    desk = Desk()
    desk.change(b"a", b"1")
    desk.journal.end_turn()
    desk.store.answer()
    desk.change(b"a", None)
    desk.journal.end_turn()
    desk.store.answer()
    assert desk.store.written == {}


def test_without_a_store_everything_passes() -> None:
    outbox, ear = Outbox(), Ear()
    outbox.touch(b"t", b"a")
    outbox.say(ear, m.Pong(1))
    assert ear.heard == [1]


# --- large records ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 512 * 1024, 512 * 1024 + 1, 3_000_000])
def test_a_large_record_is_cut_and_found_whole(size: int) -> None:
    value = Random(size).randbytes(size)
    chunks, stored = Chunks(StoreLimits(128, 1 << 20)), dict[bytes, bytes]()
    batches = chunks.batches(chunks.put(b"gcs/t/big", value))
    for batch in batches:
        assert sum(len(op.value) for op in batch if isinstance(op, Put)) <= 1 << 20
        carry_out(stored, batch)
    assert whole(stored, b"gcs/") == {b"gcs/t/big": value}


def test_pieces_go_with_their_record_also_under_the_next_head() -> None:
    first, stored = Chunks(StoreLimits(128, 1 << 20)), dict[bytes, bytes]()
    carry_out(stored, first.put(b"gcs/t/a", b"x" * 1_000_000))
    second = Chunks(StoreLimits(128, 1 << 20))
    second.adopt(stored)
    carry_out(stored, second.put(b"gcs/t/a", b"y" * 2_000_000))
    assert whole(stored, b"gcs/") == {b"gcs/t/a": b"y" * 2_000_000}
    carry_out(stored, second.delete(b"gcs/t/a"))
    assert stored == {}


def test_a_missing_piece_is_named() -> None:
    chunks, stored = Chunks(StoreLimits(128, 1 << 20)), dict[bytes, bytes]()
    carry_out(stored, chunks.put(b"gcs/t/a", b"x" * 1_000_000))
    del stored[next(key for key in stored if key.startswith(PIECES_PREFIX))]
    with pytest.raises(LookupError, match="gcs/t/a"):
        whole(stored, b"gcs/")


def carry_out(stored: dict[bytes, bytes], ops: list[Any]) -> None:
    for op in ops:
        if isinstance(op, Put):
            stored[op.key] = op.value
        else:
            stored.pop(op.start, None)
