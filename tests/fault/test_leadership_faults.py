"""Real processes that elect their leader over three etcd members, stopped and killed, they and the members.

What is shown: no two serve at one time, a former leader's writes are refused, and how long nobody serves. Times are of
CLOCK_MONOTONIC, which all processes of a machine share. RUNS=<n> repeats more often, TTL_S=<s> is the heads' lease.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from linckia.base.limits import LEADER_TTL_S
from linckia.core.mvcc.records import WatchBatch, WatchQuery
from linckia.store.address import EtcdAddress
from linckia.store.blocking import at_once
from linckia.store.errors import StoreError
from linckia.store.etcd import EtcdStore
from linckia.testing.etcd import EtcdCluster, EtcdMember, missing

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing())]
TTL_S = float(os.environ.get("TTL_S") or 1.0)
RUNS = int(os.environ.get("RUNS") or 3)
WAIT_MAX_S = 30.0
BEAT_S = 0.01
_worlds = itertools.count()

HEAD = """
import sys, time
from linckia.core.leadership.records import HeadFacts
from linckia.core.mvcc.records import Put, Txn
from linckia.node.leadership import Leadership, LeadershipCalls, LeadershipOptions
from linckia.rpc.reactor import Reactor
from linckia.store.address import EtcdAddress
from linckia.store.etcd import EtcdStore

number, ttl_s, beat_s, space, endpoints = sys.argv[1:]
number, ttl_s, beat_s = int(number), float(ttl_s), float(beat_s)
reactor = Reactor()
store = EtcdStore(EtcdAddress(tuple(endpoints.split(",")), namespace=space.encode()), reactor.call_soon)

def say(*words):
    print(*words, flush=True)

def elected(epoch, _revision):
    say("elected", epoch, time.monotonic())

def deposed(why):
    say("deposed", 0, time.monotonic(), why)

def beat():
    began_s = time.monotonic()
    epoch = leadership.epoch
    if leadership.is_serving:
        say("served", epoch, began_s)
    if epoch:  # also while it may not serve: the store has to refuse it, if another one leads
        store.txn(Txn((leadership.fence,), (Put(b"beat", b"%d" % epoch),)), lambda _answer: None)
    reactor.call_later(beat_s, beat)

facts = HeadFacts(b"head-%d" % number, "127.0.0.1", 7000 + number)
leadership = Leadership(store, facts, reactor.call_later, LeadershipCalls(elected, deposed), LeadershipOptions(ttl_s))
leadership.start()
say("started", 0, time.monotonic())
beat()

def commands():
    for line in sys.stdin:
        epoch = line.split()[1]
        reactor.call_soon(lambda: leadership.leader_gone(int(epoch)))

import threading
threading.Thread(target=commands, daemon=True).start()
reactor.run()
"""


class Head:
    """A head's process and what it said."""

    def __init__(self, number: int, address: EtcdAddress, ttl_s: float) -> None:
        how = [str(number), str(ttl_s), str(BEAT_S), address.namespace.decode(), ",".join(address.endpoints)]
        command = [sys.executable, "-c", HEAD, *how]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.said: list[tuple[str, int, float]] = []
        self.reasons: list[str] = []  # for being deposed
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            word, epoch, at_s, *why = line.split()
            self.said.append((word, int(epoch), float(at_s)))
            if why:
                self.reasons.append(f"{at_s}: {' '.join(why)}")

    def served(self, since_s: float = 0.0) -> list[tuple[float, int]]:
        """When, and in which term."""
        return [(at_s, epoch) for word, epoch, at_s in list(self.said) if word == "served" and at_s > since_s]

    def count(self, word: str) -> int:
        """How often it said it."""
        return sum(each == word for each, _, _ in list(self.said))

    def has_more(self, word: str, before: int) -> bool:
        return self.count(word) > before

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._thread.join()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


class World:
    """Three members, heads, and the history of what they wrote."""

    def __init__(self, cluster: EtcdCluster) -> None:
        self.cluster = cluster
        self.address = EtcdAddress(cluster.endpoints, namespace=b"world-%d/" % next(_worlds))
        self.heads: list[Head] = []
        self.dead: list[Head] = []
        self.writers: list[int] = []
        self.store = EtcdStore(self.address, at_once)
        self.store.watch(WatchQuery(b"beat", None, 1), self._on_beat)

    def _on_beat(self, batch: WatchBatch | StoreError) -> None:
        if isinstance(batch, WatchBatch):
            self.writers += [int(event.kv.value) for event in batch.events]

    def start(self, count: int, ttl_s: float = TTL_S) -> Head:
        """The leader among them."""
        self.heads += [Head(number, self.address, ttl_s) for number in range(count)]
        self.until(lambda: all(head.said for head in self.heads), "heads")
        self.until(lambda: any(head.served() for head in self.heads), "a leader")
        self.pass_time(TTL_S / 2)  # the others are standbys
        return next(head for head in self.heads if head.served())

    def add(self, number: int) -> None:
        """One more standby."""
        head = Head(number, self.address, TTL_S)
        self.heads.append(head)
        self.until(lambda: head.said, "a head")
        self.pass_time(TTL_S / 2)

    def pass_time(self, duration_s: float) -> None:
        until_s = time.monotonic() + duration_s
        self.until(lambda: time.monotonic() > until_s, "that time")

    def until(self, holds: Callable[[], object], what: str) -> None:
        deadline_s = time.monotonic() + WAIT_MAX_S
        while not holds():
            assert time.monotonic() < deadline_s, f"{what} did not come to hold within {WAIT_MAX_S:g} s"
            time.sleep(0.002)  # sleep: other processes

    def leader_after(self, since_s: float, *, but: Head | None = None) -> Head:
        """Who serves next."""
        found: list[Head] = []

        def look() -> bool:
            found.extend(head for head in self.heads if head is not but and head.served(since_s))
            return bool(found)

        self.until(look, "the next leader")
        return found[0]

    def kill(self, head: Head) -> None:
        self.heads.remove(head)
        self.dead.append(head)
        head.kill()

    def gap_s(self, since_s: float) -> float:
        """The longest time without anybody who served, after ``since_s``."""
        times = sorted(at_s for head in self.heads + self.dead for at_s, _ in head.served(since_s - 1.0))
        return max(after - before for before, after in itertools.pairwise(times) if after > since_s)

    def check(self) -> None:
        """Nobody served in a term when a later one had begun to, and no late write was done."""
        served = sorted(one for head in self.heads + self.dead for one in head.served())
        epochs = [epoch for _, epoch in served]
        assert epochs == sorted(epochs), "two terms were served at one time"
        assert self.writers == sorted(self.writers), "a former leader wrote"
        assert set(self.writers) <= set(epochs)

    def close(self) -> None:
        for head in self.heads:
            head.kill()
        self.store.close()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    made = EtcdCluster(tmp_path_factory.mktemp("etcd"), 3)
    yield made
    made.close()


@pytest.fixture
def world(cluster: EtcdCluster) -> Iterator[World]:
    """All members run."""
    for member in cluster.members:
        member.send(signal.SIGCONT)
    cluster.start()
    made = World(cluster)
    yield made
    made.close()


def report(capsys: pytest.CaptureFixture[str], what: str, gaps_s: list[float]) -> None:
    """How long nobody served."""
    low, high, middle = min(gaps_s), max(gaps_s), statistics.median(gaps_s)
    with capsys.disabled():
        print(
            f"\n{what}: nobody served for {low:.3f} / {middle:.3f} / {high:.3f} s (min, median, max of {len(gaps_s)})"
        )


@pytest.mark.row("S14")
@pytest.mark.timeout(120 + RUNS * 10)
def test_a_stopped_leader_does_nothing_when_it_goes_on(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    leader = world.start(3)
    gaps_s: list[float] = []
    for _ in range(RUNS):
        stopped_s = time.monotonic()
        leader.process.send_signal(signal.SIGSTOP)
        following = world.leader_after(stopped_s + 0.05, but=leader)
        world.pass_time(stopped_s + TTL_S + 1.0 - time.monotonic())
        terms = leader.count("deposed")
        leader.process.send_signal(signal.SIGCONT)
        world.until(partial(leader.has_more, "deposed", terms), "the former leader's end")
        gaps_s.append(world.gap_s(stopped_s))
        leader = following
    report(capsys, "leader stopped", gaps_s)
    world.check()


@pytest.mark.row("S4", "S5")
@pytest.mark.timeout(120 + RUNS * 10)
@pytest.mark.parametrize("is_seen", [True, False], ids=["seen", "unseen"])
def test_a_killed_leader_is_followed(world: World, capsys: pytest.CaptureFixture[str], *, is_seen: bool) -> None:
    """In a moment when somebody saw that its process ended; else, as when its machine is lost, when its lease ends."""
    leader = world.start(3)
    gaps_s: list[float] = []
    for number in range(3, 3 + RUNS):
        killed_s = time.monotonic()
        world.kill(leader)
        if is_seen:
            for head in world.heads:
                head.tell(f"gone {leader.served()[-1][1]}")
        following = world.leader_after(killed_s)
        gaps_s.append(world.gap_s(killed_s))
        leader = following
        world.add(number)
    report(capsys, f"leader killed, {'seen' if is_seen else 'unseen'}", gaps_s)
    assert max(gaps_s) < (1.0 if is_seen else TTL_S + 2.0)
    world.check()


@pytest.mark.row("S6")
def test_a_leader_lost_together_with_the_leader_of_etcd(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    leader = world.start(3)
    lost_s = time.monotonic()
    world.kill(leader)
    leading_member(world.cluster).kill()
    world.leader_after(lost_s)
    gap_s = world.gap_s(lost_s)
    report(capsys, "leader and etcd's leader killed, unseen", [gap_s])
    assert gap_s < TTL_S + 3.5
    world.check()


@pytest.mark.row("S7")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
@pytest.mark.parametrize("which", ["leading", "asked"])
def test_a_member_of_etcd_that_goes_changes_no_head(
    world: World, which: str, how: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    leader = world.start(2, LEADER_TTL_S)
    member = leading_member(world.cluster) if which == "leading" else world.cluster.members[0]
    lost_s = time.monotonic()
    if how is signal.SIGKILL:
        member.kill()
    else:
        member.send(how)
    world.pass_time(2 * LEADER_TTL_S)
    world.leader_after(time.monotonic())
    assert leader.reasons == [], f"etcd's member went at {lost_s}"
    report(capsys, f"the member of etcd that is {which}, {how.name}", [world.gap_s(lost_s)])
    assert sum(head.count("elected") for head in world.heads) == 1
    world.check()


def leading_member(cluster: EtcdCluster) -> EtcdMember:
    """Of etcd itself."""
    found = json.loads(cluster.control("endpoint", "status", "--cluster", "-w", "json"))
    leading = next(each for each in found if each["Status"]["header"]["member_id"] == each["Status"]["leader"])
    return next(member for member in cluster.members if member.client_url == leading["Endpoint"])
