"""Worker groups that come and go by demand, on this machine (section 10).

Not run on Ray: its `AutoscalingCluster` begins and ends with `ray stop --force`, which ends every Ray of the machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from engine import better, module, ray, wait_for

pytestmark = better("its AutoscalingCluster ends every Ray of this machine first")
util = module("util")


@ray.remote
def node_id() -> str:
    """Where it runs."""
    found: str = ray.get_runtime_context().get_node_id()
    return found


@ray.remote
class Resident:
    """Lives somewhere."""

    def where(self) -> str:
        """The node."""
        found: str = ray.get_runtime_context().get_node_id()
        return found


@pytest.fixture
def scaled() -> Iterator[Callable[..., Any]]:
    """Starts a head without CPUs and these worker groups, idle ones end after a second, and connects."""
    ray.shutdown()
    made: list[Any] = []

    def start(idle_timeout_minutes: float = 1 / 60, **kinds: dict[str, Any]) -> Any:
        kinds = {name: {"node_config": {}, "min_workers": 0, "max_workers": 2, **kind} for name, kind in kinds.items()}
        cluster = module("cluster_utils").AutoscalingCluster(
            head_resources={"CPU": 0}, worker_node_types=kinds, idle_timeout_minutes=idle_timeout_minutes
        )
        made.append(cluster)
        cluster.start()
        cluster.connect()
        return cluster

    yield start
    ray.shutdown()
    for cluster in made:
        cluster.shutdown()


def cpus() -> float:
    """Of the cluster."""
    found: float = ray.cluster_resources().get("CPU", 0)
    return found


def workers() -> int:
    """Living nodes besides the head."""
    return sum(row["Alive"] for row in ray.nodes()) - 1


def request(**options: Any) -> None:
    """request_resources."""
    module("autoscaler.sdk").request_resources(**options)


SMALL = {"resources": {"CPU": 1}}


@pytest.mark.row("10.5", "10.9", "10.20", "4.6")
def test_a_task_starts_a_node_that_ends_when_idle(scaled: Any) -> None:
    scaled(small=SMALL)
    assert workers() == 0
    first = ray.get(node_id.remote(), timeout=40)
    assert cpus() == 1
    wait_for(lambda: workers() == 0, timeout_s=40, what="idle nodes end")
    row = next(row for row in ray.nodes() if row["NodeID"] == first)
    assert not row["Alive"]
    assert row["DeathReason"] == 4, "AUTOSCALER_DRAIN_IDLE"
    assert ray.get(node_id.remote(), timeout=40) != first


@pytest.mark.row("10.3", "10.6")
def test_the_minimum_is_there_from_the_start_and_stays(scaled: Any) -> None:
    scaled(small={**SMALL, "min_workers": 2})
    wait_for(lambda: cpus() == 2, timeout_s=40, what="min_workers run")
    nodes = {row["NodeID"] for row in ray.nodes() if row["Alive"]}
    assert set(ray.get([node_id.remote() for _ in range(8)], timeout=40)) <= nodes
    # idle for longer than the timeout of a second: rounds are a second apart
    assert not any_change(lambda: workers() != 2, 3.5)


def any_change(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether it becomes true within that time."""
    try:
        return bool(wait_for(condition, timeout_s=seconds))
    except AssertionError:
        return False


@pytest.mark.row("10.3", "10.6")
def test_no_more_than_the_maximum(scaled: Any, new_gate: Any, new_channel: Any) -> None:
    scaled(small={**SMALL, "max_workers": 2})
    gate, channel = new_gate(), new_channel()

    @ray.remote
    def held() -> str:
        found: str = ray.get_runtime_context().get_node_id()
        channel.send(found)
        gate.wait()
        return found

    refs = [held.remote() for _ in range(5)]
    assert len(set(channel.receive_many(2, timeout_s=40))) == 2
    assert not any_change(lambda: workers() > 2, 3.0)
    gate.open()
    assert len(set(ray.get(refs, timeout=40))) == 2


@pytest.mark.row("10.7")
def test_the_group_that_fits(scaled: Any) -> None:
    scaled(small=SMALL, gpu={"resources": {"CPU": 1, "GPU": 1}}, disk={"resources": {"CPU": 1, "disk": 1}})
    ray.get(node_id.remote(), timeout=40)
    assert "GPU" not in ray.cluster_resources(), "no GPU node for work that needs none"
    ray.get(node_id.options(num_gpus=1).remote(), timeout=40)
    assert ray.cluster_resources().get("GPU") == 1
    actor = Resident.options(resources={"disk": 1}).remote()
    ray.get(actor.where.remote(), timeout=40)
    assert ray.cluster_resources().get("disk") == 1


@pytest.mark.row("10.5", "2.8")
def test_the_group_with_the_labels(scaled: Any) -> None:
    scaled(a={**SMALL, "labels": {"zone": "a"}}, b={**SMALL, "labels": {"zone": "b"}})
    found = ray.get(node_id.options(label_selector={"zone": "b"}).remote(), timeout=40)
    labels = {row["NodeID"]: row["Labels"].get("zone") for row in ray.nodes()}
    assert labels[found] == "b"
    assert "a" not in labels.values()


@pytest.mark.row("10.5", "6.23")
def test_a_placement_group_starts_its_nodes(scaled: Any) -> None:
    scaled(small=SMALL)
    group = util.placement_group([{"CPU": 1}] * 2, strategy="STRICT_SPREAD")
    assert group.wait(40)
    assert workers() == 2
    # P 41: nodes that hold a group are in use, however long nothing runs there
    assert not any_change(lambda: workers() != 2, 3.5)
    util.remove_placement_group(group)
    wait_for(lambda: workers() == 0, timeout_s=40, what="then they end")


@pytest.mark.row("6.23", "6.24")
def test_a_placement_group_with_labels(scaled: Any) -> None:
    scaled(a={**SMALL, "labels": {"zone": "a"}}, b={**SMALL, "labels": {"zone": "b"}})
    group = util.placement_group([{"CPU": 1}, {"CPU": 1}], bundle_label_selector=[{"zone": "b"}, {"zone": "a"}])
    assert group.wait(40)
    zones = {row["NodeID"]: row["Labels"].get("zone") for row in ray.nodes()}
    where = util.placement_group_table(group)["bundles_to_node_id"]
    assert [zones[where[index]] for index in (0, 1)] == ["b", "a"]


@pytest.mark.row("10.9")
def test_a_node_with_an_actor_or_an_object_is_not_idle(scaled: Any) -> None:
    scaled(small=SMALL, disk={"resources": {"CPU": 0, "disk": 1}})
    actor = Resident.options(num_cpus=0, resources={"disk": 0.5}).remote()
    ray.get(actor.where.remote(), timeout=40)

    @ray.remote
    def large() -> bytes:
        return b"x" * 10**6

    kept = large.remote()
    ray.wait([kept], timeout=40, fetch_local=False)
    assert workers() == 2
    assert not any_change(lambda: workers() != 2, 3.5)
    del kept, actor
    wait_for(lambda: workers() == 0, timeout_s=40, what="idle at last")


@pytest.mark.row("10.11")
def test_request_resources_holds_a_size(scaled: Any) -> None:
    scaled(small=SMALL)
    request(num_cpus=2)
    wait_for(lambda: cpus() == 2, timeout_s=40, what="two CPUs")
    assert not any_change(lambda: cpus() != 2, 3.5), "wanted, so not idle"
    request(bundles=[{"CPU": 1}])
    wait_for(lambda: cpus() == 1, timeout_s=40, what="the last request counts")
    request(num_cpus=0)
    wait_for(lambda: workers() == 0, timeout_s=40, what="nothing is wanted any more")


@pytest.mark.row("10.11", "13.8")
def test_request_resources_with_labels(scaled: Any) -> None:
    scaled(a={**SMALL, "labels": {"zone": "a"}}, b={**SMALL, "labels": {"zone": "b"}})
    request(bundles=[{"CPU": 1}], bundle_label_selectors=[{"zone": "b"}])
    wait_for(lambda: cpus() == 1, timeout_s=40, what="one node")
    assert {row["Labels"].get("zone") for row in ray.nodes()} == {None, "b"}


@pytest.mark.row("10.11")
@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"num_cpus": "2"}, TypeError),
        ({"num_cpus": -1}, ValueError),
        ({"bundles": {"CPU": 1}}, TypeError),
        ({"bundles": [{"CPU": "1"}]}, TypeError),
        ({"bundles": [{"CPU": -1}]}, ValueError),
        ({"bundles": [{"CPU": 1}], "bundle_label_selectors": []}, ValueError),
        ({"bundles": [{"CPU": 1}], "bundle_label_selectors": [{"zone": "in("}]}, ValueError),
        ({"bundles": [{"CPU": 1}], "bundle_label_selectors": ["zone"]}, TypeError),
    ],
)
def test_requests_that_make_no_sense(cluster: Any, options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match="request_resources|label"):
        request(**options)


@pytest.mark.row("10.19")
def test_what_no_group_can_hold_starts_nothing(scaled: Any) -> None:
    scaled(small=SMALL)
    ref = node_id.options(num_cpus=4).remote()
    assert ray.wait([ref], timeout=3.5)[0] == []
    assert workers() == 0
    ray.cancel(ref)


@pytest.mark.row("10.5", "7.6")
def test_a_node_that_crashed_is_replaced(scaled: Any) -> None:
    import os  # noqa: PLC0415
    import signal  # noqa: PLC0415

    scaled(small={**SMALL, "min_workers": 1})
    wait_for(lambda: cpus() == 1, timeout_s=40, what="min_workers run")

    @ray.remote(max_retries=0)
    def parent_pid() -> int:
        return os.getppid()

    zygote = ray.get(parent_pid.remote(), timeout=30)
    with open(f"/proc/{zygote}/stat", encoding="ascii") as file:
        node_pid = int(file.read().rpartition(")")[2].split()[1])
    before = {row["NodeID"] for row in ray.nodes()}
    os.kill(node_pid, signal.SIGKILL)
    wait_for(
        lambda: any(row["Alive"] and row["NodeID"] not in before for row in ray.nodes()), timeout_s=40, what="replaced"
    )
    assert ray.get(node_id.remote(), timeout=40) not in before
