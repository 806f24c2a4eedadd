"""Watches the memory of one node: ends workers before the kernel ends something (R 7.17-7.20), and sends idle workers
away that have grown fat (P 13, P 14).

It looks on a timer of the node's reactor, earlier while memory grows quickly, and at once when the kernel says so. A
look reads one small file per limit; processes are looked at only above the threshold, and each idle worker once.
`core/memory` decides. A look that fails is tried again (raylet/guard.py): nothing else of the node depends on it. One
per raylet, built by raylet/service.py.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from linckia.base.limits import MEMORY_LOOK_MIN_S, VICTIM_EXIT_MAX_S
from linckia.base.pulse import shared_wait_s
from linckia.core.leases.records import FRESH, Retire, Worker
from linckia.core.memory import report
from linckia.core.memory.idle import Looked, Step, idle_max_bytes, is_due, next_step
from linckia.core.memory.thresholds import MemorySettings, Usage, Verdict, Watch
from linckia.core.memory.victims import Candidate, Victim, choose
from linckia.host import environment, process_memory
from linckia.host.memory import Alarm, MemoryProbe
from linckia.host.own_log import say
from linckia.protocol import messages as m
from linckia.raylet.guard import Guard
from linckia.rpc.reactor import Timer

if TYPE_CHECKING:
    from linckia.raylet.service import Raylet
    from linckia.raylet.worker_pool import WorkerProcess

LIMITS_AGAIN_S = 15.0  # how often the limits themselves are looked up
COMPLAIN_EVERY_S = 10.0


class Probe(Protocol):
    """What this module needs of host/memory.py."""

    def refresh(self) -> None: ...
    def read(self, threshold_bytes: Callable[[int], int]) -> list[Usage]: ...
    def alarms(self, threshold_bytes: Callable[[int], int]) -> list[Alarm]: ...
    def kernel_killed(self) -> bool: ...
    def tightest(self) -> str: ...


class MemoryMonitor:
    """``last`` is the verdict of the last look; None before the first."""

    def __init__(self, raylet: Raylet, settings: MemorySettings) -> None:
        self.raylet, self.settings = raylet, settings
        self.watch = Watch(settings, environment.cpu_count())
        self.guard = Guard("memory monitor")
        self.last: Verdict | None = None
        self.probe: Probe | None = None
        self.private_bytes = process_memory.private_bytes_of_family
        self._dying: set[bytes] = set()
        self._looked_s = self._killed_s = self._complained_s = float("-inf")
        self._looked: dict[bytes, Looked] = {}
        self._limits: list[tuple[str, int]] = []
        self._limits_s = 0.0
        self._alarms: list[Alarm] = []
        self._timer: Timer | None = None

    def start(self, probe: Probe | None = None) -> None:
        """Look from now on, unless the user does not want it."""
        if self.settings.refresh_s <= 0:
            return
        self.probe = probe or MemoryProbe()
        self._limits_s = time.monotonic()
        self.raylet.pool.why_killed = self._why_killed
        self._tick()

    def facts(self) -> tuple[int, int]:
        """Used bytes and threshold of the tightest limit as of the last look; zeros before the first."""
        return (self.last.usage.used_bytes, self.last.threshold_bytes) if self.last is not None else (0, 0)

    def _tick(self) -> None:
        self._timer = None
        pause_s = self.guard.run(lambda: self.look(time.monotonic()))
        again_s = self.last.look_again_s if self.last is not None else self.settings.refresh_s
        if self._timer is None:
            wait_s = pause_s or shared_wait_s(time.monotonic(), again_s)
            self._timer = self.raylet.reactor.call_later(wait_s, self._tick)

    def _look_in(self, delay_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.raylet.reactor.call_later(delay_s, self._tick)

    def look(self, now_s: float) -> None:
        """One look, and what follows from it."""
        assert self.probe is not None
        self._looked_s = now_s
        if now_s - self._limits_s > LIMITS_AGAIN_S:
            self._limits_s = now_s
            self.probe.refresh()
        usages = self.probe.read(self.settings.threshold_bytes)
        if not usages:
            return
        limits = [(usage.where, usage.limit_bytes) for usage in usages]
        if limits != self._limits:
            self._limits = limits
            self._set_alarms()
        self.last = self.watch.look(usages, now_s)
        if self.last.need_bytes:
            self._relieve(self.last, now_s)
        self._see_to_idle(min(limit for _, limit in limits), now_s)

    def _set_alarms(self) -> None:
        """The kernel's own word on memory, where it gives it."""
        assert self.probe is not None
        reactor = self.raylet.reactor
        for alarm in self._alarms:
            reactor.unregister(alarm.fd)
            os.close(alarm.fd)
        self._alarms = self.probe.alarms(self.settings.threshold_bytes)
        for alarm in self._alarms:
            reactor.register(alarm.fd, functools.partial(self._on_alarm, alarm), alarm.events)

    def _on_alarm(self, alarm: Alarm, _events: int) -> None:
        self.guard.run(alarm.rearm)
        self._look_in(max(0.0, self._looked_s + MEMORY_LOOK_MIN_S - time.monotonic()))

    # --- too little memory --------------------------------------------------------------------------------------------

    def _relieve(self, verdict: Verdict, now_s: float) -> None:
        """A round of kills, once the last one has had its effect."""
        if self._dying and now_s - self._killed_s < VICTIM_EXIT_MAX_S:
            return
        victims = choose(self._candidates(), verdict.need_bytes, by_group=self.settings.by_group)
        processes = [self.raylet.pool.workers[victim.candidate.worker_id] for victim in victims]
        before = {process.worker_id: self._what(process) for process in processes}
        for process in processes:
            self.raylet.leases.doom(process.worker_id)
            self.raylet.pool.kill(process, report.OUT_OF_MEMORY)
        self._dying = {process.worker_id for process in processes}
        self._killed_s = now_s
        if not victims:
            self._complain(verdict, now_s)
            return
        users = self._largest(dict(zip(before, victims, strict=True)), before)
        for process, victim in zip(processes, victims, strict=True):
            self._say(verdict, process, victim, before[process.worker_id], users)

    def _candidates(self) -> list[Candidate]:
        return [
            Candidate(
                worker.worker_id,
                self.private_bytes(self.raylet.pool.workers[worker.worker_id].pid),
                has_run=worker.pool != FRESH,
                lease=worker.lease.lease_id if worker.lease is not None else 0,
                retriable=worker.lease is not None and worker.lease.request.retriable,
                owner=worker.lease.request.owner if worker.lease is not None else b"",
            )
            for worker in self.raylet.leases.workers.values()
            if not worker.leaving and worker.worker_id in self.raylet.pool.workers
        ]

    def _say(
        self, verdict: Verdict, process: WorkerProcess, victim: Victim, what: str, users: list[report.User]
    ) -> None:
        own = next(user for user in users if user.pid == process.pid)
        shown = sorted(users, key=lambda user: -user.memory.private_bytes)
        node_ip = self.raylet.options.node.node_ip
        process.oom = report.killed(verdict, node_ip, own._replace(what=what), victim.why, shown)
        process.oom_is_final = victim.is_final
        say(process.oom)
        if victim.candidate.lease and process.job_id:  # an idle worker is nobody's loss
            warning = m.DriverMessage("warning", f"oom {process.worker_id.hex()}", process.oom)
            self.raylet.tell_driver(process.job_id, warning)

    def _largest(self, victims: dict[bytes, Victim], what: dict[bytes, str]) -> list[report.User]:
        """The victims, and the largest of our other processes, which live and can be measured."""
        pool = self.raylet.pool.workers
        users = [
            report.User(pool[worker_id].pid, f"{what[worker_id]} (ended)", _as_private(victim.candidate.private_bytes))
            for worker_id, victim in victims.items()
        ]
        living = {worker.pid: self._what(worker) for worker in pool.values() if worker.worker_id not in victims}
        living |= {driver.pid: "driver" for driver in self.raylet.drivers.values()}
        living[os.getpid()] = "node process"
        largest = sorted(living, key=process_memory.private_bytes, reverse=True)[: report.TOP_USERS]
        return users + [report.User(pid, living[pid], process_memory.measure(pid)) for pid in largest]

    def _what(self, process: WorkerProcess) -> str:
        worker = self.raylet.leases.workers.get(process.worker_id)
        if worker is None or worker.lease is None:
            return "an idle worker"
        request = worker.lease.request
        return f"the worker of {'actor' if request.actor_id else 'task'} {request.name or '(unnamed)'}"

    def _complain(self, verdict: Verdict, now_s: float) -> None:
        if now_s - self._complained_s >= COMPLAIN_EVERY_S:
            self._complained_s = now_s
            usage = verdict.usage
            say(
                f"this node is running out of memory ({report.size(usage.used_bytes)} of "
                f"{report.size(usage.limit_bytes)}, {usage.where}), and it has no worker whose end would help"
            )

    def exited(self, worker_id: bytes) -> None:
        """A worker process is gone. When all victims are: is it enough?"""
        self._looked.pop(worker_id, None)
        if worker_id in self._dying:
            self._dying.discard(worker_id)
            if not self._dying:
                self._look_in(0.0)

    def _why_killed(self, process: WorkerProcess) -> str:
        """What to say of a worker that somebody else has killed; empty unless that was the kernel."""
        told: list[str] = []
        self.guard.run(lambda: told.extend(self._kernel_says(process)))
        return told[0] if told else ""

    def _kernel_says(self, process: WorkerProcess) -> list[str]:
        if self.probe is None or not self.probe.kernel_killed():
            return []
        node_ip = self.raylet.options.node.node_ip
        text = report.killed_by_kernel(node_ip, self._what(process), process.pid, self.probe.tightest())
        say(text)
        return [text]

    # --- idle workers -------------------------------------------------------------------------------------------------

    def _see_to_idle(self, limit_bytes: int, now_s: float) -> None:
        if self.settings.idle_max_bytes == 0:
            return
        idle = self.raylet.leases.staffing.idle_workers()
        for worker in idle:
            last = self._looked.get(worker.worker_id)
            if worker.pool != FRESH and is_due(last, worker.idle_since_s, now_s):
                self._look_at(worker, last, self._idle_max(limit_bytes, len(idle)), now_s)

    def _idle_max(self, limit_bytes: int, idle_workers: int) -> int:
        given = self.settings.idle_max_bytes
        return idle_max_bytes(limit_bytes, idle_workers) if given < 0 else given

    def _look_at(self, worker: Worker, last: Looked | None, max_bytes: int, now_s: float) -> None:
        process = self.raylet.pool.workers[worker.worker_id]
        held = self.private_bytes(process.pid)
        step = next_step(last, worker.idle_since_s, held, max_bytes)
        self._looked[worker.worker_id] = Looked(worker.idle_since_s, step, now_s)
        if step is Step.TRIM:
            process.peer.post(m.TrimMemory())
        elif step is Step.RETIRE:
            self.raylet.leases.doom(worker.worker_id)
            why = f"idle with {report.size(held)} of private memory, more than {report.size(max_bytes)}"
            self.raylet.desk.carry_out([Retire(worker.worker_id, why)])


def _as_private(count: int) -> report.ProcessMemory:
    return report.ProcessMemory(count, count, 0)
