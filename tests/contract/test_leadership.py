"""Heads over real stores: who leads, when another one takes over, and what the fence refuses. All backends."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from grounds import Candidate, EtcdGround, Ground, MemoryGround, SqliteGround

from linckia.base import limits
from linckia.core.leadership.records import LEADER_KEY
from linckia.core.leadership.states import HeadState
from linckia.core.mvcc.records import Put, Range, RangeResult, Txn, TxnResult
from linckia.node.leadership import LeadershipOptions
from linckia.testing.etcd import EtcdCluster, missing

Start = Callable[..., Candidate]


@pytest.fixture(params=["memory", "sqlite", "etcd"])
def ground(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ground]:
    """A store of each backend, empty."""
    if request.param == "etcd":
        made: Ground = EtcdGround(request.getfixturevalue("etcd_cluster"))
    else:
        made = MemoryGround() if request.param == "memory" else SqliteGround(tmp_path)
    yield made
    made.close()


@pytest.fixture
def start(ground: Ground) -> Iterator[Start]:
    """Starts heads, and ends them."""
    started: list[Candidate] = []

    def begin(number: int, **how: Any) -> Candidate:
        started.append(Candidate(ground, number, **how))
        return started[-1]

    yield begin
    for each in started:
        each.close()


@pytest.fixture
def start_many(ground: Ground, start: Start) -> Callable[[int], list[Candidate]]:
    """Several heads of which one leads, the first of the list, and all know it."""

    def begin(count: int) -> list[Candidate]:
        if not ground.is_shared:
            pytest.skip("this store is for one process")
        heads = [start(number) for number in range(count)]
        ground.until(lambda: all(len(head.leadership.view.heads) == count for head in heads), "a full view")
        ground.until(lambda: any(head.leads for head in heads), "a leader")
        ground.until(lambda: len({head.leadership.view.epoch for head in heads}) == 1, "agreement")
        return sorted(heads, key=lambda head: not head.leads)

    return begin


def ask(ground: Ground, verb: Callable[..., None], request: Any) -> Any:
    answers: list[Any] = []
    verb(request, answers.append)
    ground.until(lambda: answers, "an answer")
    return answers[0]


def test_a_head_leads_an_empty_store_and_its_fence_holds(ground: Ground, start: Start) -> None:
    head = start(1)
    assert not head.leads
    took_s = ground.until(lambda: head.elected, "the election")
    print(f"{ground.name}: an empty store is led after {took_s * 1000:.1f} ms")
    assert head.leads
    ((epoch, revision),) = head.elected
    assert epoch == revision == head.leadership.epoch
    found = ask(ground, head.store.range, Range(LEADER_KEY))
    assert isinstance(found, RangeResult)
    assert found.kvs[0].create_revision == epoch
    write = Txn((head.leadership.fence,), (Put(b"table", b"1"),))
    assert ask(ground, head.store.txn, write).succeeded
    ground.until(lambda: head.leadership.view.heads, "the view")
    view = head.leadership.view
    assert (view.leader, view.epoch, view.heads) == (head.facts, epoch, (head.facts,))
    assert head.views[-1] == view
    ground.pass_time(2 * ground.ttl_s)
    assert head.leads, "it renews"
    assert (len(head.elected), head.deposed, head.troubles) == (1, [], [])


@pytest.mark.row("S14")
def test_writes_of_a_former_leader_are_refused(ground: Ground, start_many: Callable[[int], list[Candidate]]) -> None:
    leader, other = start_many(2)
    fence = leader.leadership.fence
    assert leader.leadership.step_down("planned")
    assert not leader.leads
    assert not leader.leadership.step_down("again")
    ground.until(lambda: other.leads, "the next leader")
    assert leader.deposed == ["planned"]
    late = ask(ground, leader.store.txn, Txn((fence,), (Put(b"table", b"stale"),), (Range(LEADER_KEY),)))
    assert isinstance(late, TxnResult)
    assert not late.succeeded
    never = Txn((leader.leadership.fence,), (Put(b"table", b"stale"),))
    assert not ask(ground, leader.store.txn, never).succeeded, "who has no term has a fence that never holds"
    assert other.elected[0][0] > leader.elected[0][0]
    ground.pass_time(limits.LEADER_REST_S + 0.5)
    assert other.leads, "the first one is a standby now"
    assert leader.leadership.state is HeadState.STANDBY
    assert leader.leadership.view.leader == other.facts


def test_who_is_alone_leads_again_after_a_rest(ground: Ground, start: Start) -> None:
    head = start(1)
    ground.until(lambda: head.leads, "the election")
    head.leadership.step_down("planned")
    took_s = ground.until(lambda: head.leads, "the second term")
    assert took_s >= limits.LEADER_REST_S
    assert head.elected[1][0] > head.elected[0][0]


@pytest.mark.row("S4")
def test_a_leader_that_closes_is_followed_at_once(ground: Ground, start_many: Callable[[int], list[Candidate]]) -> None:
    leader, *others = start_many(3)
    leader.close()
    took_s = ground.until(lambda: any(head.leads for head in others), "the next leader")
    print(f"{ground.name}: followed {took_s * 1000:.1f} ms after the end of close()")
    assert took_s < ground.ttl_s / 2
    ground.until(lambda: all(len(head.leadership.view.heads) == 2 for head in others), "the view")


@pytest.mark.row("S5")
def test_a_leader_that_dies_without_a_word_is_followed_when_its_lease_ends(
    ground: Ground, start_many: Callable[[int], list[Candidate]]
) -> None:
    leader, *others = start_many(3)
    leader.kill()
    took_s = ground.until(lambda: any(head.leads for head in others), "the next leader")
    print(f"{ground.name}: lease of {ground.ttl_s:g} s, followed {took_s:.2f} s after its death")
    assert took_s < ground.ttl_s + 2.0


@pytest.mark.row("S4")
def test_a_leader_that_is_known_to_be_gone_is_followed_at_once(
    ground: Ground, start_many: Callable[[int], list[Candidate]]
) -> None:
    leader, *others = start_many(3)
    leader.kill()
    for head in others:
        head.leadership.leader_gone(leader.elected[-1][0])
    took_s = ground.until(lambda: any(head.leads for head in others), "the next leader")
    assert took_s < ground.ttl_s / 2
    ground.pass_time(0.2)
    assert sum(head.leads for head in others) == 1
    assert sum(len(head.elected) for head in others) == 1


def test_a_head_that_is_started_again_need_not_wait_for_its_own_lease(ground: Ground, start: Start) -> None:
    """kill -9 and a restart on one machine; in SQLite nobody else can have led, elsewhere the dead pid is known."""
    alone = not ground.is_shared
    first = start(1, options=LeadershipOptions(30.0, alone=alone))
    ground.until(lambda: first.leads, "the election")
    first.kill()
    pid = 0 if alone else first.facts.pid
    second = start(1, options=LeadershipOptions(30.0, predecessor=pid, alone=alone))
    took_s = ground.until(lambda: second.leads, "the second term")
    print(f"{ground.name}: led again {took_s * 1000:.1f} ms after the restart")
    assert took_s < 2.0
    assert second.elected[0][0] > first.elected[0][0]


def test_without_that_knowledge_it_waits(ground: Ground, start: Start) -> None:
    first = start(1)
    ground.until(lambda: first.leads, "the election")
    first.kill()
    second = start(1)
    ground.pass_time(ground.ttl_s / 2)
    assert not second.leads
    ground.until(lambda: second.leads, "the lease's end")


@pytest.mark.fault
@pytest.mark.slow
@pytest.mark.skipif(bool(missing()), reason=missing())
@pytest.mark.row("S4")
def test_how_long_a_hand_over_takes_on_three_members(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From ``leader_gone`` at two standbys to ``on_elected`` at one of them."""
    cluster = EtcdCluster(tmp_path / "etcd", 3)
    ground = EtcdGround(cluster)
    heads = [Candidate(ground, number) for number in range(3)]
    took_ms: list[float] = []
    try:
        for number in range(3, 18):
            ground.until(lambda: any(head.leads for head in heads), "a leader")
            ground.until(lambda: len({head.leadership.view.epoch for head in heads}) == 1, "agreement")
            leader = next(head for head in heads if head.leads)
            heads.remove(leader)
            leader.kill()
            began_s = ground.now_s()
            for head in heads:
                head.leadership.leader_gone(leader.leadership.epoch)
            ground.until(lambda: any(head.leads for head in heads), "the next leader")
            took_ms.append((max(head.elected_s for head in heads) - began_s) * 1000)
            heads.append(Candidate(ground, number))
    finally:
        for head in heads:
            head.kill()
        ground.close()
        cluster.close()
    took_ms.sort()
    with capsys.disabled():
        median = statistics.median(took_ms)
        print(
            f"\nhand-over on 3 etcd members: min {took_ms[0]:.1f}, median {median:.1f}, max {took_ms[-1]:.1f} ms (n=15)"
        )
    assert median < 100
