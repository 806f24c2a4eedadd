"""The head's services with many nodes: what is told to all, who waits for a node, and jobs whose node is dead."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from linckia.base.limits import NODE_LEASE_TTL_S, SUSPECT_AFTER_S
from linckia.core.nodes.directory import Effect
from linckia.gcs import news, records
from linckia.gcs.actor_placement import LOOKED_AT_MAX
from linckia.model.specs import JobConfig, NodeInfo
from linckia.model.wire import Address
from linckia.protocol import messages as m
from tests.unit.gcs.world import Head, Peer, report, spec


def test_a_storm_of_joins_is_told_in_few_messages_and_everybody_hears_of_everybody_once() -> None:
    head = Head()
    peers = [head.join(b"n%02d" % number, CPU=1.0) for number in range(50)]
    head.pass_time(1.0)
    for peer in peers:
        others = [node_id for node_id in peer.joined() if node_id != peer.peer_id]
        assert sorted(others) == sorted(each.peer_id for each in peers if each is not peer)
        assert peer.frames <= 4


def test_a_node_that_joins_and_dies_within_one_batch_is_told_in_this_order() -> None:
    head = Head()
    peer = head.join(b"a", CPU=1.0)
    head.pass_time(1.0)
    peer.heard.clear()
    head.gcs.nodes.announce(m.NodesChanged())
    head.pass_time(0.001)
    head.join(b"b", CPU=1.0)
    head.gcs.nodes.declare_dead(b"b", "EXPECTED_TERMINATION", "it was stopped")
    head.pass_time(1.0)
    joined = next(i for i, each in enumerate(peer.heard) if isinstance(each, m.NodesChanged) and each.joined)
    dead = next(i for i, each in enumerate(peer.heard) if isinstance(each, m.NodesChanged) and each.dead)
    assert joined < dead


def deltas(peer: Peer) -> list[m.ViewDelta]:
    return [each for each in peer.heard if isinstance(each, m.ViewDelta)]


@pytest.mark.row("P18")
def test_the_view_is_told_by_what_differs_and_made_once_for_all_who_listen() -> None:
    head = Head()
    peers = [head.join(b"n%d" % number, CPU=2.0) for number in range(4)]
    for number, peer in enumerate(peers[:3]):
        head.gcs.on_message(peer, m.ViewInterest(0))
        head.gcs.on_message(peer, report(peer.peer_id, 1, everything=True, CPU=2.0))
        assert not deltas(peer)[-1].changes, number
    head.pass_time(1.0)
    assert {len(deltas(peer)) for peer in peers[:3]} == {1}, "what a node said of itself was known"
    head.gcs.on_message(peers[3], report(b"n3", 1, CPU=1.0))
    head.gcs.on_message(peers[0], report(b"n0", 2, CPU=1.5))
    head.pass_time(1.0)
    last = [deltas(peer)[-1] for peer in peers[:3]]
    assert last[0] is last[1] is last[2]
    assert {change.node_id: change.available for change in last[0].changes} == {
        b"n3": {"CPU": 10_000},
        b"n0": {"CPU": 15_000},
    }
    assert not deltas(peers[3])


def test_another_head_tells_all_that_a_node_says_though_it_is_as_its_record_has_it() -> None:
    """Who listened to the last head may believe otherwise."""
    head = Head()
    info = NodeInfo(b"old", "ip", "host", "", 1, {"CPU": 2.0}, {}, is_head=False)
    head.gcs.nodes.restore(records.NodeRow(msgspec.msgpack.encode(info), alive=True, joined_s=0.0))
    peer = head.join(b"n0", CPU=2.0)
    head.gcs.on_message(peer, m.ViewInterest(0))
    back = head.join(b"old", CPU=2.0)
    head.gcs.on_message(back, report(b"old", 1, everything=True, CPU=2.0))
    head.pass_time(1.0)
    told = [change for each in deltas(peer) for change in each.changes if change.node_id == b"old"]
    assert [change.available for change in told] == [{"CPU": 20_000}]


@pytest.mark.row("P18")
def test_with_many_nodes_news_are_gathered_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(news, "NEWS_PER_S_MAX", 100)
    head = Head()
    peers = [head.join(b"n%02d" % number, CPU=1.0) for number in range(50)]
    head.pass_time(2.0)
    before = sum(peer.frames for peer in peers)
    for number in range(200):
        head.gcs.nodes.announce(m.WorkerFailed(b"w%d" % number, "it ended"))
        head.pass_time(0.01)
    head.pass_time(1.0)
    assert 150 <= sum(peer.frames for peer in peers) - before <= 300
    for peer in peers:
        assert sum(isinstance(each, m.WorkerFailed) for each in peer.heard) == 200


def test_an_actor_behind_many_hopeless_ones_gets_its_node_and_nobody_is_warned_twice() -> None:
    head = Head()
    head.join(b"a", CPU=1.0)
    head.join(b"b", CPU=1.0)
    for number in range(LOOKED_AT_MAX + 50):
        head.placement.start(spec(number, unobtainium=float(number + 1)), 0)
    head.placement.start(spec(9999, tpu=1.0), 0)
    warnings = len(head.warned)
    head.join(b"c", tpu=1.0)
    head.pass_time(1.0)
    assert head.placement.places.get(b"actor9999") == b"c"
    assert len(head.placement.waiting) == LOOKED_AT_MAX + 50
    assert len(head.warned) == warnings


def test_the_job_of_a_driver_whose_node_is_dead_has_ended() -> None:
    head = Head()
    ended: list[bytes] = []
    callback: Callable[[bytes], None] = ended.append
    head.gcs.on_job_finished.append(callback)
    other = head.join(b"a", CPU=1.0)
    peer = head.join(b"b", CPU=1.0)
    config = msgspec.msgpack.encode(JobConfig("space", [], "", ""))
    head.gcs.on_message(peer, m.RegisterJob(2, Address(b"driver", ""), 1, config))
    (job_id,) = head.gcs.jobs
    head.gcs.nodes.declare_dead(b"b", "UNEXPECTED_TERMINATION", "gone")
    assert ended == [job_id]
    assert any(isinstance(each, m.JobEnded) for each in other.heard)


@pytest.mark.row("7.7", "P8")
def test_silence_is_noticed_when_it_counts_and_a_head_whose_nodes_are_heard_looks_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    head = Head()
    head.join(b"a", CPU=1.0)
    head.pass_time(0.5)
    looks: list[float] = []
    tick = head.gcs.nodes.directory.tick

    def counted(now_s: float) -> list[Effect]:
        looks.append(now_s)
        return tick(now_s)

    monkeypatch.setattr(head.gcs.nodes.directory, "tick", counted)
    for _ in range(20):
        head.gcs.on_message(Peer(b"a"), m.Heartbeat(b"a"))
        head.pass_time(1.0)
    assert len(looks) <= 10
    heard_s = head.clock.now_s - 1.0
    head.pass_time(SUSPECT_AFTER_S - 1.0 + 0.3)
    assert head.gcs.nodes.nodes[b"a"].state == "SUSPECT"
    head.pass_time(heard_s + NODE_LEASE_TTL_S + 0.3 - head.clock.now_s)
    assert not head.gcs.nodes.nodes[b"a"].alive


@pytest.mark.row("7.9")
def test_a_drain_deadline_is_kept_although_nobody_is_silent() -> None:
    head = Head()
    head.join(b"a", CPU=1.0)
    head.pass_time(0.5)
    assert head.gcs.nodes.drain(b"a", "PREEMPTION", 0.5) == ""
    head.pass_time(0.8)
    assert not head.gcs.nodes.nodes[b"a"].alive
