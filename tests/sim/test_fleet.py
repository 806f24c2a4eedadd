"""Many machines in virtual time: every scenario on a small fleet; equal seeds are equal histories, a broken part is
found, and messages do not grow with the square of the nodes.

``make sim NODES=2000 SCENARIO=churn`` runs the same scenarios at size.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from linckia.core.autoscaling.packing import Slot
from linckia.core.links.windows import ReceiveCount, SendWindow
from linckia.core.nodes.directory import NodeDirectory
from linckia.core.placement.directory import GroupDirectory
from linckia.gcs.actor_placement import ActorPlacement
from linckia.gcs.actors import ActorService
from linckia.gcs.journal import Journal
from linckia.gcs.placement_groups import GroupService
from linckia.gcs.service import Gcs
from linckia.protocol import messages as m
from linckia.raylet.bundles import BundleHost
from linckia.raylet.gcs_link import GcsLink
from linckia.raylet.lease_desk import LeaseDesk
from linckia.raylet.relaying import Relaying
from linckia.rpc.idempotence import RecentReplies
from linckia.testing.fleet.scenario import Scenario
from linckia.testing.fleet.scenarios import SCENARIOS, programs
from linckia.testing.fleet.world import Fleet, FleetFailure

NODES = 24
FIRST = int(os.environ.get("SEED") or 0)
COUNT = min(4, int(os.environ.get("SEEDS") or (1 if os.environ.get("SEED") else 2)))
HISTORY = (
    "from linckia.testing.fleet.world import Fleet; from linckia.testing.fleet.scenarios import SCENARIOS as S; "
    "f = Fleet(S['churn'], 3, 16).run(); print(f.digest, f.steps)"
)


@pytest.mark.sim
@pytest.mark.row("S19", "S21", "P8", "P18", "P41", "7.7", "6.9", "10.9")
@pytest.mark.parametrize("seed", range(FIRST, FIRST + COUNT))
@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_one_life(name: str, seed: int) -> None:
    fleet = Fleet(SCENARIOS[name], seed, NODES).run()
    assert sum(driver.finished for driver in fleet.drivers) > 0 or name == "autoscale"


@pytest.mark.sim
def test_one_seed_is_one_history_in_every_process() -> None:
    def history(hash_seed: str) -> str:
        environment = {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)}
        command = [sys.executable, "-c", HISTORY]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    first = history("1")
    assert first == history("4242")
    assert first.split()[0] == str(Fleet(SCENARIOS["churn"], 3, 16).run().digest)


# --- does it notice? --------------------------------------------------------------------------------------------------


def nothing(*_args: Any, **_options: Any) -> list[Any]:
    return []


def first_ones_only(self: ActorPlacement) -> None:
    """Those that wait longest, again and again."""
    self._goes_on = False
    for spec, restarts, _why in list(self.waiting.values())[:200]:
        self._start(spec, restarts, is_new=False)


def run_every_time(_self: RecentReplies, _client: bytes, _rid: int) -> tuple[bool, None]:
    """A repeated request is another one."""
    return True, None


def take_unnoticed(self: Slot, need: dict[str, float]) -> None:
    """A node that a waiting gang needs looks idle."""
    for name, amount in need.items():
        self.free[name] = self.free.get(name, 0.0) - amount


def commit_at_once(self: GroupDirectory, group_id: bytes, attempt: int, node_id: bytes, now_s: float) -> list[Any]:
    """The first node that commits stands for all."""
    group = self.groups[group_id]
    group.waiting_for.intersection_update([node_id])
    return committed(self, group_id, attempt, node_id, now_s)


committed = GroupDirectory.committed


def count_some_twice(self: ReceiveCount, messages: int = 1) -> bool:
    """One message in fifty counts for two."""
    return count(self, messages + (self.count % 50 == 0))


count = ReceiveCount.add


def take_any_head_for_the_last(self: GcsLink, conn: Any, message: Any) -> None:
    """A head that knows nothing is taken for the one that knew all."""
    message.resumed = bool(self._head) or message.resumed
    welcome(self, conn, message)


welcome = GcsLink._welcome

MUTANTS: list[tuple[type, str, Callable[..., Any], str]] = [
    (NodeDirectory, "_pull_brake", nothing, "partition"),
    (GroupDirectory, "_give_back", nothing, "gangs"),
    (GroupDirectory, "committed", commit_at_once, "gangs"),
    (BundleHost, "on_return", nothing, "gangs"),
    (ActorPlacement, "_go_on", first_ones_only, "gangs"),
    (RecentReplies, "begin", run_every_time, "lossy"),
    (Gcs, "_node_dead", nothing, "churn"),
    (LeaseDesk, "look_again", nothing, "gangs"),
    (Slot, "take", take_unnoticed, "autoscale"),
    (SendWindow, "unacked", nothing, "links"),
    (ReceiveCount, "add", count_some_twice, "links"),
    (Journal, "touch", nothing, "heads"),
    (Relaying, "listen_again", nothing, "heads"),
    (ActorService, "node_runs", nothing, "heads"),
    (GroupService, "node_runs", nothing, "heads"),
    (GcsLink, "_welcome", take_any_head_for_the_last, "heads"),
]


@pytest.mark.sim
@pytest.mark.parametrize(
    ("owner", "name", "broken", "scenario"), MUTANTS, ids=[f"{o.__name__}.{n}" for o, n, _, _ in MUTANTS]
)
def test_a_broken_part_is_found(
    owner: type, name: str, broken: Callable[..., Any], scenario: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, name, broken)
    with pytest.raises(FleetFailure, match=rf"replay: make sim SCENARIO={scenario} NODES={NODES} SEED=\d+"):
        for seed in range(6):
            Fleet(SCENARIOS[scenario], seed, NODES).run()


# --- what it costs ----------------------------------------------------------------------------------------------------


def some_tasks(fleet: Fleet) -> None:
    """The same work, however many machines there are."""
    began = fleet.delivered.copy()
    (driver,) = programs(fleet, 1)
    driver.submit({"CPU": 1.0}, [0.2] * 80)
    fleet.settle("the tasks are done", lambda: driver.done)
    fleet.advance(1.0)
    fleet.notes["spent"] = fleet.delivered - began
    fleet.notes["formed"] = began


@pytest.mark.sim
@pytest.mark.row("P18")
def test_messages_do_not_grow_with_the_square_of_the_nodes() -> None:
    small, large = (Fleet(Scenario("some", some_tasks), 0, nodes).run() for nodes in (40, 160))
    of_the_view = (m.ResourceReport, m.ViewDelta, m.ViewInterest, m.RequestLease, m.LeaseSpilled)

    def count(fleet: Fleet, when: str, *kinds: type) -> int:
        return sum(fleet.notes[when][kind] for kind in kinds)

    assert count(large, "spent", *of_the_view) <= 1.5 * count(small, "spent", *of_the_view)
    told_of_members = (m.NodesChanged, m.Announced)
    assert count(large, "formed", *told_of_members) <= 12 * count(small, "formed", *told_of_members)
    assert count(large, "formed", *told_of_members) < 160 * 160 / 4


@pytest.mark.sim
def test_a_storm_of_joins_is_told_in_batches() -> None:
    fleet = Fleet(Scenario("form", lambda fleet: fleet.advance(1.0)), 0, 100).run()
    told = fleet.delivered[m.Announced]
    assert told <= 100 * 10, f"{told} messages to tell 100 nodes that 100 nodes joined"
