"""The epoll loop under every Linckia process: sockets, timers, wake-ups from other threads; no asyncio.

A daemon calls :meth:`Reactor.run`; a driver or worker lets whichever of its threads waits call :meth:`Reactor.poll`
(leader/follower, ``worker/progress.py``), so that a synchronous call costs no thread hop. asyncio would cost 60-70 ms
of import and 8 MB in every process (docs/adr/0002). All callbacks run in the polling thread; only ``wake``,
``call_soon`` and the posting side of connections may be used from other threads.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from linckia.base.addresses import join_host_port, node_of, parse_host_port
from linckia.base.limits import PATIENCE_MS, RETRANSMIT_MAX_MS, SHORTAGE_MAX_S
from linckia.host import environment, exhaustion
from linckia.rpc.connection import CloseHandler, Connection, MessageHandler, NoSocket
from linckia.rpc.endpoints import Target, resolve, route_frame
from linckia.rpc.handshake import Identity

if TYPE_CHECKING:
    from linckia.rpc.tls.contexts import Tls

EventHandler = Callable[[int], None]

ACCEPT_PAUSE_S = 0.1
RECEIVE_BYTES = 1 << 18
TCP_RTO_MAX_MS = 44  # Linux 6.15; accepted sockets have it from their listener. Not in the socket module yet


class Timer:
    """A scheduled call; ``cancel`` is idempotent."""

    __slots__ = ("callback", "cancelled", "due_s")

    def __init__(self, due_s: float, callback: Callable[[], None]) -> None:
        self.due_s, self.callback, self.cancelled = due_s, callback, False

    def cancel(self) -> None:
        """Do not call."""
        self.cancelled = True
        self.callback = _nothing  # what it would have reached must not live until it is due


def _nothing() -> None:
    pass


class Listener:
    """A bound socket that accepts connections."""

    def __init__(self, sock: socket.socket, endpoint: str) -> None:
        self.sock, self.endpoint = sock, endpoint


def open_socket(endpoint: str) -> tuple[socket.socket, str | tuple[str, int]]:
    """A fresh socket of the endpoint's family, and the address to bind or connect. ValueError for another scheme."""
    scheme, _, rest = endpoint.partition(":")
    if scheme == "unix":
        return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC), rest
    if scheme == "tcp":
        host, port = parse_host_port(rest)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError):  # older kernels wait twice as long after each try
            sock.setsockopt(socket.IPPROTO_TCP, TCP_RTO_MAX_MS, RETRANSMIT_MAX_MS)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, PATIENCE_MS)  # else 15 tries: 13 s
        return sock, (host, port)
    raise ValueError(f"endpoint {endpoint!r}: expected unix:/path or tcp:host:port")


def connected_socket(target: Target) -> socket.socket:
    """A socket that is connected, or over TCP about to be. OSError as ``connect`` raises it."""
    where = f"unix:{target.path}" if target.path else f"tcp:{join_host_port(target.host, target.port)}"
    sock, address = open_socket(where)
    if not target.path:
        sock.setblocking(False)
    try:
        sock.connect(address)
    except BlockingIOError:
        if target.path:  # a full backlog, not something under way
            sock.close()
            raise
    except OSError:
        sock.close()
        raise
    return sock


class Reactor:
    """One per process."""

    def __init__(self, *, spin_s: float = 0.0) -> None:
        self.epoll = select.epoll()
        self.spin_s = spin_s
        self.dirty: deque[Connection] = deque()
        self.stopping = False
        self.tls: Tls | None = None  # set before the first connection over TCP, when nodes use TLS (rpc/tls)
        self.local_node = ""  # hex id of the node of this process: what is on it is reached by its Unix socket
        self.told_first: Connection | None = None  # hears what was posted to it before anybody else hears anything
        self.before_poll: Callable[[], None] | None = None
        self.on_error: Callable[[Exception], None] | None = None  # of handlers; None: it reaches who polls
        self.blocked_ident = 0  # thread that sleeps in epoll: a signal handler may raise there safely
        # Every connection reads into the same bytes, one after the other: an allocation of this size for each read may
        # cost an mmap, two page faults and an munmap, or nothing, depending on how malloc's heap happens to lie.
        self.received = memoryview(bytearray(RECEIVE_BYTES))
        self._handlers: dict[int, EventHandler] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._soon: deque[Callable[[], None]] = deque()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.register(self._wake_fd, self._on_wake, select.EPOLLIN)

    # --- descriptors --------------------------------------------------------------------------------------------------

    def register(self, fd: int, handler: EventHandler, events: int = select.EPOLLIN) -> None:
        """Call ``handler(events)`` in the polling thread when ``fd`` is ready."""
        self._handlers[fd] = handler
        self.epoll.register(fd, events)

    def modify(self, fd: int, events: int) -> None:
        """Change what to watch ``fd`` for; ignored when it is gone."""
        with contextlib.suppress(OSError, ValueError):
            self.epoll.modify(fd, events)

    def unregister(self, fd: int) -> None:
        """Stop watching; idempotent."""
        if self._handlers.pop(fd, None) is not None:
            with contextlib.suppress(OSError, ValueError):
                self.epoll.unregister(fd)

    def listen(
        self, endpoint: str, identity: Identity, on_messages: MessageHandler, on_close: CloseHandler
    ) -> Listener:
        """Bind and accept; each accepted connection authenticates before its first message is delivered."""
        sock, address = open_socket(endpoint)
        is_public = endpoint.startswith("tcp:")
        if is_public:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(1024)
        sock.setblocking(False)
        if is_public:
            host, port = sock.getsockname()
            endpoint = f"tcp:{host}:{port}"

        def accept(_events: int) -> None:
            while True:
                try:
                    peer, _ = sock.accept()
                except (BlockingIOError, InterruptedError):
                    return
                except OSError:  # out of descriptors: the backlog waits; the loop must not spin on it
                    self.unregister(sock.fileno())
                    self.call_later(ACCEPT_PAUSE_S, resume)
                    return
                if is_public:
                    self.adopt(peer, identity, on_messages, on_close)
                else:
                    Connection(self, peer, identity, on_messages, on_close, initiator=False)

        def resume() -> None:
            if sock.fileno() >= 0:
                self.register(sock.fileno(), accept, select.EPOLLIN)

        resume()
        return Listener(sock, endpoint)

    def close_listener(self, listener: Listener) -> None:
        """Stop accepting and remove the socket file."""
        self.unregister(listener.sock.fileno())
        listener.sock.close()
        if listener.endpoint.startswith("unix:"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(listener.endpoint.removeprefix("unix:"))

    def connect(
        self,
        endpoint: str,
        identity: Identity,
        on_messages: MessageHandler,
        on_close: CloseHandler,
        *,
        route: bytes = b"",
    ) -> Connection:
        """Connect; messages posted now leave when the handshake is done. ``route`` is the process to reach behind a
        node's port. Never blocks on the network: over TCP a failure is told by ``on_close``. Without a free descriptor
        it is tried again for SHORTAGE_MAX_S, then ``on_close`` names the limit.

        Raises OSError when nobody listens on a Unix socket, or a host has no route or name.
        """
        target = resolve(endpoint, self.local_node)
        sock: socket.socket | NoSocket
        try:
            sock = connected_socket(target)
        except OSError as error:
            if not exhaustion.out_of_descriptors(error):
                raise
            sock = NoSocket()
        preamble = b"" if target.path else route_frame(route)
        if self.tls is not None and preamble:
            connection = Connection(self, NoSocket(), identity, on_messages, on_close, initiator=True)
            connection.expect_peer(route or node_of(endpoint))  # the preamble is plain: anybody may change it
            if isinstance(sock, socket.socket):
                self.tls.secure(self, connection, sock, server_side=False, preamble=preamble)
                return connection
        else:
            connection = Connection(self, sock, identity, on_messages, on_close, initiator=True, preamble=preamble)
        if connection.fd < 0:
            self._connect_later(connection, target, time.monotonic() + SHORTAGE_MAX_S, preamble)
        return connection

    def _connect_later(self, connection: Connection, target: Target, give_up_s: float, preamble: bytes) -> None:
        def attempt() -> None:
            if connection.closed:
                return
            try:
                sock = connected_socket(target)
                if self.tls is not None and preamble:
                    self.tls.secure(self, connection, sock, server_side=False, preamble=preamble)
                else:
                    connection.attach(sock)
            except OSError as error:
                if not exhaustion.out_of_descriptors(error):
                    connection.close(f"connection lost: {error}")
                elif time.monotonic() < give_up_s:
                    self._connect_later(connection, target, give_up_s, preamble)
                else:
                    connection.shortage = exhaustion.describe(error)
                    connection.close(connection.shortage)

        self.call_later(ACCEPT_PAUSE_S, attempt)

    def adopt(
        self, sock: socket.socket, identity: Identity, on_messages: MessageHandler, on_close: CloseHandler
    ) -> Connection:
        """An accepted socket, from a front door or passed by the node, becomes a connection."""
        if self.tls is None:
            return Connection(self, sock, identity, on_messages, on_close, initiator=False)
        connection = Connection(self, NoSocket(), identity, on_messages, on_close, initiator=False)
        self.tls.secure(self, connection, sock, server_side=True)
        return connection

    # --- time and other threads ---------------------------------------------------------------------------------------

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Call once, in the polling thread, after ``delay_s``; from any thread."""
        timer = Timer(time.monotonic() + delay_s, callback)
        heapq.heappush(self._timers, (timer.due_s, next(self._order), timer))
        if self.blocked_ident and self.blocked_ident != threading.get_ident():
            self.wake()
        return timer

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call in the polling thread; from any thread."""
        self._soon.append(callback)
        self.wake()

    def wake(self) -> None:
        """Make a blocked ``poll`` return."""
        with contextlib.suppress(OSError):
            os.eventfd_write(self._wake_fd, 1)

    def _on_wake(self, _events: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake_fd)

    # --- the loop -----------------------------------------------------------------------------------------------------

    def flush_dirty(self) -> None:
        """Write what was posted."""
        dirty = self.dirty
        while dirty:
            try:
                connection = dirty.popleft()
            except IndexError:  # another thread took it
                return
            connection.flush()

    def poll(self, timeout_s: float | None = None) -> bool:
        """One turn: flush, wait up to ``timeout_s`` (None: for ever), run what is ready. True when anything ran."""
        if self.before_poll is not None:
            self.before_poll()
        if self.dirty:
            self.flush_dirty()
        events = self.epoll.poll(0)
        if not events and timeout_s != 0.0 and not self._soon:
            events = self._wait(timeout_s)
        handlers = self._handlers
        for fd, mask in events:
            handler = handlers.get(fd)
            if handler is not None:
                handler(mask)
        ran = bool(events)
        if self._soon:
            ran = True
            for _ in range(len(self._soon)):
                self._call(self._soon.popleft())
        if self._timers and self._timers[0][0] <= time.monotonic():
            ran = True
            self._run_timers()
        return ran

    def take_ready(self) -> None:
        """Handle what has arrived and send what that makes, without waiting; no timer and nothing of ``call_soon``
        runs, so that no code of the user does.
        """
        handlers = self._handlers
        for fd, mask in self.epoll.poll(0):
            handler = handlers.get(fd)
            if handler is not None:
                handler(mask)
        self.flush_dirty()
        if self._soon:
            self.wake()  # we may have taken the wake-up of what we leave

    def poll_spinning(self) -> bool:
        """One turn that looks for events for ``spin_s`` and never sleeps (event loops, before they go to sleep)."""
        if self.spin_s:
            spin_until = time.perf_counter() + self.spin_s
            while time.perf_counter() < spin_until:
                if self.epoll.poll(0):
                    return self.poll(0.0)
                os.sched_yield()
        return False

    def _wait(self, timeout_s: float | None) -> list[tuple[int, int]]:
        if self.spin_s:
            spin_until = time.perf_counter() + self.spin_s
            while time.perf_counter() < spin_until:
                events = self.epoll.poll(0)
                if events:
                    return events
                os.sched_yield()  # the peer may wait for this very core: without this we would spin it away
        if self._timers:
            until_timer = max(0.0, self._timers[0][0] - time.monotonic())
            timeout_s = until_timer if timeout_s is None else min(timeout_s, until_timer)
        try:
            self.blocked_ident = threading.get_ident()
            return self.epoll.poll(-1 if timeout_s is None else timeout_s)
        finally:
            self.blocked_ident = 0

    def _run_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            _, _, timer = heapq.heappop(self._timers)
            if not timer.cancelled:
                self._call(timer.callback)

    def _call(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception as error:
            if self.on_error is None:
                raise
            self.on_error(error)

    def run(self) -> None:
        """Poll until :meth:`stop`: the main loop of a daemon."""
        while not self.stopping:
            self.poll(None)
        self.flush_dirty()

    def stop(self) -> None:
        """End :meth:`run` after the current turn."""
        self.stopping = True
        self.wake()

    def close(self) -> None:
        """Close the loop's own descriptors; connections and listeners are their owners' to close. A connection that its
        owner has lost sight of (a peer that came twice, over a way that was cut) is closed here, and nobody is told.
        """
        for handler in list(self._handlers.values()):
            connection = getattr(handler, "__self__", None)
            if isinstance(connection, Connection):
                connection.on_close = lambda _connection, _reason: None
                connection.close()
        wake_fd, self._wake_fd = self._wake_fd, -1  # a late wake() must not write into whoever gets the number next
        self.unregister(wake_fd)
        os.close(wake_fd)
        self.epoll.close()


if environment.setting("LINCKIA_TESTING_FAULTS"):
    from linckia.rpc import faults

    faults.install_from(environment.setting("LINCKIA_TESTING_FAULTS"))
