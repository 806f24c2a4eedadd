"""`python -m bench`: run Linckia, its peers and the physical limits in turn, print tables, write RESULTS.md."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.engines import Engine, Interpreter, Run, choose, plan
from bench.figures import FIGURES, OURS, Figure, needed_steps, select, summarize
from bench.machine import facts, load, versions
from bench.measure import Timing
from bench.peers_venv import PeersUnavailableError, peers_python
from bench.records import Failure, Record, Value, failures, samples
from bench.report import (
    count_text,
    document,
    failure_text,
    figure_table,
    markdown,
    spread_table,
    target_table,
    verdicts,
)
from bench.runner import ROOT, Runner

QUICK = Timing(seconds=0.25, settle_s=0.5, growth_tasks=100_000, repeats=2, scale=0.1)
ROUNDS = 3
RESULTS = ROOT / "bench" / "RESULTS.md"


@dataclass(frozen=True)
class Job:
    """What the command line asks for."""

    engines: tuple[Engine, ...]
    figures: tuple[Figure, ...]
    runs: tuple[Run, ...]
    timing: Timing
    is_write: bool


def say(text: str) -> None:
    """Tell the person who waits; the tables alone go to standard output."""
    print(text, file=sys.stderr, flush=True)


def positive(text: str) -> float:
    """Read a number above zero."""
    if (value := float(text)) <= 0:
        raise argparse.ArgumentTypeError(f"expected more than 0, found {text}")
    return value


def positive_count(text: str) -> int:
    """Read a whole number above zero."""
    return int(positive(str(int(text))))


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    described = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    groups = list(dict.fromkeys(figure.group for figure in FIGURES))
    described.add_argument(
        "group", nargs="?", default="", choices=["", *groups], metavar="GROUP", help=f"one of {', '.join(groups)}"
    )
    described.add_argument("--quick", action="store_true", help="one short round, no growth figures: a smoke test")
    described.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="figures whose id or title has NAME"
    )
    described.add_argument("--engines", default="", metavar="A,B", help="engines to run; default all")
    described.add_argument(
        "--rounds", type=positive_count, help=f"rounds over all engines; default {ROUNDS}, 1 with --quick"
    )
    described.add_argument("--seconds", type=positive, help="how long each rate is measured per round; default 1")
    described.add_argument(
        "--long", action="store_true", help="with --quick or --engines: growth figures too, of every engine"
    )
    described.add_argument("--growth-tasks", type=positive_count, help="tasks of the growth figures; default 1,000,000")
    described.add_argument("--scale", type=positive, help="share of the cluster figures' sizes; 1, or 0.1 with --quick")
    described.add_argument("--write", action="store_true", help=f"store the page in {RESULTS.relative_to(ROOT)}")
    return described


def job_of(options: argparse.Namespace) -> Job:
    """Make a job of the parsed options. Raises ValueError for names that do not exist."""
    base = QUICK if options.quick else Timing()
    timing = Timing(
        seconds=options.seconds or base.seconds,
        settle_s=base.settle_s,
        growth_tasks=options.growth_tasks or base.growth_tasks,
        repeats=base.repeats,
        scale=options.scale or base.scale,
    )
    engines = choose([name for name in options.engines.split(",") if name])
    figures = select(options.only, options.group)
    rounds = options.rounds or (1 if options.quick else ROUNDS)
    if options.long:
        long = frozenset(engine.name for engine in engines)
    else:
        long = frozenset() if options.quick else frozenset({OURS})
    runs = plan(engines, rounds, needed_steps(figures), long)
    return Job(engines, figures, tuple(runs), timing, options.write)


def interpreters(engines: Sequence[Engine]) -> tuple[dict[str, str], list[Failure]]:
    """Return the Python of every engine; engines whose environment cannot be made become failures."""
    pythons = {engine.name: sys.executable for engine in engines if engine.interpreter is Interpreter.OWN}
    guests = [engine.name for engine in engines if engine.interpreter is Interpreter.PEERS]
    if not guests:
        return pythons, []
    try:
        python = peers_python(ROOT, say)
    except PeersUnavailableError as error:
        return pythons, [Failure(name, 0, "environment", str(error)) for name in guests]
    return pythons | dict.fromkeys(guests, python), []


def execute(job: Job, pythons: dict[str, str]) -> list[Record]:
    """Run the plan and say how it goes."""
    runner = Runner(pythons, job.timing)
    records: list[Record] = []
    runs = [run for run in job.runs if run.engine.name in pythons]
    for number, run in enumerate(runs, start=1):
        start = time.monotonic()
        found = list(runner.run(run))
        records += found
        failed = sum(isinstance(record, Failure) for record in found)
        kind = "growth" if run.is_long else f"round {run.round}"
        if run.is_cluster:
            kind += f", {' '.join(run.steps)}"
        outcome = f"{sum(isinstance(record, Value) for record in found)} figures" + (
            f", {failed} FAILED" if failed else ""
        )
        say(f"[{number}/{len(runs)}] {run.engine.title}, {kind}: {outcome}, {time.monotonic() - start:.1f} s")
    return records


def describe(job: Job, pythons: dict[str, str]) -> dict[str, str]:
    """Return the facts about the run, versions included."""
    found = facts()
    found["command"] = shlex.join(["python", "-m", "bench", *sys.argv[1:]])
    for python in dict.fromkeys(pythons.values()):
        names = [e.distribution for e in job.engines if e.distribution and pythons.get(e.name) == python]
        title = "peers' environment" if python != sys.executable else "own environment"
        found[title] = ", ".join(f"{name} {version}" for name, version in versions(python, [*names, "numpy"]).items())
    found["measured"] = (
        f"{job.timing.seconds:g} s per rate and round, growth with {job.timing.growth_tasks:,} tasks, "
        f"clusters at {job.timing.scale:g} of full size, "
        f"each engine in a process of its own per round, engines in turn"
    )
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench. Exit code 1 when an engine failed to give a figure; a missed target is a result, not a failure."""
    try:
        job = job_of(parser().parse_args(arguments))
    except ValueError as error:
        say(f"python -m bench: {error}")
        return 2
    os.environ.pop("PYTHONSTARTUP", None)
    pythons, missing = interpreters(job.engines)
    described = describe(job, pythons)
    records = [*missing, *execute(job, pythons)]
    described["load after"] = load()
    medians = summarize(samples(records))
    judged = verdicts(job.figures, medians)
    failed = failures(records)
    compared = (
        FIGURES
        if job.figures == FIGURES
        else [f for f in FIGURES if f in job.figures or f.step in needed_steps(job.figures)]
    )
    tables = {
        "Medians": "In brackets: how many times better Linckia is.\n\n"
        + markdown(figure_table(compared, job.engines, medians)),
        f"Targets: {count_text(judged)}": markdown(target_table(judged)),
        "Could not be measured": failure_text(failed),
    }
    for title, text in tables.items():
        if text:
            print(f"\n{title}\n\n{text}")
    if job.is_write:
        tables["Spread over the rounds"] = markdown(spread_table(compared, job.engines, medians))
        RESULTS.write_text(document(described, tables, records), encoding="utf-8")
        say(f"wrote {RESULTS}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
