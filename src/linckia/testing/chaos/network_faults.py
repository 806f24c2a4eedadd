"""Faults of hosts: links that are cut, both ways or one, and hosts that are lost with all that runs on them."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence

from linckia.host import process
from linckia.testing.chaos.ground import MEMBERS, OwnGround, chosen
from linckia.testing.chaos.history import Deed
from linckia.testing.chaos.injecting import GONE_AFTER_S, Doing, Injector
from linckia.testing.chaos.process_faults import leading
from linckia.testing.chaos.schedule import Fault
from linckia.testing.namespaces import Host, Network


class NetworkFaults:
    """``kinds`` by name. The ground has hosts."""

    def __init__(self, injector: Injector, ground: OwnGround, network: Network) -> None:
        self.injector, self.ground, self.network = injector, ground, network

    def kinds(self) -> dict[str, Doing]:
        """How each is done."""
        return {
            "cut-node": lambda fault: self._node(fault, self.network.cut),
            "deaf-node": lambda fault: self._node(fault, self._deafen),
            "mute-node": lambda fault: self._node(fault, self._mute),
            "part-node": self._part,
            "cut-head": self._cut_head,
            "cut-heads": self._cut_heads,
            "cut-store": self._cut_store,
            "host": lambda fault: self._lose(fault, with_etcd=False),
            "host-etcd": lambda fault: self._lose(fault, with_etcd=True),
        }

    # --- nodes that work ----------------------------------------------------------------------------------------------

    def _node(self, fault: Fault, how: Callable[[Host], None]) -> Deed | None:
        node = chosen(self.injector.whole(), fault.draw)
        if node is None:
            return None
        host = self.network.hosts[self.ground.names[node.node_id]]
        at_ns = time.monotonic_ns()
        how(host)
        self.injector.later(fault.lasts_s, lambda: self.network.heal(host), f"heal {host.name}")
        self.injector.replace_later(node, fault.lasts_s + GONE_AFTER_S, only_if_gone=True)
        return Deed(fault.kind, at_ns, f"node {node.node_id[:8]} on {host.name}", lasts_s=fault.lasts_s)

    def _part(self, fault: Fault) -> Deed | None:
        node = chosen(self.injector.whole(), fault.draw)
        if node is None:
            return None
        hosts = (self.network.hosts[self.ground.names[node.node_id]], self.network.hosts["driver"])
        at_ns = time.monotonic_ns()
        self.network.isolate(*hosts)
        self.injector.later(fault.lasts_s, lambda: self._heal(hosts), "heal the two")
        return Deed(fault.kind, at_ns, f"node {node.node_id[:8]} and the driver's", lasts_s=fault.lasts_s)

    def _heal(self, hosts: Sequence[Host]) -> None:
        for host in hosts:
            self.network.heal(host)

    def _deafen(self, host: Host) -> None:
        for head in self._heads():
            self.network.one_way(head, host)

    def _mute(self, host: Host) -> None:
        for head in self._heads():
            self.network.one_way(host, head)

    def _heads(self) -> list[Host]:
        return [self.network.hosts[f"head{number}"] for number in range(self.ground.size.heads)]

    # --- the leader's host --------------------------------------------------------------------------------------------

    def _leader(self) -> tuple[Host, str] | None:
        found = leading(self.injector)
        name = self.ground.place_of(found[0]) if found else ""
        return (self.network.hosts[name], f"{found[1]} on {name}") if found and name else None

    def _cut_head(self, fault: Fault) -> Deed | None:
        if (found := self._leader()) is None:
            return None
        host, name = found
        at_ns = time.monotonic_ns()
        self.network.cut(host)
        self.injector.later(fault.lasts_s, lambda: self.network.heal(host), f"heal {host.name}")
        return Deed(fault.kind, at_ns, name, lasts_s=fault.lasts_s)

    def _cut_heads(self, fault: Fault) -> Deed | None:
        hosts = self._heads()
        at_ns = time.monotonic_ns()
        for host in hosts:
            self.network.cut(host)
        self.injector.later(fault.lasts_s, lambda: self._heal(hosts), "heal all heads")
        return Deed(fault.kind, at_ns, f"{len(hosts)} hosts", lasts_s=fault.lasts_s)

    def _cut_store(self, fault: Fault) -> Deed | None:
        if (found := self._leader()) is None:
            return None
        host, name = found
        at_ns = time.monotonic_ns()
        for number in range(MEMBERS):
            self.network.part(host, self.network.hosts[f"etcd{number}"])
        self.injector.later(fault.lasts_s, lambda: self.network.heal(host), f"heal {host.name}")
        return Deed(fault.kind, at_ns, f"{name}, from etcd", lasts_s=fault.lasts_s)

    def _lose(self, fault: Fault, *, with_etcd: bool) -> Deed | None:
        if (found := self._leader()) is None:
            return None
        hosts, name = [found[0]], found[1]
        if with_etcd:
            member = self.ground.etcd.leader() if self.ground.etcd is not None else None
            if member is None or member.host is None:
                return None
            hosts.append(member.host)
            name += f", and {member.name} that leads etcd"
        at_ns = time.monotonic_ns()
        for host in hosts:
            self.network.cut(host)
        frozen = [pidfd for host in hosts for pidfd in freeze(host.pids())]

        def come_back() -> None:
            self._heal(hosts)
            thaw(frozen)

        self.injector.later(fault.lasts_s, come_back, f"bring {name} back")
        return Deed(fault.kind, at_ns, name, lasts_s=fault.lasts_s)


def freeze(pids: Sequence[int]) -> list[int]:
    """SIGSTOP to all of a host; pidfds of those that got it."""
    stopped = []
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            pidfd = os.pidfd_open(pid)
            if process.signal_pidfd(pidfd, signal.SIGSTOP):
                stopped.append(pidfd)
            else:
                os.close(pidfd)
    return stopped


def thaw(pidfds: Sequence[int]) -> None:
    """SIGCONT; the descriptors are closed."""
    for pidfd in pidfds:
        process.signal_pidfd(pidfd, signal.SIGCONT)
        os.close(pidfd)
