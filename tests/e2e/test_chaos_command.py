"""`linckia chaos`: a short run on a real cluster, and what it says to arguments that make no sense."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from linckia.host import session
from tests.e2e.world import World

pytestmark = pytest.mark.e2e


@pytest.mark.fault
@pytest.mark.row("S1", "S38")
def test_chaos_kills_a_head_and_workers_and_nothing_is_lost(world: World) -> None:
    report = Path(world.folder, "report.json")
    short = ("--for", "6s", "--every", "2s", "--seed", "7", "--nodes", "1")
    logs = Path(world.folder, "logs")
    ways = ("--logs", str(logs), "--report", str(report), "--format", "json")
    said = world.linckia("chaos", *short, "--faults", "head,worker", *ways)
    found = json.loads(report.read_text())
    assert found["verdict"] == {"lost": 0, "duplicated": 0, "good": True}
    assert set(found["faults"]) == {"head", "worker"}
    assert min(row["tally"]["count"] for row in found["classes"].values()) > 0
    assert found["seen"]["left"] == 0
    assert "lost 0" in said
    assert (logs / "driver.log").is_file()
    assert list(logs.rglob("node.log"))


def test_chaos_refuses_what_it_cannot_do(world: World) -> None:
    assert "no fault 'heads'" in world.linckia("chaos", "--faults", "heads", code=2)
    assert "needs a cluster on etcd" in world.linckia("chaos", "--faults", "etcd-all", code=2)
    assert "is no time" in world.linckia("chaos", "--for", "soon", code=2)
    assert "need --store etcd" in world.linckia("chaos", "--heads", "2", code=2)


@pytest.mark.fault
def test_chaos_hurts_a_cluster_that_runs_and_leaves_it_running(world: World) -> None:
    world.linckia("start", "--head", "--port=0", "--num-cpus=3")
    try:
        (before,) = session.live_sessions(world.folder)
        report = Path(world.folder, "report.json")
        short = ("--address", "auto", "--for", "6s", "--every", "1s", "--lasts", "500ms", "--format", "json")
        said = world.linckia("chaos", *short, "--faults", "worker,stop-head,raylet", "--report", str(report))
        found = json.loads(report.read_text())
        assert found["verdict"] == {"lost": 0, "duplicated": 0, "good": True}
        assert "nobody to hit" in said, "the only node is the driver's, and is spared"
        assert set(found["faults"]) == {"worker", "stop-head"}
        assert session.live_sessions(world.folder) == [before]
    finally:
        world.linckia("stop")


def test_chaos_finds_only_clusters_of_this_user(world: World) -> None:
    said = world.linckia("chaos", "--address", "127.0.0.1:1", code=2)
    assert "no node of the cluster '127.0.0.1:1' runs on this machine" in said
    assert "was not started by this command" in world.linckia("chaos", "--address", "auto", "--faults", "host", code=2)
