"""Every way for two processes of a cluster to talk, and every store, each behind one small surface, so that one suite
judges them all.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from linckia.cli import tls_init
from linckia.host.tls_files import in_directory
from linckia.rpc.tls.contexts import Tls

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # also under pytest's importlib mode: tests say `from wires import Wire`

from stores import EtcdKit, Kit, MemoryKit, SqliteKit  # noqa: E402
from wires import InProcessWire, NodePortWire, RoutedWire, UnixWire, Wire  # noqa: E402

from linckia.testing.etcd import EtcdCluster, missing  # noqa: E402

MAKERS: dict[str, Callable[[Path, Tls], Wire]] = {
    "unix": lambda folder, _tls: UnixWire(folder),
    "tcp": lambda _folder, _tls: NodePortWire("127.0.0.1"),
    "tcp6": lambda _folder, _tls: NodePortWire("::1"),
    "routed": lambda folder, _tls: RoutedWire(folder),
    "tls": lambda _folder, tls: NodePortWire("127.0.0.1", tls),
    "routed tls": lambda folder, tls: RoutedWire(folder, tls),
}


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    """A certificate of a CA of its own."""
    folder = str(tmp_path_factory.mktemp("tls"))
    tls_init.make(folder, ["localhost"], 2, force=True)
    return Tls(in_directory(folder))


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.fixture(params=list(MAKERS))
def wire(request: pytest.FixtureRequest, tmp_path: Path, tls: Tls) -> Iterator[Wire]:
    """A listening server; ``connect`` makes clients. Over sockets, with the handshake."""
    if request.param == "tcp6" and not _has_ipv6():
        pytest.skip("this machine has no IPv6")
    made = MAKERS[request.param](tmp_path, tls)
    yield made
    made.close()


@pytest.fixture(params=[*MAKERS, "in process"])
def any_wire(request: pytest.FixtureRequest, tmp_path: Path, tls: Tls) -> Iterator[Wire]:
    """The same, and the link between two rooms of one process."""
    if request.param == "tcp6" and not _has_ipv6():
        pytest.skip("this machine has no IPv6")
    made = InProcessWire() if request.param == "in process" else MAKERS[request.param](tmp_path, tls)
    yield made
    made.close()


@pytest.fixture(scope="session")
def etcd_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """One etcd server."""
    if why := missing():
        pytest.skip(why)
    cluster = EtcdCluster(tmp_path_factory.mktemp("etcd"))
    yield cluster
    cluster.close()


@pytest.fixture(params=["memory", "sqlite", "etcd"])
def kit(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kit]:
    """A store of each backend, empty."""
    if request.param == "etcd":
        made: Kit = EtcdKit(request.getfixturevalue("etcd_cluster"))
    else:
        made = MemoryKit(tmp_path) if request.param == "memory" else SqliteKit(tmp_path)
    yield made
    made.close()
