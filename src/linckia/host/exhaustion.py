"""When the machine has no more of something that is counted: which limit it is, what it is set to and how to raise it.

Called by who opens sockets and starts processes or threads. Reading the limits must not need what has run out: whatever
cannot be read is left out of the sentence.
"""

from __future__ import annotations

import errno
import os
import resource

from linckia.host import cgroup

DESCRIPTORS = (errno.EMFILE, errno.ENFILE)


def out_of_descriptors(error: OSError) -> bool:
    """True when the call failed only because too much is open."""
    return error.errno in DESCRIPTORS


def describe(error: OSError) -> str:
    """One sentence: the limit that was reached, what it is, what to do. Of other errors what the kernel says."""
    if error.errno == errno.EMFILE:
        return _open_files()
    if error.errno == errno.ENFILE:
        return (
            f"the machine's limit of open files{_of(_read('/proc/sys/fs/file-max'))} is reached; raise it with "
            "`sysctl fs.file-max=<more>`, or end processes that hold many files"
        )
    if error.errno == errno.EAGAIN:
        return describe_processes()
    if error.errno == errno.ENOMEM:
        return "the kernel has no memory for another process; free some, or run fewer workers and actors at a time"
    return error.strerror or str(error)


def _open_files() -> str:
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (
        f"the limit of open files of process {os.getpid()}, {soft} (RLIMIT_NOFILE), is reached; raise it with "
        "`ulimit -n <more>` (in containers `--ulimit nofile=<more>`) before it starts, or keep fewer actors, workers "
        "and files open at a time"
    )


def describe_processes() -> str:
    """No process or thread can be started: the smallest limits that count them."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NPROC)
    limits = [f"RLIMIT_NPROC is {soft}"] if soft != resource.RLIM_INFINITY and os.geteuid() != 0 else []
    of_group = cgroup.pids_limit()
    if of_group is not None:
        limits.append(f"pids.max of its control group is {of_group}")
    if not limits:
        limits.append(f"kernel.threads-max is {_read('/proc/sys/kernel/threads-max') or 'unknown'}")
    return (
        f"the limit of processes and threads is reached ({', '.join(limits)}); raise it with `ulimit -u <more>` (in "
        "containers `--pids-limit <more>`), or keep fewer actors, workers and threads at a time"
    )


def _of(number: str) -> str:
    return f", {number}," if number else ""


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
