"""The shell of leadership: callbacks, what it judges to be gone, the list of heads. Over a store in memory."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from random import Random

import pytest

from linckia.base import limits
from linckia.core.leadership.records import HEADS_PREFIX, LEADER_KEY, HeadFacts, HeadsView, encode_facts
from linckia.core.leadership.states import HeadState
from linckia.core.mvcc.records import Delete, Lease, Put, Range, RangeResult, Txn
from linckia.host.process import process_start_time
from linckia.host.this_boot import boottime_s, has_ended, process_space
from linckia.node.leadership import Leadership, LeadershipCalls, LeadershipOptions
from linckia.store.errors import (
    StoreAuthError,
    StoreError,
    StoreFailedError,
    StoreUnavailableError,
    UnknownOutcomeError,
)
from linckia.store.interface import Done
from linckia.store.memory import MemoryStore
from linckia.testing.clock import VirtualClock

TTL_S = 2.0
ME = HeadFacts(b"me", "10.0.0.1", 7000, 11)


class World:
    """A clock, a store, and one head with what it was told."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.store = MemoryStore(self.clock)
        self.told: list[tuple[object, ...]] = []
        self.views: list[HeadsView] = []
        self.troubles: list[StoreError] = []
        self.on_elected: Callable[[int, int], None] = lambda epoch, revision: self.told.append((epoch, revision))

    def head(self, options: LeadershipOptions | None = None, facts: HeadFacts = ME) -> Leadership:
        calls = LeadershipCalls(
            lambda epoch, revision: self.on_elected(epoch, revision),
            lambda why: self.told.append((why,)),
            self.views.append,
            self.troubles.append,
        )
        made = Leadership(
            self.store, facts, self.clock.call_later, calls, options, now_s=self.clock.monotonic, rng=Random(1)
        )
        made.start()
        return made

    def run(self, duration_s: float) -> None:
        end_s = self.clock.now_s + duration_s
        self.clock.call_later(duration_s, lambda: None)
        while self.clock.now_s < end_s and self.clock.step():
            pass

    def lead(self, facts: HeadFacts, ttl_s: float = 60.0) -> None:
        """Somebody else leads, with a long lease."""
        granted: list[Lease | StoreError] = []
        self.store.grant(ttl_s, granted.append)
        self.run(0.001)
        lease = granted[0]
        assert isinstance(lease, Lease)
        self.store.txn(Txn(then=(Put(LEADER_KEY, encode_facts(facts), lease.lease_id),)), lambda _answer: None)

    def read(self, key: bytes) -> bytes | None:
        found: list[RangeResult | StoreError] = []
        self.store.range(Range(key), found.append)
        self.run(0.001)
        assert isinstance(found[0], RangeResult)
        return found[0].kvs[0].value if found[0].kvs else None


@pytest.fixture
def world() -> World:
    return World()


def test_a_callback_may_ask_for_more(world: World) -> None:
    """The head finds, while it begins its term, that it cannot lead."""
    refused: list[int] = []

    def refuse(epoch: int, _revision: int) -> None:
        refused.append(epoch)
        if len(refused) == 1:
            assert head.step_down("cannot")

    world.on_elected = refuse
    head = world.head()
    world.run(0.5)
    assert (world.told, len(refused)) == ([("cannot",)], 1)
    assert not head.is_serving
    world.run(2.0)
    assert len(refused) == 2
    assert head.is_serving


def test_a_callback_that_raises_loses_nothing(world: World) -> None:
    def burst(_epoch: int, _revision: int) -> None:
        raise RuntimeError("a bug of the head")

    world.on_elected = burst
    head = world.head()
    with pytest.raises(RuntimeError):
        world.run(1.0)
    world.run(5.0)
    assert head.is_serving, "it renews"


def test_a_closed_head_says_nothing_and_leaves_nothing(world: World) -> None:
    head = world.head()
    world.run(0.1)
    count, closed = len(world.views), []
    assert len(world.told) == 1
    head.close(lambda: closed.append(world.clock.now_s))
    assert not closed, "the store knows first"
    assert not head.is_serving
    world.run(10.0)
    assert closed
    assert (len(world.told), len(world.views)) == (1, count)
    assert world.read(LEADER_KEY) is None
    assert world.read(HEADS_PREFIX + b"me") is None
    again: list[bool] = []
    head.close(lambda: again.append(True))
    assert again == [True]


def test_a_head_that_is_closed_before_it_has_a_lease_gives_it_back(world: World) -> None:
    head = world.head()
    head.close()
    world.run(1.0)
    assert world.store._state.mvcc.leases.next_due_s() is None
    assert world.told == []


@pytest.mark.parametrize(
    ("options", "leader", "is_gone"),
    [
        (LeadershipOptions(TTL_S), HeadFacts(b"me", "10.0.0.1", 7000, 10), False),
        (LeadershipOptions(TTL_S, predecessor=10), HeadFacts(b"me", "10.0.0.9", 7000, 10), True),
        (LeadershipOptions(TTL_S, predecessor=10), HeadFacts(b"old", "10.0.0.1", 7000, 10), True),
        (LeadershipOptions(TTL_S, predecessor=10), HeadFacts(b"other", "10.0.0.2", 7000, 10), False),
        (LeadershipOptions(TTL_S, predecessor=10), HeadFacts(b"me", "10.0.0.1", 7000, 9), False),
        (LeadershipOptions(TTL_S, alone=True), HeadFacts(b"other", "10.0.0.2", 7000, 9), True),
    ],
)
def test_who_is_gone(world: World, options: LeadershipOptions, leader: HeadFacts, *, is_gone: bool) -> None:
    world.lead(leader)
    head = world.head(options)
    world.run(1.0)
    assert head.is_serving is is_gone
    assert head.view.leader == (ME if is_gone else leader)


def test_the_processes_of_this_machine_are_looked_at(world: World) -> None:
    here, start_time = process_space(), process_start_time(os.getpid())
    mine = HeadFacts(b"me", "10.0.0.1", 7000, os.getpid(), start_time, here)
    world.lead(HeadFacts(b"lives", "10.0.0.1", 7001, os.getpid(), start_time, here))
    head = world.head(LeadershipOptions(TTL_S), mine)
    world.run(10.0)
    assert not head.is_serving
    world.lead(HeadFacts(b"elsewhere", "10.0.0.2", 7001, os.getpid(), start_time - 1, "another boot"))
    world.run(10.0)
    assert not head.is_serving
    world.lead(HeadFacts(b"ended", "10.0.0.1", 7001, os.getpid(), start_time - 1, here))
    world.run(0.1)
    assert head.is_serving, "that pid is another process now"


def test_this_boot() -> None:
    assert boottime_s() > 0
    assert process_space() == process_space() != ""
    assert not has_ended(os.getpid(), process_start_time(os.getpid()))
    assert has_ended(os.getpid(), 1)
    assert not has_ended(os.getpid(), 0), "nothing is known of it"


def test_the_list_of_heads(world: World) -> None:
    head = world.head()
    world.run(0.1)
    other = HeadFacts(b"a", "10.0.0.2", 7000, 12)
    world.store.txn(Txn(then=(Put(HEADS_PREFIX + b"a", encode_facts(other)),)), lambda _answer: None)
    world.store.txn(Txn(then=(Put(HEADS_PREFIX + b"b", b"from the future"),)), lambda _answer: None)
    world.run(0.1)
    assert head.view == HeadsView(ME, head.epoch, (other, ME))
    world.store.txn(Txn(then=(Delete(HEADS_PREFIX + b"a"),)), lambda _answer: None)
    world.run(0.1)
    assert head.view.heads == (ME,)
    assert world.views[-1] == head.view
    assert len({id(view) for view in world.views}) == len(world.views)


def test_a_key_of_its_own_that_is_deleted_is_written_again(world: World) -> None:
    head = world.head()
    world.run(0.1)
    world.store.txn(Txn(then=(Delete(HEADS_PREFIX + b"me"),)), lambda _answer: None)
    world.run(TTL_S)
    assert head.view.heads == (ME,)
    assert head.is_serving


def test_a_leader_whose_facts_cannot_be_read_leads(world: World) -> None:
    world.store.txn(Txn(then=(Put(LEADER_KEY, b"\xc1"),)), lambda _answer: None)
    head = world.head()
    world.run(5.0)
    assert not head.is_serving
    assert (head.view.leader, head.view.epoch) == (None, 2)


@pytest.mark.row("S28")
def test_a_machine_that_slept_does_not_serve(world: World) -> None:
    """Its timers did not run, and its clock did."""
    slept = [0.0]
    paused: list[bool] = []
    calls = LeadershipCalls(lambda *_: None, lambda why: world.told.append((why,)), on_paused=paused.append)
    head = Leadership(
        world.store, ME, world.clock.call_later, calls, now_s=lambda: world.clock.now_s + slept[0], rng=Random(1)
    )
    head.start()
    world.run(1.0)
    before = head.is_serving
    slept[0] = 3600.0
    assert (before, head.is_serving) == (True, False)
    world.run(1.0)
    assert paused == [True, False], "this store slept too, so the lease is there"
    assert (head.is_serving, world.told) == (True, [])


def test_a_head_alone_asks_the_clock_of_its_store(world: World) -> None:
    calls = LeadershipCalls(lambda *_: None, lambda _why: None)
    alone = Leadership(world.store, ME, world.clock.call_later, calls, LeadershipOptions(alone=True))
    among_others = Leadership(world.store, ME, world.clock.call_later, calls)
    assert (alone._now_s, among_others._now_s) == (time.monotonic, boottime_s)
    assert LeadershipOptions(alone=True).lease_s == limits.LEADER_ALONE_TTL_S
    assert LeadershipOptions().lease_s == limits.LEADER_TTL_S
    assert LeadershipOptions(5.0, alone=True).lease_s == 5.0


class Refusing(MemoryStore):
    """Refuses leases."""

    error: StoreError = StoreAuthError("no rights")

    def grant(self, ttl_s: float, done: Done[Lease]) -> None:
        self._clock.call_soon(lambda: done(self.error))


@pytest.mark.parametrize(
    ("error", "is_told"),
    [
        (StoreAuthError("no rights"), True),
        (StoreFailedError("the disk"), True),
        (StoreUnavailableError("x"), False),
        (UnknownOutcomeError("x"), False),
    ],
)
def test_what_waiting_does_not_mend_is_told(world: World, error: StoreError, *, is_told: bool) -> None:
    world.store = Refusing(world.clock)
    world.store.error = error
    head = world.head()
    world.run(3.0)
    assert bool(world.troubles) is is_told
    assert head.state is HeadState.STARTING
    assert head.epoch == 0
    assert head.fence.operand == -1
