"""One chaos run: start the cluster and the driver, do the faults, end everything, and say what was seen."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

import linckia
from linckia.testing.chaos import schedule
from linckia.testing.chaos.attached import FoundGround
from linckia.testing.chaos.busy_faults import BusyFaults
from linckia.testing.chaos.clock_faults import ClockFaults
from linckia.testing.chaos.disk_faults import DiskFaults, StoreDisk
from linckia.testing.chaos.driver import End
from linckia.testing.chaos.ground import Ground, GroundError, OwnGround, Size
from linckia.testing.chaos.history import CLASSES, SPILLING, Execution, Op, read_ledger, read_ops
from linckia.testing.chaos.injecting import Injector
from linckia.testing.chaos.network_faults import NetworkFaults
from linckia.testing.chaos.process_faults import ProcessFaults
from linckia.testing.chaos.results import Result, Seen, summarise
from linckia.testing.chaos.schedule import Plan
from linckia.testing.chaos.stale_faults import StaleFaults

DRIVER_START_S = 60.0
DRIVER_END_S = 180.0


def run(
    plan: Plan, cluster: Size | str, say: Callable[[str], None], command: str = "", logs: Path | None = None
) -> Result:
    """``cluster``: what is started, or the address of one that runs. ``logs``: where the logs of what was started are
    put at the end. GroundError when it, or the driver, cannot be started.
    """
    with tempfile.TemporaryDirectory(prefix="lkc-", ignore_cleanup_errors=True) as name:
        return _run(plan, cluster, say, command, Path(name), logs)


def _run(
    plan: Plan, cluster: Size | str, say: Callable[[str], None], command: str, folder: Path, logs: Path | None
) -> Result:
    load_before = os.getloadavg()
    ground = _ground(cluster, folder, say)
    driver: subprocess.Popen[str] | None = None
    injector = injector_for(ground, say)
    try:
        more = [SPILLING] if "full-spill" in plan.kinds else []
        driver = start_driver(ground, folder, [*(plan.classes or CLASSES), *more])
        faults = schedule.draw(plan)
        say(f"{len(faults)} faults in {plan.for_s:g} s, seed {plan.seed}")
        began_ns = time.monotonic_ns()
        injector.run(faults, plan.for_s)
        ended_ns = time.monotonic_ns()
        say("the load ends; looking for what was acknowledged")
        _end_driver(driver)
        leader = ground.leader(5.0)
        if leader is not None:
            injector.epochs.append(leader["epoch"])
        stale, dead_nodes = injector.find_stale(), ground.dead_nodes()
        kernel_kills = ground.places.kernel_kills() if isinstance(ground, OwnGround) else None
    finally:
        injector.close()
        if driver is not None and driver.poll() is None:
            driver.kill()
            driver.wait()
        if logs is not None:
            _keep_logs(folder, logs)
        ground.close()
    left = ground.leftovers()
    ops, ledger, end = _read(folder)
    facts = msgspec.structs.asdict(plan) | _described(cluster, ground) | described_machine(load_before)
    seen = Seen(
        injector.deeds,
        injector.skipped,
        injector.epochs,
        len(left),
        end.missing,
        end.quiet_s,
        troubles=injector.troubles,
        stale=stale,
        dead_nodes=dead_nodes,
        kernel_kills=kernel_kills,
    )
    return summarise(facts | {"command": command}, ops, ledger, seen, (began_ns, ended_ns))


def _ground(cluster: Size | str, folder: Path, say: Callable[[str], None]) -> Ground:
    if isinstance(cluster, str):
        found = FoundGround(cluster)
        say(f"{len(found.local)} nodes of {cluster} are on this machine, {len(found.workers)} may be hurt")
        return found
    say(f"starting {cluster.heads} heads and {cluster.nodes} nodes on {cluster.store}")
    return OwnGround(folder, cluster)


def injector_for(ground: Ground, say: Callable[[str], None]) -> Injector:
    """With all that can be done there."""
    injector = Injector(ground, say)
    injector.kinds |= ProcessFaults(injector).kinds() | StoreDisk(injector).kinds() | BusyFaults(injector).kinds()
    if isinstance(ground, OwnGround):
        injector.kinds |= DiskFaults(injector, ground).kinds()
        if ground.places.network is not None:
            injector.kinds |= NetworkFaults(injector, ground, ground.places.network).kinds()
        if ground.places.clocks:
            injector.kinds |= ClockFaults(injector, ground).kinds()
        stale = StaleFaults(injector, ground)
        injector.kinds |= stale.kinds()
        injector.find_stale = stale.found
    return injector


def _described(cluster: Size | str, ground: Ground) -> dict[str, object]:
    if isinstance(ground, FoundGround):
        cpus = "/".join(f"{node.cpus:g}" for node in ground.local)
        return {"store": f"the cluster {cluster}", "heads": ground.heads, "nodes": len(ground.local), "cpus": cpus}
    assert isinstance(cluster, Size)
    return cluster._asdict()


def described_machine(load_before: tuple[float, float, float]) -> dict[str, object]:
    """Version, cores and load: what figures are worth."""
    return {
        "version": linckia.__version__,
        "load average": f"{load_before[0]:.1f} before, {os.getloadavg()[0]:.1f} after",
        "cores": os.cpu_count() or 0,
    }


def start_driver(ground: Ground, folder: Path, classes: Sequence[str]) -> subprocess.Popen[str]:
    """It loads the cluster until its standard input ends. GroundError."""
    module = [sys.executable, "-m", "linckia.testing.chaos.driver"]
    words = [*module, ground.endpoint, str(folder), ",".join(classes)]
    log = (folder / "driver.log").open("w")
    with log, ground.driver_place():
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
    if driver.stdout is not None:
        driver.stdout.close()


def _keep_logs(folder: Path, to: Path) -> None:
    """Of every process that logged under ``folder``, and what the driver saw: where they were, below ``to``."""
    for found in [*folder.rglob("*.log"), folder / "history", folder / "ledger"]:
        if found.is_file() and not found.is_symlink():
            target = to / found.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(found, target)


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
