"""The autoscaler, its head and the head's parts die while tasks run: no task is lost, nothing is launched twice, and
what was launched is ended when nothing needs it. Real processes; the simulator's scenario ``scaling`` has the same with
thousands of histories.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from heads_of import kill_leader, leader, told, until_others
from watching import until

import linckia
from linckia.cluster_utils import AutoscalingCluster, Cluster
from linckia.testing.etcd import EtcdCluster, missing

pytestmark = pytest.mark.fault
GET_MAX_S = 30
BACK_MAX_S = 10.0
SMALL = {"small": {"resources": {"CPU": 1}, "max_workers": 4}}


@linckia.remote(num_cpus=1, max_retries=0)
def double(value: int) -> int:
    return 2 * value


@linckia.remote(num_cpus=1, max_retries=0)
def wait_for(path: str) -> str:
    found: str = linckia.get_runtime_context().get_node_id()
    Path(f"{path}-{found}").touch()
    while not os.path.exists(path):
        time.sleep(0.01)  # sleep: another process makes the file
    return found


def soon(condition: Callable[[], Any], what: str, timeout_s: float = BACK_MAX_S) -> None:
    """It comes true."""
    until(condition, timeout_s, what)


def status(cluster: Cluster) -> dict[str, Any]:
    found: dict[str, Any] = told(cluster)["autoscaler"]
    return found


def scaler(cluster: Cluster) -> dict[str, Any]:
    found: dict[str, Any] = status(cluster)["process"]
    return found


def workers(cluster: Cluster) -> list[str]:
    """Living nodes that the autoscaler launched."""
    nodes = told(cluster)["nodes"]
    return [node["node_id"].hex() for node in nodes if node["alive"] and "linckia.io/instance" in node["labels"]]


def launched(cluster: Cluster) -> int:
    """All that ever joined."""
    return sum("linckia.io/instance" in node["labels"] for node in told(cluster)["nodes"])


@pytest.fixture
def scaled() -> Iterator[Callable[[str], Cluster]]:
    """Starts a head without CPUs, with worker groups, and connects."""
    made: list[AutoscalingCluster] = []

    def start(store: str) -> Cluster:
        cluster = AutoscalingCluster({"CPU": 0}, SMALL, store=store, idle_timeout_minutes=1 / 60)
        made.append(cluster)
        cluster.start()
        cluster.connect()
        return cluster._cluster

    yield start
    linckia.shutdown()
    for cluster in made:
        cluster.shutdown()


@pytest.mark.row("S10", "P9")
@pytest.mark.parametrize("store", ["", "session"])
def test_a_killed_autoscaler_is_back_and_no_task_notices(store: str, scaled: Callable[[str], Cluster]) -> None:
    cluster = scaled(store)
    assert linckia.get(double.remote(1), timeout=GET_MAX_S) == 2
    before = workers(cluster)
    refs, killed = [], [0]
    for _ in range(3):
        killed.append(scaler(cluster)["pid"])
        os.kill(killed[-1], signal.SIGKILL)
        refs += [double.remote(number) for number in range(20)]
        soon(lambda: scaler(cluster)["is_up"] and scaler(cluster)["pid"] not in killed, "it is back")
    lost = [number for number, ref in enumerate(refs) if linckia.get(ref, timeout=GET_MAX_S) != 2 * (number % 20)]
    assert lost == []
    assert scaler(cluster)["failures"] == 3
    assert set(before) <= {node["node_id"].hex() for node in told(cluster)["nodes"]}
    print(f"autoscalers killed 3, tasks {len(refs)}, lost 0")


@pytest.mark.row("S10", "P9")
def test_a_stopped_autoscaler_is_replaced_and_status_says_so(
    scaled: Callable[[str], Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINCKIA_AUTOSCALER_SILENT_S", "2")
    cluster = scaled("session")
    soon(lambda: scaler(cluster)["is_up"] and scaler(cluster)["pid"], "it is up")
    stopped = scaler(cluster)["pid"]
    os.kill(stopped, signal.SIGSTOP)
    soon(lambda: scaler(cluster)["failures"] == 1, "its silence is noticed")
    assert "silent for 2 s" in scaler(cluster)["why"]
    soon(lambda: scaler(cluster)["is_up"] and scaler(cluster)["pid"] not in (0, stopped), "another one is there")
    assert linckia.get(double.remote(4), timeout=GET_MAX_S) == 8


@pytest.mark.row("S1", "S10", "10.13")
def test_a_killed_head_launches_nothing_twice_and_ends_what_it_launched(
    scaled: Callable[[str], Cluster], tmp_path: Path
) -> None:
    """Killed while two nodes are on their way, and again while they work."""
    cluster = scaled("session")
    flag = str(tmp_path / "flag")
    running = [wait_for.remote(flag) for _ in range(2)]
    soon(
        lambda: sum(sum(states.values()) for states in status(cluster)["node_types"].values()) == 2, "two are asked for"
    )
    kill_leader(cluster)
    soon(lambda: len(workers(cluster)) == 2, "two nodes are there", 20.0)
    soon(lambda: len(list(tmp_path.glob("flag-*"))) == 2, "each has its task")
    kill_leader(cluster)
    before = sorted(workers(cluster))
    assert len(before) == 2
    Path(flag).touch()
    assert sorted(linckia.get(running, timeout=GET_MAX_S)) == before, "each task where it was, without a retry"
    soon(lambda: workers(cluster) == [], "idle nodes end", 20.0)
    assert launched(cluster) == 2, status(cluster)
    soon(lambda: status(cluster)["node_types"] == {"small": {}}, "and are forgotten")
    print("heads killed 2, nodes launched 2, launched twice 0, forgotten 0")


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    if why := missing():
        pytest.skip(why)
    members = EtcdCluster(tmp_path_factory.mktemp("etcd"), 1)
    yield members
    members.close()


@pytest.mark.row("S4", "S14", "10.13")
def test_another_machines_head_goes_on_with_what_the_last_one_launched(etcd: EtcdCluster, tmp_path: Path) -> None:
    """The node that is launched is a process of the first head's machine; the second one's head has it ended."""
    config = tmp_path / "groups.yaml"
    config.write_text(
        "{cluster_name: x, provider: {type: local}, idle_timeout_s: 1,"
        " available_node_types: {small: {resources: {CPU: 1}, max_workers: 4}}}"
    )
    given = {"num_cpus": 0, "store": f"etcd://{','.join(etcd.endpoints)}/scaled", "autoscaling_config": str(config)}
    cluster = Cluster(initialize_head=True, head_node_args=given)
    try:
        second = cluster.add_node(**given)
        linckia.init(address=second.address)
        until_others(cluster, 1)
        flag = str(tmp_path / "flag")
        running = wait_for.remote(flag)
        soon(lambda: len(list(tmp_path.glob("flag-*"))) == 1, "its task runs", 20.0)
        before, killed = workers(cluster), kill_leader(cluster)
        assert leader(cluster)["port"] != killed["port"]
        soon(lambda: scaler(cluster)["is_up"] and scaler(cluster)["pid"], "its autoscaler is up")
        assert workers(cluster) == before
        Path(flag).touch()
        assert linckia.get(running, timeout=GET_MAX_S) == before[0]
        soon(lambda: workers(cluster) == [], "it ends when idle, though another machine runs it", 20.0)
        assert launched(cluster) == 1
        assert linckia.get(double.remote(5), timeout=GET_MAX_S) == 10, "and the new one launches"
    finally:
        linckia.shutdown()
        cluster.shutdown()
