"""What needs room beside a steady stream of tasks: owners keep workers as long as they have tasks for them."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from engine import better, module, ray

IN_FLIGHT, NAP_S = 40, 0.02
WITHIN_S = 20
groups = module("util.placement_group")


@ray.remote
def nap() -> None:
    """A small task."""
    time.sleep(NAP_S)  # sleep: the work of the stream


@ray.remote(num_cpus=1)
class Resident:
    """Needs a CPU as long as it lives."""

    def ping(self) -> int:
        """It is there."""
        return 1


@pytest.fixture(params=[1, 2], ids=["one node", "two nodes"])
def nodes(request: pytest.FixtureRequest) -> Iterator[int]:
    """A cluster of so many nodes with two CPUs each."""
    ray.shutdown()
    cluster = module("cluster_utils").Cluster(initialize_head=True, connect=True, head_node_args={"num_cpus": 2})
    for _ in range(request.param - 1):
        cluster.add_node(num_cpus=2)
    yield request.param
    ray.shutdown()
    cluster.shutdown()


@contextlib.contextmanager
def stream() -> Iterator[None]:
    """More tasks than fit, all the time; when this begins some have run."""
    over, flows = threading.Event(), threading.Event()

    def flow() -> None:
        waiting: list[Any] = [nap.remote() for _ in range(IN_FLIGHT)]
        while not over.is_set():
            done, waiting = ray.wait(waiting, num_returns=1)
            waiting += [nap.remote() for _ in done]
            flows.set()
        ray.get(waiting)

    thread = threading.Thread(target=flow)
    thread.start()
    try:
        assert flows.wait(30)
        yield
    finally:
        over.set()
        thread.join()


def made(bundles: list[dict[str, float]], strategy: str) -> None:
    """It is made, and removed: it may have all that the stream needs."""
    group = groups.placement_group(bundles, strategy=strategy)
    try:
        ray.get(group.ready(), timeout=WITHIN_S)
    finally:
        groups.remove_placement_group(group)


@better("an actor may wait as long as the tasks of a driver fill the cluster")
@pytest.mark.row("4.16", "14.11")
def test_an_actor_starts_beside_a_stream_of_tasks(nodes: int) -> None:
    with stream():
        actors = [Resident.remote() for _ in range(nodes)]
        assert ray.get([actor.ping.remote() for actor in actors], timeout=WITHIN_S) == [1] * nodes


@better("a group may wait as long as the tasks of a driver fill the cluster")
@pytest.mark.row("6.2", "14.11")
@pytest.mark.parametrize("bundles", [1, 2])
@pytest.mark.usefixtures("nodes")
def test_a_placement_group_is_made_beside_a_stream_of_tasks(bundles: int) -> None:
    with stream():
        made([{"CPU": 1}] * bundles, "STRICT_PACK")


@better("a group may wait as long as the tasks of a driver fill the cluster")
@pytest.mark.row("6.5", "14.11")
def test_a_gang_gets_a_bundle_on_each_node_beside_a_stream_of_tasks(nodes: int) -> None:
    with stream():
        made([{"CPU": 2}] * nodes, "STRICT_SPREAD")


@better("see above: the group would not be made")
def test_after_that_the_tasks_have_everything_again(nodes: int) -> None:
    with stream():
        made([{"CPU": 1}], "PACK")
    assert len(ray.get([nap.remote() for _ in range(nodes * 8)], timeout=30)) == nodes * 8
