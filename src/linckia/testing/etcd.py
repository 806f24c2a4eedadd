"""An etcd cluster of this machine for tests and measurements: real members on free ports of the loopback interface.

Members can be killed, stopped and started again on the same data and ports. ``etcd`` is Debian's ``etcd-server``;
``missing()`` says what to install where it is not there.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

READY_MAX_S = 60.0
PROBE_MAX_S = 2.0
LOOK_EVERY_S = 0.02
LOG_SHOWN_CHARS = 2000


def missing() -> str:
    """Why there can be no cluster here, or an empty text."""
    return "" if shutil.which("etcd") else "etcd is not installed: apt-get install etcd-server"


class EtcdMember:
    """One server process."""

    def __init__(self, number: int, folder: Path, scheme: str, extra: Sequence[str]) -> None:
        self.name = f"m{number}"
        self.folder = folder / self.name
        self.folder.mkdir(parents=True, exist_ok=True)
        client, peer = _free_ports(2)
        self.endpoint = f"127.0.0.1:{client}"
        self.client_url, self.peer_url = f"{scheme}://{self.endpoint}", f"http://127.0.0.1:{peer}"
        self.extra = list(extra)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, cluster: str) -> None:
        """On what it has on disk, or anew."""
        command = [
            *("etcd", "--name", self.name, "--data-dir", str(self.folder / "data"), "--log-level", "warn"),
            *("--listen-client-urls", self.client_url, "--advertise-client-urls", self.client_url),
            *("--listen-peer-urls", self.peer_url, "--initial-advertise-peer-urls", self.peer_url),
            *("--initial-cluster", cluster, "--initial-cluster-token", str(self.folder.parent)),
            *("--heartbeat-interval", "50", "--election-timeout", "500", "--logger", "zap"),
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

    def __init__(self, folder: Path, size: int = 1, *, tls: tuple[str, str] | None = None) -> None:
        """``tls``: files of the servers' certificate and key."""
        extra = ["--cert-file", tls[0], "--key-file", tls[1]] if tls else []
        self.members = [EtcdMember(n, folder, "https" if tls else "http", extra) for n in range(size)]
        self._urls = ",".join(f"{member.name}={member.peer_url}" for member in self.members)
        self.start()

    @property
    def endpoints(self) -> tuple[str, ...]:
        """For ``EtcdAddress``."""
        return tuple(member.endpoint for member in self.members)

    def start(self) -> None:
        """All that do not run; returns when all members serve."""
        for member in self.members:
            if member.process is None:
                member.start(self._urls)
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
        """``etcdctl words``, on the first endpoint; what it printed."""
        command = ["etcdctl", "--endpoints", self.members[0].client_url, *words]
        environment = {**os.environ, "ETCDCTL_API": "3"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=True)
        return done.stdout

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
