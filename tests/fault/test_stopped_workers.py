"""A worker that is stopped (SIGSTOP): timeouts stay exact, force works, and one sees that it gives no sign (S12)."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from watching import SCALE, is_gone, stopped, until

import linckia
from linckia import exceptions
from linckia.util import why_pending

pytestmark = [pytest.mark.fault, pytest.mark.row("S12")]
ROUNDS = 3 * SCALE


@linckia.remote
class Sleeper:
    def pid(self) -> int:
        return os.getpid()


@linckia.remote(max_retries=0)
def long(started: Path) -> None:
    scratch = started.with_name(f"{started.name}.new")
    scratch.write_text(str(os.getpid()))
    scratch.rename(started)
    time.sleep(600)  # sleep: the work that is stopped


def _running(tmp_path: Path, number: int) -> tuple[Any, int]:
    path = tmp_path / f"{number}"
    ref = long.remote(path)
    return ref, int(until(lambda: path.exists() and path.read_text()))


@pytest.mark.row("1.25")
def test_a_stopped_worker_does_not_stretch_a_timeout(cluster: Any) -> None:
    sleeper = Sleeper.remote()
    pid = linckia.get(sleeper.pid.remote())
    late_s = []
    with stopped(pid):
        for _ in range(ROUNDS):
            started_s = time.monotonic()
            with pytest.raises(exceptions.GetTimeoutError):
                linckia.get(sleeper.pid.remote(), timeout=0.5)
            late_s.append(time.monotonic() - started_s - 0.5)
            started_s = time.monotonic()
            assert linckia.wait([sleeper.pid.remote()], timeout=0.3)[0] == []
            late_s.append(time.monotonic() - started_s - 0.3)
    print(f"{len(late_s)} timeouts, late by {max(late_s) * 1000:.1f} ms at most")
    assert min(late_s) >= 0
    assert max(late_s) < 0.05, "exact to 50 ms"
    assert linckia.get(sleeper.pid.remote(), timeout=10) == pid


@pytest.mark.row("4.25")
def test_a_forced_cancel_ends_a_stopped_worker(cluster: Any, tmp_path: Path) -> None:
    took_s = []
    for number in range(ROUNDS):
        ref, pid = _running(tmp_path, number)
        with stopped(pid):
            started_s = time.monotonic()
            linckia.cancel(ref, force=True)
            with pytest.raises((exceptions.TaskCancelledError, exceptions.WorkerCrashedError)):
                linckia.get(ref, timeout=5)
            took_s.append(time.monotonic() - started_s)
            until(lambda pid=pid: is_gone(pid), 1.0, "the end of the stopped process")
        until(lambda: linckia.available_resources().get("CPU") == 2)
    print(f"{ROUNDS} forced cancels of stopped workers, slowest {max(took_s):.3f} s")
    assert max(took_s) < 1.0


@pytest.mark.row("P38a")
def test_why_pending_tells_a_stopped_worker_from_one_that_works(cluster: Any, tmp_path: Path) -> None:
    ref, pid = _running(tmp_path, 0)
    assert why_pending(ref).kind == "running"
    with stopped(pid):
        reason = why_pending(ref)
        assert reason.kind == "stalled"
        assert "long" in reason.text
        assert "has not answered" in reason.text
    assert why_pending(ref).kind == "running"
    linckia.cancel(ref, force=True)


@pytest.mark.row("P38a")
def test_why_pending_tells_a_stopped_actor(cluster: Any) -> None:
    sleeper = Sleeper.remote()
    pid = linckia.get(sleeper.pid.remote())
    with stopped(pid):
        ref = sleeper.pid.remote()
        assert why_pending(ref).kind == "stalled"
    assert linckia.get(ref, timeout=10) == pid
