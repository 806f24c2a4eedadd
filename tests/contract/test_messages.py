"""Every message of the protocol: it has a number of its own, says what it is, somebody handles it, and neither a maimed
body nor senseless content from somebody with the token ends the process that gets it.
"""

from __future__ import annotations

import os
import random
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from forging import all_messages, forge, maimed
from wires import Wire

import linckia
from linckia.model.specs import NodeInfo
from linckia.node.head import HeadRoom
from linckia.protocol import messages as m
from linckia.protocol.batch import MALFORMED, decode_batch, encode_batch
from linckia.raylet.service import Raylet, RayletOptions
from linckia.rpc.handshake import Identity
from linckia.rpc.reactor import Reactor
from linckia.shm.segment import Segment
from linckia.worker import current
from linckia.worker.executor import Executor
from linckia.worker.main import WorkerProcess
from linckia.worker.runtime import Runtime

pytestmark = pytest.mark.row("S31")
INLINE = {
    m.Done: "Runtime.on_messages, the hot path",
    m.RelayedBack: "Rooms._from_head",
    m.NodeDrained: "rpc/ask.py, by its rid",
    m.LinkHello: "gcs/links.py and node/head_process.py, below the tables",
    m.LinkWelcome: "raylet/gcs_link.py, below the tables",
    m.LinkAck: "raylet/gcs_link.py and gcs/links.py, below the tables",
    m.NewLeader: "node/rooms.py, for raylet/gcs_link.py",
    m.NotLeader: "raylet/gcs_link.py, below the tables",
    m.HeadsChanged: "raylet/gcs_link.py, below the tables",
    m.HeadPaused: "raylet/gcs_link.py, below the tables",
    m.StandbyReport: "node/head_process.py, the first message of a connection",
    m.StepDown: "node/head_process.py, while it leads",
    m.SteppedDown: "rpc/ask.py, by its rid",
    m.AskHead: "node/scaler_child.py, for gcs/scaling.py",
    m.HeadSays: "node/scaler_process.py, by its rid",
    m.StartInstance: "node/instances.py, where an autoscaler is",
    m.EndInstance: "node/instances.py, where an autoscaler is",
    m.StreamReady: "raylet/transfer/links.py, the first batch of a stream",
    m.TransferReady: "raylet/transfer/links.py, by its rid",
    m.TransferRefused: "raylet/transfer/links.py, by its rid",
    m.KeptHere: "raylet/transfer/links.py, by its rid, for raylet/orphans.py",
}
"""Handled without a table, by whoever asked."""
NODE_OBEYS = {m.Stop, m.NodeFenced, m.NodeRegistered, m.OpenStream}
"""Whose meaning is an end (of the last: of messages), whatever their content: who has the token may say that."""


class _Spawner:
    def fork(self, _config: dict[str, Any], fds: tuple[int, int]) -> None:
        for fd in fds:
            os.close(fd)


class _Gcs:
    peer_id, peer_role, closed = b"gcs", "gcs", False

    def post(self, _message: Any) -> None: ...

    send = post


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[dict[str, set[type]]]:
    """Who handles what, by room, from the real objects."""
    reactor, segment = Reactor(), Segment.create(1 << 20)
    info = NodeInfo(b"n" * 28, "127.0.0.1", "here", "unix:/x", 1, {"CPU": 2.0}, {}, is_head=True)
    options = RayletOptions(info, "session", str(tmp_path), segment, {"sockets_dir": str(tmp_path)}, 0, 0)
    raylet = Raylet(reactor, options, _Spawner(), _Gcs())
    head = HeadRoom(reactor, "session", lambda _peer, _batch, _handle: None)
    with socket.socket(socket.AF_UNIX) as node:
        node.bind(f"{tmp_path}/node")
        node.listen()
        identity = Identity("worker", b"w" * 28, b"token")
        runtime = Runtime(identity, f"unix:{tmp_path}/node", f"unix:{tmp_path}/worker")
        executor = runtime.executor = Executor(runtime)
        WorkerProcess(runtime, executor)
        yield {
            "raylet": set(raylet.handlers),
            "gcs": set(head.gcs.handlers),
            "runtime": set(runtime.handlers),
            "elsewhere": set(INLINE),
        }
        runtime.raylet.on_close = lambda _conn, _reason: None
        runtime.raylet.close()
        runtime.reactor.close_listener(runtime.listener)
        runtime.reactor.close()
    raylet.objects.close()
    reactor.close()


def test_every_message_is_handled_somewhere(tables: dict[str, set[type]]) -> None:
    handled = set().union(*tables.values())
    assert sorted(kind.__name__ for kind in all_messages() if kind not in handled) == []
    for room, kinds in tables.items():
        assert kinds <= set(all_messages()), f"{room} handles what is no message"


def test_every_message_says_what_it_is_and_has_a_number_of_its_own() -> None:
    assert [kind.__name__ for kind in all_messages() if not (kind.__dict__.get("__doc__") or "").strip()] == []
    numbers = [kind.__struct_config__.tag for kind in all_messages()]
    assert len(set(numbers)) == len(numbers)
    assert all(hasattr(m, kind.__name__) for kind in all_messages()), "protocol/messages.py gives them all"


@pytest.mark.parametrize("kind", all_messages(), ids=lambda kind: kind.__name__)
def test_a_maimed_body_is_refused_as_such(kind: type[m.Message]) -> None:
    """Whatever does not decode raises an error that a connection expects; the rest is well-typed."""
    rng = random.Random(kind.__name__)
    for _ in range(20):
        whole = forge(kind, rng)
        body = encode_batch([whole, whole])
        assert msgspec.msgpack.encode(decode_batch(body)) == body
        for each in maimed(body, rng):
            try:
                found = decode_batch(each)
            except MALFORMED:
                continue
            assert all(isinstance(message, m.Message) for message in found)


def test_a_maimed_batch_costs_its_sender_the_connection_and_nobody_else(wire: Wire) -> None:
    good, bad = wire.connect(), wire.connect()
    for end in (good, bad):
        end.link.post(m.Ping(1))
    wire.until(lambda: len(wire.servers) == 2 and bad.link.established)
    wire.until(lambda: not bad.link.dirty)
    bad.link.sock.setblocking(True)
    bad.link.sock.sendall(struct.pack("<I", 5) + b"\x92\x93\x01\x02\x03")
    wire.until(lambda: bad.ends)
    good.link.send(m.Ping(2))
    wire.until(lambda: any(len(end.inbox) == 2 for end in wire.servers))
    told = [reason for end in wire.servers for reason in end.ends]
    assert len(told) == 1
    assert told[0].startswith("refused: malformed batch")


# --- real processes ---------------------------------------------------------------------------------------------------


@pytest.fixture
def cluster() -> Iterator[Any]:
    context = linckia.init(address="local", num_cpus=2, log_to_driver=False, object_store_memory=80 * 2**20)
    try:
        yield context
    finally:
        linckia.shutdown()


def _bombard(endpoint: str, token: bytes, spared: set[type], seed: int, pump: Any = None) -> int:
    """Send forgeries of every kind, one kind per connection; how many were sent."""
    reactor, rng, sent = Reactor(), random.Random(seed), 0
    for kind in all_messages():
        if kind in spared:
            continue
        ends: list[str] = []
        answers: list[m.Message] = []
        identity = Identity("driver", rng.randbytes(28), token)
        conn = reactor.connect(
            endpoint, identity, lambda _c, batch, a=answers: a.extend(batch), lambda _c, why, e=ends: e.append(why)
        )
        for _ in range(10):
            conn.post(forge(kind, rng))
            sent += 1
        conn.post(m.Ping(12345))
        for _ in range(2000):
            if ends or any(isinstance(each, m.Pong) and each.rid == 12345 for each in answers):
                break
            reactor.poll(0.005)
            if pump is not None:
                pump()
        else:
            raise AssertionError(f"no answer after 10 forged {kind.__name__}: {answers}")
        if not ends:
            conn.close()
    reactor.close()
    return sent


@pytest.mark.fault
def test_a_node_survives_senseless_messages_of_every_kind(cluster: Any) -> None:
    token = Path(cluster.address_info["session_dir"], "token").read_bytes()

    @linckia.remote
    def alive() -> int:
        return os.getpid()

    before = linckia.cluster_resources()
    print("sent", _bombard(cluster.address_info["address"], token, NODE_OBEYS, seed=5), file=sys.stderr)
    assert linckia.get([alive.remote() for _ in range(20)], timeout=30)
    assert linckia.cluster_resources()["CPU"] == before["CPU"]


@pytest.mark.fault
def test_workers_and_drivers_survive_senseless_messages_of_every_kind(cluster: Any) -> None:
    token = Path(cluster.address_info["session_dir"], "token").read_bytes()

    @linckia.remote
    class Target:
        def endpoint(self) -> tuple[str, int]:
            assert current.runtime is not None
            return current.runtime.address.endpoint, os.getpid()

    target = Target.remote()
    endpoint, pid = linckia.get(target.endpoint.remote(), timeout=20)
    assert current.runtime is not None
    print("to a worker", _bombard(endpoint, token, set(), seed=6), file=sys.stderr)
    assert linckia.get(target.endpoint.remote(), timeout=20) == (endpoint, pid)
    print("to a driver", _bombard(current.runtime.address.endpoint, token, set(), seed=7), file=sys.stderr)
    assert linckia.get(target.endpoint.remote(), timeout=20) == (endpoint, pid)
