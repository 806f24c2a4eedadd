"""Does the faults of a schedule, each to a process that lives then, and undoes what has to be undone.

One thread; what comes later (SIGCONT, a new node for a killed one, a look for orphans) waits in a heap by time.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from linckia.cluster_utils import ClusterNode
from linckia.host import process
from linckia.node.launch import NodeStartError
from linckia.testing.chaos.ground import Ground, below, living
from linckia.testing.chaos.history import Deed
from linckia.testing.chaos.schedule import Fault

T = TypeVar("T")
ORPHANS_AFTER_S = 1.0
REPLACED_AFTER_S = 1.2
GONE_AFTER_S = 3.0
STANDBYS_MAX_S = 10.0
STARTS_MAX, START_AGAIN_S = 5, 1.0
LOOK_EVERY_S = 0.05


class Injector:
    """``deeds`` is what was done; ``epochs`` the terms that were seen, in order."""

    def __init__(self, ground: Ground, report: Callable[[str], None]) -> None:
        self.ground = ground
        self.deeds: list[Deed] = []
        self.skipped: list[str] = []
        self.epochs: list[int] = []
        self._say = report
        self._waiting: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = itertools.count()
        self._replacing = 0
        self._deeds_by_kind: dict[str, Callable[[Fault], Deed | None]] = {
            "head": lambda fault: self._head(fault, signal.SIGKILL),
            "stop-head": lambda fault: self._head(fault, signal.SIGSTOP),
            "worker": lambda fault: self._worker(fault, signal.SIGKILL),
            "stop-worker": lambda fault: self._worker(fault, signal.SIGSTOP),
            "raylet": self._raylet,
            "stop-raylet": self._stop_raylet,
            "etcd": self._etcd,
            "etcd-all": self._all_etcd,
            "stop-etcd": self._stop_etcd,
        }

    def run(self, faults: Sequence[Fault], for_s: float) -> None:
        """Returns when the time is over and everything is undone."""
        began_s = time.monotonic()
        for fault in faults:
            self._until(began_s + fault.at_s)
            self._do(fault)
        self._until(began_s + for_s)
        while self._waiting or self._replacing:
            self._until(time.monotonic() + LOOK_EVERY_S)

    def _do(self, fault: Fault) -> None:
        deed = self._deeds_by_kind[fault.kind](fault)
        if deed is None:
            self.skipped.append(f"{fault.kind} at {fault.at_s:g} s: there was nobody to hit")
        else:
            self.deeds.append(deed)
            self._say(
                f"{fault.at_s:7.2f} s  {fault.kind} {deed.target}" + (f" for {fault.lasts_s:g} s" * (fault.lasts_s > 0))
            )

    def _until(self, moment_s: float) -> None:
        """Wait, and do meanwhile what is due."""
        while True:
            due_s = min(moment_s, self._waiting[0][0]) if self._waiting else moment_s
            time.sleep(max(0.0, due_s - time.monotonic()))
            while self._waiting and self._waiting[0][0] <= time.monotonic():
                heapq.heappop(self._waiting)[2]()
            if time.monotonic() >= moment_s:
                return

    def _later(self, after_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._waiting, (time.monotonic() + after_s, next(self._serial), action))

    # --- heads, workers -----------------------------------------------------------------------------------------------

    def _head(self, fault: Fault, number: signal.Signals) -> Deed | None:
        """The others stand by first, if they come: a cluster whose heads are all dead has nobody who could follow."""
        if self.ground.size.heads > 1:
            self.ground.until_heads(STANDBYS_MAX_S)
        found = self.ground.leader()
        if found is None:
            return None
        self.epochs.append(found["epoch"])
        return self._hit(fault, found["pid"], f"epoch {found['epoch']}", number)

    def _worker(self, fault: Fault, number: signal.Signals) -> Deed | None:
        pid = _chosen(self.ground.worker_pids(), fault.draw)
        return None if pid is None else self._hit(fault, pid, "worker", number)

    def _hit(self, fault: Fault, pid: int, name: str, number: signal.Signals) -> Deed | None:
        """SIGKILL, or SIGSTOP with a SIGCONT later: through a pidfd, so that no other process is ever hit."""
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return None
        at_ns = time.monotonic_ns()
        done = process.signal_pidfd(pidfd, number)
        if number == signal.SIGSTOP and done:

            def go_on() -> None:
                process.signal_pidfd(pidfd, signal.SIGCONT)
                os.close(pidfd)

            self._later(fault.lasts_s, go_on)
        else:
            os.close(pidfd)
        return Deed(fault.kind, at_ns, f"{name} (pid {pid})", pid, fault.lasts_s) if done else None

    # --- nodes --------------------------------------------------------------------------------------------------------

    def _until_all_nodes(self) -> None:
        """Replacing takes a while: without a wait an overdue fault would hit the last node that is left."""
        while self._replacing:
            self._until(time.monotonic() + LOOK_EVERY_S)

    def _raylet(self, fault: Fault) -> Deed | None:
        self._until_all_nodes()
        node = _chosen(self.ground.workers, fault.draw)
        if node is None:
            return None
        family = below(node.pid)
        at_ns = time.monotonic_ns()
        with contextlib.suppress(ProcessLookupError):
            os.kill(node.pid, signal.SIGKILL)
        place = len(self.deeds)

        def count_orphans() -> None:
            left = living(family)
            self.deeds[place] = msgspec.structs.replace(self.deeds[place], orphans=len(left))

        self._replacing += 1
        self._later(ORPHANS_AFTER_S, count_orphans)
        self._later(REPLACED_AFTER_S, lambda: self._replace(node))
        name = f"node {node.node_id[:8]} (pid {node.pid})"
        return Deed("raylet", at_ns, name, node.pid, family=tuple(pid for pid, _ in family))

    def _stop_raylet(self, fault: Fault) -> Deed | None:
        self._until_all_nodes()
        node = _chosen(self.ground.workers, fault.draw)
        if node is None:
            return None
        self._later(fault.lasts_s + GONE_AFTER_S, lambda: self._replace_if_gone(node))
        return self._hit(fault, node.pid, f"node {node.node_id[:8]}", signal.SIGSTOP)

    def _replace_if_gone(self, node: ClusterNode) -> None:
        if not node.is_alive():
            self._replacing += 1
            self._replace(node)

    def _replace(self, node: ClusterNode) -> None:
        self.ground.forget(node)
        threading.Thread(target=self._add_worker, name="replace").start()  # what is stopped must go on in time

    def _add_worker(self) -> None:
        """A node that cannot start now, because no head leads, is tried again."""
        for _ in range(STARTS_MAX):
            try:
                self.ground.add_worker()
                break
            except NodeStartError as error:
                self._say(f"a node did not start: {error}")
                time.sleep(START_AGAIN_S)
        self._replacing -= 1

    # --- etcd ---------------------------------------------------------------------------------------------------------

    def _etcd(self, fault: Fault) -> Deed | None:
        return self._kill_members(fault, (int(fault.draw * 3),))

    def _all_etcd(self, fault: Fault) -> Deed | None:
        return self._kill_members(fault, (0, 1, 2))

    def _kill_members(self, fault: Fault, numbers: tuple[int, ...]) -> Deed | None:
        etcd = self.ground.etcd
        if etcd is None:
            return None
        at_ns = time.monotonic_ns()
        for number in numbers:
            etcd.members[number].kill()
        self._later(fault.lasts_s, etcd.start)
        names = ", ".join(etcd.members[number].name for number in numbers)
        return Deed(fault.kind, at_ns, names, lasts_s=fault.lasts_s)

    def _stop_etcd(self, fault: Fault) -> Deed | None:
        etcd = self.ground.etcd
        if etcd is None:
            return None
        member = etcd.members[int(fault.draw * 3)]
        at_ns = time.monotonic_ns()
        member.send(signal.SIGSTOP)
        self._later(fault.lasts_s, lambda: member.send(signal.SIGCONT))
        return Deed(fault.kind, at_ns, member.name, lasts_s=fault.lasts_s)


def _chosen(candidates: Sequence[T], draw: float) -> T | None:
    return candidates[int(draw * len(candidates))] if candidates else None
