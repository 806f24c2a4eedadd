"""A head's leadership over the metadata store: carries out what ``core/leadership`` decides, keeps the list of heads.

The head process is built around it: it serves from ``on_elected`` to ``on_deposed`` while ``is_serving``, puts
``fence`` into every write and ``epoch`` into every command. Everything happens in the reactor's thread.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from linckia.base.backoff import UnitRandom
from linckia.base.limits import LEADER_ALONE_TTL_S, LEADER_TTL_S
from linckia.core.leadership import commands as c
from linckia.core.leadership import records
from linckia.core.leadership.election import Election
from linckia.core.leadership.records import HEADS_PREFIX, LEADER_KEY, HeadFacts, HeadsView, Leader
from linckia.core.leadership.states import HeadState
from linckia.core.mvcc.records import (
    Compare,
    EventKind,
    KeyValue,
    Lease,
    Put,
    Range,
    RangeResult,
    Txn,
    TxnResult,
    WatchBatch,
    prefix_end,
)
from linckia.host.entropy import random_generator
from linckia.host.this_boot import boottime_s, has_ended
from linckia.node.following import CallLater, SpanFollower
from linckia.store.errors import LeaseNotFoundError, StoreError, UnknownOutcomeError
from linckia.store.interface import Store

WAKE_MIN_S = 0.001


@dataclass(frozen=True)
class LeadershipCalls:
    """What the head does about it. ``on_elected(epoch, revision)`` and ``on_deposed(why)`` alternate.

    ``on_trouble`` is told of errors that will not go away by waiting, such as missing rights; ``on_lease`` of the lease
    that is this head's from now on (0: none), before anything hangs on it; ``on_paused`` when ``is_serving`` ends
    without an end of the term (True) or begins again (False).
    """

    on_elected: Callable[[int, int], None]
    on_deposed: Callable[[str], None]
    on_heads: Callable[[HeadsView], None] = lambda _view: None
    on_trouble: Callable[[StoreError], None] = lambda _error: None
    on_lease: Callable[[int], None] = lambda _lease: None
    on_paused: Callable[[bool], None] = lambda _is_paused: None


@dataclass(frozen=True)
class LeadershipOptions:
    """How to be a candidate.

    ``predecessor``: pid of an earlier head of this address that has certainly ended; its lease need not be waited for.
    ``alone``: no other process can use the store (SQLite), so whoever else is written there has ended; the time is then
    the store's own, and the lease is so long that neither a slow disk nor a sleeping laptop ends a term.
    """

    ttl_s: float | None = None
    predecessor: int = 0
    alone: bool = False

    @property
    def lease_s(self) -> float:
        """``ttl_s``, or what is usual."""
        if self.ttl_s is not None:
            return self.ttl_s
        return LEADER_ALONE_TTL_S if self.alone else LEADER_TTL_S


class Leadership:
    """One head as a candidate. It neither opens nor closes the store."""

    def __init__(
        self,
        store: Store,
        facts: HeadFacts,
        call_later: CallLater,
        calls: LeadershipCalls,
        options: LeadershipOptions | None = None,
        *,
        now_s: Callable[[], float] | None = None,
        rng: UnitRandom | None = None,
    ) -> None:
        self.facts = facts
        self.view = HeadsView()
        self._store, self._call_later, self._calls = store, call_later, calls
        options = options if options is not None else LeadershipOptions()
        self._options = options
        self._now_s = now_s if now_s is not None else time.monotonic if options.alone else boottime_s
        rng = rng if rng is not None else random_generator()
        self._election = Election(facts.head_id, rng, options.lease_s)
        self._value = records.encode_facts(facts)
        self._todo: deque[c.Command] = deque()
        self._lease = 0  # as last told
        self._is_busy = False
        self._timer: Any = None
        self._closing: tuple[int, Callable[[], None]] = (0, _nothing)  # the lease that is given up, and who waits
        self._leader: tuple[int, KeyValue | None] = (0, None)  # the leader key as last seen, at which revision
        self._heads: dict[bytes, HeadFacts] = {}
        self._spans = (
            SpanFollower(store, LEADER_KEY, None, _LeaderKey(self), call_later, rng),
            SpanFollower(store, HEADS_PREFIX, prefix_end(HEADS_PREFIX), _HeadKeys(self), call_later, rng),
        )

    # --- for the head -------------------------------------------------------------------------------------------------

    @property
    def is_serving(self) -> bool:
        """Whether this head leads and its lease cannot have ended. Cheap: ask before every answer and command."""
        return self._election.is_serving(self._now_s())

    @property
    def epoch(self) -> int:
        """Of this head's term, also while it is paused; 0 when it has none."""
        return self._election.epoch

    @property
    def fence(self) -> Compare:
        """What every write of the leader compares before it claims its key anew. It never holds for a head that has
        no term.
        """
        return records.fence(self._election.epoch)

    def claim(self) -> Txn:
        """After a silence of the store: see ``records.claim``. Not done when this head does not lead any more."""
        return records.claim(self._election.epoch, self._value, self._election.lease)

    @property
    def state(self) -> HeadState:
        """For status and tests."""
        return self._election.state

    def start(self) -> None:
        """Become a candidate. Not again after ``close``."""
        self._do(self._election.start(self._now_s()))
        for span in self._spans:
            span.start()

    def step_down(self, reason: str) -> bool:
        """Stop serving and let another head lead, if there is one. False when this head does not lead."""
        commands = self._election.step_down(self._now_s(), reason)
        self._do(commands)
        return bool(commands)

    def leader_gone(self, epoch: int) -> None:
        """The caller is sure that the process of that term's leader has ended: take over. Idempotent.

        A leader that lives is robbed by this: it stops serving when it hears of it, at the latest at its deadline.
        """
        self._do(self._election.leader_gone(epoch, self._now_s()))

    def close(self, then: Callable[[], None] | None = None) -> None:
        """Give up everything, so that others need not wait; ``then`` when the store knows. No other call after this."""
        for span in self._spans:
            span.stop()
        lease = self._election.lease
        commands = self._election.close()
        if then is not None and commands:
            self._closing = (lease, then)
        elif then is not None:
            then()
        self._do(commands)

    # --- what the core decides ----------------------------------------------------------------------------------------

    def _do(self, commands: list[c.Command]) -> None:
        """Carry out in order, also what a command's callback brings about. A callback's error stops nothing else."""
        self._todo.extend(commands)
        if self._election.lease != self._lease:
            self._lease = self._election.lease
            self._calls.on_lease(self._lease)
        if self._is_busy:
            return
        self._is_busy = True
        try:
            while self._todo:
                self._carry_out(self._todo.popleft())
        finally:
            self._is_busy = False
            if self._todo:
                self._call_later(0.0, lambda: self._do([]))
            self._arm()

    def _carry_out(self, command: c.Command) -> None:
        store = self._store
        match command:
            case c.GrantLease():
                store.grant(command.ttl_s, partial(self._on_granted, command))
            case c.Renew():
                store.keep_alive(command.lease, partial(self._on_renewed, command))
            case c.Register():
                own = Put(records.head_key(self.facts.head_id), self._value, command.lease)
                store.txn(Txn(then=(own,)), partial(self._on_registered, command.lease))
            case c.Campaign():
                take = Put(LEADER_KEY, self._value, command.lease)
                txn = Txn((records.VACANT,), (take,), (Range(LEADER_KEY),))
                store.txn(txn, partial(self._on_campaigned, command.lease))
            case c.Look():
                store.range(Range(LEADER_KEY), self._on_looked)
            case c.Evict():
                store.revoke(command.lease, _ignore)
            case c.Release():
                store.revoke(command.lease, partial(self._on_released, command.lease))
            case c.Elected():
                self._calls.on_elected(command.epoch, command.revision)
            case c.Deposed():
                self._calls.on_deposed(command.why)
            case c.Paused():
                self._calls.on_paused(True)
            case c.Resumed():
                self._calls.on_paused(False)

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wake_s = self._election.wake_s()
        if wake_s is not None and wake_s != float("inf"):
            self._timer = self._call_later(max(WAKE_MIN_S, wake_s - self._now_s()), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._do(self._election.tick(self._now_s()))

    # --- what the store answers ---------------------------------------------------------------------------------------

    def _on_granted(self, asked: c.GrantLease, answer: Lease | StoreError) -> None:
        if isinstance(answer, StoreError):
            self._trouble(answer)
            self._do(self._election.grant_failed(self._now_s()))
        else:
            self._do(self._election.granted(answer.lease_id, answer.ttl_s, asked.sent_s, self._now_s()))

    def _on_renewed(self, asked: c.Renew, answer: Lease | StoreError) -> None:
        if isinstance(answer, StoreError):
            self._trouble(answer)
            is_over = isinstance(answer, LeaseNotFoundError)
            self._do(self._election.refused(asked.lease, self._now_s(), is_over=is_over))
        else:
            self._do(self._election.renewed(asked.lease, asked.sent_s, self._now_s()))

    def _on_registered(self, lease: int, answer: TxnResult | StoreError) -> None:
        if isinstance(answer, StoreError):
            self._trouble(answer)
            is_over = isinstance(answer, LeaseNotFoundError)
            self._do(self._election.register_failed(lease, self._now_s(), is_over=is_over))
        else:
            self._election.registered(lease)

    def _on_campaigned(self, lease: int, answer: TxnResult | StoreError) -> None:
        if isinstance(answer, StoreError):
            self._trouble(answer)
            is_over = isinstance(answer, LeaseNotFoundError)
            self._do(self._election.campaign_failed(lease, self._now_s(), is_over=is_over))
            return
        revision = answer.revision
        kv: KeyValue | None = None
        if answer.succeeded:
            kv = KeyValue(LEADER_KEY, self._value, revision, revision, 1, lease)
        else:
            (found,) = answer.results
            kv = found.kvs[0] if isinstance(found, RangeResult) and found.kvs else None
        self._saw(kv, revision)
        self._do(self._election.campaigned(lease, self._judged(kv), revision, self._now_s()))

    def _on_looked(self, answer: RangeResult | StoreError) -> None:
        if isinstance(answer, StoreError):
            self._trouble(answer)
            self._do(self._election.look_failed(self._now_s()))
        else:
            self.observe(answer.kvs[0] if answer.kvs else None, answer.revision)

    def _on_released(self, lease: int, answer: object) -> None:
        closing, then = self._closing
        if lease == closing:
            self._closing = (0, _nothing)
            then()
        else:
            self._do(self._election.released(lease, self._now_s()))

    def _trouble(self, error: StoreError) -> None:
        passes = error.retryable or isinstance(error, LeaseNotFoundError | UnknownOutcomeError)
        if not passes and self._election.state is not HeadState.CLOSED:
            self._calls.on_trouble(error)

    # --- who is there -------------------------------------------------------------------------------------------------

    def observe(self, kv: KeyValue | None, revision: int) -> None:
        """The leader key as it was at ``revision``."""
        self._saw(kv, revision)
        self._do(self._election.observed(self._judged(kv), revision, self._now_s()))

    def change_heads(self, changed: dict[bytes, KeyValue | None], *, is_all: bool) -> None:
        """Heads' keys that were written or (None) are gone; ``is_all``: there are no others."""
        if is_all:
            self._heads.clear()
        for key, kv in changed.items():
            facts = records.decode_facts(kv.value) if kv is not None else None
            if facts is not None:
                self._heads[key] = facts
            else:
                self._heads.pop(key, None)
        own = records.head_key(self.facts.head_id)
        if own in changed or is_all:
            kv = changed.get(own)
            if kv is None or kv.lease != self._election.lease:
                self._election.unregistered()
        self._tell()

    def trouble(self, error: StoreError) -> None:
        """The keys cannot be followed any more."""
        self._trouble(error)

    def _saw(self, kv: KeyValue | None, revision: int) -> None:
        seen, before = self._leader
        if revision >= seen:
            self._leader = (revision, kv)
            if kv != before:
                self._tell()

    def _tell(self) -> None:
        kv = self._leader[1]
        heads = tuple(self._heads[key] for key in sorted(self._heads))
        leader = records.decode_facts(kv.value) if kv is not None else None
        view = HeadsView(leader, kv.create_revision if kv is not None else 0, heads)
        if view != self.view and self._election.state is not HeadState.CLOSED:
            self.view = view
            self._calls.on_heads(view)

    def _judged(self, kv: KeyValue | None) -> Leader | None:
        if kv is None:
            return None
        facts = records.decode_facts(kv.value)
        is_other = kv.lease != self._election.lease
        return records.leader_of(kv, gone=is_other and facts is not None and self._is_gone(facts))

    def _is_gone(self, leader: HeadFacts) -> bool:
        """Whether that process has certainly ended, by what this machine knows."""
        mine, options = self.facts, self._options
        if options.alone:
            return True
        if options.predecessor and leader.pid == options.predecessor:
            return leader.head_id == mine.head_id or (leader.host, leader.port) == (mine.host, mine.port)
        is_here = bool(leader.machine) and leader.machine == mine.machine
        return is_here and has_ended(leader.pid, leader.start_time)


class _LeaderKey:
    """Follows the leader key."""

    def __init__(self, owner: Leadership) -> None:
        self._owner = owner

    def on_reset(self, kvs: list[KeyValue], revision: int) -> None:
        self._owner.observe(kvs[0] if kvs else None, revision)

    def on_batch(self, batch: WatchBatch) -> None:
        last = batch.events[-1]
        self._owner.observe(last.kv if last.kind is EventKind.PUT else None, batch.revision)

    def on_error(self, error: StoreError) -> None:
        self._owner.trouble(error)


class _HeadKeys:
    """Follows the heads' own keys."""

    def __init__(self, owner: Leadership) -> None:
        self._owner = owner

    def on_reset(self, kvs: list[KeyValue], revision: int) -> None:
        self._owner.change_heads({kv.key: kv for kv in kvs}, is_all=True)

    def on_batch(self, batch: WatchBatch) -> None:
        changed = {event.kv.key: event.kv if event.kind is EventKind.PUT else None for event in batch.events}
        self._owner.change_heads(changed, is_all=False)

    def on_error(self, error: StoreError) -> None:
        self._owner.trouble(error)


def _nothing() -> None:
    pass


def _ignore(_answer: object) -> None:
    """The campaign behind it tells whether the eviction worked."""
