"""Copies of a value whose owner has ended are made anew when one of their nodes dies: it survives one node after the
other, as long as others are there to keep it. All of them are freed when the job ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
from watching import until

import linckia
from linckia.cluster_utils import Cluster
from linckia.experimental import get_object_locations

pytestmark = pytest.mark.fault

STORE = {"object_store_memory": 100 * 2**20}
ITEMS = 10**6
BYTES = ITEMS * 8
GET_MAX_S = 20
REPAIRED_MAX_S = 30


class Nodes:
    """A connected head, which keeps copies too, and nodes without CPUs that are killed."""

    def __init__(self, count: int) -> None:
        self.cluster = Cluster(initialize_head=True, connect=True, head_node_args={"num_cpus": 1, **STORE})
        self.places: dict[str, Any] = {}
        for _ in range(count):
            self.add()

    def add(self) -> str:
        number = len(self.places)
        node = self.cluster.add_node(num_cpus=0, resources={f"node{number}": 1}, **STORE)
        self.places[node.node_id] = node
        return str(node.node_id)

    def kill(self, node_id: str) -> None:
        """SIGKILL of a node and all that runs there; the head knows it, and counts its memory no more."""
        self.places.pop(node_id).kill()
        until(lambda: all(node["NodeID"] != node_id or not node["Alive"] for node in linckia.nodes()), 20, "death")

    def close(self) -> None:
        linckia.shutdown()
        self.cluster.shutdown()


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    made = Nodes(3)
    try:
        yield made
    finally:
        made.close()


def used_bytes() -> int:
    """Of the stores of all nodes that live."""
    of = "object_store_memory"
    return int(linckia.cluster_resources().get(of, 0) - linckia.available_resources().get(of, 0))


def wait_for_copies(count: int) -> None:
    """In all the cluster, which has nothing else."""
    until(lambda: count <= used_bytes() / BYTES < count + 1, REPAIRED_MAX_S, f"{count} copies")


@linckia.remote(num_cpus=0, resources={"node0": 1})
class Owner:
    """Has a value with two copies, its own node's being the first of them."""

    def put(self) -> tuple[list[Any], str, list[str]]:
        """(the reference, this node, nodes with further copies)."""
        self.ref = linckia.put(numpy.arange(ITEMS), replicas=2)
        until(lambda: len(self.places()) == 2, 30, "two copies")
        home = linckia.get_runtime_context().get_node_id()
        return [self.ref], home, [node_id for node_id in self.places() if node_id != home]

    def places(self) -> list[str]:
        found: list[str] = get_object_locations([self.ref])[self.ref]["node_ids"]
        return found

    def pid(self) -> int:
        return os.getpid()


def ask(ref: Any) -> Any:
    return linckia.get(ref, timeout=GET_MAX_S)


def is_dead(owner: Any) -> bool:
    try:
        ask(owner.pid.remote())
    except linckia.exceptions.RayActorError:
        return True
    return False


@pytest.mark.parametrize("dies", ["node", "process"])
def test_a_value_without_an_owner_survives_one_node_after_the_other(nodes: Nodes, dies: str) -> None:
    owner = Owner.remote()
    other = ""
    while other not in nodes.places:  # the head cannot be killed
        refs = None
        refs, home, (other,) = ask(owner.put.remote())
    wait_for_copies(2)
    if dies == "process":
        os.kill(ask(owner.pid.remote()), signal.SIGKILL)
        until(lambda: is_dead(owner))
    nodes.kill(home)
    wait_for_copies(2)
    nodes.kill(other)
    wait_for_copies(2)
    assert (ask(refs[0]) == numpy.arange(ITEMS)).all(), "neither of its first two nodes is there"
    assert len(nodes.places) == 1, "but another, and the head"


def test_a_node_that_joins_gets_the_copy_that_was_lacking() -> None:
    nodes = Nodes(1)
    try:
        owner = Owner.remote()
        _refs, home, _others = ask(owner.put.remote())
        nodes.kill(home)
        wait_for_copies(1)
        nodes.add()
        wait_for_copies(2)
    finally:
        nodes.close()


JOB = """
import sys, linckia, test_orphan_repair as t
linckia.init(address=sys.argv[1])
owner = t.Owner.remote()
refs, home, _ = t.ask(owner.put.remote())
print(home, flush=True)
sys.stdin.readline()
"""


def test_the_memory_is_free_again_when_the_job_has_ended(nodes: Nodes, tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text(JOB)
    here = str(Path(__file__).parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, str(script), nodes.cluster.address]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as job:
        assert job.stdin is not None and job.stdout is not None
        home = job.stdout.readline().strip()
        wait_for_copies(2)
        nodes.kill(home)
        wait_for_copies(2)
        job.stdin.write("\n")
        job.stdin.flush()
        job.wait(20)
    until(lambda: used_bytes() == 0, 20, "all of the memory is free")
