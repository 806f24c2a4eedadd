"""An etcd cluster of this machine for tests and measurements: real members on free ports of the loopback interface.

Members can be killed, stopped and started again on the same data and ports. ``etcd`` is Debian's ``etcd-server``;
``missing()`` says what to install where it is not there.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from linckia.testing.namespaces import Host

READY_MAX_S = 60.0
PROBE_MAX_S = 2.0
LOOK_EVERY_S = 0.02
LOG_SHOWN_CHARS = 2000
HOST_PORTS = [2379, 2380]


def missing() -> str:
    """Why there can be no cluster here, or an empty text."""
    return "" if shutil.which("etcd") else "etcd is not installed: apt-get install etcd-server"


class EtcdMember:
    """One server process."""

    def __init__(self, number: int, folder: Path, scheme: str, extra: Sequence[str], host: Host | None = None) -> None:
        self.name, self.host = f"m{number}", host
        self.folder = folder / self.name
        self.folder.mkdir(parents=True, exist_ok=True)
        address, (client, peer) = (host.address, HOST_PORTS) if host else ("127.0.0.1", _free_ports(2))
        self.endpoint = f"{address}:{client}"
        self.client_url, self.peer_url = f"{scheme}://{self.endpoint}", f"http://{address}:{peer}"
        self.extra = list(extra)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, cluster: str) -> None:
        """On what it has on disk, or anew."""
        command = [
            *(self.host.enter() if self.host else ()),
            *("etcd", "--name", self.name, "--data-dir", str(self.folder / "data"), "--log-level", "warn"),
            *("--listen-client-urls", self.client_url, "--advertise-client-urls", self.client_url),
            *("--listen-peer-urls", self.peer_url, "--initial-advertise-peer-urls", self.peer_url),
            *("--initial-cluster", cluster, "--initial-cluster-token", str(self.folder.parent)),
            *("--heartbeat-interval", "50", "--election-timeout", "500", "--snapshot-count", "10000"),
            *("--logger", "zap"),
            *self.extra,
        ]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def send(self, number: signal.Signals) -> None:
        """A signal: SIGSTOP, SIGCONT."""
        if self.process is not None:
            self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL; idempotent."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()

    def is_healthy(self) -> bool:
        """Whether it serves, with a leader: it listens long before that."""
        if self.client_url.startswith("https:"):
            trusting = ssl.create_default_context()
            trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                self.endpoint, timeout=PROBE_MAX_S, context=trusting
            )
        else:
            connection = http.client.HTTPConnection(self.endpoint, timeout=PROBE_MAX_S)
        try:
            connection.request("GET", "/health")
            return b'"true"' in connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def log(self) -> str:
        """The end of what it said."""
        return (self.folder / "log").read_text(errors="replace")[-LOG_SHOWN_CHARS:]


class EtcdCluster:
    """``size`` members, started; close() ends them and leaves the folder to its owner."""

    def __init__(
        self,
        folder: Path,
        size: int = 1,
        *,
        tls: tuple[str, str] | None = None,
        hosts: Sequence[Host | None] = (),
    ) -> None:
        """``tls``: files of the servers' certificate and key. ``hosts``: where each member runs; the caller reaches
        them all.
        """
        extra = ["--cert-file", tls[0], "--key-file", tls[1]] if tls else []
        where = hosts or [None] * size
        self.members = [EtcdMember(n, folder, "https" if tls else "http", extra, where[n]) for n in range(size)]
        self._urls = ",".join(f"{member.name}={member.peer_url}" for member in self.members)
        self.start()

    @property
    def endpoints(self) -> tuple[str, ...]:
        """For ``EtcdAddress``."""
        return tuple(member.endpoint for member in self.members)

    def launch(self) -> None:
        """All that do not run, or have ended by themselves; does not wait."""
        for member in self.members:
            if member.process is None or member.process.poll() is not None:
                member.start(self._urls)

    def start(self) -> None:
        """All that do not run; returns when all members serve."""
        self.launch()
        deadline_s = time.monotonic() + READY_MAX_S
        for member in self.members:
            while not member.is_healthy():
                ended = member.process is None or member.process.poll() is not None
                if ended or time.monotonic() > deadline_s:
                    text = member.log()
                    self.close()
                    raise RuntimeError(f"etcd {member.name} at {member.endpoint} did not start:\n{text}")
                time.sleep(LOOK_EVERY_S)

    def control(self, *words: str) -> str:
        """``etcdctl words`` at the members that run; what it printed."""
        running = [member.client_url for member in self.members if member.process is not None]
        command = ["etcdctl", "--endpoints", ",".join(running), *words]
        environment = {**os.environ, "ETCDCTL_API": "3"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=True)
        return done.stdout

    def leader(self) -> EtcdMember | None:
        """The member that leads; None while nobody knows of one."""
        try:
            text = self.control("endpoint", "status", "-w", "json")
        except subprocess.CalledProcessError as error:  # one that does not answer; what the others said is there
            text = error.stdout
        except subprocess.TimeoutExpired:
            return None
        told = json.loads(text) if text.startswith("[") else []
        for each in told:
            if each["Status"]["header"]["member_id"] == each["Status"].get("leader"):
                return next(member for member in self.members if member.client_url == each["Endpoint"])
        return None

    def close(self) -> None:
        """Idempotent."""
        for member in self.members:
            member.kill()


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now; taken together, so that they differ."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
