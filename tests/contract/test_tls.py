"""Connections between nodes over TLS: what a node's files must be, who is refused and in which words, that nothing
passes in plain, and that threads may share a connection. That everything else is as without TLS: test_transports.py.
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import certificates
import pytest
from wires import TOKEN, End, NodePortWire, RoutedWire, Wire

from linckia.host.tls_files import TlsFiles
from linckia.protocol import messages as m
from linckia.raylet.transfer import stream
from linckia.rpc import connection, front_door
from linckia.rpc.endpoints import public_prefix
from linckia.rpc.handshake import Identity
from linckia.rpc.probe import probe
from linckia.rpc.reactor import Reactor
from linckia.rpc.tls.contexts import Tls
from linckia.rpc.tls.sentences import TlsError

pytestmark = pytest.mark.row("8.83")
MARKER = b"nobody may read this"


def put(rid: int, value: bytes = b"") -> m.KvPut:
    return m.KvPut(rid, "contract", b"key", value)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TlsFiles]:
    """Of the cluster, of another one, expired ones, and mixtures."""
    folder = tmp_path_factory.mktemp("certificates")
    ours, other = certificates.make(folder / "ours"), certificates.make(folder / "other")
    expired = certificates.make(folder / "expired", expired=True)
    return {
        "ours": ours,
        "other": other,
        "expired": expired,
        "second": certificates.sibling(ours, folder / "second"),
        "other, trusting us": TlsFiles(other.cert, other.key, ours.ca),
        "ours, trusting other": TlsFiles(ours.cert, ours.key, other.ca),
    }


# --- a node's files ---------------------------------------------------------------------------------------------------


def test_good_files_are_good(files: dict[str, TlsFiles]) -> None:
    Tls(files["ours"]).check()
    Tls(files["second"]).check()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("cert", None, "cannot read the certificate"),
        ("key", None, "cannot read the key"),
        ("ca", None, "cannot read the CA certificate"),
        ("cert", "", "the certificate {} is not in PEM format"),
        ("key", "\xff\x00", "the key {} is not in PEM format"),
        ("ca", "hello", "the CA certificate {} is not in PEM format"),
        ("cert", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", "the certificate {} is damaged"),
        ("cert", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "not a certificate and its key"),
        ("ca", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "the CA certificate {} is damaged"),
        ("key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "not a certificate and its key"),
    ],
)
def test_a_file_that_is_no_good_is_named(
    files: dict[str, TlsFiles], tmp_path: Path, name: str, content: str | None, words: str
) -> None:
    path = tmp_path / "file.pem"
    if content is not None:
        path.write_text(content, encoding="latin-1")
    with pytest.raises(TlsError) as caught:
        Tls(files["ours"]._replace(**{name: str(path)})).check()
    assert words.format(path) in str(caught.value)
    assert str(path) in str(caught.value)


def test_an_unreadable_file(files: dict[str, TlsFiles], tmp_path: Path) -> None:
    with pytest.raises(TlsError, match="cannot read the key"):
        Tls(files["ours"]._replace(key=str(tmp_path))).check()


def test_an_encrypted_key_does_not_ask_for_its_password(files: dict[str, TlsFiles], tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization as s  # noqa: PLC0415 - tests of the rest need it not

    key = s.load_pem_private_key(Path(files["ours"].key).read_bytes(), None)
    path = tmp_path / "encrypted.pem"
    path.write_bytes(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.BestAvailableEncryption(b"word")))
    with pytest.raises(TlsError, match="is encrypted"):
        Tls(files["ours"]._replace(key=str(path))).check()


@pytest.mark.parametrize(
    ("cert", "key", "ca", "words"),
    [
        ("ours", "other", "ours", "does not belong to the certificate"),
        ("ours", "ours", "other", "is not signed by the CA in"),
        ("expired", "expired", "expired", "has expired"),
    ],
)
def test_files_that_do_not_fit(files: dict[str, TlsFiles], cert: str, key: str, ca: str, words: str) -> None:
    with pytest.raises(TlsError, match=words):
        Tls(TlsFiles(files[cert].cert, files[key].key, files[ca].ca)).check()


# --- who is refused ---------------------------------------------------------------------------------------------------


@pytest.fixture(params=["port", "routed"])
def serve(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[Tls | None], Wire]]:
    """Makes a server: a node's own port, or a process behind it."""
    made: list[Wire] = []

    def serve(tls: Tls | None) -> Wire:
        wire: Wire = NodePortWire("127.0.0.1", tls) if request.param == "port" else RoutedWire(tmp_path, tls)
        made.append(wire)
        return wire

    yield serve
    for wire in made:
        wire.close()


def meet(server: Wire, client: Tls | None) -> tuple[End, End]:
    """A client with these files talks to the server until both sides know that it does not work."""
    server_tls, server.reactor.tls = server.reactor.tls, client
    end = server.connect()  # of one reactor, which asks for its TLS when a connection is made
    server.reactor.tls = server_tls
    end.link.post(put(1))
    server.until(lambda: end.ends and server.servers and server.servers[0].ends, "the end on both sides")
    (at_server,) = server.servers
    assert at_server.inbox == [] == end.inbox
    assert len(end.ends) == len(at_server.ends) == 1
    return end, at_server


@pytest.mark.parametrize(
    ("server", "client", "at_client", "at_server"),
    [
        ("ours", None, "refused: this cluster uses TLS", "refused: this cluster uses TLS"),
        (None, "ours", "refused: it does not use TLS", "refused"),
        ("ours", "other", "refused: the peer's certificate is not signed by the CA in", "is not signed by"),
        ("ours", "other, trusting us", "refused: the peer does not accept", "certificate is not signed by the CA in"),
        ("other, trusting us", "ours", "certificate is not signed by the CA in", "the peer does not accept"),
        ("ours, trusting other", "ours", "refused: the peer does not accept", "is not signed by the CA in"),
        ("expired", "expired", "or its CA's has expired", "it has expired"),
    ],
)
def test_who_does_not_belong_hears_why(
    files: dict[str, TlsFiles],
    serve: Callable[[Tls | None], Wire],
    server: str | None,
    client: str | None,
    at_client: str,
    at_server: str,
) -> None:
    wire = serve(Tls(files[server]) if server else None)
    end, other = meet(wire, Tls(files[client]) if client else None)
    assert at_client in end.ends[0]
    assert at_server in other.ends[0]
    assert "\n" not in end.ends[0]


def test_the_right_certificate_without_the_token_is_not_enough(
    files: dict[str, TlsFiles], serve: Callable[[Tls | None], Wire]
) -> None:
    wire = serve(Tls(files["ours"]))
    client = wire.connect(token=b"of another cluster")
    wire.until(lambda: client.ends and wire.servers and wire.servers[0].ends)
    assert "wrong cluster token" in client.ends[0]


def test_members_of_one_ca_understand_each_other(
    files: dict[str, TlsFiles], serve: Callable[[Tls | None], Wire]
) -> None:
    wire = serve(Tls(files["ours"]))
    server_tls, wire.reactor.tls = wire.reactor.tls, Tls(files["second"])
    client = wire.connect()
    wire.reactor.tls = server_tls
    client.link.post(put(1))
    wire.until(lambda: wire.servers and wire.servers[0].inbox)


def test_who_was_led_to_another_process_hangs_up(
    files: dict[str, TlsFiles], serve: Callable[[Tls | None], Wire]
) -> None:
    """The route is plain: somebody in between may change it."""
    wire = serve(Tls(files["ours"]))
    wire.identity = Identity("worker", b"q" * 28, TOKEN)
    end, port = End(), wire.door.port  # type: ignore[attr-defined]
    route = wire.PROCESS if isinstance(wire, RoutedWire) else b""
    end.link = wire.reactor.connect(
        public_prefix(b"n" * 28, "127.0.0.1", port) + "/there",
        Identity("driver", b"d" * 28, TOKEN),
        end.take,
        end.gone,
        route=route,
    )
    end.link.post(put(1))
    wire.until(lambda: end.ends and wire.servers and wire.servers[0].ends)
    assert f"process {b'q'.hex() * 4} answers where {(route or b'n' * 28).hex()[:8]} was asked for" in end.ends[0]
    assert not wire.servers[0].inbox


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_stranger_without_a_certificate_is_refused(files: dict[str, TlsFiles], version: ssl.TLSVersion) -> None:
    """With the old protocol at once, with the new one on the first reading."""
    wire = NodePortWire("127.0.0.1", Tls(files["ours"]))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    told: list[Exception] = []

    def visit() -> None:
        try:
            with wire.raw() as plain, context.wrap_socket(plain) as secure:
                secure.settimeout(20)
                told.append(ValueError(secure.recv(100)))
        except OSError as error:
            told.append(error)

    thread = threading.Thread(target=visit)
    thread.start()
    wire.until(lambda: told)
    thread.join()
    assert isinstance(told[0], ssl.SSLError), told
    wire.close()


def test_who_never_finishes_the_handshake_is_not_waited_for(
    files: dict[str, TlsFiles], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "CONNECT_MAX_S", 0.1)
    monkeypatch.setattr(connection, "HANDSHAKE_MAX_S", 0.3)
    monkeypatch.setattr(front_door, "HANDSHAKE_MAX_S", 0.3)
    wire = NodePortWire("127.0.0.1", Tls(files["ours"]))
    with wire.raw() as silent, wire.raw() as half:
        half.sendall(b"\x16\x03\x01\x02\x00\x01")
        wire.until(lambda: len([end for end in wire.servers if end.ends]) == 2)
        for sock in (silent, half):
            sock.settimeout(20)
            assert sock.recv(1) == b""
    wire.close()


def test_a_server_that_never_answers_is_not_waited_for(
    files: dict[str, TlsFiles], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "CONNECT_MAX_S", 0.1)
    monkeypatch.setattr(connection, "HANDSHAKE_MAX_S", 0.3)
    reactor, end = Reactor(), End()
    reactor.tls = Tls(files["ours"])
    with socket.create_server(("127.0.0.1", 0)) as server:
        end.link = reactor.connect(
            f"tcp:127.0.0.1:{server.getsockname()[1]}", Identity("driver", b"d" * 28, TOKEN), end.take, end.gone
        )
        deadline_s = time.monotonic() + 20
        while not end.ends and time.monotonic() < deadline_s:
            reactor.poll(0.05)
    assert end.ends == ["no handshake within 0.3 s"]
    reactor.close()


@pytest.mark.parametrize("words", [b"SSH-2.0-something\r\n", front_door.NO_TLS])
def test_a_server_that_speaks_first_and_plain(files: dict[str, TlsFiles], words: bytes) -> None:
    """Its words, and the end of them, are there before ours are sent."""
    reactor, end = Reactor(), End()
    reactor.tls = Tls(files["ours"])
    with socket.create_server(("127.0.0.1", 0)) as server:
        end.link = reactor.connect(
            f"tcp:127.0.0.1:{server.getsockname()[1]}", Identity("driver", b"d" * 28, TOKEN), end.take, end.gone
        )
        peer, _ = server.accept()
        peer.sendall(words)
        peer.shutdown(socket.SHUT_WR)
        deadline_s = time.monotonic() + 20
        while not end.ends and time.monotonic() < deadline_s:
            reactor.poll(0.05)
        peer.close()
    assert "it does not use TLS" in end.ends[0]
    reactor.close()


# --- probes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client", "outcome"), [("ours", "answered"), ("second", "answered"), ("other", "silent"), (None, "answered")]
)
def test_a_probe_asks_inside_tls(files: dict[str, TlsFiles], client: str | None, outcome: str) -> None:
    """Who has no TLS is told that somebody is there, and no more."""
    wire = NodePortWire("127.0.0.1", Tls(files["ours"]))
    asking = Reactor()
    asking.tls = Tls(files[client]) if client else None
    found: list[str] = []
    probe(asking, f"tcp:127.0.0.1:{wire.door.port}", lambda how, _text: found.append(how))
    wire.until(lambda: (asking.poll(0.0) and False) or found)
    assert found == [outcome]
    asking.close()
    wire.close()


# --- what passes ------------------------------------------------------------------------------------------------------


class Recorder:
    """A TCP proxy that keeps what passes, both ways; with files: somebody in between who ends TLS and begins it."""

    def __init__(self, port: int, tls: Tls | None = None) -> None:
        self.target, self.tls, self.heard = port, tls, bytearray()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._sockets: list[socket.socket] = [self._server]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        try:
            while True:
                near, _ = self._server.accept()
                far = socket.create_connection(("127.0.0.1", self.target))
                self._sockets += [near, far]
                if self.tls is not None:
                    self._relay(self.tls, near, far)
                    return
                for source, sink in ((near, far), (far, near)):
                    thread = threading.Thread(target=self._pump, args=(source, sink), daemon=True)
                    self._threads.append(thread)
                    thread.start()
        except OSError:
            return

    def _relay(self, tls: Tls, near: socket.socket, far: socket.socket) -> None:
        """What both say one after the other, until one hangs up."""
        far.sendall(near.recv(5, socket.MSG_WAITALL))  # the empty route
        ends = [tls.wrap(near, server_side=True), tls.wrap(far, server_side=False)]
        self._sockets += ends
        for end in ends:
            end.do_handshake()
        while True:
            source, sink = ends
            data = source.recv()
            if not data:
                return
            self.heard += data
            sink.sendall(data)
            ends.reverse()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(1 << 14):
                self.heard += data
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def close(self) -> None:
        for sock in self._sockets:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # closed by the other side
        for thread in self._threads:
            thread.join(20)
        for sock in self._sockets:
            sock.close()


def connect_through(wire: NodePortWire, port: int) -> End:
    end = End()
    end.link = wire.reactor.connect(f"tcp:127.0.0.1:{port}", Identity("driver", b"d" * 28, TOKEN), end.take, end.gone)
    return end


@pytest.mark.parametrize("secure", [True, False])
def test_nothing_passes_in_plain(files: dict[str, TlsFiles], secure: bool) -> None:
    wire = NodePortWire("127.0.0.1", Tls(files["ours"]) if secure else None)
    recorder = Recorder(wire.door.port)
    client = connect_through(wire, recorder.port)
    client.link.post(put(1, MARKER))
    server = wire.only_server()
    server.link.post(put(2, MARKER * 10_000))
    wire.until(lambda: client.inbox)
    client.link.close()
    wire.until(lambda: server.ends)
    wire.close()
    recorder.close()
    heard = bytes(recorder.heard)
    assert heard.startswith(b"LKR1\0"), "the route is plain either way"
    assert (MARKER in heard, b"linckia" in heard, b"contract" in heard) == ((False,) * 3 if secure else (True,) * 3)


def test_somebody_in_between_with_a_certificate_but_no_token_is_found_out(files: dict[str, TlsFiles]) -> None:
    """The proof of the token is bound to the server's certificate: passing it on does not help."""
    wire = NodePortWire("127.0.0.1", Tls(files["ours"]))
    recorder = Recorder(wire.door.port, Tls(files["second"]))
    client = connect_through(wire, recorder.port)
    client.link.post(put(1, MARKER))
    wire.until(lambda: client.ends)
    recorder.close()
    wire.until(lambda: wire.servers and wire.servers[0].ends)
    assert "somebody between" in client.ends[0]
    assert not wire.servers[0].inbox
    wire.close()
    assert MARKER not in recorder.heard


def test_threads_that_write_while_another_reads(files: dict[str, TlsFiles]) -> None:
    """OpenSSL allows one call at a time on a connection."""
    wire = NodePortWire("127.0.0.1", Tls(files["ours"]))
    client = wire.connect()
    client.link.post(put(0))
    server = wire.only_server()
    wire.until(lambda: client.link.established)
    count = 300

    def write(first: int) -> None:
        for rid in range(first, first + count):
            client.link.send(put(rid, bytes(20_000)))

    threads = [threading.Thread(target=write, args=(1000 * number,)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    for rid in range(count):
        server.link.send(put(rid, bytes(20_000)))
        wire.reactor.poll(0.0)
    wire.until(lambda: len(server.inbox) == 1 + 2 * count and len(client.inbox) == count)
    for thread in threads:
        thread.join()
    for first in (1000, 2000):
        mine = [each.rid for each in server.inbox if isinstance(each, m.KvPut) and first <= each.rid < first + count]
        assert mine == list(range(first, first + count))
    wire.close()


@pytest.mark.parametrize("use", ["send", "recv", "recv_into"])
def test_one_call_at_a_time_reaches_openssl(files: dict[str, TlsFiles], use: str) -> None:
    near, far = secure_pair(files["ours"])
    calls = {"send": lambda: near.send(b"x"), "recv": near.recv, "recv_into": lambda: near.recv_into(bytearray(1))}

    def call() -> None:
        try:
            calls[use]()
        except BlockingIOError:
            pass  # nothing is there to be read

    thread = threading.Thread(target=call)
    with near.lock:
        thread.start()
        thread.join(0.1)
        assert thread.is_alive(), "it waits for its turn"
    thread.join(20)
    assert not thread.is_alive()
    near.close()
    far.close()


# --- streams of objects -----------------------------------------------------------------------------------------------


def secure_pair(files: TlsFiles) -> tuple[Any, Any]:
    """Two ends of a stream."""
    tls, (near, far) = Tls(files), socket.socketpair()
    ends: dict[str, Any] = {}
    reactor = Reactor()
    for name, sock, is_server in (("near", near, False), ("far", far, True)):
        tls.open(
            reactor, sock, lambda secure, name=name: ends.update({name: secure}), pytest.fail, server_side=is_server
        )
    while len(ends) < 2:
        reactor.poll(1.0)
    reactor.close()
    return ends["near"], ends["far"]


def test_a_file_goes_through_a_stream(files: dict[str, TlsFiles]) -> None:
    near, far = secure_pair(files["ours"])
    size = (3 << 20) + 17
    content = os.urandom(size)
    fd = os.memfd_create("object")
    os.write(fd, content)
    for sock in (near, far):
        stream.set_timeouts(sock, 20)
    thread = threading.Thread(target=stream.send_file, args=(far, fd, 5, size - 5))
    thread.start()
    received = bytearray(size - 5)
    stream.receive_answer(near, memoryview(received))
    thread.join()
    assert received == content[5:]
    near.close()
    far.close()
    os.close(fd)


def test_a_stream_that_stalls_or_is_shut_ends_with_an_error(files: dict[str, TlsFiles]) -> None:
    near, far = secure_pair(files["ours"])
    near.settimeout(0.05)
    with pytest.raises(stream.StreamError, match="no byte came"):
        stream.receive_struct(near, stream.REQUEST)
    near.settimeout(20)
    threading.Timer(0.05, near.shutdown, (socket.SHUT_RDWR,)).start()
    with pytest.raises(stream.StreamError, match="hung up"):
        stream.receive_struct(near, stream.REQUEST)
    near.close()
    far.close()
