"""What a probe of a node's port finds out: only its own answer is an answer, and a cut connection is looked into."""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from linckia.base.limits import PROBE_MAX_S
from linckia.rpc.front_door import FrontDoor
from linckia.rpc.probe import probe
from linckia.rpc.reactor import Reactor

pytestmark = pytest.mark.row("7.7", "P8")


@pytest.fixture
def port() -> Iterator[socket.socket]:
    """A listening socket that nobody accepts from."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock


def asked(reactor: Reactor, number: int) -> tuple[str, float]:
    """The outcome, and how long it took."""
    found: list[str] = []
    began_s = time.monotonic()
    probe(reactor, f"tcp:127.0.0.1:{number}", lambda how, _text: found.append(how))
    while not found:
        assert time.monotonic() - began_s < PROBE_MAX_S + 5, "a probe always ends"
        reactor.poll(0.1)
    took_s = time.monotonic() - began_s
    reactor.poll(0.0)
    assert len(found) == 1
    return found[0], took_s


def test_a_node_answers() -> None:
    reactor = Reactor()
    door = FrontDoor(reactor, "127.0.0.1", 0, lambda sock: sock.close(), lambda _worker, sock: sock.close())
    assert asked(reactor, door.port)[0] == "answered"
    door.close()


def test_nobody_listens(port: socket.socket) -> None:
    number = port.getsockname()[1]
    port.close()
    assert asked(Reactor(), number)[0] == "refused"


def test_a_process_that_ends_after_its_kernel_took_the_connection(port: socket.socket) -> None:
    number = port.getsockname()[1]

    def end() -> None:
        port.shutdown(socket.SHUT_RDWR)
        port.close()

    threading.Timer(0.1, end).start()
    how, took_s = asked(Reactor(), number)
    assert how == "refused"
    assert took_s < PROBE_MAX_S


def test_a_process_that_is_stopped_says_nothing(port: socket.socket) -> None:
    how, took_s = asked(Reactor(), port.getsockname()[1])
    assert how == "silent"
    assert took_s >= PROBE_MAX_S


@pytest.mark.row("S15")
def test_a_host_without_a_way_to_it_is_asked_until_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linckia.rpc.probe.open_socket", lambda _where: (NoWay(), ("127.0.0.1", 1)))
    how, took_s = asked(Reactor(), 1)
    assert how == "silent"
    assert took_s >= PROBE_MAX_S, "it may be there in a moment"


class NoWay(socket.socket):
    """The kernel knows no way to any host."""

    def connect_ex(self, _address: object) -> int:
        return errno.EHOSTUNREACH
