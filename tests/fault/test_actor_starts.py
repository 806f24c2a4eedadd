"""A node stops answering while it is asked for actors: they begin elsewhere, once, long before the verdict on it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from watching import stopped, until

import linckia
from linckia.base.limits import NODE_LEASE_TTL_S
from linckia.cluster_utils import Cluster

pytestmark = pytest.mark.fault
ACTORS = 4
GET_MAX_S = 30


@linckia.remote(num_cpus=1, max_restarts=0, scheduling_strategy="SPREAD")
class Once:
    """Notes that it has begun."""

    def __init__(self, folder: Path, number: int) -> None:
        with (folder / f"{number}").open("a") as file:
            file.write(f"{os.getpid()}\n")

    def node(self) -> str:
        return str(linckia.get_runtime_context().get_node_id())


@pytest.fixture
def nodes() -> Iterator[Any]:
    """A connected head without CPUs, and two nodes that have room for all actors each."""
    cluster = Cluster(initialize_head=True, connect=True, head_node_args={"num_cpus": 0})
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=ACTORS)
        yield cluster
    finally:
        linckia.shutdown()
        cluster.shutdown()


@pytest.mark.row("S13", "7.7")
def test_what_a_stopped_node_was_asked_for_begins_on_another_one(nodes: Any, tmp_path: Path) -> None:
    silent, other = nodes.worker_nodes
    with stopped(silent.process.pid):
        began_s = time.monotonic()
        actors = [Once.remote(tmp_path, number) for number in range(ACTORS)]
        found = linckia.get([actor.node.remote() for actor in actors], timeout=GET_MAX_S)
        took_s = time.monotonic() - began_s
    assert found == [other.node_id] * ACTORS
    assert took_s < NODE_LEASE_TTL_S, "nobody waited for the verdict"
    until(lambda: linckia.available_resources()["CPU"] == ACTORS, GET_MAX_S, "what was withdrawn holds nothing there")
    assert sorted(path.name for path in tmp_path.iterdir()) == [str(number) for number in range(ACTORS)]
    assert [len(path.read_text().splitlines()) for path in tmp_path.iterdir()] == [1] * ACTORS, "each began once"
