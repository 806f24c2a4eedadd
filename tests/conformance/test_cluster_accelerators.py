"""GPUs of several nodes, none of them real: who gets which, and what the process sees of it (R 4.32, 2.3, 2.7)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from engine import exceptions, module, ray, wait_for

util = module("util")
strategies = module("util.scheduling_strategies")
Devices = tuple[str, list[str], str | None]


@ray.remote
def devices(gate: Any = None, channel: Any = None) -> Devices:
    """Node, assigned ids, and what CUDA would see."""
    if channel is not None:
        channel.send("here")
        gate.wait()
    context = ray.get_runtime_context()
    ids = [str(each) for each in ray.get_gpu_ids()]
    return context.get_node_id(), ids, os.environ.get("CUDA_VISIBLE_DEVICES")


@ray.remote
class Holder:
    """Holds what it was given."""

    def devices(self) -> Devices:
        """As above."""
        ids = [str(each) for each in ray.get_gpu_ids()]
        return ray.get_runtime_context().get_node_id(), ids, os.environ.get("CUDA_VISIBLE_DEVICES")

    def accelerators(self) -> dict[str, list[str]]:
        """By kind."""
        found: dict[str, list[str]] = ray.get_runtime_context().get_accelerator_ids()
        return found


@pytest.fixture(scope="module")
def farm() -> Iterator[Any]:
    """A head with CPUs only, a node with two GPUs of a kind, and one with one of another."""
    ray.shutdown()
    unset = os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    cluster = module("cluster_utils").Cluster(initialize_head=True, head_node_args={"num_cpus": 4})
    cluster.add_node(num_cpus=2, num_gpus=2, resources={"accelerator_type:A100": 1})
    cluster.add_node(num_cpus=2, num_gpus=1, resources={"accelerator_type:T4": 1})
    cluster.connect()
    wait_for(lambda: ray.cluster_resources().get("GPU") == 3, what="three GPUs")
    yield cluster
    ray.shutdown()
    cluster.shutdown()
    if unset is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = unset


@pytest.fixture
def nodes(farm: Any) -> Iterator[dict[str, str]]:
    """Ids by kind of accelerator; all GPUs are free before and after."""
    wait_for(lambda: ray.available_resources().get("GPU") == 3, what="all GPUs free")
    rows = {name: row["NodeID"] for row in ray.nodes() for name in row["Resources"] if name.startswith("accelerator_")}
    yield {name.partition(":")[2]: node for name, node in rows.items()}
    wait_for(lambda: ray.available_resources().get("GPU") == 3, what="all GPUs free again")


@pytest.mark.row("4.32", "2.3", "1.39")
def test_every_gpu_once(nodes: dict[str, str], new_gate: Any, new_channel: Any) -> None:
    gate, channel = new_gate(), new_channel()
    refs = [devices.options(num_gpus=1).remote(gate, channel) for _ in range(3)]
    channel.receive_many(3)
    wait_for(lambda: "GPU" not in ray.available_resources(), what="the report that no GPU is free")
    gate.open()
    found = ray.get(refs, timeout=30)
    assert sorted((node, ids) for node, ids, _ in found) == sorted(
        [(nodes["A100"], ["0"]), (nodes["A100"], ["1"]), (nodes["T4"], ["0"])]
    )
    assert all(visible == ",".join(ids) for _, ids, visible in found)


@pytest.mark.row("4.32", "2.3")
def test_more_than_one_gpu(nodes: dict[str, str]) -> None:
    node, ids, visible = ray.get(devices.options(num_gpus=2).remote(), timeout=30)
    assert (node, sorted(ids)) == (nodes["A100"], ["0", "1"])
    assert visible is not None
    assert sorted(visible.split(",")) == ["0", "1"]


@pytest.mark.row("4.32", "2.3")
def test_parts_of_a_gpu(nodes: dict[str, str], new_gate: Any, new_channel: Any) -> None:
    gate, channel = new_gate(), new_channel()
    t4 = {"accelerator_type": "T4", "num_gpus": 0.5, "num_cpus": 0}
    refs = [devices.options(**t4).remote(gate, channel) for _ in range(3)]
    channel.receive_many(2)
    assert channel.settled() == [], "two halves are one"
    gate.open()
    assert ray.get(refs, timeout=30) == [(nodes["T4"], ["0"], "0")] * 3


@pytest.mark.row("2.7", "4.32")
@pytest.mark.parametrize("kind", ["A100", "T4"])
def test_the_kind_of_accelerator(nodes: dict[str, str], kind: str) -> None:
    assert ray.get(devices.options(accelerator_type=kind).remote(), timeout=30)[0] == nodes[kind]
    actor = Holder.options(accelerator_type=kind, num_gpus=1).remote()
    assert ray.get(actor.devices.remote(), timeout=30)[0] == nodes[kind]


@pytest.mark.row("4.32", "1.39")
def test_no_gpu_no_variable(nodes: dict[str, str]) -> None:
    gpu_node = strategies.NodeAffinitySchedulingStrategy(nodes["T4"], soft=False)
    node, ids, visible = ray.get(devices.options(scheduling_strategy=gpu_node).remote(), timeout=30)
    assert (node, ids) == (nodes["T4"], [])
    assert visible is None, "it is not touched when nothing is assigned"


@pytest.mark.row("4.7")
def test_other_work_keeps_away_from_gpus(farm: Any, nodes: dict[str, str], new_gate: Any, new_channel: Any) -> None:
    gate, channel = new_gate(), new_channel()
    refs = [devices.remote(gate, channel) for _ in range(4)]
    channel.receive_many(4)
    gate.open()
    assert {node for node, _, _ in ray.get(refs, timeout=30)} == {farm.head_node.node_id}


@pytest.mark.row("4.32", "1.42", "5.4")
def test_an_actor_holds_its_gpu(nodes: dict[str, str], new_gate: Any, new_channel: Any) -> None:
    actor = Holder.options(num_gpus=1, accelerator_type="T4").remote()
    assert ray.get(actor.devices.remote(), timeout=30) == (nodes["T4"], ["0"], "0")
    assert ray.get(actor.accelerators.remote(), timeout=30)["GPU"] == ["0"]
    waiting = devices.options(num_gpus=1, accelerator_type="T4").remote()
    assert ray.wait([waiting], timeout=1)[0] == []
    ray.kill(actor)
    assert ray.get(waiting, timeout=30)[0] == nodes["T4"]


@pytest.mark.row("4.32", "4.16")
def test_a_blocked_parent_keeps_its_gpu(nodes: dict[str, str]) -> None:
    @ray.remote(num_gpus=1, accelerator_type="T4")
    def parent() -> bool:
        return not ray.wait([devices.options(num_gpus=1, accelerator_type="T4").remote()], timeout=1)[0]

    assert ray.get(parent.remote(), timeout=30)


@pytest.mark.row("4.32", "6.24", "6.3")
def test_gpus_of_bundles(nodes: dict[str, str]) -> None:
    group = util.placement_group([{"GPU": 1, "CPU": 1}] * 3, strategy="SPREAD")
    assert group.wait(30)
    in_bundle = strategies.PlacementGroupSchedulingStrategy
    refs = [devices.options(num_gpus=1, scheduling_strategy=in_bundle(group, index)).remote() for index in range(3)]
    found = ray.get(refs, timeout=30)
    where = util.placement_group_table(group)["bundles_to_node_id"]
    assert [node for node, _, _ in found] == [where[index] for index in range(3)]
    assert sorted((node, ids) for node, ids, _ in found) == sorted(
        [(nodes["A100"], ["0"]), (nodes["A100"], ["1"]), (nodes["T4"], ["0"])]
    )
    util.remove_placement_group(group)


@pytest.mark.row("2.3", "4.6")
def test_more_gpus_than_a_node_has(nodes: dict[str, str]) -> None:
    ref = devices.options(num_gpus=3).remote()
    assert ray.wait([ref], timeout=1)[0] == [], "three of them are not on one node"
    ray.cancel(ref)
    with pytest.raises(exceptions.TaskCancelledError):
        ray.get(ref, timeout=30)


@pytest.mark.row("4.32")
def test_gpus_come_back_when_their_node_died(farm: Any) -> None:
    extra = farm.add_node(num_cpus=1, num_gpus=1, resources={"extra": 1})
    wait_for(lambda: ray.cluster_resources().get("GPU") == 4, what="four GPUs")
    actor = Holder.options(num_gpus=1, resources={"extra": 1}).remote()
    assert ray.get(actor.devices.remote(), timeout=30) == (extra.node_id, ["0"], "0")
    farm.remove_node(extra)
    wait_for(lambda: ray.cluster_resources().get("GPU") == 3, timeout_s=40, what="three again")
    with pytest.raises(exceptions.RayActorError):
        ray.get(actor.devices.remote(), timeout=40)
