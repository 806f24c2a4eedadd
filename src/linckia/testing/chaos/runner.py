"""One chaos run: start the cluster and the driver, do the faults, end everything, and say what was seen."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

import linckia
from linckia.testing.chaos import schedule
from linckia.testing.chaos.driver import End
from linckia.testing.chaos.ground import Ground, GroundError, Size
from linckia.testing.chaos.history import Execution, Op, read_ledger, read_ops
from linckia.testing.chaos.injecting import Injector
from linckia.testing.chaos.results import Result, Seen, summarise
from linckia.testing.chaos.schedule import Plan

DRIVER_START_S = 60.0
DRIVER_END_S = 180.0


def run(plan: Plan, size: Size, say: Callable[[str], None], command: str = "") -> Result:
    """GroundError when the cluster or the driver cannot be started."""
    with tempfile.TemporaryDirectory(prefix="lkc-", ignore_cleanup_errors=True) as name:
        return _run(plan, size, say, command, Path(name))


def _run(plan: Plan, size: Size, say: Callable[[str], None], command: str, folder: Path) -> Result:
    load_before = os.getloadavg()
    say(f"starting {size.heads} heads and {size.nodes} nodes on {size.store}")
    ground = Ground(folder, size)
    driver: subprocess.Popen[str] | None = None
    try:
        driver = _start_driver(ground, folder)
        faults = schedule.draw(plan)
        say(f"{len(faults)} faults in {plan.for_s:g} s, seed {plan.seed}")
        injector = Injector(ground, say)
        began_ns = time.monotonic_ns()
        injector.run(faults, plan.for_s)
        ended_ns = time.monotonic_ns()
        say("the load ends; looking for what was acknowledged")
        _end_driver(driver)
        leader = ground.leader(5.0)
        if leader is not None:
            injector.epochs.append(leader["epoch"])
    finally:
        if driver is not None and driver.poll() is None:
            driver.kill()
        ground.close()
    left = ground.leftovers()
    ops, ledger, end = _read(folder)
    facts = (
        msgspec.structs.asdict(plan)
        | size._asdict()
        | {
            "command": command,
            "version": linckia.__version__,
            "load average": f"{load_before[0]:.1f} before, {os.getloadavg()[0]:.1f} after",
            "cores": os.cpu_count() or 0,
        }
    )
    seen = Seen(injector.deeds, injector.skipped, injector.epochs, len(left), end.missing, end.quiet_s)
    return summarise(facts, ops, ledger, seen, (began_ns, ended_ns))


def _start_driver(ground: Ground, folder: Path) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "linckia.testing.chaos.driver", ground.homes[0].endpoint, str(folder)]
    log = (folder / "driver.log").open("w")
    with log:
        driver = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
    if driver.stdout is None or driver.stdout.readline().strip() != "ready":
        driver.kill()
        raise GroundError(f"the driver did not begin:\n{(folder / 'driver.log').read_text()[-2000:]}")
    return driver


def _end_driver(driver: subprocess.Popen[str]) -> None:
    if driver.stdin is not None:
        driver.stdin.close()
    try:
        driver.wait(DRIVER_END_S)
    except subprocess.TimeoutExpired:
        driver.kill()
        driver.wait()


def _read(folder: Path) -> tuple[list[Op], list[Execution], End]:
    with (folder / "history").open() as file:
        ops = read_ops(file)
    with (folder / "ledger").open() as file:
        ledger = read_ledger(file)
    try:
        end = msgspec.json.decode((folder / "end.json").read_bytes(), type=End)
    except FileNotFoundError:
        said = (folder / "driver.log").read_text()[-1000:]
        end = End([f"end 0 (the driver did not come to its end: {said})"])
    return ops, ledger, end
