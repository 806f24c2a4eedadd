"""`linckia start`, `status`, `stop`: clusters that outlive programs, and that exactly these processes are ended."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from linckia.host import process, session
from tests.e2e.world import World

pytestmark = pytest.mark.e2e

JOIN = """
import linckia
with linckia.init(address="auto"):
    print(linckia.cluster_resources()["disk"], linckia.get(linckia.remote(lambda: 6 * 7).remote()))
"""
OWN_CLUSTER = """
import sys, linckia
linckia.init(address="local")
print("up", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """Some other process of this user."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def clusters(world: World, code: int = 0) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(world.linckia("status", "--format", "json", code=code))["clusters"]
    return found


def test_start_join_status_stop(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINCKIA_PROFILING", "1")
    said = world.linckia("start", "--head", "--num-cpus", "2", "--resources", '{"disk": 3}')
    (name,) = world.sessions()
    assert f"linckia stop {name}" in said
    assert world.python(world.script(JOIN)) == "3.0 42\n"
    assert world.python(world.script(JOIN)) == "3.0 42\n"  # it outlives programs

    (found,) = clusters(world)
    assert (found["session"], found["error"]) == (name, "")
    assert (found["total"]["CPU"], found["available"]["disk"]) == (2, 3)
    assert [node["alive"] for node in found["nodes"]] == [True]
    text = world.linckia("status")
    assert name in text
    assert "0 of 3 in use" in text

    trace = Path(world.folder, "trace.json")
    world.linckia("timeline", str(trace))
    assert any(event["name"] == "<lambda>" for event in json.loads(trace.read_text()))

    assert world.linckia("stop", name) == f"{name} (pid {found['pid']}) stopped\n"
    assert world.sessions() == []
    assert clusters(world, code=1) == []


def test_a_program_that_ended_holds_nothing(world: World) -> None:
    world.linckia("start", "--head", "--num-cpus", "2", "--resources", '{"disk": 1}')
    world.python(world.script(JOIN))
    (found,) = clusters(world)
    world.linckia("stop")
    assert found["available"]["CPU"] == 2


def test_nothing_runs(world: World) -> None:
    assert "no cluster of yours" in world.linckia("status", code=1)
    assert "nothing to stop" in world.linckia("stop")
    assert "no living session 'session_x'" in world.linckia("stop", "session_x", code=1)
    assert "no running cluster" in world.linckia("timeline", code=1)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ((), "say either --head"),
        (("--head", "--resources", "{disk"), "is not JSON"),
        (("--head", "--num-cpus", "-1"), "num_cpus=-1"),
        (("--head", "--object-store-memory", "5"), "75 MiB"),
    ],
)
def test_start_refuses_in_one_sentence(world: World, options: tuple[str, ...], complaint: str) -> None:
    said = world.linckia("start", *options, code=1)
    assert complaint in said
    assert len(said.splitlines()) == 1


def test_start_block_ends_with_its_signal(world: World) -> None:
    blocked = world.start("-m", "linckia.cli.main", "start", "--head", "--num-cpus", "1", "--block")
    assert blocked.stdout is not None
    while "stop it" not in (line := blocked.stdout.readline()):
        assert line, "it ended early"
    assert len(clusters(world)) == 1
    blocked.send_signal(signal.SIGTERM)
    assert blocked.wait(20) == 0
    assert world.sessions() == []


def test_stop_kills_a_node_that_hangs(world: World) -> None:
    world.linckia("start", "--head", "--num-cpus", "1")
    ((_, facts),) = session.live_sessions(world.folder)
    below = process.children_of(facts["pid"])
    os.kill(facts["pid"], signal.SIGSTOP)
    assert "was killed: it did not stop within 0.2 s" in world.linckia("stop", "--grace-s", "0.2")
    assert world.sessions() == []
    assert below
    assert not [pid for pid in below if process.parent_and_state(pid)[1] not in ("", "Z")]


def test_stop_leaves_a_programs_cluster_alone(world: World) -> None:
    program = world.start(world.script(OWN_CLUSTER))
    assert program.stdout is not None
    assert program.stdout.readline() == "up\n"
    assert "belongs to a running program" in world.linckia("stop")
    (found,) = clusters(world)
    assert found["belongs_to_a_program"]
    assert "stopped" in world.linckia("stop", "--all")
    program.communicate("\n", timeout=30)


def test_stop_does_not_believe_a_pid_alone(world: World, bystander: subprocess.Popen[bytes]) -> None:
    """A session whose pid belongs to somebody else today, and whose lock is held for whatever reason."""
    path = Path(session.base_directory(world.folder), "session_20200101_000000_1_00000000")
    path.mkdir(parents=True)
    facts = {"pid": bystander.pid, "start_time": 1, "boot_id": process.boot_id()}
    (path / "session.json").write_text(json.dumps(facts))
    with open(path / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "nothing to stop" in world.linckia("stop", "--all")
    assert bystander.poll() is None
    session.remove_tree(str(path))
