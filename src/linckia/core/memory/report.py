"""What owners, drivers and the log are told when a worker is ended for want of memory.

The text names node, limit, threshold, the victim with what its end frees, why it was chosen, and who uses most. Private
memory (USS), proportional (PSS) and shared memory stand apart and are never summed (P 15).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from linckia.base.limits import MIB
from linckia.core.memory.thresholds import Verdict

OUT_OF_MEMORY = "NODE_OUT_OF_MEMORY"
"""The exit type, at the beginning of every such reason."""
TOP_USERS = 5


class ProcessMemory(NamedTuple):
    """``private_bytes`` (USS) is what its end frees; ``shared_bytes`` is of the object store and the like."""

    private_bytes: int
    proportional_bytes: int
    shared_bytes: int


class User(NamedTuple):
    """A process of the node and its memory."""

    pid: int
    what: str
    memory: ProcessMemory


def killed(verdict: Verdict, node_ip: str, victim: User, why: str, users: Sequence[User]) -> str:
    """The reason of a worker that the node ended. ``users`` are the largest processes of the node, the victim too."""
    usage = verdict.usage
    return (
        f"{OUT_OF_MEMORY}: {victim.what} (pid {victim.pid}) was ended because node {node_ip} was running out of "
        f"memory: {size(usage.used_bytes)} of {size(usage.limit_bytes)} ({usage.where}) were used, the threshold is "
        f"{size(verdict.threshold_bytes)}. Its end frees {size(victim.memory.private_bytes)} (USS). "
        f"It was chosen because {why}.\n{top(users)}"
    )


def killed_by_kernel(node_ip: str, what: str, pid: int, where: str) -> str:
    """The reason of a worker that the kernel ended first."""
    return (
        f"{OUT_OF_MEMORY}: {what} (pid {pid}) was ended by the kernel's OOM killer on node {node_ip}: {where} was "
        "used up before the node could end a worker itself"
    )


def top(users: Sequence[User]) -> str:
    """The largest, one a line."""
    largest = sorted(users, key=lambda user: (-user.memory.private_bytes, user.pid))[:TOP_USERS]
    lines = [
        f"  pid {user.pid:<8} USS {size(user.memory.private_bytes)}, PSS {size(user.memory.proportional_bytes)}, "
        f"shared memory {size(user.memory.shared_bytes)}  {user.what}"
        for user in largest
    ]
    return "\n".join([f"The {len(largest)} largest processes of this node:", *lines])


def size(count: int) -> str:
    """Bytes in MiB."""
    return f"{count / MIB:,.1f} MiB"
