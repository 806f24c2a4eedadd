"""Memory runs out again and again in a control group of 256 MiB: who is ended, and does the node live? (S 25)

``python -m linckia.testing.chaos.oom --runs 200``: the parent makes the group and counts what the kernel ended in it;
a driver in the group runs hungry tasks beside good ones, in turns of one, several and an actor. Exit code 1 when the
node process or its zygote ended, or an answer was wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

import linckia
from linckia.host import process, session
from linckia.testing.chaos.availability import spread
from linckia.testing.chaos.family import living
from linckia.testing.memory_group import MemoryGroup, why_not

LIMIT_BYTES, STORE_BYTES = 256 << 20, 80 << 20
SETTINGS = {"RAY_memory_usage_threshold": "0.75", "RAY_task_oom_retry_delay_base_ms": "100"}
"""Early enough for a slow machine: the kernel must have nothing to do."""
SAID = "NODE_OUT_OF_MEMORY: the worker of "
ANSWER_MAX_S = 120.0
SHAPES = {"one": 1, "many": 3, "actor": 1}
GOOD = 2


class Found(msgspec.Struct):
    """Of all runs."""

    runs: int = 0
    wrong: int = 0
    """Answers that were not as they should be, or none in time."""
    good_ended: int = 0
    """Good tasks that had to run again, although a hungry one was there."""
    ended: dict[str, int] = {}
    """By what the node's log says: whose worker it ended."""
    took_s: list[float] = []
    system_ended: int = 0
    """Of the node process and its zygote, how many did not live to the end."""


def eat() -> None:
    """400 MiB, at a pace: more than there is."""
    held = []
    for _ in range(200):
        held.append(bytearray(b"x") * (2 << 20))
        time.sleep(0.01)


def attempt(folder: Path, name: str) -> int:
    """Which one this is, from 1; written down before anything else."""
    path = folder / name
    with path.open("a") as file:
        file.write("+")
    return path.stat().st_size


@linckia.remote(num_cpus=0.5, max_retries=-1)
def good(folder: Path, name: str) -> int:
    """Holds a little until the run is over."""
    mine = bytearray(b"x") * (4 << 20)
    number = attempt(folder, name)
    while not (folder / "over").exists():
        time.sleep(0.02)
    return number if mine else 0


@linckia.remote(num_cpus=0.5, max_retries=-1)
def hungry(folder: Path, name: str) -> str:
    """Eats at its first attempt."""
    if attempt(folder, name) == 1:
        eat()
    return name


class Eater:
    """The same as an actor."""

    def work(self, folder: Path, name: str) -> str:
        """Eats at its first attempt."""
        if attempt(folder, name) == 1:
            eat()
        return name


def drive(folder: Path, runs: int) -> Found:
    """In the group; what was seen."""
    os.environ.update(SETTINGS)
    context: Any = linckia.init(address="local", num_cpus=4, object_store_memory=STORE_BYTES, log_to_driver=False)
    log = Path(context.address_info["session_dir"], "logs", "node.log")
    node_pid = int(session.read_facts(context.address_info["session_dir"])["pid"])
    system = [(pid, process.process_start_time(pid)) for pid in (node_pid, *process.children_of(node_pid))]
    found = Found()
    for number in range(runs):
        shape = list(SHAPES)[number % len(SHAPES)]
        began_s = time.monotonic()
        _one(folder / str(number), shape, found)
        found.runs += 1
        found.took_s.append(time.monotonic() - began_s)
    text = log.read_text(errors="replace")
    found.ended = dict(
        Counter(line.partition(SAID)[2].split(" (")[0][:40] for line in text.splitlines() if SAID in line)
    )
    found.system_ended = len(system) - len(living(system))
    linckia.shutdown()
    return found


def _one(folder: Path, shape: str, found: Found) -> None:
    folder.mkdir()
    quiet = [good.remote(folder, f"good{number}") for number in range(GOOD)]
    while len(list(folder.glob("good*"))) < GOOD:
        time.sleep(0.01)
    names = [f"hungry{number}" for number in range(SHAPES[shape])]
    actor: Any = None
    if shape == "actor":
        actor = linckia.remote(num_cpus=0.5, max_restarts=-1, max_task_retries=-1)(Eater).remote()
        refs = [actor.work.remote(folder, name) for name in names]
    else:
        refs = [hungry.remote(folder, name) for name in names]
    try:
        found.wrong += linckia.get(refs, timeout=ANSWER_MAX_S) != names
        (folder / "over").touch()
        found.good_ended += sum(times > 1 for times in linckia.get(quiet, timeout=ANSWER_MAX_S))
    except linckia.exceptions.RayError as error:
        found.wrong += 1
        print(f"{shape}: {type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201 - a program
    finally:
        (folder / "over").touch()
        if actor is not None:
            linckia.kill(actor)


def as_markdown(found: Found, kernel_kills: int) -> str:
    """The report."""
    command = " ".join(["python -m linckia.testing.chaos.oom", *sys.argv[1:]])
    load = " ".join(f"{each:.1f}" for each in os.getloadavg())
    verdict = "good" if is_good(found) else "BAD"
    counts = f"{found.runs} runs; node processes ended {found.system_ended}; wrong answers {found.wrong}"
    ground = f"One node of 4 CPUs in a control group of {LIMIT_BYTES >> 20} MiB. In turns one hungry task, three,"
    took = f"Seconds per run (min / median / p99 / max): {spread(found.took_s).text()}."
    by_kernel = kernel_kills - found.system_ended
    quicker = f"Workers that the kernel ended, because they were quicker than the node: {by_kernel}."
    lines = [
        "# Memory that runs out",
        f"`{command}`, Linckia {linckia.__version__}, {os.cpu_count()} cores, load average {load}.",
        f"**{verdict}: {counts}**",
        f"{ground} and an actor, each beside {GOOD} good tasks. All may run again.",
        "Whose workers the node ended:",
        "\n".join(f"* {who}: {count} times" for who, count in sorted(found.ended.items())),
        f"{quicker} Good tasks that had to run again: {found.good_ended}. {took}",
    ]
    return "\n\n".join(lines) + "\n"


def is_good(found: Found) -> bool:
    """Nothing but workers was ended, and all work was done."""
    return not (found.wrong or found.system_ended)


def main() -> int:
    """The parent, or with --folder the driver."""
    parser = argparse.ArgumentParser(description="Memory runs out again and again; who is ended?")
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--report", default="")
    parser.add_argument("--folder", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.folder:
        Path(given.folder, "found.json").write_bytes(msgspec.json.encode(drive(Path(given.folder), given.runs)))
        return 0
    if why := why_not():
        parser.exit(2, f"{why}\n")
    group = MemoryGroup(LIMIT_BYTES)
    try:
        with tempfile.TemporaryDirectory(prefix="lkm-") as folder:
            command = [sys.executable, "-m", "linckia.testing.chaos.oom", "--runs", str(given.runs), "--folder", folder]
            with group.inside():
                driver = subprocess.Popen(command)
            driver.wait()
            found = msgspec.convert(json.loads(Path(folder, "found.json").read_text()), Found)
        kernel_kills = group.kernel_kills()
    finally:
        group.remove()
    text = as_markdown(found, kernel_kills)
    print(text)  # noqa: T201 - a program
    if given.report:
        Path(given.report).write_text(text, encoding="utf-8")
    return 0 if is_good(found) else 1


if __name__ == "__main__":
    sys.exit(main())
