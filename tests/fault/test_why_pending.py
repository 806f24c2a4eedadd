"""`why_pending` of an actor and of a placement group that are not there: the head says why, or that there is none."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from heads_of import head_and_node, leader
from watching import stopped, until

import linckia
from linckia.cluster_utils import Cluster
from linckia.util import why_pending
from linckia.util.placement_group import placement_group, remove_placement_group
from linckia.util.scheduling_strategies import PlacementGroupSchedulingStrategy
from linckia.worker import why

pytestmark = [pytest.mark.fault, pytest.mark.row("P38a")]
ANSWER_TIMEOUT_S = 1.0
"""In these tests, so that they need not wait for five seconds where nobody answers."""


@linckia.remote(num_cpus=1)
class Counter:
    def __init__(self, start: int = 0, gate: str = "") -> None:
        while gate and not os.path.exists(gate):
            time.sleep(0.01)  # sleep: the test makes the file
        self.count = start

    def ping(self) -> int:
        return self.count


@linckia.remote
def opened(gate: str) -> int:
    while not os.path.exists(gate):
        time.sleep(0.01)  # sleep: the test makes the file
    return 7


@pytest.fixture
def two_nodes() -> Iterator[Cluster]:
    """A head with SQLite and without CPUs, and a node with two."""
    with head_and_node(2) as cluster:
        yield cluster


def says(ref: Any, *words: str) -> str:
    """What it says, once it says all of these."""

    def text() -> str:
        told.append(str(why_pending(ref)))
        return told[-1] if all(word in told[-1] for word in words) else ""

    told = [""]
    try:
        return str(until(text))
    except AssertionError as error:
        raise AssertionError(f"expected {words}, it says: {told[-1]}") from error


def asked(ref: Any) -> str:
    """What it says, within the time that it may take."""
    started_s = time.monotonic()
    text = str(why_pending(ref))
    assert time.monotonic() - started_s < ANSWER_TIMEOUT_S + 1, "bounded"
    return text


# --- one node ---------------------------------------------------------------------------------------------------------


def test_of_an_actor_on_a_full_node_its_raylet_tells_what_is_missing(cluster: Any) -> None:
    holders = [Counter.remote() for _ in range(2)]
    assert linckia.get([holder.ping.remote() for holder in holders], timeout=10) == [0, 0]
    ref = Counter.remote().ping.remote()
    text = says(ref, "is PENDING_CREATION", "it was sent to node", "it says: it needs {CPU: 1}, free are {CPU: 0}")
    assert text.startswith("Counter.ping is not sent yet: actor Counter is PENDING_CREATION")
    assert why_pending(ref).kind == "actor"
    del holders
    assert linckia.get(ref, timeout=10) == 0


def test_of_an_actor_that_constructs_itself_and_one_that_waits_for_arguments(cluster: Any, tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")
    slow = Counter.remote(1, gate).ping.remote()
    late = Counter.remote(opened.remote(gate)).ping.remote()
    says(slow, "its constructor runs in process")
    says(late, "is DEPENDENCIES_UNREADY", "waits for 1 of its arguments", "made by opened")
    Path(gate).touch()
    assert linckia.get([slow, late], timeout=10) == [1, 7]


def test_of_a_group_and_an_actor_in_it(cluster: Any) -> None:
    group = placement_group([{"CPU": 1}] * 3, name="gang")
    ref = group.ready()
    says(ref, "placement group 'gang' is PENDING", "3 bundles ({CPU: 1}, {CPU: 1}, {CPU: 1}) with PACK do not fit")
    assert why_pending(ref).kind == "group"
    inside = Counter.options(scheduling_strategy=PlacementGroupSchedulingStrategy(group)).remote().ping.remote()
    says(inside, "its placement group 'gang' is PENDING")
    remove_placement_group(group)
    with pytest.raises(linckia.exceptions.RayError):
        linckia.get(ref, timeout=10)
    assert why_pending(ref).kind == "ready"


# --- two nodes --------------------------------------------------------------------------------------------------------


def test_of_an_actor_for_which_no_node_has_room(two_nodes: Cluster) -> None:
    ref = Counter.options(num_cpus=3).remote().ping.remote()
    says(ref, "is PENDING_CREATION: it waits for a node with room", "CPU: 3")
    two_nodes.add_node(num_cpus=3)
    assert linckia.get(ref, timeout=30) == 0


def test_of_an_actor_that_waits_for_others_to_end(two_nodes: Cluster) -> None:
    holders = [Counter.remote() for _ in range(2)]
    assert linckia.get([holder.ping.remote() for holder in holders], timeout=30) == [0, 0]
    ref = Counter.remote().ping.remote()
    says(ref, "is PENDING_CREATION", "{CPU: 1}")
    del holders
    assert linckia.get(ref, timeout=30) == 0


def test_of_an_actor_that_was_sent_to_a_node_which_does_not_answer(
    two_nodes: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(why, "ANSWER_TIMEOUT_S", ANSWER_TIMEOUT_S)
    (node,) = two_nodes.worker_nodes
    with stopped(node.process.pid):
        ref = Counter.remote().ping.remote()
        text = asked(ref)
        assert f"it was sent to node {node.node_id[:8]}" in text
        assert "that node does not answer this one" in text
        says(ref, "SUSPECT, heard")
    assert linckia.get(ref, timeout=30) == 0


def test_without_a_head_it_says_so_and_does_not_hang(two_nodes: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(why, "ANSWER_TIMEOUT_S", ANSWER_TIMEOUT_S)
    call = Counter.options(num_cpus=3).remote().ping.remote()
    group = placement_group([{"CPU": 3}])
    says(call, "waits for a node with room")
    says(group.ready(), "is PENDING")
    with stopped(leader(two_nodes)["pid"]):
        for ref, known in ((call, "is PENDING_CREATION, as it was heard last"), (group.ready(), "is not CREATED yet")):
            text = asked(ref)
            assert "no head answers" in text
            assert known in text
    says(call, "waits for a node with room")
