"""What goes wrong when people start and join clusters: one sentence that helps, exit code not 0, nothing left."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.world import ROOT, TIMEOUT_S, World

pytestmark = [pytest.mark.e2e, pytest.mark.row("8.1", "8.2", "P12")]

SECONDS_TO_GIVE_UP = 40.0


@pytest.fixture
def head(world: World) -> Iterator[str]:
    """``host:port`` of a running head of this world; stopped after the test."""
    world.linckia("start", "--head", "--num-cpus=1", "--port=0")
    yield str(json.loads(world.linckia("status", "--format", "json"))["clusters"][0]["address"])
    world.linckia("stop")


def refused(world: World, *arguments: str) -> str:
    """The one sentence of a command that fails."""
    process = world.start("-m", "linckia.cli.main", *arguments)
    out, err = process.communicate(timeout=SECONDS_TO_GIVE_UP)
    return sentence(process.returncode, out, err)


def sentence(code: int, out: str, err: str) -> str:
    """AssertionError unless it failed with one line on standard error and nothing else."""
    assert code == 1, f"exit code {code}\n{out}\n{err}"
    assert not out, out
    assert len(err.splitlines()) == 1, err
    assert err.startswith("linckia: "), err
    for noise in ("Traceback", "Errno", "Error:", "None"):
        assert noise not in err, err
    return err


# --- what a node is told to offer -------------------------------------------------------------------------------------


@pytest.mark.row("1.2", "S31")
@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--num-cpus=-1"], "num_cpus"),
        (["--num-cpus=1e30"], "num_cpus"),
        (["--num-cpus=nan"], "num_cpus"),
        (["--num-cpus=inf"], "num_cpus"),
        (["--num-cpus=1.5"], "num_cpus"),
        (["--num-gpus=-2"], "num_gpus"),
        (["--memory=-5"], "memory"),
        (["--object-store-memory=-5"], "object_store_memory"),
        (["--object-store-memory=1000"], "75 MiB"),
        (["--object-store-memory=1000000000000000"], "memory"),
        (["--resources", '{"disk": -1}'], "disk"),
        (["--resources", '{"disk": "much"}'], "disk"),
        (["--resources", '{"disk": 1e300}'], "disk"),
        (["--resources", '{"CPU": 4}'], "num_cpus"),
        (["--resources", '{"GPU": 4}'], "num_gpus"),
        (["--resources", "disk=1"], "JSON"),
        (["--resources", "[1]"], "resources"),
        (["--labels", "zone"], "key=value"),
        (["--labels", "=a"], "key=value"),
        (["--labels", "zone=a b"], "zone"),
        (["--labels", "{zone}"], "JSON"),
        (["--labels", "ray.io/node-id=mine"], "cannot be chosen"),
        (["--labels", f"zone={'x' * 64}"], "zone"),
        (["--worker-group", "a b"], "worker"),
        (["--temp-dir", "/proc/nothing/here"], "/proc/nothing/here"),
        (["--node-ip-address", "192.0.2.99"], "192.0.2.99"),
        (["--node-ip-address", "no such host.invalid"], "no such host.invalid"),
        (["--autoscaling-config", "/nowhere/config.yaml"], "/nowhere/config.yaml"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
def test_a_head_that_cannot_be(world: World, options: list[str], complaint: str) -> None:
    assert complaint in refused(world, "start", "--head", "--port=0", *options)
    assert world.sessions() == []


@pytest.mark.row("10.1", "10.3")
@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "not YAML"),
        ("cluster_name: a", "provider"),
        ("cluster_nam: a", "did you mean 'cluster_name'"),
        ("{cluster_name: a, provider: {type: cloud}, available_node_types: {}}", "provider.type"),
        ("{cluster_name: a, provider: {type: local}, available_node_types: {w: {resources: {CPU: -1}}}}", "resources"),
    ],
)
def test_a_configuration_that_makes_no_sense(world: World, text: str, complaint: str) -> None:
    path = Path(world.folder, "config.yaml")
    path.write_text(text)
    assert complaint in refused(world, "start", "--head", "--port=0", "--autoscaling-config", str(path))
    assert world.sessions() == []


# --- where it is to be ------------------------------------------------------------------------------------------------


@pytest.mark.row("S31")
def test_two_heads_on_one_port(world: World, head: str) -> None:
    port = head.rpartition(":")[2]
    assert "already in use" in refused(world, "start", "--head", f"--port={port}")
    assert "already in use" in refused(world, "start", f"--address={head}", f"--port={port}")
    assert len(world.sessions()) == 1
    world.linckia("health-check", f"--address={head}")


@pytest.mark.parametrize(
    ("address", "complaint"),
    [
        ("", "--head"),
        ("nonsense", "expected host:port"),
        ("127.0.0.1", "expected host:port"),
        ("127.0.0.1:0", "expected host:port"),
        ("127.0.0.1:99999", "expected host:port"),
        ("127.0.0.1:port", "expected host:port"),
        (":6379", "expected host:port"),
        ("127.0.0.1:1", "127.0.0.1:1"),
        ("nohost.invalid:6379", "nohost.invalid"),
    ],
)
def test_an_address_that_leads_nowhere(
    world: World, address: str, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINCKIA_AUTH_TOKEN", "a" * 64)
    assert complaint in refused(world, "start", f"--address={address}")
    assert world.sessions() == []


@pytest.mark.parametrize("speech", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", None], ids=["hangs up", "http", "silent"])
def test_an_address_of_somebody_else(world: World, speech: bytes | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program listens there: one that hangs up, one that says something else, one that says nothing."""
    monkeypatch.setenv("LINCKIA_AUTH_TOKEN", "a" * 64)
    kept = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    peer, _ = server.accept()
                except OSError:
                    return
                kept.append(peer)
                if speech is not None:
                    peer.sendall(speech)
                    peer.close()

        threading.Thread(target=serve, daemon=True).start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert address in refused(world, "start", f"--address={address}")
        assert address in refused(world, "status", f"--address={address}")
        server.shutdown(socket.SHUT_RDWR)
    for peer in kept:
        peer.close()
    assert world.sessions() == []


# --- who it is --------------------------------------------------------------------------------------------------------


@pytest.mark.row("3.58", "1.14")
def test_a_token_of_another_cluster(world: World, head: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LINCKIA_AUTH_TOKEN", "b" * 64)
    for command in ("start", "status", "health-check"):
        assert "token" in refused(world, command, f"--address={head}")
    monkeypatch.delenv("LINCKIA_AUTH_TOKEN")
    monkeypatch.setenv("LINCKIA_AUTH_TOKEN_PATH", str(tmp_path / "nothing"))
    assert str(tmp_path / "nothing") in refused(world, "start", f"--address={head}")
    monkeypatch.delenv("LINCKIA_AUTH_TOKEN_PATH")
    assert len(world.sessions()) == 1


@pytest.fixture
def other_version(tmp_path: Path) -> dict[str, str]:
    """The environment of a Linckia that speaks the next version of the protocol."""
    package = tmp_path / "linckia"
    shutil.copytree(ROOT / "src" / "linckia", package, ignore=shutil.ignore_patterns("__pycache__"))
    (source,) = [path for path in package.rglob("*.py") if "\nPROTOCOL_VERSION = " in path.read_text()]
    source.write_text(source.read_text().replace("\nPROTOCOL_VERSION = ", "\nPROTOCOL_VERSION = 1 + "))
    return {"PYTHONPATH": str(tmp_path)}


@pytest.mark.row("8.2")
def test_another_version(world: World, head: str, other_version: dict[str, str]) -> None:
    env = {**os.environ, **other_version, "LINCKIA_TMPDIR": world.folder}
    for command in ("start", "status"):
        done = subprocess.run(
            [sys.executable, "-m", "linckia.cli.main", command, f"--address={head}"],
            env=env, cwd=world.folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
        told = sentence(done.returncode, done.stdout, done.stderr)
        assert "protocol" in told
        assert "same Linckia version" in told
    assert len(world.sessions()) == 1


# --- looking at it ----------------------------------------------------------------------------------------------------


@pytest.mark.row("8.4", "8.18")
def test_commands_about_what_is_not_there(world: World, head: str) -> None:
    assert "0 living nodes" in refused(world, "drain-node", "--node-id", "ffff")
    assert "127.0.0.1:1" in refused(world, "health-check", "--address=127.0.0.1:1")
    assert "127.0.0.1:1" in refused(world, "status", "--address=127.0.0.1:1")
    assert "session_x" in refused(world, "stop", "session_x")


@pytest.mark.row("8.4")
def test_status_of_two_nodes(world: World, head: str) -> None:
    world.linckia("start", f"--address={head}", "--num-cpus=3", "--labels=zone=a", "--node-name=second")
    told = json.loads(world.linckia("status", f"--address={head}", "--format", "json"))
    by_head = {node["is_head"]: node for node in told["nodes"]}
    assert by_head[False]["labels"]["zone"] == "a"
    assert by_head[False]["resources"]["CPU"] == 3
    assert 0 < by_head[True]["memory_used_bytes"] < by_head[True]["memory_threshold_bytes"]
    assert "memory_used_bytes" in by_head[False]
    text = world.linckia("status", "-v")
    assert "second" in text
    assert "zone=a" in text
    assert "workers end above" in text


@pytest.mark.row("8.3", "7.10", "P26")
def test_a_node_that_is_stopped_leaves_the_others(world: World, head: str) -> None:
    first = set(world.sessions())
    world.linckia("start", f"--address={head}", "--num-cpus=1")
    (second,) = set(world.sessions()) - first
    assert "stopped" in world.linckia("stop", second)
    assert set(world.sessions()) == first
    told = json.loads(world.linckia("status", f"--address={head}", "--format", "json"))
    assert [node["is_head"] for node in told["nodes"] if node["alive"]] == [True]
