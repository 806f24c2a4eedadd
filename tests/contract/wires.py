"""The transports of ``rpc/``, each as a server that many clients can reach. Both sides live in one reactor."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from linckia.base.addresses import join_host_port
from linckia.protocol import messages as m
from linckia.rpc.connection import Connection
from linckia.rpc.endpoints import public_prefix
from linckia.rpc.front_door import FrontDoor
from linckia.rpc.handshake import Identity
from linckia.rpc.inproc import LocalLink
from linckia.rpc.reactor import Reactor
from linckia.rpc.tls.contexts import Tls

TOKEN = b"the token of this cluster"
SERVER_ID = b"s" * 28


class End:
    """One side of a connection: what came, and why it ended. ``link`` is its Connection or LocalLink."""

    def __init__(self) -> None:
        self.link: Any = None
        self.inbox: list[m.Message] = []
        self.ends: list[str] = []
        self.on_message: Callable[[End, m.Message], None] | None = None

    def take(self, link: Any, batch: list[m.Message]) -> None:
        self.link = link
        self.inbox += batch
        if self.on_message is not None:
            for message in batch:
                self.on_message(self, message)

    def gone(self, _link: Any, reason: str) -> None:
        self.ends.append(reason)


class Wire:
    """A server; ``servers`` are its ends in the order in which connections said something or ended."""

    def __init__(self, tls: Tls | None = None) -> None:
        self.reactor = Reactor()
        self.reactor.tls = tls
        self.servers: list[End] = []
        self.on_message: Callable[[End, m.Message], None] | None = None
        self._ends: dict[Any, End] = {}
        self._clients: list[End] = []
        self.identity = Identity("raylet", SERVER_ID, TOKEN)

    # --- the server's callbacks ---------------------------------------------------------------------------------------

    def _end_of(self, link: Any) -> End:
        end = self._ends.get(link)
        if end is None:
            end = self._ends[link] = End()
            end.link, end.on_message = link, self.on_message
            self.servers.append(end)
        return end

    def take(self, link: Any, batch: list[m.Message]) -> None:
        self._end_of(link).take(link, batch)

    def gone(self, link: Any, reason: str) -> None:
        self._end_of(link).gone(link, reason)

    # --- for tests ----------------------------------------------------------------------------------------------------

    def connect(self, *, token: bytes = TOKEN, worker_id: bytes = b"", **identity: Any) -> End:
        """A client that is about to be connected. OSError as ``Reactor.connect`` raises it."""
        end = End()
        who = Identity("driver", worker_id or os.urandom(28), token, **identity)
        end.link = self._connect(end, who)
        self._clients.append(end)
        return end

    def _connect(self, end: End, who: Identity) -> Any:
        raise NotImplementedError

    def raw(self) -> socket.socket:
        """A bare socket that has reached the server's door, for peers that misbehave."""
        raise NotImplementedError

    def reopen(self) -> None:
        """The server is gone and another listens at the same address."""
        raise NotImplementedError

    def until(self, condition: Callable[[], Any], what: str = "", timeout_s: float = 20.0) -> None:
        """Turn the reactor until the condition holds."""
        end_s = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end_s, f"{what or condition} within {timeout_s} s; {self.servers=}"
            self.reactor.poll(0.05)

    def settle(self, turns: int = 20) -> None:
        """Some turns for what must *not* happen."""
        for _ in range(turns):
            self.reactor.poll(0.0)

    def only_server(self) -> End:
        """The server's side of the one connection."""
        self.until(lambda: self.servers, "a connection at the server")
        (end,) = self.servers
        return end

    def close(self) -> None:
        for end in [*self._clients, *self.servers]:
            if isinstance(end.link, Connection) and not end.link.closed:
                end.link.close()
        self.stop_listening()
        self.until(lambda: list(self.reactor._handlers) == [self.reactor._wake_fd], "every descriptor is let go")
        self.reactor.close()

    def stop_listening(self) -> None:
        """Nobody is reachable any more; connections stay."""


class UnixWire(Wire):
    """``Reactor.listen`` and ``Reactor.connect`` on one machine."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path = f"{folder}/s"
        self._listen()

    def _listen(self) -> None:
        self.listener = self.reactor.listen(f"unix:{self.path}", self.identity, self.take, self.gone)

    def _connect(self, end: End, who: Identity) -> Any:
        return self.reactor.connect(f"unix:{self.path}", who, end.take, end.gone)

    def raw(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(self.path)
        return sock

    def reopen(self) -> None:
        self.stop_listening()
        self._listen()

    def stop_listening(self) -> None:
        self.reactor.close_listener(self.listener)


class NodePortWire(Wire):
    """A node's own connections through its one TCP port (front door, empty route)."""

    def __init__(self, host: str, tls: Tls | None = None) -> None:
        super().__init__(tls)
        self.host = host
        self.door = self._open(0)

    def _open(self, port: int) -> FrontDoor:
        return FrontDoor(self.reactor, self.host, port, self._on_node, lambda _route, sock: sock.close())

    def _on_node(self, sock: socket.socket) -> None:
        self.reactor.adopt(sock, self.identity, self.take, self.gone)

    def _connect(self, end: End, who: Identity) -> Any:
        return self.reactor.connect(f"tcp:{join_host_port(self.host, self.door.port)}", who, end.take, end.gone)

    def raw(self) -> socket.socket:
        sock = socket.create_connection((self.host, self.door.port))
        sock.sendall(b"LKR1\0")
        return sock

    def reopen(self) -> None:
        self.door.close()
        self.door = self._open(self.door.port)

    def stop_listening(self) -> None:
        self.door.close()


class RoutedWire(Wire):
    """A process behind a node's port: the node passes the accepted socket to it, as node/rooms.py does."""

    PROCESS = b"p" * 28

    def __init__(self, folder: Path, tls: Tls | None = None) -> None:
        super().__init__(tls)
        self.folder = folder
        self.node: Any = None  # the node's connection to the process
        self._inner = self.reactor.listen(f"unix:{folder}/node", self.identity, self._at_node, lambda _c, _r: None)
        self.process = self.reactor.connect(
            f"unix:{folder}/node", Identity("worker", self.PROCESS, TOKEN), self._at_process, lambda _c, _r: None
        )
        self.process.expect_fds = True
        self.process.post(m.Blocked())
        self.until(lambda: self.node is not None)
        self.door = self._open(0)
        self.identity = Identity("worker", self.PROCESS, TOKEN)

    def _open(self, port: int) -> FrontDoor:
        return FrontDoor(self.reactor, "127.0.0.1", port, lambda sock: sock.close(), self._on_route)

    def _at_node(self, link: Connection, _batch: list[m.Message]) -> None:
        self.node = link

    def _on_route(self, route: bytes, sock: socket.socket) -> None:
        assert route == self.PROCESS
        self.node.send_with_fd(m.IncomingConnection(), sock.fileno())
        sock.close()

    def _at_process(self, link: Connection, batch: list[m.Message]) -> None:
        for _message in batch:
            sock = socket.socket(fileno=link.received_fds.popleft())
            self.reactor.adopt(sock, self.identity, self.take, self.gone)

    def _connect(self, end: End, who: Identity) -> Any:
        endpoint = public_prefix(b"n" * 28, "127.0.0.1", self.door.port) + "/sockets/process"
        return self.reactor.connect(endpoint, who, end.take, end.gone, route=self.PROCESS)

    def raw(self) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.door.port))
        sock.sendall(b"LKR1" + bytes([len(self.PROCESS)]) + self.PROCESS)
        return sock

    def reopen(self) -> None:
        self.door.close()
        self.door = self._open(self.door.port)

    def stop_listening(self) -> None:
        self.door.close()

    def close(self) -> None:
        super_close = super().close
        for link in (self.process, self.node):
            if not link.closed:
                link.close()
        self.reactor.close_listener(self._inner)
        super_close()


class InProcessWire(Wire):
    """The link between the head and node rooms; it has no handshake and cannot break."""

    def _connect(self, end: End, who: Identity) -> Any:
        at_server, at_client = LocalLink.pair(self.reactor, (SERVER_ID, "raylet"), (who.worker_id, "driver"))
        at_server.listen(self.take)
        at_client.listen(end.take)
        return at_client
