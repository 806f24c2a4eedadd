"""`linckia chaos`: arguments to a plan, a run, a report. Called by cli/main.py; the work is in `testing.chaos`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import msgspec
import typer

from linckia.testing.chaos import judging, places, reporting, schedule
from linckia.testing.chaos.ground import GroundError, Size
from linckia.testing.chaos.runner import run as run_chaos
from linckia.testing.chaos.schedule import Plan

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(text: str) -> float:
    """`60s`, `500ms`, `2m`, `1h`, or seconds. typer.BadParameter."""
    unit = next((unit for unit in sorted(UNITS, key=len, reverse=True) if text.endswith(unit)), "")
    try:
        value = float(text.removesuffix(unit)) * UNITS.get(unit, 1.0)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e6:
        raise typer.BadParameter(f"{text!r} is no time: give 60s, 500ms or 2m")
    return value


def size(store: str, nodes: int, heads: int, cpus: int) -> Size:
    """What is started. ``heads`` 0: three where there can be several."""
    return Size(store, nodes, heads or (3 if store == "etcd" else 1), cpus)


def plan(seed: int, for_: str, every: str, lasts: str, load: str = "") -> Plan:
    """Without kinds of faults yet. typer.BadParameter."""
    lasts_s = seconds(lasts) if lasts else 0.0
    try:
        classes = schedule.classes_of(load)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    return Plan(seed, seconds(for_), seconds(every), (), lasts_s=lasts_s, classes=classes)


def run(wanted: Plan, faults: str, cluster: Size | str, report: str, form: str, logs: str = "") -> int:
    """``cluster``: what to start, or the address of one that runs. ``logs``: a folder to put them.

    Exit code: 1 when something was lost or done twice, 2 when it could not be run.
    """
    impossible = places.impossible()
    if isinstance(cluster, str):
        impossible |= dict.fromkeys(schedule.not_for_found(), "the cluster was not started by this command")
    try:
        kinds = schedule.kinds_of(faults, isinstance(cluster, str) or cluster.store == "etcd", impossible)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    wanted = msgspec.structs.replace(wanted, kinds=kinds)
    if isinstance(cluster, Size):
        cluster = cluster._replace(needs=schedule.needs(kinds))
    command = shlex.join(["linckia", *sys.argv[1:]])
    try:
        result = run_chaos(wanted, cluster, _say, command, Path(logs) if logs else None)
    except GroundError as error:
        typer.echo(f"linckia: {error}", err=True)
        return 2
    text = reporting.as_json(result) if form == "json" else reporting.as_markdown(result)
    _write(text, report)
    _say(reporting.verdict(result))
    return 0 if result.good else 1


def judge(stores: str, only: str, report: str, form: str) -> int:
    """Exit code: 1 when an answer is not as promised."""
    numbers = [int(word) for word in only.split(",") if word.strip().isdigit()]
    answers = []
    for store in filter(None, stores.split(",")):
        try:
            answers += judging.judge(store, numbers, _say)
        except GroundError as error:
            typer.echo(f"linckia: {error}", err=True)
            return 2
    _write(judging.as_json(answers) if form == "json" else judging.as_markdown(answers), report)
    return 0 if all(answer.verdict != "broken" for answer in answers) else 1


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _write(text: str, path: str) -> None:
    if path:
        Path(path).write_text(text, encoding="utf-8")
        _say(f"written to {path}")
    else:
        typer.echo(text)
