"""Heads of a simulated fleet that die and are replaced, over one store in memory. A head that is killed takes its
tables with it, and everything that was not answered by the store; the next one has the store and what the nodes tell.

The election is not simulated here (tests/sim/test_leadership.py does that): whoever is next leads at once.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any, cast

from linckia.core.mvcc.records import KEYSPACE_END, Compare, Delete, Put, Range, RangeResult, Txn, TxnResult
from linckia.gcs.journal import Journal
from linckia.gcs.restoring import restore
from linckia.node.head import HeadRoom
from linckia.rpc.reactor import Reactor
from linckia.store.interface import Store
from linckia.store.memory import MemoryStore

if TYPE_CHECKING:
    from linckia.rpc.reactor import Timer
    from linckia.testing.fleet.world import Fleet

LEADER = b"leader"
COMMIT_MAX_S = 0.01


class SlowStore:
    """The store as one head sees it: what it asks for is done after a while, and not at all when it is dead by then."""

    def __init__(self, head: SimHead, store: MemoryStore, rng: Random) -> None:
        self._head, self._store, self._rng = head, store, rng
        self.limits = store.limits
        self._last_due_s = 0.0

    def txn(self, txn: Txn, done: Callable[[Any], None]) -> None:
        """Carried out after a while, in order, if the head lives until then; answered after another."""
        self._later(lambda: self._store.txn(txn, lambda answer: self._later(lambda: done(answer))))

    def _later(self, callback: Callable[[], None]) -> None:
        clock = self._head.fleet.clock
        self._last_due_s = max(self._last_due_s, clock.now_s + self._rng.uniform(0.0, COMMIT_MAX_S))
        self._head.call_later(self._last_due_s - clock.now_s, callback)


class SimHead:
    """One life of a head process, with the surface of the reactor that its room uses."""

    def __init__(self, fleet: Fleet, store: MemoryStore, life: int) -> None:
        self.fleet, self.alive = fleet, True
        self.name = b"head %d" % life
        epoch = _take_over(fleet, store, self.name)
        fence = Compare(LEADER, "create_revision", "=", epoch)
        slow = SlowStore(self, store, Random(f"store {fleet.seed} {life}"))
        self.journal = Journal(cast(Store, slow), fence, self._deposed)
        self.room = HeadRoom(
            cast(Reactor, self), "sim", fleet._each, epoch=epoch, outbox=self.journal, instance=self.name
        )
        fleet.dress(self.room)
        self.call_later(0.0, lambda: restore(self.room, _everything(fleet, store)))

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
