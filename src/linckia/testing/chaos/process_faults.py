"""Faults of processes: SIGKILL and SIGSTOP to heads, workers, nodes and members of etcd."""

from __future__ import annotations

import contextlib
import os
import signal
import time

import msgspec

from linckia.testing.chaos.family import below, living
from linckia.testing.chaos.ground import chosen
from linckia.testing.chaos.history import Deed
from linckia.testing.chaos.injecting import GONE_AFTER_S, Doing, Injector
from linckia.testing.chaos.schedule import Fault
from linckia.testing.etcd import EtcdMember

ORPHANS_AFTER_S = 1.0
REPLACED_AFTER_S = 1.2
STANDBYS_MAX_S = 10.0


class ProcessFaults:
    """``kinds`` by name."""

    def __init__(self, injector: Injector) -> None:
        self.injector, self.ground = injector, injector.ground

    def kinds(self) -> dict[str, Doing]:
        """How each is done."""
        return {
            "head": lambda fault: self._head(fault, signal.SIGKILL),
            "stop-head": lambda fault: self._head(fault, signal.SIGSTOP),
            "worker": lambda fault: self._worker(fault, signal.SIGKILL),
            "stop-worker": lambda fault: self._worker(fault, signal.SIGSTOP),
            "raylet": self._raylet,
            "stop-raylet": self._stop_raylet,
            "etcd": lambda fault: self._kill_members(fault, (int(fault.draw * 3),)),
            "etcd-all": lambda fault: self._kill_members(fault, (0, 1, 2)),
            "stop-etcd": self._stop_etcd,
        }

    def _head(self, fault: Fault, number: signal.Signals) -> Deed | None:
        found = leading(self.injector)
        return self.injector.hit(fault, *found, number) if found else None

    def _worker(self, fault: Fault, number: signal.Signals) -> Deed | None:
        pid = chosen(self.ground.worker_pids(), fault.draw)
        return None if pid is None else self.injector.hit(fault, pid, "worker", number)

    # --- nodes --------------------------------------------------------------------------------------------------------

    def _raylet(self, fault: Fault) -> Deed | None:
        node = chosen(self.injector.whole(), fault.draw)
        if node is None:
            return None
        family = below(node.pid)
        at_ns = time.monotonic_ns()
        with contextlib.suppress(ProcessLookupError):
            os.kill(node.pid, signal.SIGKILL)
        deeds, place = self.injector.deeds, len(self.injector.deeds)

        def count_orphans() -> None:
            deeds[place] = msgspec.structs.replace(deeds[place], orphans=len(living(family)))

        self.injector.later(ORPHANS_AFTER_S, count_orphans, "count orphans")
        self.injector.replace_later(node, REPLACED_AFTER_S)
        name = f"node {node.node_id[:8]} (pid {node.pid})"
        return Deed("raylet", at_ns, name, node.pid, family=tuple(pid for pid, _ in family))

    def _stop_raylet(self, fault: Fault) -> Deed | None:
        node = chosen(self.injector.whole(), fault.draw)
        if node is None:
            return None
        self.injector.replace_later(node, fault.lasts_s + GONE_AFTER_S, only_if_gone=True)
        return self.injector.hit(fault, node.pid, f"node {node.node_id[:8]}", signal.SIGSTOP)

    # --- etcd ---------------------------------------------------------------------------------------------------------

    def _kill_members(self, fault: Fault, numbers: tuple[int, ...]) -> Deed | None:
        etcd = self.ground.etcd
        if etcd is None:
            return None
        at_ns = time.monotonic_ns()
        for number in numbers:
            etcd.members[number].kill()
        self.injector.later(fault.lasts_s, etcd.start, "start etcd", starts=True)
        names = ", ".join(etcd.members[number].name for number in numbers)
        return Deed(fault.kind, at_ns, names, lasts_s=fault.lasts_s)

    def _stop_etcd(self, fault: Fault) -> Deed | None:
        etcd = self.ground.etcd
        if etcd is None:
            return None
        member: EtcdMember = etcd.members[int(fault.draw * 3)]
        at_ns = time.monotonic_ns()
        member.send(signal.SIGSTOP)
        self.injector.later(fault.lasts_s, lambda: member.send(signal.SIGCONT), f"SIGCONT to etcd {member.name}")
        return Deed(fault.kind, at_ns, member.name, lasts_s=fault.lasts_s)


def leading(injector: Injector) -> tuple[int, str] | None:
    """Pid of the head that leads and its term; notes the term. The others stand by first, if they come: a cluster
    whose heads are all dead has nobody who could follow.
    """
    ground = injector.ground
    if ground.heads > 1:
        ground.until_heads(STANDBYS_MAX_S)
    found = ground.leader()
    if found is None:
        return None
    injector.epochs.append(found["epoch"])
    return found["pid"], f"epoch {found['epoch']}"
