"""Many machines in virtual time: every scenario on a small fleet; equal seeds are equal histories, a broken part is
found, and messages do not grow with the square of the nodes.

``make sim NODES=2000 SCENARIO=churn`` runs the same scenarios at size.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from linckia.protocol import messages as m
from linckia.testing.fleet.mutants import MUTANTS, NODES, SEEDS_MAX, Mutant, hunt
from linckia.testing.fleet.scenario import Scenario
from linckia.testing.fleet.scenarios import SCENARIOS, programs
from linckia.testing.fleet.world import Fleet

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
    assert sum(driver.finished for driver in fleet.drivers) > 0 or name in ("autoscale", "scaling")


@pytest.mark.sim
def test_a_group_that_loses_a_second_node_while_it_is_prepared_again_is_not_created() -> None:
    Fleet(SCENARIOS["heads"], 1051, 14).run()


@pytest.mark.sim
def test_a_node_gets_nothing_before_it_has_told_what_it_runs() -> None:
    """Its word would be about a moment before it got something: an actor was started twice."""
    Fleet(SCENARIOS["heads"], 1023, 14).run()


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


@pytest.mark.sim
@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_a_planted_bug_is_found(mutant: Mutant) -> None:
    found = hunt(mutant)
    assert found.seed >= 0, f"nothing notices that {mutant.what}, {mutant.scenario} with seeds 0 to {SEEDS_MAX - 1}"


def test_there_are_planted_bugs_of_every_part_and_each_has_a_name_of_its_own() -> None:
    assert len(MUTANTS) >= 20
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert {mutant.scenario for mutant in MUTANTS} == set(SCENARIOS)


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
