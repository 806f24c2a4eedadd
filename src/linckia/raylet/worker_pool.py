"""The worker processes of a node: fork, register, watch, end. It decides nothing about who works for whom (core/leases
does).

Forking is done by a *spawner* (the zygote's link in node/), which reports back by ``forked``, ``fork_failed`` and
``exited``; the exit report comes after the process group of the worker is dead. Called by raylet/service.py only.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any, Protocol

from linckia.base.limits import SHORTAGE_MAX_S, TERMINATE_GRACE_S, WORKER_REGISTER_MAX_S
from linckia.core.workers.exits import ExitType, exit_type
from linckia.host import environment, exhaustion, process
from linckia.host.entropy import random_bytes
from linckia.protocol.messages import ExitWorker, RegisterWorker
from linckia.raylet.logs import LogRouter, WorkerLog
from linckia.rpc.reactor import Reactor, Timer

WORKER_ID_BYTES = 28
START_AGAIN_S = 0.1
DESCRIPTORS_PER_WORKER = 4  # besides its pipes: pidfd, connection, two log files
SPARE_DESCRIPTORS = 4  # for what the node does meanwhile


class Spawner(Protocol):
    """What forks workers."""

    def fork(self, config: dict[str, Any], fds: tuple[int, int]) -> None:
        """Fork a worker with these as stdout and stderr; the descriptors are closed here once they are handed over."""


class WorkerProcess:
    """One worker, from the fork request to its exit."""

    def __init__(self, worker_id: bytes, log: WorkerLog) -> None:
        self.worker_id, self.log = worker_id, log
        self.pid, self.pidfd = 0, -1
        self.give_up_s = 0.0  # until then it is forked again when it cannot be
        self.endpoint = ""
        self.peer: Any = None  # its connection, once registered
        self.job_id = b""
        self.actor_id = b""
        self.intended = False  # its end is not a failure
        self.reason = ""  # why it was told to end, when it was
        self.oom = ""  # what to say of its end, when it ends for want of memory
        self.oom_is_final = False
        self.exit_type: ExitType | None = None  # announced, and in the end decided
        self.started_s = environment.wall_time_s()
        self.timer: Timer | None = None  # registration or exit deadline

    @property
    def registered(self) -> bool:
        """True once it has said who it is."""
        return self.endpoint != ""


class WorkerPool:
    """All worker processes by id."""

    def __init__(
        self,
        reactor: Reactor,
        spawner: Spawner,
        config: dict[str, Any],
        logs: LogRouter,
        on_exit: Callable[[WorkerProcess, str], None],
        *,
        prestarted: int,
    ) -> None:
        self.reactor, self.spawner, self.config, self.logs, self.on_exit = reactor, spawner, config, logs, on_exit
        self.on_start_failed: Callable[[str], None] = lambda _reason: None
        self.why_killed: Callable[[WorkerProcess], str] = lambda _worker: ""  # of a SIGKILL that is not ours
        self.workers: dict[bytes, WorkerProcess] = {}
        self._by_pid: dict[int, WorkerProcess] = {}
        self._sockets: str = config["sockets_dir"]
        self._started, self._prestarted = 0, prestarted
        self._stopping = False

    def start(self) -> None:
        """Fork one worker. It appears as registered, or ends in ``on_exit``; while the machine is short of descriptors
        or processes it is tried again, for SHORTAGE_MAX_S, then ``on_start_failed`` says which limit it is.
        """
        self._started += 1
        self._try_to_start(time.monotonic() + SHORTAGE_MAX_S)

    def _try_to_start(self, give_up_s: float) -> None:
        unregistered = sum(1 for worker in self.workers.values() if not worker.registered)
        try:
            out_read, out_write, err_read, err_write = _two_pipes(
                spare=SPARE_DESCRIPTORS + DESCRIPTORS_PER_WORKER * (unregistered + 1)
            )
        except OSError as error:
            self._not_started(exhaustion.describe(error), give_up_s)
            return
        worker_id = random_bytes(WORKER_ID_BYTES)
        worker = WorkerProcess(worker_id, self.logs.open(worker_id, out_read, err_read))
        worker.give_up_s = give_up_s
        self.workers[worker_id] = worker
        worker.timer = self.reactor.call_later(WORKER_REGISTER_MAX_S, lambda: self._register_timeout(worker))
        config = {
            **self.config,
            "worker_id": worker_id,
            "warm": self._started > self._prestarted,
            "listen_endpoint": f"unix:{self._sockets}/w-{worker_id.hex()[:8]}.sock",
        }
        self.spawner.fork(config, (out_write, err_write))

    def _not_started(self, why: str, give_up_s: float) -> None:
        if self._stopping:
            return
        if time.monotonic() < give_up_s:
            self.reactor.call_later(START_AGAIN_S, lambda: self._try_to_start(give_up_s))
        else:
            self.on_start_failed(f"no worker process can be started: {why}")

    # --- what the spawner reports -------------------------------------------------------------------------------------

    def forked(self, worker_id: bytes, pid: int) -> None:
        """The worker runs as ``pid``."""
        worker = self.workers.get(worker_id)
        if worker is None:
            return
        worker.pid = pid
        self._by_pid[pid] = worker
        worker.log.start(pid)
        self._open_pidfd(worker)
        if worker.reason:  # told to end before it ran
            self.kill(worker, worker.reason)

    def fork_failed(self, worker_id: bytes, error: str) -> None:
        """There is no such process."""
        worker = self.workers.pop(worker_id, None)
        if worker is not None:
            self._release(worker)
            self._not_started(error, worker.give_up_s)

    def exited(self, pid: int, status: int) -> None:
        """The process and its group are dead and reaped."""
        worker = self._by_pid.pop(pid, None)
        if worker is None:
            return
        self.workers.pop(worker.worker_id, None)
        if status == signal.SIGKILL and not worker.reason:
            worker.oom = self.why_killed(worker)
        if not worker.registered and not worker.reason and status == os.EX_TEMPFAIL << 8:  # worker/main.py
            self._release(worker)
            self._not_started(exhaustion.describe_processes(), worker.give_up_s)
            return
        code = os.waitstatus_to_exitcode(status)
        announced = ExitType.NODE_OUT_OF_MEMORY if worker.oom else worker.exit_type
        worker.exit_type = exit_type(announced, killed_for=worker.reason, code=code if code >= 0 else None)
        end = f"worker process {pid} {process.describe_exit(status)}"
        self._finish(worker, f"{end} ({worker.reason})" if worker.reason else end)

    def _open_pidfd(self, worker: WorkerProcess) -> bool:
        """False when there is no descriptor left for it: try again before it is needed."""
        try:
            worker.pidfd = os.pidfd_open(worker.pid)
        except OSError as error:
            return not exhaustion.out_of_descriptors(error)  # else it has ended already: the exit report follows
        return True

    def _finish(self, worker: WorkerProcess, reason: str) -> None:
        self._release(worker)
        self.on_exit(worker, reason)

    def _release(self, worker: WorkerProcess) -> None:
        if worker.timer is not None:
            worker.timer.cancel()
        if worker.pidfd >= 0:
            os.close(worker.pidfd)
            worker.pidfd = -1
        worker.log.finish()
        try:
            os.unlink(f"{self._sockets}/w-{worker.worker_id.hex()[:8]}.sock")
        except OSError:
            pass  # it removed its socket itself, or never made it

    # --- life ---------------------------------------------------------------------------------------------------------

    def registered(self, peer: Any, message: RegisterWorker) -> WorkerProcess | None:
        """A worker has said who it is; None when this node did not start it."""
        worker = self.workers.get(message.worker_id)
        if worker is None or worker.registered:
            return None
        if worker.timer is not None:
            worker.timer.cancel()
            worker.timer = None
        worker.peer, worker.endpoint = peer, message.endpoint
        return worker

    def _register_timeout(self, worker: WorkerProcess) -> None:
        self.kill(worker, f"it did not register within {WORKER_REGISTER_MAX_S:g} s")

    def kill(self, worker: WorkerProcess, reason: str) -> None:
        """SIGKILL; its group follows. Before it runs: as soon as it does."""
        worker.reason = worker.reason or reason
        if worker.pid and worker.pidfd < 0 and worker.worker_id in self.workers and not self._open_pidfd(worker):
            self.kill_later(worker, START_AGAIN_S)
        if worker.pidfd >= 0:
            process.signal_pidfd(worker.pidfd, signal.SIGKILL)

    def retire(self, worker: WorkerProcess, reason: str) -> None:
        """Ask it to exit by itself; kill it when it does not."""
        worker.intended = True
        worker.reason = worker.reason or reason
        worker.exit_type = worker.exit_type or ExitType.INTENDED_SYSTEM_EXIT
        if worker.peer is None:
            self.kill(worker, reason)
            return
        worker.peer.post(ExitWorker(reason))
        self.kill_later(worker, TERMINATE_GRACE_S)

    def kill_later(self, worker: WorkerProcess, delay_s: float) -> None:
        """Kill it unless it has ended by then."""
        if worker.timer is not None:
            worker.timer.cancel()
        worker.timer = self.reactor.call_later(delay_s, lambda: self.kill(worker, worker.reason))

    def kill_all(self) -> None:
        """Shutdown: SIGKILL everybody; exits are not reported any more."""
        self._stopping = True
        self.on_exit = lambda _worker, _reason: None
        for worker in self.workers.values():
            self.kill(worker, "the node is shutting down")


def _two_pipes(spare: int) -> list[int]:
    """Their four ends. OSError when that would leave less than ``spare`` descriptors: a worker that cannot register for
    want of one would hold those it has for nothing.
    """
    fds: list[int] = []
    try:
        fds += os.pipe2(os.O_CLOEXEC)
        fds += os.pipe2(os.O_CLOEXEC)
        for _ in range(spare):
            fds.append(os.dup(fds[0]))
    except OSError:
        _close(fds)
        raise
    _close(fds[4:])
    return fds[:4]


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
