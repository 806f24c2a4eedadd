"""The head's tables: what is over goes when there is too much of it, what lives stays, and the store hears of it in the
same turn; deadlines of draining nodes are known to the next head.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from linckia.gcs import nodes as gcs_nodes
from linckia.gcs import records
from linckia.gcs.journal import Outbox
from linckia.gcs.service import Gcs
from linckia.host import environment
from linckia.model.specs import JobConfig, NodeInfo
from linckia.model.wire import Address
from linckia.protocol import messages as m
from linckia.testing.clock import VirtualClock

pytestmark = pytest.mark.row("P7")


class Notes(Outbox):
    """What was touched, and what the store would have of it."""

    def __init__(self) -> None:
        super().__init__()
        self.stored: dict[tuple[bytes, bytes], bytes] = {}
        self._touched: dict[tuple[bytes, bytes], None] = {}

    def touch(self, table: bytes, key: bytes = b"") -> None:
        self._touched[table, key] = None

    def end_turn(self) -> None:
        for table, key in self._touched:
            value = self.tables[table](key)
            if value is None:
                self.stored.pop((table, key), None)
            else:
                self.stored[table, key] = value
        self._touched.clear()

    def keys(self, table: bytes) -> list[bytes]:
        return [key for name, key in self.stored if name == table]


class Peer:
    def __init__(self, peer_id: bytes) -> None:
        self.peer_id, self.peer_role, self.closed = peer_id, "raylet", False
        self.heard: list[Any] = []

    def post(self, message: m.Message) -> None:
        self.heard.append(message)


class Head:
    """A GCS in virtual time that notes what it would write."""

    def __init__(self, clock: VirtualClock | None = None) -> None:
        self.clock, self.notes = clock or VirtualClock(), Notes()
        self.gcs = Gcs("test", self.clock.call_later, outbox=self.notes)
        self.gcs.nodes.now_s = self.clock.monotonic
        self.rids = iter(range(1, 10**9))

    def say(self, peer: Peer, message: m.Message) -> Any:
        """The last answer."""
        self.gcs.on_message(peer, message)
        self.notes.end_turn()
        return peer.heard[-1] if peer.heard else None

    def join(self, node_id: bytes) -> Peer:
        peer = Peer(node_id)
        info = NodeInfo(node_id, "ip", "host", "", 1, {"CPU": 1.0}, {}, is_head=False)
        self.say(peer, m.RegisterNode(next(self.rids), node_id, msgspec.msgpack.encode(info)))
        return peer

    def pass_time(self, for_s: float) -> None:
        self.clock.pass_time(for_s)
        self.notes.end_turn()


def test_jobs_that_ended_first_are_forgotten_first_and_running_ones_never() -> None:
    head = Head()
    peer = head.join(b"node")
    head.gcs.ended_jobs.budget_bytes = 4 * 1700
    config = msgspec.msgpack.encode(JobConfig("ns", [], "/", "main.py"))
    jobs = []
    for number in range(10):
        driver = Address(b"driver%d" % number, "")
        jobs.append(head.say(peer, m.RegisterJob(next(head.rids), driver, 1, config)).job_id)
    for job_id in jobs[1:]:
        head.say(peer, m.JobFinished(job_id))
    assert list(head.gcs.jobs) == head.notes.keys(records.JOBS) == [jobs[0], *jobs[6:]]
    again = head.say(peer, m.RegisterJob(next(head.rids), Address(b"driver0", ""), 1, config))
    assert again.job_id == jobs[0], "it is known by its driver"


def test_nodes_that_died_first_are_forgotten_first_and_living_ones_never() -> None:
    head = Head()
    head.gcs.nodes.dead.budget_bytes = 3 * (gcs_nodes.NODE_RECORD_BYTES + 200)
    for number in range(6):
        head.join(b"n%d" % number)
    for number in range(1, 6):
        head.say(Peer(b"n%d" % number), m.UnregisterNode(b"n%d" % number, "stopped"))
    assert list(head.gcs.nodes.nodes) == head.notes.keys(records.NODES) == [b"n0", b"n3", b"n4", b"n5"]


def test_keys_that_do_not_fit_are_refused_and_nothing_is_lost() -> None:
    head, peer = Head(), Peer(b"client")
    head.gcs.kv.budget_bytes = 1000

    def put(key: bytes, size: int) -> Any:
        return head.say(peer, m.KvPut(next(head.rids), "n", key, b"x" * size, True))

    assert put(b"a", 600).count == 1
    refused = put(b"b", 400)
    assert isinstance(refused, m.Failure)
    assert "key-value store is full" in refused.text
    assert put(b"a", 700).count == 0, "larger than before, and it fits"
    assert put(b"a", 100).count == 0
    assert put(b"b", 400).count == 1
    assert head.say(peer, m.KvDel(next(head.rids), "n", b"", True)).count == 2
    assert (head.gcs.kv.bytes, head.notes.keys(records.KV)) == (0, [])
    assert put(b"c", 700).count == 1


def test_events_of_nodes_are_kept_up_to_their_budget() -> None:
    head = Head()
    head.gcs.nodes.events.budget_bytes = 10_000
    for number in range(1000):
        head.gcs.nodes.note("INFO", f"event {number}")
    texts = [text for _, _, text in head.gcs.nodes.events]
    assert texts[-1] == "event 999"
    assert 30 < len(texts) < 50


def test_the_next_head_knows_when_a_draining_node_must_end(monkeypatch: pytest.MonkeyPatch) -> None:
    first = Head()
    wall = {"s": 1_000_000.0}
    monkeypatch.setattr(environment, "wall_time_s", lambda: wall["s"])
    peer = first.join(b"a")
    first.join(b"b")
    first.say(peer, m.DrainNode(next(first.rids), b"a", "PREEMPTION", "", 30.0))
    wall["s"] += 25.0
    second = Head(first.clock)
    for (table, _), value in first.notes.stored.items():
        if table == records.NODES:
            second.gcs.nodes.restore(records.decode_node(value))
    back = second.join(b"a")
    second.gcs.nodes.back(b"a")
    told = [each.deadline_s for each in back.heard if isinstance(each, m.SetDraining)]
    assert told == [pytest.approx(5.0)], "the last head may not have said so"
    second.pass_time(4.0)
    second.say(back, m.Heartbeat(b"a"))
    assert (state(second), death(second)) == ("DRAINING", "")
    second.pass_time(1.5)
    assert state(second) == "DEAD"
    assert "deadline" in death(second)


def state(head: Head) -> str:
    return head.gcs.nodes.nodes[b"a"].state


def death(head: Head) -> str:
    return head.gcs.nodes.nodes[b"a"].death_reason


@pytest.mark.parametrize(("jump_s", "left_s"), [(-3600.0, 30.0), (3600.0, 0.001), (10.0, 20.0)])
def test_a_clock_that_jumps_gives_no_node_more_time_than_it_had(jump_s: float, left_s: float) -> None:
    head = Head()
    head.join(b"a")
    head.gcs.nodes.drain(b"a", "PREEMPTION", 30.0)
    node = head.gcs.nodes.nodes[b"a"]
    assert node.drain_left_s(node.drain_end_s - 30.0 + jump_s) == pytest.approx(left_s)
