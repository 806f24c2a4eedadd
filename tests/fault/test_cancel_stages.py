"""Cancel in every stage of a task's life, again and again: how long it takes, and whether leases come back (S34).

Forced cancels must be through within a second; polite ones where the work can hear them. Prints its counts.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from watching import SCALE, is_gone, until

import linckia
from linckia import exceptions

pytestmark = [pytest.mark.fault, pytest.mark.row("S34", "P33")]
ROUNDS = 3 * SCALE
BOUND_S = 1.0


@linckia.remote
def python_loop(started: Path) -> None:
    _note(started)
    while True:
        pass


@linckia.remote
def sleeping(started: Path) -> None:
    _note(started)
    time.sleep(600)  # sleep: the work to cancel


@linckia.remote
def deaf(started: Path) -> None:
    _note(started)
    while True:
        try:
            time.sleep(600)  # sleep: the work that swallows interrupts
        except KeyboardInterrupt:
            continue


@linckia.remote
def in_c(started: Path) -> int:
    _note(started)
    return len(str(pow(7, 30_000_000)))  # minutes inside one call of C that looks at no signal


@linckia.remote(num_cpus=0.25)
def tree(started: Path, depth: int) -> Any:
    """Each level waits for the next; the deepest one sleeps."""
    if depth:
        return linckia.get(tree.remote(started, depth - 1))
    _note(started)
    time.sleep(600)  # sleep: the work to cancel
    return None


@linckia.remote(num_cpus=0)
class Asynchronous:
    async def wait(self, started: Path) -> None:
        _note(started)
        await asyncio.sleep(600)  # sleep: the work to cancel


def _note(path: Path) -> None:
    scratch = path.with_name(f"{path.name}.new")
    scratch.write_text(str(os.getpid()))
    scratch.rename(path)


def _pid(path: Path) -> int:
    return int(until(lambda: path.exists() and path.read_text(), 20.0, f"{path.name} running"))


STAGES: dict[str, tuple[Callable[[Path], Any], bool]] = {
    "running Python": (lambda path: python_loop.remote(path), False),
    "running Python, forced": (lambda path: python_loop.remote(path), True),
    "sleeping": (lambda path: sleeping.remote(path), False),
    "sleeping, forced": (lambda path: sleeping.remote(path), True),
    "swallows interrupts, forced": (lambda path: deaf.remote(path), True),
    "C call, forced": (lambda path: in_c.remote(path), True),
    "child tree": (lambda path: tree.remote(path, 2), False),
    "child tree, forced": (lambda path: tree.remote(path, 2), True),
}


def _cancelled(ref: Any, *, force: bool) -> float:
    began_s = time.monotonic()
    linckia.cancel(ref, force=force)
    with pytest.raises((exceptions.TaskCancelledError, exceptions.WorkerCrashedError)):
        linckia.get(ref, timeout=10)
    return time.monotonic() - began_s


def _everything_is_back() -> None:
    until(lambda: linckia.available_resources().get("CPU") == 2, 5.0, "all leases back")


@pytest.mark.timeout(120 * max(1, SCALE // 10))
@pytest.mark.parametrize("stage", STAGES)
def test_a_cancel_is_through_within_a_second_and_leaks_no_lease(cluster: Any, tmp_path: Path, stage: str) -> None:
    start, force = STAGES[stage]
    took_s = []
    for number in range(ROUNDS):
        path = tmp_path / f"{number}"
        ref = start(path)
        pid = _pid(path)
        took_s.append(_cancelled(ref, force=force))
        if force:
            until(lambda pid=pid: is_gone(pid), BOUND_S, "the end of the process that ran it")
        _everything_is_back()
    print(f"{stage}: {ROUNDS} cancels, slowest {max(took_s):.3f} s, 0 leases left")
    assert max(took_s) < BOUND_S


@pytest.mark.parametrize("force", [False, True])
def test_queued_tasks_are_cancelled_at_once_and_never_run(cluster: Any, tmp_path: Path, force: bool) -> None:
    took_s = []
    for number in range(ROUNDS):
        holders = [sleeping.remote(tmp_path / f"holder{number}.{index}") for index in range(2)]
        for index in range(2):
            _pid(tmp_path / f"holder{number}.{index}")
        queued = [sleeping.remote(tmp_path / f"queued{number}.{index}") for index in range(20)]
        took_s += [_cancelled(ref, force=force) for ref in queued]
        for holder in holders:
            linckia.cancel(holder, force=True)
        _everything_is_back()
    assert not list(tmp_path.glob("queued*"))
    print(f"queued, force={force}: {len(took_s)} cancels, slowest {max(took_s):.3f} s")
    assert max(took_s) < BOUND_S


def test_a_call_of_an_asynchronous_actor_is_cancelled_and_the_actor_lives(cluster: Any, tmp_path: Path) -> None:
    actor, took_s, pids = Asynchronous.remote(), [], set()
    for number in range(ROUNDS):
        ref = actor.wait.remote(tmp_path / f"{number}")
        pids.add(_pid(tmp_path / f"{number}"))
        took_s.append(_cancelled(ref, force=False))
    print(f"asynchronous actor: {ROUNDS} cancels, slowest {max(took_s):.3f} s")
    assert max(took_s) < BOUND_S
    assert len(pids) == 1, "the actor's process is the same"
    linckia.kill(actor)
    _everything_is_back()
