"""The state API of several nodes: everybody is asked, and who does not answer is named."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from engine import IS_LINCKIA, module, ray, stop, wait_for
from gates import Gate

pytestmark = [
    pytest.mark.skipif(not IS_LINCKIA, reason="clusters of several nodes have no dashboard on the oracle"),
    pytest.mark.usefixtures("three"),
]
NewGate = Callable[[], Gate]
state: Any = module("util.state")


@pytest.fixture(scope="module")
def three() -> Iterator[Any]:
    """A head without CPUs and two nodes of one CPU."""
    ray.shutdown()
    cluster = module("cluster_utils").Cluster(initialize_head=True, connect=True, head_node_args={"num_cpus": 0})
    for zone in ("a", "b"):
        cluster.add_node(num_cpus=1, labels={"zone": zone})
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@ray.remote(name="spread", scheduling_strategy="SPREAD")
def spread(gate: Gate) -> int:
    """Holds a CPU."""
    gate.wait()
    return os.getpid()


@ray.remote(name="outer", num_cpus=1)
def outer(gate: Gate) -> None:
    """Owns a task that waits."""
    ray.get([spread.remote(gate) for _ in range(3)])


@pytest.mark.row("8.20", "8.23")
def test_tasks_of_all_nodes_and_owners(new_gate: NewGate) -> None:
    gate = new_gate()
    ref = outer.remote(gate)

    def seen() -> dict[str, int]:
        found = state.summarize_tasks()["cluster"]["summary"]
        return dict(found["spread"]["state_counts"]) if "spread" in found else {}

    wait_for(lambda: seen().get("RUNNING") == 2 and sum(seen().values()) == 3, what="two on two CPUs, one waits")
    running = state.list_tasks(filters=[("name", "=", "spread"), ("state", "=", "RUNNING")])
    assert len({task.node_id for task in running}) == 2
    (parent,) = state.list_tasks(filters=[("name", "=", "outer")])
    children = state.list_tasks(filters=[("parent_task_id", "=", parent.task_id)])
    assert [child.name for child in children] == ["spread"] * 3
    gate.open()
    ray.get(ref)
    wait_for(lambda: seen() == {"FINISHED": 3})
    assert {worker.node_id for worker in state.list_workers(filters=[("worker_type", "=", "WORKER")])} == {
        node.node_id for node in state.list_nodes(filters=[("is_head_node", "=", False)])
    }


@pytest.mark.row("8.20", "S13")
def test_who_does_not_answer_is_named() -> None:
    @ray.remote
    class Stopped:
        def pid(self) -> int:
            return os.getpid()

    actor = Stopped.remote()
    pid = ray.get(actor.pid.remote())
    stop(pid)
    try:
        call = actor.pid.remote()
        with pytest.raises(module("util.state.exception").RayStateApiException, match=f"worker process {pid} of node"):
            state.list_tasks(timeout=2)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = state.list_tasks(timeout=2, raise_on_missing_output=False)
        assert any(str(pid) in str(warning.message) for warning in caught)
        # What only its owner knows is told all the same.
        assert [task.state for task in found if task.task_id == call.task_id().hex()] == ["SUBMITTED_TO_WORKER"]
    finally:
        os.kill(pid, signal.SIGCONT)
    assert ray.get(call) == pid


@pytest.mark.row("8.20", "7.6")
def test_a_node_that_died_is_listed_and_not_waited_for(three: Any) -> None:
    node = three.add_node(num_cpus=1, labels={"zone": "c"})
    node_id = node.node_id
    wait_for(lambda: state.get_node(node_id) is not None)
    three.remove_node(node)
    wait_for(lambda: state.get_node(node_id).state == "DEAD")
    assert state.get_node(node_id).state_message
    assert state.list_tasks(timeout=20) is not None
    assert any(node_id[:12] in event.message for event in state.list_cluster_events())
