"""`linckia chaos`: a short run on a real cluster, and what it says to arguments that make no sense."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.world import World

pytestmark = pytest.mark.e2e


@pytest.mark.fault
@pytest.mark.row("S1", "S38")
def test_chaos_kills_a_head_and_workers_and_nothing_is_lost(world: World) -> None:
    report = Path(world.folder, "report.json")
    short = ("--for", "6s", "--every", "2s", "--seed", "7", "--nodes", "1")
    said = world.linckia("chaos", *short, "--faults", "head,worker", "--report", str(report), "--format", "json")
    found = json.loads(report.read_text())
    assert found["verdict"] == {"lost": 0, "duplicated": 0, "good": True}
    assert set(found["faults"]) == {"head", "worker"}
    assert min(row["tally"]["count"] for row in found["classes"].values()) > 0
    assert found["seen"]["left"] == 0
    assert "lost 0" in said


def test_chaos_refuses_what_it_cannot_do(world: World) -> None:
    assert "no fault 'heads'" in world.linckia("chaos", "--faults", "heads", code=2)
    assert "needs a cluster on etcd" in world.linckia("chaos", "--faults", "etcd-all", code=2)
    assert "is no time" in world.linckia("chaos", "--for", "soon", code=2)
    assert "need --store etcd" in world.linckia("chaos", "--heads", "2", code=2)
