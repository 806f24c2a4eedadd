"""The processes of a job's entrypoint: started in a shell, watched by descriptor, ended with everything below them.

They stay in the process group of the worker that supervises them, which is what makes them mortal: the zygote kills the
group of a worker that has died before it reports the death (node/zygote.py), and of all workers when the node is gone.
So no driver outlives its supervisor, and no attempt begins while another one of the same node still runs. The worker is
also the reaper of everything below it, so that what has left the group is found when the attempt ends. Used by
jobs/supervisor.py, one entrypoint at a time.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence

from linckia.host import process

KILL_ROUNDS = 100
KILL_WAIT_S = 0.5


def prepare() -> None:
    """Once, in the main thread of the supervisor: orphans come to us, and what the group is told is not for us."""
    process.become_subreaper()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _not_for_us)  # a handler, not SIG_IGN: that would be inherited by the entrypoint


def _not_for_us(_number: int, _frame: object) -> None:
    """The group was told to end; this process ends when the others have."""


def start(command: str, environment: Mapping[str, str], cwd: str, log_path: str) -> tuple[int, int]:
    """(pid, pidfd) of a shell that runs ``command``; its output goes to the end of the log, which only its owner reads.

    OSError when it cannot be started.
    """
    log_fd = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        shell = subprocess.Popen(
            command, shell=True, stdin=subprocess.DEVNULL, stdout=log_fd, stderr=log_fd, env=environment, cwd=cwd
        )
    finally:
        os.close(log_fd)
    shell.returncode = 0  # reaped by `reap`, not by the object's end
    return shell.pid, os.pidfd_open(shell.pid)


def reap(pid: int) -> int:
    """Exit code of a child that has ended: 0 and more, or -n after signal n."""
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except ChildProcessError:
        return 0


def end_all(stop_signal: int, grace_s: float, keep: int = 0) -> None:
    """Signal all processes below this one, SIGKILL those that live after the grace, return when none does. Blocks.

    ``keep``: the child that `reap` is called for; it is ended too.
    """
    _signal_all(stop_signal)
    _wait(living(), time.monotonic() + grace_s)
    for _ in range(KILL_ROUNDS):  # what a dying process has started meanwhile is found in the next round
        left = living()
        if not left:
            break
        for pid in left:
            _send(pid, signal.SIGKILL)
        _wait(left, time.monotonic() + KILL_WAIT_S)
    _reap_others(keep)


def living() -> list[int]:
    """All processes below this one that have not ended."""
    return [
        pid for pid in process.descendants_of(os.getpid()) if process.parent_and_state(pid)[1] not in ("Z", "X", "")
    ]


def _signal_all(number: int) -> None:
    """The group in one step (this process has a handler), then whoever has left it."""
    own = os.getpgrp()
    if own == os.getpid():
        os.killpg(own, number)
    for pid in living():
        try:
            outside = own != os.getpid() or os.getpgid(pid) != own
        except ProcessLookupError:
            continue
        if outside:
            _send(pid, number)


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # it has ended


def _wait(pids: Sequence[int], deadline_s: float) -> None:
    """Until all have ended, or the time is over."""
    poller = select.poll()
    opened: dict[int, None] = {}
    try:
        for pid in pids:
            try:
                opened[fd := os.pidfd_open(pid)] = None
            except ProcessLookupError:
                continue
            poller.register(fd, select.POLLIN)
        left = dict(opened)
        while left and (wait_s := deadline_s - time.monotonic()) > 0:
            for fd, _ in poller.poll(wait_s * 1000):
                poller.unregister(fd)
                left.pop(fd)
    finally:
        for fd in opened:
            os.close(fd)


def _reap_others(keep: int) -> None:
    """Orphans that came to us and have ended."""
    for pid in process.children_of(os.getpid()):
        if pid != keep and process.parent_and_state(pid)[1] == "Z":
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                continue
