"""`linckia chaos judge`: runs the experiments of ``questions`` and collects the answers."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import msgspec

import linckia
from linckia.testing.chaos import places, schedule
from linckia.testing.chaos.ground import Size
from linckia.testing.chaos.questions import QUESTIONS, Answer, answer, experiments
from linckia.testing.chaos.runner import run

NODES, CPUS = 2, 3


def judge(store: str, only: Sequence[int], say: Callable[[str], None]) -> list[Answer]:
    """All questions, or those in ``only``, in order of number. GroundError when the cluster cannot be started."""
    wanted = set(only) or set(QUESTIONS)
    found: list[Answer] = []
    impossible = places.impossible()
    for experiment in experiments(store):
        numbers = [number for number in experiment.answers if number in wanted]
        kinds = experiment.plan.kinds
        if why := next((impossible[kind] for kind in kinds if kind in impossible), ""):
            found += [Answer(number, QUESTIONS[number], store, "not run", why) for number in numbers]
            continue
        if not numbers:
            continue
        result = run(experiment.plan, Size(store, NODES, 3 if store == "etcd" else 1, CPUS, schedule.needs(kinds)), say)
        for number in numbers:
            found.append(answer(number, store, result))
            say(f"{number}. {found[-1].question} {found[-1].verdict}: {found[-1].said}")
    return sorted(found, key=lambda each: each.number)


def as_json(answers: Sequence[Answer]) -> str:
    """A list."""
    return msgspec.json.format(msgspec.json.encode(list(answers))).decode()


def as_markdown(answers: Sequence[Answer]) -> str:
    """A table, below where and when it was asked: busy machines are slower."""
    load = " ".join(f"{each:.1f}" for each in os.getloadavg())
    head = f"`linckia chaos judge`, Linckia {linckia.__version__}, {os.cpu_count()} cores, load average {load}"
    rows = [
        "# Judged",
        "",
        f"{head}.",
        "",
        "| # | question | store | verdict | seen |",
        "| --- | --- | --- | --- | --- |",
    ]
    rows += [
        f"| {each.number} | {each.question} | {each.store} | **{each.verdict}** | {each.said} |" for each in answers
    ]
    return "\n".join(rows) + "\n"
