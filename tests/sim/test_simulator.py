"""The simulator itself: it is deterministic, it really injects faults, and it would notice what it is there for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from linckia.core.leases.manager import LeaseManager
from linckia.core.objects.reference_counter import ReferenceCounter
from linckia.protocol import messages as m
from linckia.raylet.lease_desk import LeaseDesk
from linckia.rpc.faults import FaultPlan, Faults
from linckia.rpc.idempotence import RecentReplies
from linckia.testing.clock import VirtualClock
from linckia.testing.cluster import SimCluster, SimFailure
from linckia.testing.network import FaultyNetwork, SimConnection

HISTORY = "from linckia.testing.cluster import SimCluster as C; c = C({seed}).run(); print(c.digest, c.steps, c.exits)"


# --- determinism ------------------------------------------------------------------------------------------------------


@pytest.mark.sim
@pytest.mark.parametrize("seed", [3, 4])
def test_one_seed_is_one_history_in_every_process(seed: int) -> None:
    def history(hash_seed: str) -> str:
        environment = {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)}
        command = [sys.executable, "-c", HISTORY.format(seed=seed)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    first = history("1")
    assert first == history("4242")
    assert first.split()[0] == str(SimCluster(seed).run().digest)


@pytest.mark.sim
def test_seeds_differ() -> None:
    assert len({SimCluster(seed).run().digest for seed in range(4)}) == 4


# --- does it notice? --------------------------------------------------------------------------------------------------


def cancel_without_answer(self: LeaseDesk, peer: Any, message: m.CancelLease) -> None:
    self.carry_out(self.manager.cancel((peer.peer_id, message.rid)))


def keep_resources(self: LeaseManager, lease: Any) -> None:
    del self.leases[lease.lease_id]
    self._disown(lease.request.owner, lease_id=lease.lease_id)
    self.recalls.ended(lease)


def run_every_time(_self: RecentReplies, _client: bytes, _rid: int) -> tuple[bool, None]:
    return True, None


def lend_nothing(self: ReferenceCounter, object_id: bytes, borrower: bytes) -> None:
    """An owner that forgets whom it lent to."""


@pytest.mark.sim
@pytest.mark.parametrize(
    ("owner", "name", "broken"),
    [
        (LeaseDesk, "on_cancel_lease", cancel_without_answer),
        (LeaseManager, "_end_lease", keep_resources),
        (RecentReplies, "begin", run_every_time),
        (ReferenceCounter, "_lend", lend_nothing),
    ],
)
def test_a_broken_part_is_found(
    owner: type, name: str, broken: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutants that once were, or could have been, bugs; each dies within a few lives."""
    monkeypatch.setattr(owner, name, broken)
    with pytest.raises(SimFailure, match=r"replay: make sim SEED=\d+"):
        for seed in range(40):
            SimCluster(seed).run()


# --- its parts --------------------------------------------------------------------------------------------------------


def test_time_moves_only_by_steps() -> None:
    clock = VirtualClock(10.0)
    seen: list[tuple[str, float]] = []
    clock.call_later(5.0, lambda: seen.append(("late", clock.now_s)))
    clock.call_later(1.0, lambda: clock.call_soon(lambda: seen.append(("soon", clock.now_s))))
    clock.call_later(2.0, lambda: seen.append(("never", clock.now_s))).cancel()
    while clock.step():
        pass
    assert seen == [("soon", 11.0), ("late", 15.0)]
    assert clock.next_due_s is None


class Pair:
    """Two processes and what the second hears."""

    def __init__(self, plan: FaultPlan | None = None) -> None:
        self.clock = VirtualClock()
        self.network = FaultyNetwork(self.clock, Random(1), plan)
        self.heard: list[Any] = []
        first = self.network.join(b"a", "driver", lambda _c, _m: None, lambda _c, _r: None)
        self.network.join(b"b", "worker", self.on_message, lambda _c, reason: self.heard.append(reason))
        connection = self.network.connect(first, b"b")
        assert connection is not None
        self.connection = connection

    def on_message(self, _connection: SimConnection, message: m.Message) -> None:
        self.heard.append(getattr(message, "rid", None) or getattr(message, "count", None))

    def rest(self) -> list[Any]:
        while self.clock.step():
            pass
        return self.heard


def test_a_connection_keeps_its_order_even_over_a_partition() -> None:
    pair = Pair()
    for count in range(1, 100):
        pair.connection.post(m.TakeBack(count))
        if count == 50:
            pair.network.cut(b"a", b"b", 0.7)
    assert pair.rest() == list(range(1, 100))
    assert pair.clock.now_s >= 1000.7


def test_a_dead_process_is_heard_to_the_end() -> None:
    pair = Pair()
    for count in range(1, 10):
        pair.connection.post(m.TakeBack(count))
    pair.network.crash(b"a", "killed")
    pair.connection.post(m.TakeBack(10))
    assert pair.rest() == [*range(1, 10), "killed"]


def test_requests_are_lost_doubled_and_late_and_nothing_else_is() -> None:
    pair = Pair(FaultPlan(seed=5, drop=0.2, duplicate=0.2, delay=0.3))
    for rid in range(1, 201):
        pair.connection.post(m.RequestLease(rid, {}, 1, b"", nested=False))
        pair.connection.post(m.TakeBack(1000 + rid))
    heard = pair.rest()
    ordinary = [each for each in heard if each > 1000]
    requests = [each for each in heard if each <= 1000]
    assert ordinary == list(range(1001, 1201))
    assert len(set(requests)) < 190
    assert len(requests) > len(set(requests)) + 10
    assert requests != sorted(requests)


def test_a_plan_gives_the_same_faults_every_time() -> None:
    plan = FaultPlan(seed=9, drop=0.5, duplicate=0.5, delay=0.5)
    message = m.AllocExtent(1, 1)
    one, other = Faults(plan), Faults(plan)
    first = [one.copies(message) for _ in range(50)]
    assert first == [other.copies(message) for _ in range(50)]
    assert {len(copies) for copies in first} == {0, 1, 2}
