"""Heads of a simulated fleet that die and are replaced, over one store in memory. A head that is killed takes its
tables with it, and everything that was not answered by the store; the next one has the store and what the nodes tell.
Its way to the store is slow and, in half of all histories, loses answers (a write whose answer is lost was done, was
not, or is done later); it may be cut for a while, too.

The election is not simulated here (tests/sim/test_leadership.py does that): whoever is next leads at once.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any, cast

from linckia.core.mvcc.records import KEYSPACE_END, Compare, Delete, Put, Range, RangeResult, Txn, TxnResult
from linckia.gcs.journal import Journal, Mending
from linckia.gcs.restoring import restore
from linckia.node.head import HeadRoom
from linckia.rpc.reactor import Reactor
from linckia.store.memory import MemoryStore
from linckia.testing.flaky_store import FlakyStore, StoreFaults

if TYPE_CHECKING:
    from linckia.rpc.reactor import Timer
    from linckia.testing.fleet.world import Fleet

LEADER = b"leader"
MEND_AFTER_S = 0.05


class SimHead:
    """One life of a head process, with the surface of the reactor that its room uses."""

    def __init__(self, fleet: Fleet, store: MemoryStore, life: int) -> None:
        self.fleet, self.alive = fleet, True
        self.name = b"head %d" % life
        epoch = _take_over(fleet, store, self.name)
        rng = Random(f"store {fleet.seed} {life}")
        self.way = FlakyStore(store, fleet.clock, rng, fleet.store_faults, self.run)
        self.journal = Journal(self.way, _fence(epoch), self._deposed, self._mending(epoch))
        self.room = HeadRoom(
            cast(Reactor, self), "sim", fleet._each, epoch=epoch, outbox=self.journal, instance=self.name
        )
        fleet.dress(self.room)
        self.has_restored = False
        self.call_later(0.0, lambda: self._restore(store))

    def _mending(self, epoch: int) -> Mending:
        claim = Txn((Compare(LEADER, "create_revision", "=", epoch),), (Put(LEADER, self.name),))
        return Mending(lambda: claim, _fence, lambda _attempt, mend: self.call_later(MEND_AFTER_S, mend))

    def _restore(self, store: MemoryStore) -> None:
        restore(self.room, _everything(self.fleet, store))
        self.has_restored = True

    def cut(self, for_s: float) -> None:
        """Its store does not hear it for a while."""
        self.way.cut(is_cut=True)
        self.call_later(for_s, lambda: self.way.cut(is_cut=False))

    def _deposed(self, reason: str) -> None:
        raise AssertionError(f"{self.name!r} lives and may not write: {reason}")

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Once after ``delay_s``, in a turn of its own, if it still lives."""
        return self.fleet.clock.call_later(delay_s, lambda: self.run(callback))

    def call_soon(self, callback: Callable[[], None]) -> None:
        """In a later turn."""
        self.call_later(0.0, callback)

    def run(self, callback: Callable[[], None]) -> None:
        """One turn of its reactor."""
        if self.alive:
            callback()
            self.journal.end_turn()


def store_faults(rng: Random) -> StoreFaults:
    """Of one history. An answer that is lost is waited for, as a client does; longer than most things take here."""
    return StoreFaults(delay_s=0.004, lost=rng.choice([0.0, rng.uniform(0.01, 0.1)]), timeout_s=0.2)


def _fence(revision: int) -> Compare:
    return Compare(LEADER, "mod_revision", "=", revision)


def _take_over(fleet: Fleet, store: MemoryStore, name: bytes) -> int:
    """The revision at which the leader's key was made for this head."""
    _now(fleet, store, Txn((), (Delete(LEADER),)))
    answer = _now(fleet, store, Txn((), (Put(LEADER, name),)))
    assert isinstance(answer, TxnResult)
    return answer.revision


def _everything(fleet: Fleet, store: MemoryStore) -> dict[bytes, bytes]:
    answer = _now(fleet, store, Range(b"gcs/", KEYSPACE_END))
    assert isinstance(answer, RangeResult)
    return {kv.key: kv.value for kv in answer.kvs}


def _now(fleet: Fleet, store: MemoryStore, request: Txn | Range) -> Any:
    """The store carries out when it is asked; only its answer takes a turn. Other parts of the fleet may run in it."""
    answers: list[Any] = []
    if isinstance(request, Txn):
        store.txn(request, answers.append)
    else:
        store.range(request, answers.append)
    while not answers:
        fleet.clock.step()
    return answers[0]
