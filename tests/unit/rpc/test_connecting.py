"""A connection that never comes to be says so soon, and says why."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from linckia.base.addresses import node_of
from linckia.protocol import messages as m
from linckia.rpc import connection
from linckia.rpc.connection import Connection
from linckia.rpc.handshake import Identity
from linckia.rpc.reactor import Reactor

IDENTITY = Identity("driver", b"d" * 28, b"token")


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    made = Reactor()
    yield made
    made.close()


def connect(reactor: Reactor, sock: socket.socket) -> list[str]:
    """Why it was closed, once it is."""
    reasons: list[str] = []
    Connection(reactor, sock, IDENTITY, lambda _c, _m: None, lambda _c, why: reasons.append(why), initiator=True)
    return reasons


@pytest.mark.row("S18")
@pytest.mark.parametrize("taken", [False, True])
def test_a_peer_whose_kernel_takes_nothing_is_given_up_first(
    reactor: Reactor, monkeypatch: pytest.MonkeyPatch, taken: bool
) -> None:
    """One whose kernel takes our first frame is there, if stopped perhaps: it gets the time of a handshake."""
    monkeypatch.setattr(connection, "CONNECT_MAX_S", 0.05)
    monkeypatch.setattr(connection, "HANDSHAKE_MAX_S", 0.1)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    while not taken:
        try:
            ours.send(b"x" * 65536)
        except BlockingIOError:
            break
    reasons = connect(reactor, ours)
    while not reasons:
        reactor.poll(1.0)
    assert reasons == ["no handshake within 0.1 s" if taken else "no connection within 0.05 s"]
    theirs.close()


def test_what_the_kernel_said_is_not_lost(reactor: Reactor) -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        sock.connect_ex(unused.getsockname())
        reasons = connect(reactor, sock)
        while not reasons:
            reactor.poll(1.0)
    assert "refused" in reasons[0]


def test_a_connection_that_nobody_closed_ends_with_the_loop() -> None:
    reactor = Reactor()
    ours, theirs = socket.socketpair()
    reasons = connect(reactor, ours)
    reactor.close()
    assert ours.fileno() == -1
    assert reasons == []
    theirs.close()


def test_the_node_of_an_endpoint() -> None:
    assert node_of(f"node:{'ab' * 28}:10.0.0.1:6379:/path") == b"\xab" * 28
    assert node_of("unix:/path") == node_of("tcp:10.0.0.1:6379") == b""


@pytest.mark.row("S18")
def test_a_peer_that_does_not_read_is_not_stuck(reactor: Reactor) -> None:
    """Its kernel acknowledges. (The tests of network faults have peers whose kernel does not.)"""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
        made = Connection(reactor, ours, IDENTITY, lambda _c, _m: None, lambda _c, _why: None, initiator=False)
        made.established = True
        while True:
            try:
                ours.send(b"x" * 65536)
            except BlockingIOError:
                break
        assert not made.is_stuck
        made.close()
        assert not made.is_stuck
        theirs.close()


@pytest.mark.parametrize("leaves", ["send", "flush"])
def test_what_waits_for_the_first_leaves_before_anything_for_others(reactor: Reactor, leaves: str) -> None:
    """The object store knows of an object before anybody asks for it."""
    made, theirs = [], []
    for _ in range(2):
        ours, other = socket.socketpair()
        made.append(Connection(reactor, ours, IDENTITY, lambda _c, _m: None, lambda _c, _w: None, initiator=False))
        made[-1].established = True
        other.setblocking(False)
        theirs.append(other)
    reactor.told_first = made[0]
    made[0].post(m.Ping(1))
    with pytest.raises(BlockingIOError):
        theirs[0].recv(1000)
    if leaves == "send":
        made[1].send(m.Ping(2))
    else:
        made[1].post(m.Ping(2))
        made[1].flush()
    assert theirs[0].recv(1000)
    assert theirs[1].recv(1000)
    for other in theirs:
        other.close()
