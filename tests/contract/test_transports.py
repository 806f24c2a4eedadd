"""What every transport promises, whichever it is: order, nothing lost or twice, big messages, honest ends, no word
before the token is proven, another connection after the first. Over Unix sockets, a node's TCP port and its routes.
"""

from __future__ import annotations

import os
import random
import socket
import struct
import tracemalloc
from typing import Any

import pytest
from wires import End, Wire

from linckia.protocol import messages as m
from linckia.rpc.idempotence import RecentReplies

pytestmark = pytest.mark.row("S21")
BIG_BYTES = 24 << 20


def put(rid: int, value: bytes = b"") -> m.KvPut:
    """A message that tells its place and carries bytes."""
    return m.KvPut(rid, "contract", b"key", value)


def rids(end: End) -> list[int]:
    """What came, in the order in which it came."""
    return [message.rid for message in end.inbox if isinstance(message, m.KvPut)]


# --- order, size ------------------------------------------------------------------------------------------------------


def test_messages_arrive_once_and_in_order_both_ways(any_wire: Wire) -> None:
    rng = random.Random(7)
    client = any_wire.connect()
    client.link.send(put(0))
    server = any_wire.only_server()
    for rid in range(1, 2000):
        for link in (client.link, server.link):
            (link.send if rng.random() < 0.2 else link.post)(put(rid, bytes(rng.randrange(300))))
        if rng.random() < 0.05:
            any_wire.reactor.poll(0.0)
    any_wire.until(lambda: len(server.inbox) >= 2000 and len(client.inbox) >= 1999)
    assert rids(server) == list(range(2000))
    assert rids(client) == list(range(1, 2000))


def test_what_is_posted_before_the_connection_stands_arrives(any_wire: Wire) -> None:
    client = any_wire.connect()
    for rid in range(100):
        client.link.post(put(rid))
    assert rids(any_wire.only_server()) == list(range(100))


def test_big_messages_keep_their_place_among_small_ones(any_wire: Wire) -> None:
    value = random.Random(3).randbytes(1 << 20) * (BIG_BYTES >> 20)
    client = any_wire.connect()
    client.link.post(put(0))
    server = any_wire.only_server()
    for link in (client.link, server.link):
        link.send(put(1))
        link.send(put(2, value))
        link.send(put(3, value[1:]))
        link.send(put(4))
    any_wire.until(lambda: len(server.inbox) == 5 and len(client.inbox) == 4, "all of it")
    assert rids(server) == [0, 1, 2, 3, 4]
    assert rids(client) == [1, 2, 3, 4]
    for end in (server, client):
        kept: list[Any] = end.inbox[-3:-1]
        assert [message.value == wanted for message, wanted in zip(kept, (value, value[1:]), strict=True)] == [True] * 2


def test_a_small_message_costs_no_large_buffer(wire: Wire) -> None:
    """A fresh one for each read may cost an mmap, page faults and an munmap: it halved the rate of small tasks."""
    client = wire.connect()
    client.link.send(put(0))
    server = wire.only_server()
    tracemalloc.start()
    try:
        client.link.send(put(1))
        wire.until(lambda: len(server.inbox) == 2)
        _now, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most_bytes < 32768


def test_a_peer_that_does_not_read_holds_nobody_up(wire: Wire) -> None:
    """It costs memory (``unsent_bytes`` tells), never time; what it gets in the end is in order."""
    client, other = wire.connect(), wire.connect()
    client.link.post(put(0))
    wire.until(lambda: wire.servers)
    slow = wire.servers[0]
    wire.reactor.modify(client.link.fd, 0)  # it stops reading
    for rid in range(200):
        slow.link.send(put(rid, bytes(1 << 16)))
    assert slow.link.unsent_bytes > 1 << 20
    other.link.post(put(77))
    wire.until(lambda: len(wire.servers) == 2 and wire.servers[1].inbox, "the message of somebody else")
    wire.reactor.modify(client.link.fd, 1)
    wire.until(lambda: len(client.inbox) == 200)
    assert rids(client) == list(range(200))
    assert slow.link.unsent_bytes == 0


# --- ends -------------------------------------------------------------------------------------------------------------


def test_a_peer_that_closes_is_heard_to_the_end_and_its_end_is_told_once(wire: Wire) -> None:
    client = wire.connect()
    client.link.post(put(0))
    server = wire.only_server()
    for rid in range(1, 50):
        client.link.send(put(rid, bytes(1000)))
    client.link.close("enough")
    assert client.ends == ["enough"]
    wire.until(lambda: server.ends)
    wire.settle()
    assert rids(server) == list(range(50))
    assert len(server.ends) == 1
    client.link.post(put(99))  # nobody is there: no error, no effect
    client.link.flush()
    client.link.close("again")
    server.link.send(put(98))
    wire.settle()
    assert len(client.ends) == len(server.ends) == 1


def test_a_half_closed_peer_is_heard_to_the_end_and_is_gone(wire: Wire) -> None:
    """Nobody here shuts only one direction: who stops sending has gone, but what it said counts."""
    client = wire.connect()
    client.link.post(put(0))
    server = wire.only_server()
    for rid in range(1, 20):
        client.link.send(put(rid))
    client.link.sock.shutdown(socket.SHUT_WR)
    wire.until(lambda: server.ends)
    wire.until(lambda: client.ends)
    assert rids(server) == list(range(20))
    assert server.link.closed and client.link.closed


def test_half_a_message_is_no_message(wire: Wire) -> None:
    client = wire.connect()
    client.link.post(put(0))
    server = wire.only_server()
    client.link.sock.setblocking(True)
    client.link.sock.sendall(struct.pack("<I", 1000) + bytes(500))
    client.link.close()
    wire.until(lambda: server.ends)
    assert rids(server) == [0]


@pytest.mark.row("S31")
def test_a_client_that_dies_in_the_handshake_leaves_nothing(wire: Wire) -> None:
    for words in (b"", b"\x07", struct.pack("<I", 30), struct.pack("<I", 30) + bytes(10)):
        with wire.raw() as stranger:
            stranger.sendall(words)
            wire.settle()
    client = wire.connect()
    client.link.post(put(5))
    wire.until(lambda: any(end.inbox for end in wire.servers))
    heard = [end for end in wire.servers if end.inbox]
    assert [rids(end) for end in heard] == [[5]]


# --- who may talk -----------------------------------------------------------------------------------------------------


@pytest.mark.row("S31", "P39")
def test_without_the_token_no_message_is_delivered_either_way(wire: Wire) -> None:
    client = wire.connect(token=b"of another cluster")
    client.link.post(put(0))
    wire.until(lambda: client.ends)
    wire.settle()
    assert "wrong cluster token" in client.ends[0]
    assert not client.link.established
    assert [end.inbox for end in wire.servers] in ([], [[]])
    assert client.inbox == []


@pytest.mark.row("S31", "P39")
@pytest.mark.parametrize(
    "body",
    [
        b"\x81\xa2\xff\xff\x01",
        b"\x81\xa1a" + b"\x91" * 4000,
        b"\x01",
        b"\x81\x01\x02",
        b"",
        b"\xc1",
        b"\x81\xa5magic\x01",
    ],
    ids=["no text", "too deep", "no map", "no name", "nothing", "no msgpack", "wrong type"],
)
def test_a_stranger_s_first_words_end_nothing_but_his_connection(wire: Wire, body: bytes) -> None:
    """Before the token: text that is no text once ended the node."""
    with wire.raw() as stranger:
        stranger.sendall(struct.pack("<I", len(body)) + body)
        stranger.setblocking(False)
        heard = b""

        def refused() -> bool:
            nonlocal heard
            try:
                heard += stranger.recv(4096)
            except BlockingIOError:
                return False
            except ConnectionResetError:
                pass
            return True

        wire.until(refused)
    assert not heard or b"refused" in heard
    client = wire.connect()
    client.link.post(put(5))
    wire.until(lambda: any(end.inbox for end in wire.servers))


@pytest.mark.row("S32")
@pytest.mark.parametrize(("what", "words"), [({"protocol": 999}, "protocol 999"), ({"python": (3, 2)}, "Python 3.2")])
def test_another_version_is_refused_in_a_sentence(wire: Wire, what: dict[str, Any], words: str) -> None:
    client = wire.connect(**what)
    client.link.post(put(0))
    wire.until(lambda: client.ends and all(end.ends for end in wire.servers))
    told = client.ends + [reason for end in wire.servers for reason in end.ends]
    assert any("refused" in reason and words in reason for reason in told), told
    assert not any(end.inbox for end in wire.servers)


def test_both_sides_know_whom_they_talk_to(any_wire: Wire) -> None:
    worker_id = os.urandom(28)
    client = any_wire.connect(worker_id=worker_id)
    client.link.post(put(0))
    server = any_wire.only_server()
    assert (server.link.peer_id, server.link.peer_role) == (worker_id, "driver")
    any_wire.until(lambda: client.link.peer_id)
    assert client.link.peer_role in ("raylet", "worker")
    assert len(client.link.peer_id) == 28


# --- again ------------------------------------------------------------------------------------------------------------


def test_another_connection_after_the_first_broke(wire: Wire) -> None:
    worker_id = os.urandom(28)
    for attempt in range(5):
        client = wire.connect(worker_id=worker_id)
        client.link.post(put(attempt))
        wire.until(lambda: any(attempt in rids(end) for end in wire.servers))  # noqa: B023 - used at once
        server = next(end for end in wire.servers if attempt in rids(end))
        (server if attempt % 2 else client).link.close()
        wire.until(lambda: client.ends and server.ends)  # noqa: B023
    assert [rids(end) for end in wire.servers] == [[attempt] for attempt in range(5)]


def test_a_server_that_comes_back_at_its_address_is_found(wire: Wire) -> None:
    first = wire.connect()
    first.link.post(put(0))
    wire.only_server()
    wire.reopen()
    second = wire.connect()
    second.link.post(put(1))
    wire.until(lambda: len(wire.servers) == 2)
    first.link.post(put(2))  # connections outlive the door
    wire.until(lambda: len(wire.servers[0].inbox) == 2)
    assert [rids(end) for end in wire.servers] == [[0, 2], [1]]


def test_nobody_listens_is_told_at_once_or_by_the_end_of_the_connection(wire: Wire) -> None:
    wire.stop_listening()
    try:
        client = wire.connect()
    except OSError:
        client = None
    if client is not None:
        client.link.post(put(0))
        wire.until(lambda: client.ends, "the end of a connection to nobody")
        assert len(client.ends) == 1
    assert wire.servers == []
    wire.reopen()


def test_a_request_that_comes_again_is_answered_again_and_done_once(any_wire: Wire) -> None:
    """The retry may overtake the answer, or come on another connection of the same process."""
    recent, done, postponed = RecentReplies(), [], []

    def serve(end: End, message: m.Message) -> None:
        assert isinstance(message, m.KvPut)
        first, reply = recent.begin(end.link.peer_id, message.rid)
        if reply is not None:
            end.link.post(reply)
        if first:
            done.append(message.rid)
            postponed.append((end, message.rid))

    def answer() -> None:
        while postponed:
            end, rid = postponed.pop()
            reply = m.KvReply(rid, count=rid)
            recent.finish(end.link.peer_id, rid, reply)
            end.link.post(reply)

    any_wire.on_message = serve
    worker_id = os.urandom(28)
    client = any_wire.connect(worker_id=worker_id)
    for rid in (1, 2, 1, 2, 2):
        client.link.send(put(rid))
    any_wire.until(lambda: len(any_wire.only_server().inbox) == 5)
    assert done == [1, 2]
    answer()
    any_wire.until(lambda: len(client.inbox) == 2)
    client.link.send(put(2))
    any_wire.until(lambda: len(client.inbox) == 3)
    again = any_wire.connect(worker_id=worker_id)
    again.link.send(put(1))
    again.link.send(put(3))
    any_wire.until(lambda: postponed)
    answer()
    any_wire.until(lambda: len(again.inbox) == 2)
    assert done == [1, 2, 3]
    assert sorted(message.count for message in client.inbox if isinstance(message, m.KvReply)) == [1, 2, 2]
    assert [message.count for message in again.inbox if isinstance(message, m.KvReply)] == [1, 3]
