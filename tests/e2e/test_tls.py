"""Clusters whose nodes use TLS, as a person sets them up: certificates of `linckia tls init`, three nodes, a program
that uses all of it; and what is said when files or peers do not fit.
"""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest

from linckia.cli import tls_init
from tests.e2e.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.row("8.83")]
NAMES = ("LINCKIA_TLS_SERVER_CERT", "LINCKIA_TLS_SERVER_KEY", "LINCKIA_TLS_CA_CERT")
SO_RCVBUFFORCE = 33  # linux/socket.h
MARKER = "nobody may read this"
PROGRAM = f"""
import linckia
from linckia.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

linckia.init()
MARKER = {MARKER!r}

@linckia.remote
def where(text):
    assert text == MARKER
    return linckia.get_runtime_context().get_node_id()

@linckia.remote
def make(size):
    return (MARKER * size)[:size]

@linckia.remote
def measure(text):
    return len(text), text == (MARKER * len(text))[: len(text)]

@linckia.remote
class Keeper:
    def keep(self, text):
        self.text = text
        return linckia.get_runtime_context().get_node_id()

    def told(self):
        return self.text

nodes = [node["NodeID"] for node in linckia.nodes()]
on = {{node: On(node, soft=False) for node in nodes}}
assert set(linckia.get([where.options(scheduling_strategy=on[node]).remote(MARKER) for node in nodes])) == set(nodes)
made = {{node: make.options(scheduling_strategy=on[node]).remote(6 << 20) for node in nodes}}
pairs = [(here, there) for here in nodes for there in nodes if here != there]
moved = [measure.options(scheduling_strategy=on[there]).remote(made[here]) for here, there in pairs]
assert set(linckia.get(moved)) == {{(6 << 20, True)}}
assert all(len(text) == 6 << 20 for text in linckia.get(list(made.values())))
keepers = {{node: Keeper.options(scheduling_strategy=on[node]).remote() for node in nodes}}
assert all(linckia.get(keeper.keep.remote(MARKER)) == node for node, keeper in keepers.items())

@linckia.remote
def ask(keeper):
    return linckia.get(keeper.told.remote())

asked = [ask.options(scheduling_strategy=on[node]).remote(keeper) for node in nodes for keeper in keepers.values()]
assert set(linckia.get(asked)) == {{MARKER}}
print(len(nodes), "nodes,", len(moved), "objects moved")
"""


class Listener:
    """Keeps what passes over the loopback interface to and from some ports; needs the right to listen there."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.ntohs(0x0800))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        self._socket.bind(("lo", 0x0800))
        self._socket.settimeout(0.2)
        self._ended = False
        self._packets: list[bytes] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended:
            try:
                self._packets.append(self._socket.recv(1 << 17))
            except TimeoutError:
                continue

    def close(self) -> list[tuple[set[int], bytes]]:
        """(the two ports, what was said) of each TCP packet."""
        self._ended = True
        self._thread.join()
        self._socket.close()
        found = []
        for packet in self._packets:
            begin = (packet[0] & 15) * 4
            if packet[9] == socket.IPPROTO_TCP:
                ports = {int.from_bytes(packet[at : at + 2]) for at in (begin, begin + 2)}
                found.append((ports, packet[begin + (packet[begin + 12] >> 4) * 4 :]))
        return found


@pytest.fixture
def listener() -> Iterator[Listener | None]:
    """None where this is not allowed."""
    try:
        made = Listener()
    except (OSError, AttributeError):
        yield None
        return
    yield made
    if not made._ended:
        made.close()


def use(monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    """Say so in the environment."""
    monkeypatch.setenv("LINCKIA_USE_TLS", "1")
    for name, file in zip(NAMES, ("node.crt", "node.key", "ca.crt"), strict=True):
        monkeypatch.setenv(name, f"{folder}/{file}")


def options(folder: str) -> list[str]:
    return [
        f"--tls-{name}={folder}/{file}" for name, file in (("cert", "node.crt"), ("key", "node.key"), ("ca", "ca.crt"))
    ]


def clusters(world: World) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(world.linckia("status", "--format", "json"))["clusters"]
    return found


def test_three_nodes(world: World, monkeypatch: pytest.MonkeyPatch, listener: Listener | None) -> None:
    """One is told by options, one by the environment, one finds what the head on its machine uses, as its token."""
    folder = f"{world.folder}/tls"
    told = world.linckia("tls", "init", "--dir", folder)
    (command,) = re.findall(r"^  linckia (start --head .*)$", told, re.MULTILINE)
    world.linckia(*command.replace("ADDRESS", "127.0.0.1").split(), "--num-cpus=1", "--port=0")
    head = clusters(world)[0]["address"]
    world.linckia("start", f"--address={head}", "--num-cpus=1")
    use(monkeypatch, folder)
    world.linckia("start", f"--address={head}", "--num-cpus=1")
    status = json.loads(world.linckia("status", f"--address={head}", "--format", "json"))
    ports = {node["port"] for node in status["nodes"]}
    assert len(ports) == 3
    assert world.python(world.script(PROGRAM)) == "3 nodes, 6 objects moved\n"
    world.python("-m", "linckia_command", "health-check", f"--address={head}")
    for name in ("LINCKIA_USE_TLS", *NAMES):
        monkeypatch.delenv(name)
    world.python("-m", "linckia_command", "health-check", f"--address={head}")
    world.linckia("stop")
    assert world.sessions() == []
    if listener is None:
        return
    said = [data for pair, data in listener.close() if pair & ports and data]
    assert sum(map(len, said)) > 1 << 20, "the listener heard objects move"
    assert not any(MARKER.encode() in data for data in said)
    routes = [data for data in said if data.startswith(b"LKR1")]
    assert all(len(data) <= 64 for data in routes), "nothing but the route comes before TLS"
    assert not any(b"linckia" in data for data in said)


def refused(world: World, *arguments: str) -> str:
    """The one sentence of a command that fails."""
    process = world.start("-m", "linckia.cli.main", *arguments)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1, (out, err)
    assert not out
    assert len(err.splitlines()) == 1, err
    assert err.startswith("linckia: "), err
    for noise in ("Traceback", "Errno", "Error:", "None", "_ssl"):
        assert noise not in err, err
    return err


def made(world: World, name: str, age: timedelta = tls_init.CLOCK_SKEW) -> str:
    """A folder with certificates of a CA of its own."""
    folder = f"{world.folder}/{name}"
    tls_init.make(folder, ["localhost"], 2, age=age)
    return folder


def test_files_that_are_no_good(world: World) -> None:
    """Every way: tests/contract/test_tls.py."""
    ours, other, old = made(world, "ours"), made(world, "other"), made(world, "old", timedelta(days=30))
    for arguments, words in (
        (options(old), "has expired"),
        ([*options(ours)[::2], f"--tls-key={other}/node.key"], "does not belong to the certificate"),
        (options(ours)[:2], "--tls-ca is missing"),
    ):
        assert words in refused(world, "start", "--head", "--port=0", *arguments)
    assert world.sessions() == []


def test_who_does_not_belong_hears_why(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, other = made(world, "ours"), made(world, "other")
    world.linckia("start", "--head", "--num-cpus=0", "--port=0", *options(ours))
    with_tls = clusters(world)[0]["address"]
    monkeypatch.setenv("LINCKIA_USE_TLS", "0")
    assert "this cluster uses TLS" in refused(world, "start", f"--address={with_tls}")
    assert "this cluster uses TLS" in refused(world, "status", f"--address={with_tls}")
    use(monkeypatch, other)
    assert "is not signed by the CA in" in refused(world, "start", f"--address={with_tls}")
    assert "is not signed by the CA in" in refused(world, "health-check", f"--address={with_tls}")
    use(monkeypatch, ours)
    monkeypatch.setenv("LINCKIA_AUTH_TOKEN", "b" * 64)
    program = f"import linckia\nlinckia.init(address={with_tls!r}, _temp_dir={world.folder + '/x'!r})\n"
    assert "wrong cluster token" in world.python(world.script(program), code=1)
    world.linckia("stop")
    assert world.sessions() == []


def test_a_cluster_without_tls_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.linckia("start", "--head", "--num-cpus=0", "--port=0")
    without = clusters(world)[0]["address"]
    use(monkeypatch, made(world, "ours"))
    assert "it does not use TLS" in refused(world, "start", f"--address={without}")
    assert "it does not use TLS" in refused(world, "health-check", f"--address={without}")
    world.linckia("stop")
    assert world.sessions() == []
