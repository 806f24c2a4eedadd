"""Nodes that join and leave, and what everybody is told about it (section 1 rows of clusters, section 7 of nodes)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from engine import IS_LINCKIA, better, module, ray, settings, wait_for

UNKNOWN_NODE = "ab" * 28
Affinity = module("util.scheduling_strategies").NodeAffinitySchedulingStrategy


@ray.remote
def node_id() -> str:
    """Where it runs."""
    found: str = ray.get_runtime_context().get_node_id()
    return found


@ray.remote(num_cpus=0)
class Counter:
    """Counts."""

    def __init__(self) -> None:
        self.count = 0

    def add(self) -> int:
        """One more."""
        self.count += 1
        return self.count


@pytest.fixture(scope="module")
def pair() -> Iterator[Any]:
    """A head of one CPU, and a node of two with a label and a resource of its own; no driver is connected."""
    ray.shutdown()
    cluster = module("cluster_utils").Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=2, resources={"disk": 3}, labels={"zone": "a"})
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def own() -> Iterator[Any]:
    """A connected cluster of the test's own: a head without CPUs."""
    ray.shutdown()
    cluster = module("cluster_utils").Cluster(initialize_head=True, connect=True, head_node_args={"num_cpus": 0})
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def left() -> Iterator[None]:
    """The test connects by itself; nothing is connected before or after."""
    ray.shutdown()
    yield
    ray.shutdown()


def of(node_id: str) -> dict[str, Any]:
    """The row of a node."""
    (found,) = [row for row in ray.nodes() if row["NodeID"] == node_id]
    return dict(found)


# --- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.row("1.1", "1.6")
def test_two_drivers_at_a_time(pair: Any, left: None, run_script: Any) -> None:
    ray.init(address=pair.address, namespace="shared")
    mine = Counter.options(name="meeting").remote()
    assert ray.get(mine.add.remote(), timeout=30) == 1
    other = run_script(
        f"""
        import ray
        ray.init(address={pair.address!r}, namespace="shared", log_to_driver=False)
        print(ray.get(ray.get_actor("meeting").add.remote()), len(ray.nodes()))
        """
    )
    assert other.stdout.split() == ["2", "2"], other
    assert ray.get(mine.add.remote(), timeout=30) == 3


@pytest.mark.row("1.1", "1.53")
def test_connect_with_the_address(pair: Any, left: None) -> None:
    assert pair.address == pair.gcs_address
    host, _, port = pair.address.rpartition(":")
    assert host
    assert port.isdecimal()
    ray.init(address=pair.address)
    assert sum(row["Alive"] for row in ray.nodes()) == 2
    assert ray.cluster_resources()["CPU"] == 3


@pytest.mark.row("1.1")
@pytest.mark.parametrize("form", ["auto", None])
def test_the_environment_names_the_cluster(
    pair: Any, left: None, form: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in settings(ADDRESS=pair.address).items():
        monkeypatch.setenv(name, value)
    ray.init(address=form)
    assert ray.cluster_resources()["disk"] == 3


@pytest.mark.row("1.1")
def test_local_is_a_new_cluster_beside_it(pair: Any, left: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in settings(ADDRESS=pair.address).items():
        monkeypatch.setenv(name, value)
    ray.init(address="local", num_cpus=1, include_dashboard=False)
    assert "disk" not in ray.cluster_resources()
    assert len(ray.nodes()) == 1


@pytest.mark.row("1.2")
@pytest.mark.parametrize("option", [{"num_cpus": 1}, {"resources": {"a": 1}}, {"object_store_memory": 10**8}])
def test_a_cluster_that_runs_has_its_amounts(pair: Any, left: None, option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(option))):
        ray.init(address=pair.address, **option)
    assert not ray.is_initialized()


@pytest.mark.row("1.1")
@better("Ray tries for a minute and more")
def test_an_address_where_nobody_answers(left: None) -> None:
    with pytest.raises(ConnectionError, match=r"127\.0\.0\.1:1\b"):
        ray.init(address="127.0.0.1:1")
    with pytest.raises(ConnectionError, match=r"nohost\.invalid"):
        ray.init(address="nohost.invalid:6379")


@pytest.mark.row("1.1", "1.16")
def test_leaving_leaves_the_cluster_alone(pair: Any, left: None) -> None:
    ray.init(address=pair.address, namespace="lasting")
    kept = Counter.options(name="kept", lifetime="detached").remote()
    assert ray.get(kept.add.remote(), timeout=30) == 1
    del kept
    ray.shutdown()
    ray.init(address=pair.address, namespace="lasting")
    again = ray.get_actor("kept")
    assert ray.get(again.add.remote(), timeout=30) == 2
    ray.kill(again)


# --- what is told of nodes --------------------------------------------------------------------------------------------


@pytest.mark.row("1.35", "1.53")
def test_rows_of_nodes(pair: Any, left: None) -> None:
    ray.init(address=pair.address)
    (other,) = pair.worker_nodes
    row = of(other.node_id)
    assert row["Alive"] is True
    assert row["alive"] is True
    assert {"CPU": 2, "disk": 3}.items() <= row["Resources"].items()
    assert row["Labels"]["zone"] == "a"
    assert row["Labels"]["ray.io/node-id"] == other.node_id
    assert row["NodeManagerPort"] > 0
    assert row["NodeManagerHostname"]
    assert len({found["NodeID"] for found in ray.nodes()}) == 2
    assert ray.get_runtime_context().get_node_id() == pair.head_node.node_id


@pytest.mark.row("1.36", "2.39")
def test_resources_that_name_nodes(pair: Any, left: None) -> None:
    ray.init(address=pair.address)
    (other,) = pair.worker_nodes
    heads = [row["NodeID"] for row in ray.nodes() if "node:__internal_head__" in row["Resources"]]
    assert heads == [pair.head_node.node_id]
    for row in ray.nodes():
        assert row["Resources"][f"node:{row['NodeManagerAddress']}"] == 1
    totals = ray.cluster_resources()
    assert totals["node:__internal_head__"] == 1
    assert totals["object_store_memory"] == sum(row["Resources"]["object_store_memory"] for row in ray.nodes())
    on_head = node_id.options(num_cpus=0, resources={"node:__internal_head__": 0.001}).remote()
    assert ray.get([on_head, node_id.options(resources={"disk": 1}).remote()], timeout=30) == [
        pair.head_node.node_id,
        other.node_id,
    ]


@pytest.mark.row("1.42", "2.8")
def test_a_task_knows_the_labels_of_its_node(pair: Any, left: None) -> None:
    ray.init(address=pair.address)

    @ray.remote(resources={"disk": 1})
    def labels() -> dict[str, str]:
        found: dict[str, str] = ray.get_runtime_context().get_node_labels()
        return found

    assert ray.get(labels.remote(), timeout=30)["zone"] == "a"


# --- joining and leaving ----------------------------------------------------------------------------------------------


@pytest.mark.row("1.53", "7.6")
def test_nodes_come_and_go(own: Any) -> None:
    assert "CPU" not in ray.cluster_resources()
    first, second = own.add_node(num_cpus=1), own.add_node(num_cpus=2, resources={"disk": 1})
    own.wait_for_nodes()
    assert ray.cluster_resources()["CPU"] == 3
    assert len(own.list_all_nodes()) == 3
    assert ray.get(node_id.options(resources={"disk": 1}).remote(), timeout=30) == second.node_id
    own.remove_node(second)
    own.wait_for_nodes()
    wait_for(lambda: not of(second.node_id)["Alive"], what="it is dead")
    assert of(second.node_id)["Resources"] == {}
    assert of(first.node_id)["Alive"]
    assert ray.cluster_resources()["CPU"] == 1
    assert "disk" not in ray.cluster_resources()
    assert ray.get(node_id.remote(), timeout=30) == first.node_id


@pytest.mark.row("7.6", "7.8")
def test_a_killed_node_is_dead_and_says_why(own: Any) -> None:
    node = own.add_node(num_cpus=1)
    asked = ray.get(node_id.remote(), timeout=30)
    assert asked == node.node_id
    own.remove_node(node, allow_graceful=False)
    row = wait_for(lambda: (found := of(node.node_id)) and not found["Alive"] and found, timeout_s=60, what="dead")
    assert row["DeathReasonMessage"]
    again = own.add_node(num_cpus=1)
    assert again.node_id != node.node_id
    assert ray.get(node_id.remote(), timeout=30) == again.node_id
    assert [found["Alive"] for found in ray.nodes() if found["NodeID"] == node.node_id] == [False]


@pytest.mark.row("7.6")
def test_the_workers_of_a_killed_node_are_gone(own: Any, new_channel: Any, new_gate: Any) -> None:
    node, channel, gate = own.add_node(num_cpus=1), new_channel(), new_gate()

    @ray.remote(max_retries=0)
    def held(channel: Any, gate: Any) -> None:
        channel.send(os.getpid())
        gate.wait()

    ref = held.remote(channel, gate)
    pid = int(channel.receive())
    own.remove_node(node, allow_graceful=False)
    wait_for(lambda: not is_running(pid), what="the worker has ended")
    with pytest.raises(Exception, match=r"(?i)died|node|crash"):
        ray.get(ref, timeout=60)


def is_running(pid: int) -> bool:
    """False for the dead, zombies included."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.row("1.53")
def test_waiting_for_nodes_that_do_not_come(own: Any) -> None:
    node = own.add_node(num_cpus=1)
    own.worker_nodes.discard(node)  # so that the cluster has one more than was asked for
    with pytest.raises(TimeoutError):
        own.wait_for_nodes(timeout=0.5)
    own.worker_nodes.add(node)
    own.wait_for_nodes(timeout=10)


@pytest.mark.row("1.53")
def test_shutdown_ends_every_node(left: None) -> None:
    cluster = module("cluster_utils").Cluster(initialize_head=True, connect=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1, resources={"other": 1})
    assert cluster.remaining_processes_alive()

    @ray.remote(num_cpus=0)
    def pid() -> int:
        return os.getpid()

    pids = ray.get([pid.remote(), pid.options(resources={"other": 1}).remote()], timeout=30)
    ray.shutdown()
    cluster.shutdown()
    wait_for(lambda: not any(map(is_running, pids)), what="the workers have ended")
    cluster.shutdown()


@pytest.mark.row("1.53")
def test_a_cluster_without_a_head_cannot_be_connected_to() -> None:
    with pytest.raises(RuntimeError):
        module("cluster_utils").Cluster(connect=True)


@pytest.mark.row("1.53", "4.14")
def test_many_nodes_join_at_once(own: Any, new_gate: Any, new_channel: Any) -> None:
    count, gate, channel = 6 if IS_LINCKIA else 3, new_gate(), new_channel()
    for _ in range(count):
        own.add_node(wait=False, num_cpus=1)
    own.wait_for_nodes()
    wait_for(lambda: ray.cluster_resources().get("CPU") == count, what="all joined")

    @ray.remote(num_cpus=1)
    def held() -> None:
        channel.send(ray.get_runtime_context().get_node_id())
        gate.wait()

    refs = [held.remote() for _ in range(count)]
    assert len(set(channel.receive_many(count))) == count, "all at a time, one on each"
    gate.open()
    ray.get(refs, timeout=30)


# --- drained ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def drain(own: Any) -> Callable[..., None]:
    """Asks the command line to drain a node."""
    import subprocess  # noqa: PLC0415
    import sys  # noqa: PLC0415

    def ask(node: Any, reason: str, deadline_s: int = 600) -> bool:
        program = ["-m", "linckia.cli.main"] if IS_LINCKIA else ["-m", "ray.scripts.scripts"]
        done = subprocess.run(
            [sys.executable, *program, "drain-node", f"--address={own.address}", f"--node-id={node.node_id}",
             f"--reason={reason}", "--reason-message=a test", f"--deadline-remaining-seconds={deadline_s}"],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        print(done.stdout, done.stderr)
        return done.returncode == 0

    return ask


@pytest.mark.row("7.9", "8.18")
def test_an_idle_node_may_go(own: Any, drain: Any) -> None:
    node, other = own.add_node(num_cpus=1, resources={"a": 1}), own.add_node(num_cpus=1)
    assert ray.get(node_id.options(resources={"a": 1}).remote(), timeout=30) == node.node_id
    wait_for(lambda: drain(node, "DRAIN_NODE_REASON_IDLE_TERMINATION"), what="idle enough")
    assert set(ray.get([node_id.options(num_cpus=0.1).remote() for _ in range(6)], timeout=30)) == {other.node_id}


@pytest.mark.row("7.9", "8.18")
def test_a_busy_node_is_not_idle(own: Any, drain: Any, new_gate: Any, new_channel: Any) -> None:
    node, gate, channel = own.add_node(num_cpus=1), new_gate(), new_channel()

    @ray.remote
    def held() -> str:
        channel.send("here")
        gate.wait()
        return "done"

    ref = held.remote()
    channel.receive()
    assert not drain(node, "DRAIN_NODE_REASON_IDLE_TERMINATION")
    gate.open()
    assert ray.get(ref, timeout=30) == "done"


@pytest.mark.row("7.9", "7.8", "8.18")
def test_preemption_lets_work_end_and_takes_none(own: Any, drain: Any, new_gate: Any, new_channel: Any) -> None:
    node, gate, channel = own.add_node(num_cpus=2), new_gate(), new_channel()

    @ray.remote
    def held() -> str:
        channel.send("here")
        gate.wait()
        return "done"

    ref = held.remote()
    channel.receive()
    assert drain(node, "DRAIN_NODE_REASON_PREEMPTION")
    later = node_id.remote()
    assert ray.wait([later], timeout=1)[0] == [], "nothing new on a node that is to go"
    gate.open()
    assert ray.get(ref, timeout=30) == "done"
    other = own.add_node(num_cpus=1)
    assert ray.get(later, timeout=30) == other.node_id
