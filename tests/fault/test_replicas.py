"""Replicas on several real nodes: kept, shown, repaired when a node dies, and read without running anything again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
from watching import until

import linckia
from linckia.cluster_utils import Cluster
from linckia.experimental import get_object_locations
from linckia.worker import current

pytestmark = pytest.mark.fault

STORE = {"object_store_memory": 100 * 2**20}
ITEMS = 250_000  # 2 MB


@pytest.fixture
def nodes() -> Iterator[Any]:
    """A connected head without CPUs, and three nodes with one each."""
    cluster = Cluster(initialize_head=True, connect=True, head_node_args={"num_cpus": 0, **STORE})
    try:
        for number in range(3):
            cluster.add_node(num_cpus=1, resources={f"node{number}": 1}, **STORE)
        yield cluster
    finally:
        linckia.shutdown()
        cluster.shutdown()


@linckia.remote
def make(marker: Path, start: int = 0) -> Any:
    """A large value; notes each run."""
    with marker.open("a") as file:
        file.write("x")
    return numpy.arange(start, start + ITEMS)


def places(ref: Any) -> list[str]:
    """Nodes with a copy, the primary's first."""
    found: list[str] = get_object_locations([ref])[ref]["node_ids"]
    return found


def node_of(cluster: Any, node_id: str) -> Any:
    return next(node for node in cluster.worker_nodes if node.node_id == node_id)


def lose(cluster: Any, node_id: str, refs: list[Any], copies: int) -> None:
    """Kill a node and wait until its copies are repaired: until the owner has heard of the death, it counts them on."""
    cluster.remove_node(node_of(cluster, node_id), False)
    wanted = f"{copies} copies of each, none on {node_id[:8]}"
    until(lambda: all(len(places(ref)) == copies and node_id not in places(ref) for ref in refs), 30, wanted)


def test_a_result_survives_its_node_without_lineage(nodes: Any, tmp_path: Path) -> None:
    ref = make.options(replicas=2, resources={"node0": 1}).remote(tmp_path / "runs")
    linckia.wait([ref], fetch_local=False)
    until(lambda: len(places(ref)) == 2)
    for _ in range(2):  # and again, after it was repaired
        lose(nodes, next(place for place in places(ref) if place != nodes.head_node.node_id), [ref], 2)
    assert (linckia.get(ref, timeout=30) == numpy.arange(ITEMS)).all()
    assert (tmp_path / "runs").read_text() == "x", "it was not run again"


def test_without_replicas_it_is_made_again(nodes: Any, tmp_path: Path) -> None:
    ref = make.options(num_cpus=1).remote(tmp_path / "runs")
    linckia.wait([ref], fetch_local=False)
    nodes.remove_node(node_of(nodes, places(ref)[0]), False)
    assert linckia.get(ref, timeout=30)[1] == 1
    assert (tmp_path / "runs").read_text() == "xx"


def test_results_that_may_not_be_made_again_are_kept(nodes: Any, tmp_path: Path) -> None:
    refs = [make.options(replicas=2, max_retries=0).remote(tmp_path / "runs", start) for start in range(6)]
    linckia.wait(refs, num_returns=6, fetch_local=False)
    until(lambda: all(len(places(ref)) == 2 for ref in refs))
    victim = next(place for ref in refs for place in places(ref) if place != nodes.head_node.node_id)
    nodes.remove_node(node_of(nodes, victim), False)
    for start, ref in enumerate(refs):
        assert linckia.get(ref, timeout=30)[0] == start


def test_fewer_nodes_than_copies_and_more_when_they_join(nodes: Any, tmp_path: Path) -> None:
    ref = linckia.put(numpy.arange(ITEMS), replicas=5)
    until(lambda: len(places(ref)) == 4)
    nodes.add_node(num_cpus=1, **STORE)
    until(lambda: len(places(ref)) == 5, 20)
    assert places(ref)[0] == nodes.head_node.node_id


def test_a_put_value_is_repaired_when_a_replica_is_lost(nodes: Any) -> None:
    ref = linckia.put(numpy.arange(ITEMS), replicas=3)
    until(lambda: len(places(ref)) == 3)
    lose(nodes, places(ref)[1], [ref], 3)


def test_the_memory_is_free_again_with_the_last_reference(nodes: Any, tmp_path: Path) -> None:
    for round_ in range(3):  # three times a quarter of a store: more than the share that replicas may take
        refs = [linckia.put(numpy.zeros(3 * 10**6), replicas=2) for _ in range(3)]
        until(lambda refs=refs: all(len(places(ref)) == 2 for ref in refs), 20, f"round {round_}")
        del refs
    promoted = make.options(replicas=2, resources={"node1": 1}).remote(tmp_path / "runs")
    linckia.wait([promoted], fetch_local=False)
    until(lambda: len(places(promoted)) == 2)
    lose(nodes, places(promoted)[0], [promoted], 2)
    promoted = None

    def full_again() -> bool:
        refs = [linckia.put(numpy.zeros(4 * 10**6), replicas=3)]
        return bool(until(lambda: len(places(refs[0])) == 3, 20))

    assert full_again()
    table = current.runtime.replicas.table if current.runtime is not None else None
    until(lambda: table is not None and not table.objects, what="the owner remembers nothing of what is gone")


def test_replicas_leave_room(nodes: Any) -> None:
    """They take half of a store at most; what does not fit waits and follows when there is room."""
    refs = [linckia.put(numpy.zeros(2 * 10**6), replicas=4) for _ in range(4)]  # 16 MB each: three fit on a node
    until(lambda: sorted(len(places(ref)) for ref in refs)[1:] == [4, 4, 4], 20)
    del refs[0]
    until(lambda: all(len(places(ref)) == 4 for ref in refs), 30)


def test_items_of_a_generator_and_results_of_methods(nodes: Any) -> None:
    @linckia.remote(resources={"node0": 1}, replicas=2, max_retries=0)
    def items() -> Any:
        for number in range(3):
            yield numpy.full(ITEMS, number)

    @linckia.remote(resources={"node1": 1})
    class Maker:
        def make(self) -> Any:
            return numpy.full(ITEMS, 7)

    refs = list(items.remote())
    actor = Maker.remote()
    refs.append(actor.make.options(replicas=2).remote())
    linckia.wait(refs, num_returns=4, fetch_local=False)
    until(lambda: all(len(places(ref)) == 2 for ref in refs))
    lose(nodes, places(refs[0])[0], refs, 2)
    nodes.remove_node(node_of(nodes, places(refs[3])[0]), False)
    assert [linckia.get(ref, timeout=30)[0] for ref in refs] == [0, 1, 2, 7]


@pytest.mark.parametrize("by", ["task", "method"])
def test_what_a_fallback_made_is_made_again_when_its_node_dies(nodes: Any, tmp_path: Path, by: str) -> None:
    @linckia.remote(max_retries=0)
    def fails() -> None:
        raise ValueError

    @linckia.remote(num_cpus=0, resources={"node2": 1})
    class Actor:
        def fails(self) -> None:
            raise ValueError

    def instead(_error: BaseException) -> Any:
        return make._function(tmp_path / "runs", 5)

    actor = Actor.remote()
    call = fails if by == "task" else actor.fails
    function = linckia.remote(instead)
    ref = call.options(fallback=function.options(num_cpus=1)).remote()
    linckia.wait([ref], fetch_local=False)
    nodes.remove_node(node_of(nodes, places(ref)[0]), False)
    assert linckia.get(ref, timeout=30)[0] == 5
    assert (tmp_path / "runs").read_text() == "xx"


def test_small_values_stay_with_their_owner(nodes: Any) -> None:
    """Unless replicas of a `put` are asked for."""
    ref = linckia.put("small")
    assert places(ref) == [] and linckia.get(ref) == "small"
    ref = linckia.put("small", replicas=3)
    until(lambda: len(places(ref)) == 3)
    assert linckia.get(ref) == "small"
    for wrong, error in ((0, ValueError), (1.5, TypeError), ("2", TypeError)):
        with pytest.raises(error, match="replicas"):
            linckia.put("x", replicas=wrong)  # type: ignore[arg-type]
