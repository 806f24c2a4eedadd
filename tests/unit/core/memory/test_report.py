"""What is said of a worker that was ended for want of memory."""

from __future__ import annotations

import pytest

from linckia.base.limits import MIB
from linckia.core.memory.report import ProcessMemory, User, killed, killed_by_kernel, top
from linckia.core.memory.thresholds import Usage, Verdict


def user(pid: int, mib: int, what: str = "worker") -> User:
    return User(pid, what, ProcessMemory(mib * MIB, (mib + 1) * MIB, 7 * MIB))


@pytest.mark.row("7.20", "P15", "P16")
def test_the_reason_names_everything() -> None:
    verdict = Verdict(Usage("the limit of control group /x", 490 * MIB, 512 * MIB), 486 * MIB, 29 * MIB, 0.25)
    text = killed(verdict, "10.0.0.7", user(5, 300, "the worker of task eat"), "it is new", [user(5, 300), user(6, 20)])
    assert text.startswith("NODE_OUT_OF_MEMORY: the worker of task eat (pid 5)")
    for part in (
        "node 10.0.0.7",
        "490.0 MiB of 512.0 MiB",
        "control group /x",
        "486.0 MiB",
        "300.0 MiB (USS)",
        "is new",
    ):
        assert part in text
    assert "USS 300.0 MiB, PSS 301.0 MiB, shared memory 7.0 MiB" in text
    assert text.index("pid 5 ") < text.index("pid 6 ")


def test_the_five_largest_are_shown() -> None:
    lines = top([user(pid, pid) for pid in range(1, 10)]).splitlines()
    assert len(lines) == 6
    assert [int(line.split()[1]) for line in lines[1:]] == [9, 8, 7, 6, 5]


def test_the_kernels_kill_is_called_so() -> None:
    text = killed_by_kernel("10.0.0.7", "the worker of task eat", 5, "control group /x")
    assert text.startswith("NODE_OUT_OF_MEMORY: ")
    assert "kernel's OOM killer" in text
