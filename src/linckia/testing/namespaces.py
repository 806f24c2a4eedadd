"""A network of machines inside this one, whose links can be cut, made one-way, parted and slowed.

Each host is a network namespace with one link to a bridge, which lives in a namespace of its own (the *hub*), so that
nothing of the machine's own network is touched or contacted. Needs root and iproute2; `why_not` says what is missing.
All names start with the pid of who made them; what a killed run left is removed by the next.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

NET = "10.213.7"
HUB_ADDRESS = f"{NET}.254"
CLONE_NEWNET = 0x40000000
PREFIX = "lkt"
_serial = itertools.count()
_libc = ctypes.CDLL(None, use_errno=True)


@cache
def why_not() -> str:
    """Why no namespaces can be made here; empty when they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [tool for tool in ("ip", "tc", "nsenter", "unshare") if shutil.which(tool) is None]
    if missing:
        return f"no `{missing[0]}` here: apt-get install -y iproute2 util-linux"
    try:
        Network(["trial"]).close()
    except NetworkError as error:
        return str(error)
    return ""


class NetworkError(Exception):
    """The kernel, or a container around us, does not allow it; the text is the tool's."""


def run(*command: str) -> str:
    """A tool to its end; what it printed. NetworkError with what it complained."""
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30)
    if ended.returncode:
        raise NetworkError(f"`{' '.join(command)}`: {ended.stderr.strip()}")
    return ended.stdout


class Host:
    """One machine of the network: a namespace with an address, and its port at the hub."""

    def __init__(self, name: str, namespace: str, number: int) -> None:
        self.name, self.namespace = name, namespace
        self.address, self.port = f"{NET}.{number}", f"port{number}"

    def enter(self) -> list[str]:
        """What to put before a command that is to run there."""
        return ["nsenter", f"--net=/run/netns/{self.namespace}"]

    def pids(self) -> list[int]:
        """Living processes there."""
        wanted = os.stat(f"/run/netns/{self.namespace}").st_ino
        found = []
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.stat(f"/proc/{name}/ns/net").st_ino == wanted:
                    found.append(int(name))
            except OSError:
                continue  # it has ended, or is a zombie
        return found


class Network:
    """Hosts by name. The faults are idempotent; ``heal`` ends all faults of a host."""

    def __init__(self, names: list[str]) -> None:
        _remove_what_dead_runs_left()
        prefix = f"{PREFIX}{os.getpid()}-{next(_serial)}"
        self.hub = f"{prefix}-hub"
        self.hosts: dict[str, Host] = {}
        try:
            run("ip", "netns", "add", self.hub)
            self._at_hub("link", "add", "hub", "type", "bridge")
            self._at_hub("addr", "add", f"{HUB_ADDRESS}/24", "dev", "hub")
            self._at_hub("link", "set", "hub", "up")
            for number, name in enumerate(names, 1):
                self._add(Host(name, f"{prefix}-{number}", number))
        except BaseException:
            self.close()
            raise

    def _add(self, host: Host) -> None:
        run("ip", "netns", "add", host.namespace)
        self.hosts[host.name] = host
        self._at_hub("link", "add", host.port, "type", "veth", "peer", "name", "eth0", "netns", host.namespace)
        self._at_hub("link", "set", host.port, "master", "hub", "up")
        run("ip", "-n", host.namespace, "link", "set", "lo", "up")
        run("ip", "-n", host.namespace, "addr", "add", f"{host.address}/24", "dev", "eth0")
        run("ip", "-n", host.namespace, "link", "set", "eth0", "up")

    def _at_hub(self, *command: str) -> str:
        return run("ip", "-n", self.hub, *command)

    def close(self) -> None:
        """Remove everything; processes that still run there keep a namespace without links."""
        for namespace in [self.hub, *(host.namespace for host in self.hosts.values())]:
            subprocess.run(["ip", "netns", "del", namespace], capture_output=True)
        self.hosts.clear()

    @contextmanager
    def inside(self, host: Host) -> Iterator[None]:
        """This thread, and the threads and processes that it starts, are on that host meanwhile."""
        home = os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        there = os.open(f"/run/netns/{host.namespace}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _set_namespace(there)
            yield
        finally:
            _set_namespace(home)
            os.close(home)
            os.close(there)

    # --- faults -------------------------------------------------------------------------------------------------------

    def cut(self, host: Host) -> None:
        """Nothing reaches it or leaves it, and nobody is told."""
        self._at_hub("link", "set", host.port, "down")

    def one_way(self, source: Host, target: Host) -> None:
        """What ``source`` sends to ``target`` is lost; the other direction works."""
        self._at_hub("route", "replace", "blackhole", f"{target.address}/32")
        run("ip", "-n", source.namespace, "route", "replace", f"{target.address}/32", "via", HUB_ADDRESS)

    def part(self, one: Host, other: Host) -> None:
        """These two do not reach each other; everybody else reaches both."""
        self.one_way(one, other)
        self.one_way(other, one)

    def isolate(self, *hosts: Host) -> None:
        """These do not reach each other; everybody else reaches all."""
        for host in hosts:
            self._at_hub("link", "set", host.port, "type", "bridge_slave", "isolated", "on")

    def slow(self, host: Host, rate: str = "1mbit", burst: str = "16kb", latency: str = "400ms") -> None:
        """Its link has so much room, each way. ``burst``: at least what fits through in a timer's tick (1 ms for fast
        links); ``latency``: what waits longer is dropped.
        """
        shape = ["root", "tbf", "rate", rate, "burst", burst, "latency", latency]
        run("tc", "-n", self.hub, "qdisc", "replace", "dev", host.port, *shape)
        run("tc", "-n", host.namespace, "qdisc", "replace", "dev", "eth0", *shape)

    def heal(self, host: Host) -> None:
        """All its links are as new: those to it and those from it."""
        self._at_hub("link", "set", host.port, "up")
        self._at_hub("link", "set", host.port, "type", "bridge_slave", "isolated", "off")
        for other in self.hosts.values():
            for source, target in ((host, other), (other, host)):
                route = ["route", "del", f"{target.address}/32", "via", HUB_ADDRESS]
                subprocess.run(["ip", "-n", source.namespace, *route], capture_output=True, timeout=30)
        for namespace, device in ((self.hub, host.port), (host.namespace, "eth0")):
            subprocess.run(["tc", "-n", namespace, "qdisc", "del", "dev", device, "root"], capture_output=True)


def _set_namespace(fd: int) -> None:
    if _libc.setns(fd, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


def _remove_what_dead_runs_left() -> None:
    try:
        names = os.listdir("/run/netns")
    except FileNotFoundError:
        return
    for name in names:
        pid = name.removeprefix(PREFIX).partition("-")[0]
        if name.startswith(PREFIX) and pid.isdigit() and not Path(f"/proc/{pid}").exists():
            subprocess.run(["ip", "netns", "del", name], capture_output=True)
