"""Processes as Linux knows them: who they are, who their parent is, how they end. Called by node/, raylet/ and
host/session.py.

No process is ever found by its name: identity is pid plus start time (a pid alone is reused), and signals go to
descriptors (pidfd) or to children that nobody has reaped yet.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def die_with_parent(parent_pid: int, signal_number: int = signal.SIGKILL) -> bool:
    """Ask the kernel to signal this process when its parent thread ends. False when the parent is gone already."""
    _prctl(PR_SET_PDEATHSIG, signal_number)
    return os.getppid() == parent_pid


def become_subreaper() -> None:
    """From now on orphans below this process become its children instead of init's."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    import ctypes  # noqa: PLC0415 - only daemons and workers need it, a driver that imports this module does not

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}, {value}): {os.strerror(number)}")


def set_process_name(name: str) -> None:
    """What ``ps`` and ``top`` show as the command (15 characters)."""
    try:
        with open("/proc/self/comm", "w", encoding="ascii", errors="replace") as comm:
            comm.write(name[:15])
    except OSError:
        pass  # no /proc: only the looks suffer


OOM_SCORE_OF_WORKERS, OOM_SCORE_OF_NODES = 1000, -900


def prefer_as_oom_victim() -> None:
    """Let the kernel kill this process before daemons when memory runs out. Best effort."""
    _set_oom_score(OOM_SCORE_OF_WORKERS)


def spare_as_oom_victim() -> None:
    """Let the kernel kill almost anything before this process; its children inherit that. Best effort: to go below
    zero needs CAP_SYS_RESOURCE.
    """
    _set_oom_score(OOM_SCORE_OF_NODES)


def _set_oom_score(score: int) -> None:
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write(str(score))
    except OSError:
        pass  # not allowed here: the memory monitor is the first line of defence anyway


def boot_id() -> str:
    """Identity of this boot of the machine; empty when unknown."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def process_start_time(pid: int) -> int:
    """Start time in clock ticks since boot; 0 when there is no such process. With the pid it identifies a process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return int(file.read().rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0


def is_alive(pid: int, start_time: int) -> bool:
    """True while the process with this pid *and* start time exists (a zombie counts)."""
    return start_time != 0 and process_start_time(pid) == start_time


def parent_and_state(pid: int) -> tuple[int, str]:
    """(parent pid, state letter) of a process; (0, "") when there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
            return int(fields[1]), fields[0]
    except (OSError, IndexError, ValueError):
        return 0, ""


def environment_of(pid: int) -> list[bytes]:
    """``NAME=value`` as a process was started with; empty when it cannot be read."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read().split(b"\0")
    except OSError:
        return []


def children_of(pid: int) -> list[int]:
    """Direct children, living or zombie."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(child) for child in file.read().split()]
    except OSError:
        pass  # kernel without CONFIG_PROC_CHILDREN: look at everybody
    try:
        names = os.listdir("/proc")
    except OSError:
        return []
    return [int(name) for name in names if name.isdigit() and parent_and_state(int(name))[0] == pid]


def descendants_of(pid: int) -> list[int]:
    """All processes below this one, living or zombie, whatever thread started them. Parents before children."""
    found: list[int] = []
    parents = [pid]
    for parent in parents:
        found_below = _children_of_threads(parent)
        found += found_below
        parents += found_below
    return found


def _children_of_threads(pid: int) -> list[int]:
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []  # it has ended
    found: list[int] = []
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as file:
                found += [int(child) for child in file.read().split()]
        except FileNotFoundError:
            if os.path.exists(f"/proc/{pid}/task/{thread}"):
                return children_of(pid)  # a kernel without such files
        except OSError:
            continue
    return found


def kill_group(leader_pid: int) -> None:
    """SIGKILL a worker's process group, its subprocesses included. Only for a leader that is not reaped yet."""
    try:
        os.killpg(leader_pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass  # everybody is gone already


def end_now(pid: int, is_it: Callable[[], bool], wait_max_s: float) -> None:
    """SIGKILL to that process if it still is the one that is meant, and wait for its end."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return  # it has ended
    try:
        if is_it() and signal_pidfd(pidfd, signal.SIGKILL):
            wait_pidfd(pidfd, wait_max_s)
    finally:
        os.close(pidfd)


def signal_pidfd(pidfd: int, signal_number: int) -> bool:
    """Send a signal to exactly that process. False when it has ended."""
    try:
        signal.pidfd_send_signal(pidfd, signal_number)
    except (ProcessLookupError, OSError):
        return False
    return True


def wait_pidfd(pidfd: int, timeout_s: float) -> bool:
    """True when the process has ended within the time."""
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(max(0.0, timeout_s) * 1000))


def describe_exit(status: int) -> str:
    """A wait status in words: ``was killed by SIGKILL``, ``exited with code 3``."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        return f"was killed by {name}"
    return f"exited with code {os.waitstatus_to_exitcode(status)}"


def close_all_descriptors(keep: set[int], first: int = 3) -> None:
    """Close every descriptor from ``first`` on that is not in ``keep``; cheap, whatever the limit of open files is."""
    low = first
    for fd in sorted(fd for fd in keep if fd >= first):
        if fd > low:
            os.closerange(low, fd)
        low = fd + 1
    try:
        open_now = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        open_now = [os.sysconf("SC_OPEN_MAX")]
    highest = max(open_now, default=low)
    if highest >= low:
        os.closerange(low, highest + 1)


def kill_child(pid: int) -> None:
    """SIGKILL a child that has not been reaped."""
    _signal_child(pid, signal.SIGKILL)


def continue_child(pid: int) -> None:
    """Wake a child that somebody stopped; harmless otherwise."""
    _signal_child(pid, signal.SIGCONT)


def _signal_child(pid: int, signal_number: int) -> None:
    try:
        os.kill(pid, signal_number)
    except ProcessLookupError:
        pass  # it was reaped


def allow_many_descriptors(wanted: int = 65536) -> None:
    """Raise the soft limit of open files: a node holds half a dozen per worker."""
    import resource  # noqa: PLC0415 - only daemons need it

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    ceiling = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < ceiling:
        resource.setrlimit(resource.RLIMIT_NOFILE, (ceiling, hard))
