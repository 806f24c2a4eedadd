"""docs/from-a-laptop-to-a-rack.md, from its first line to its last, and what goes wrong on the way."""

from __future__ import annotations

import json
import re
import time

import pytest

from tests.e2e.world import ROOT, World

pytestmark = pytest.mark.e2e

FENCED_PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
PAGE = ROOT / "docs" / "from-a-laptop-to-a-rack.md"


def start_head(world: World) -> str:
    """``host:port``."""
    world.linckia("start", "--head", "--num-cpus=2", "--port=0")
    return address(world)


def address(world: World) -> str:
    found: str = json.loads(world.linckia("status", "--format", "json"))["clusters"][0]["address"]
    return found


@pytest.mark.row("8.1", "8.2", "8.3", "8.4", "8.17", "8.18", "1.1", "S35")
def test_the_page_from_top_to_bottom(world: World) -> None:
    head = start_head(world)
    token = world.linckia("get-auth-token", f"--address={head}").strip()
    assert len(token) == 64
    joined = world.linckia(
        "start", f"--address={head}", "--num-cpus=2", "--labels", "zone=a", "--resources", '{"disk": 1}'
    )
    assert f"has joined the cluster at {head}" in joined

    (program,) = FENCED_PYTHON.findall(PAGE.read_text())
    assert world.python(world.script(program)) == "2 nodes did the work\n"
    assert world.python(world.script(program.replace("init()", f'init(address="{head}")'))) == "2 nodes did the work\n"

    told = json.loads(world.linckia("status", "--format", "json"))
    assert {node["is_head"]: node["labels"].get("zone") for node in told["nodes"]} == {True: None, False: "a"}
    for node in told["nodes"]:
        assert set(node) >= {"node_id", "pid", "host", "port", "alive", "is_head", "resources", "available", "labels"}
    assert "zone=a" in world.linckia("status", "-v")
    world.linckia("health-check")
    world.linckia("health-check", f"--address={head}")
    worker = next(node["node_id"] for node in told["nodes"] if not node["is_head"])
    assert "takes no new work" in world.linckia("drain-node", "--node-id", worker[:10])
    assert world.linckia("stop").count("stopped") == 2
    assert world.sessions() == []
    world.linckia("health-check", code=1)


@pytest.mark.row("8.18")
def test_a_probe_is_quick(world: World) -> None:
    start_head(world)
    took_s = []
    for _ in range(5):
        began_s = time.perf_counter()
        world.python("-m", "linckia_command", "health-check")
        took_s.append(time.perf_counter() - began_s)
    world.linckia("stop")
    print(f"health-check: {min(took_s) * 1000:.0f} ms at best of 5")
    assert min(took_s) < 0.2  # 40 ms on a quiet machine; the asked 50 ms are measured in bench/RESULTS.md


@pytest.mark.row("P12", "3.58", "S31")
def test_joining_that_fails_says_why(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    head = start_head(world)
    _, _, port = head.rpartition(":")
    assert "already in use" in world.linckia("start", "--head", f"--port={port}", code=1)
    monkeypatch.setenv("LINCKIA_AUTH_TOKEN", "of another cluster")
    assert "wrong cluster token" in world.linckia("start", f"--address={head}", code=1)
    assert "no head answers at 127.0.0.1:1" in world.linckia("start", "--address=127.0.0.1:1", code=1)
    assert "nohost.invalid" in world.linckia("start", "--address=nohost.invalid:6379", code=1)
    monkeypatch.delenv("LINCKIA_AUTH_TOKEN")
    assert "get-auth-token" in world.linckia("start", "--address=127.0.0.1:1", code=1)
    assert "cannot be chosen" in world.linckia("start", f"--address={head}", "--labels", "ray.io/node-id=x", code=1)
    assert "num_cpus" in world.linckia("start", f"--address={head}", "--num-cpus", "-1", code=1)
    assert "expected host:port" in world.linckia("start", "--address", "nonsense", code=1)
    assert "either --head" in world.linckia("start", code=1)
    world.linckia("stop")
    assert world.sessions() == []
