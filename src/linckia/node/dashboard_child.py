"""The dashboard as a child process of its node, not of the head, so that it shows whichever head leads and outlives all
of them. The node opens the socket that it listens on, hands it over and keeps the number only: while no dashboard is
there connections are refused, and the next one listens on the same port.

Built by node/rooms.py; the process is dashboard/process.py, and its supervision node/part_child.py.
"""

from __future__ import annotations

import contextlib
import importlib.util
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec

from linckia.base.addresses import join_host_port
from linckia.base.limits import DASHBOARD_SILENT_MAX_S, DASHBOARD_START_MAX_S
from linckia.dashboard.listening import ListenError, listen
from linckia.dashboard.settings import PACKET_MAX_BYTES, Settings
from linckia.host import environment
from linckia.model.parts import DashboardFacts
from linckia.node.part_child import PartChild, Program
from linckia.node.start_errors import StartError

if TYPE_CHECKING:
    from linckia.node.main import Node
    from linckia.rpc.reactor import Reactor

SILENT_MAX_S: Final = float(environment.option("DASHBOARD_SILENT_S", str(DASHBOARD_SILENT_MAX_S)))
PULSES_MISSED: Final = 5
NEEDED: Final = ("starlette", "uvicorn", "prometheus_client")


def missing() -> str:
    """Why there can be no dashboard here, and what to do; empty when there can. Imports nothing."""
    absent = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if not absent:
        return ""
    return f"the dashboard needs {', '.join(absent)}, which this Python does not have: pip install 'linckia[dashboard]'"


def beside(node: Node, endpoint: str, node_ip: str) -> DashboardChild | None:
    """For that node; None when what it needs is not installed and nobody insists. StartError when somebody does."""
    options = node.options
    if why := missing():
        if options.include_dashboard:
            raise StartError(why)
        return None
    host, port, name = options.dashboard_host, options.dashboard_port, node.session.name
    settings = Settings(host, port, endpoint, node.token, name, node_ip, SILENT_MAX_S / PULSES_MISSED)

    def on_url() -> None:
        if node.is_announced:
            node.write_facts()

    return DashboardChild(node.reactor, settings, f"{node.session.logs}/dashboard.log", on_url)


class DashboardChild:
    """``on_url()``: it listens, for the first time or somewhere else than before."""

    def __init__(self, reactor: Reactor, settings: Settings, log_path: str, on_url: Callable[[], None]) -> None:
        self._reactor, self._settings, self._on_url = reactor, settings, on_url
        program = Program(
            "dashboard",
            "linckia.dashboard.process",
            "linckia-dash",
            log_path,
            SILENT_MAX_S,
            DASHBOARD_START_MAX_S,
            socket.SOCK_SEQPACKET,
        )
        self.process = PartChild(reactor, program, self._on_started, self._on_ended)
        self.url = ""
        self.trouble = ""  # why there is nowhere to listen
        self._channel: socket.socket | None = None

    @property
    def why(self) -> str:
        """Why the last one ended; empty when none has."""
        return self.trouble or self.process.part.why

    def facts(self) -> DashboardFacts:
        """For `linckia status`."""
        return DashboardFacts(self.url, self.process.pid, self.process.part.facts())

    def start(self) -> None:
        """Spawn it."""
        self.process.start()

    def close(self) -> None:
        """End it. Idempotent; leaves no zombie."""
        self.process.close()

    def _on_started(self, sock: socket.socket) -> None:
        self._channel = sock
        sock.setblocking(False)
        self._reactor.register(sock.fileno(), self._on_packet)
        try:
            listener = listen(self._settings.host, self._settings.port)
        except ListenError as error:
            self.trouble = str(error)
            self.process.end(self.trouble)
            return
        self.trouble = ""
        with listener:
            self._listens_on(listener.getsockname()[1])
            with contextlib.suppress(OSError):  # it is dead: its descriptor tells
                socket.send_fds(sock, [msgspec.json.encode(self._settings)], [listener.fileno()])

    def _listens_on(self, port: int) -> None:
        url = join_host_port(self._settings.reached_at, port)
        if url != self.url:
            self.url, self._settings = url, msgspec.structs.replace(self._settings, port=port)
            self._on_url()

    def _on_packet(self, _events: int) -> None:
        if not self._take():
            self._hang_up()
            self.process.end("")  # useless now, whether it knows it or not

    def _take(self) -> bool:
        """Hear its pulses. False: it has hung up."""
        while self._channel is not None:
            try:
                packet = self._channel.recv(PACKET_MAX_BYTES)
            except BlockingIOError:
                return True
            except ConnectionError:
                return False
            if not packet:
                return False
            self.process.heard(works=True)
        return True

    def _on_ended(self, _why: str) -> None:
        self._hang_up()

    def _hang_up(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            self._reactor.unregister(channel.fileno())
            channel.close()
