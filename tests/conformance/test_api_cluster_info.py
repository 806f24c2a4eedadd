"""What the API tells about the cluster: nodes, total and available resources, the timeline, GPU ids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from engine import ray, settings, wait_for

pytestmark = pytest.mark.usefixtures("cluster")

NODE_FIELDS = {
    "NodeID",
    "Alive",
    "alive",
    "NodeManagerAddress",
    "NodeManagerHostname",
    "NodeManagerPort",
    "ObjectManagerPort",
    "ObjectStoreSocketName",
    "RayletSocketName",
    "MetricsExportPort",
    "MetricsAgentPort",
    "NodeName",
    "RuntimeEnvAgentPort",
    "DeathReason",
    "DeathReasonMessage",
    "Resources",
    "Labels",
}


@pytest.mark.row("1.35")
def test_nodes_lists_the_one_node_with_all_fields() -> None:
    (node,) = ray.nodes()
    assert set(node) >= NODE_FIELDS
    assert node["Alive"] is True
    assert node["alive"] is True
    assert len(node["NodeID"]) == 56
    assert node["Resources"]["CPU"] == 2.0
    assert node["Labels"]["ray.io/node-id"] == node["NodeID"]
    assert isinstance(node["NodeManagerHostname"], str)
    assert not node["DeathReasonMessage"]


@pytest.mark.row("1.36", "2.39")
def test_cluster_resources_are_the_totals(cluster: Any) -> None:
    totals = ray.cluster_resources()
    assert totals["CPU"] == 2.0
    assert totals[f"node:{cluster.address_info['node_ip_address']}"] == 1.0
    assert totals["node:__internal_head__"] == 1.0
    assert totals["memory"] > 0
    assert totals["object_store_memory"] > 0
    assert totals == ray.nodes()[0]["Resources"]
    assert all(isinstance(amount, float) for amount in totals.values())


@pytest.mark.row("1.37", "14.25")
def test_exhausted_resources_are_absent_and_come_back(new_gate: Any) -> None:
    gate = new_gate()

    @ray.remote
    def hold() -> None:
        gate.wait()

    refs = [hold.remote() for _ in range(2)]
    wait_for(lambda: "CPU" not in ray.available_resources(), what="CPU exhausted")
    gate.open()
    ray.get(refs)
    wait_for(lambda: ray.available_resources().get("CPU") == 2.0, what="CPU back")


@pytest.mark.row("1.37")
def test_a_part_of_a_resource_is_subtracted(new_gate: Any) -> None:
    gate = new_gate()

    @ray.remote(num_cpus=0.5)
    def hold() -> None:
        gate.wait()

    ref = hold.remote()
    wait_for(lambda: ray.available_resources().get("CPU") == 1.5, what="half a CPU taken")
    assert ray.cluster_resources()["CPU"] == 2.0
    gate.open()
    ray.get(ref)


@pytest.mark.row("2.39")
def test_the_node_resource_pins_to_the_node() -> None:
    @ray.remote
    def where() -> str:
        node: str = ray.get_runtime_context().get_node_id()
        return node

    pinned = where.options(resources={"node:__internal_head__": 0.001}).remote()
    assert ray.get(pinned) == ray.nodes()[0]["NodeID"]


TIMELINE = """
import ray
import sys
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)

@ray.remote
def recorded():
    return 1

from engine import wait_for
ray.get(recorded.remote())
events = wait_for(lambda: [e for e in ray.timeline() if "recorded" in e["name"]])
print(sorted(events[0]), events[0]["ph"], events[0]["dur"] >= 0)
print(ray.timeline(filename=sys.argv[1]))
"""


@pytest.mark.row("1.38")
def test_timeline_lists_and_writes_events(run_script: Any, tmp_path: Path) -> None:
    path = tmp_path / "timeline.json"
    result = run_script(TIMELINE, path, env=settings(PROFILING="1", task_events_report_interval_ms="50"))
    first, second = result.ok().stdout.splitlines()
    for field in ("cat", "name", "pid", "tid", "ts", "dur", "ph", "args"):
        assert repr(field) in first
    assert first.endswith(" X True")
    assert second == "None"
    events = json.loads(path.read_text())
    assert any("recorded" in event["name"] for event in events)


@pytest.mark.row("1.39")
def test_gpu_ids_of_a_cpu_task_and_of_the_driver() -> None:
    @ray.remote
    def gpus() -> list[Any]:
        ids: list[Any] = ray.get_gpu_ids()
        return ids

    assert ray.get(gpus.remote()) == []
    assert ray.get_gpu_ids() == []


@pytest.mark.row("1.39", "2.3")
def test_gpu_ids_of_gpu_tasks_and_actors(fresh: Any) -> None:
    fresh(num_gpus=2)

    @ray.remote(num_gpus=1)
    class Holder:
        def look(self) -> Any:
            import os  # noqa: PLC0415 - inside the worker

            return ray.get_gpu_ids(), os.environ["CUDA_VISIBLE_DEVICES"]

    holders = [Holder.remote() for _ in range(2)]
    seen = ray.get([holder.look.remote() for holder in holders])
    assert sorted(str(ids[0]) for ids, _ in seen) == ["0", "1"]
    assert all(str(ids[0]) == visible for ids, visible in seen)
