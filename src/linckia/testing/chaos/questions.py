"""The questions of docs/consistency.md that an experiment on one machine answers, and the rule for each verdict. Pure.

An experiment is a chaos run; one run may answer several questions. Questions without an experiment here say where they
are answered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from linckia.testing.chaos.availability import Spread
from linckia.testing.chaos.history import CONTROL
from linckia.testing.chaos.results import Result
from linckia.testing.chaos.schedule import Plan

Verdict = Literal["kept", "kept, slower", "broken", "not run"]
"""As promised | nothing lost, a time was missed | not as promised | not asked here"""
RUNNING = ("task", "call", "retried")
STALL_MAX_S = 0.05
CREATION_MEDIAN_S, CREATION_MAX_S = 0.3, 1.0
SQLITE_BACK_S = 0.5


class Answer(msgspec.Struct, frozen=True):
    """To one question, on one store."""

    number: int
    question: str
    store: str
    verdict: Verdict
    said: str


class Experiment(msgspec.Struct, frozen=True):
    """A run, and the questions that it answers."""

    plan: Plan
    answers: tuple[int, ...]


QUESTIONS = {
    2: "What is linearizable?",
    3: "What continues in the minority?",
    4: "Can two leaders act?",
    5: "How long is the gap?",
    6: "What is lost?",
    7: "Does running work notice?",
    8: "Is a false suspicion harmful?",
    9: "Mass loss: the node's fault or my own?",
    10: "Asymmetric and partial partitions?",
    11: "Clocks?",
    12: "Is the store's acknowledgement durable?",
    13: "Is it live afterwards?",
    14: "Availability as a number",
}
ELSEWHERE = {
    3: "needs a network that is cut: tests/fault/test_network_faults.py (S 15)",
    9: "needs five nodes behind cut links: tests/fault/test_network_faults.py (S 19)",
    10: "needs cut links: tests/fault/test_network_faults.py (S 17, S 18)",
    11: "needs clocks of its own per process: in virtual time, tests/sim/test_heads.py",
}


def experiments(store: str) -> tuple[Experiment, ...]:
    """The runs, cheapest first."""
    with_etcd = store == "etcd"
    runs = [
        Experiment(Plan(5, 34.0, 3.0, ("head",)), (2, 5, 6, 7, 13)),
        Experiment(Plan(4, 24.0, 6.0, ("stop-head",), lasts_s=3.0), (4,)),
        Experiment(Plan(8, 26.0, 8.0, ("stop-raylet",), lasts_s=6.0), (8,)),
        Experiment(Plan(12, 16.0, 5.0, ("etcd-all",) if with_etcd else ("head",), lasts_s=3.0), (12,)),
    ]
    mixed = ("head", "worker", "raylet", *(("etcd",) if with_etcd else ()))
    return (*runs, Experiment(Plan(14, 45.0, 5.0, mixed), (14,)))


def answer(number: int, store: str, result: Result) -> Answer:
    """The verdict of one run on one question."""
    verdict, said = RULES[number](result)
    return Answer(number, QUESTIONS[number], store, verdict, said)


def _kept(kept: bool, in_time: bool = True) -> Verdict:
    if not kept:
        return "broken"
    return "kept" if in_time else "kept, slower"


def _counts(result: Result) -> str:
    count = sum(row.tally.count for row in result.classes.values())
    return f"{count:,} operations, {len(result.seen.deeds)} faults: lost {result.lost}, duplicated {result.duplicated}"


def _pauses(result: Result, kind: str) -> Spread:
    rows = [row.pause[kind] for row in result.faults.values() if kind in row.pause]
    return rows[0] if rows else Spread()


def _linearizable(result: Result) -> tuple[Verdict, str]:
    calls = result.classes["call"].tally.count
    return _kept(result.out_of_order == 0), (
        f"{calls:,} increments of a named counter by 2 clients: {result.out_of_order} answers that no order explains"
    )


def _two_leaders(result: Result) -> tuple[Verdict, str]:
    epochs = result.seen.epochs
    kept = result.good and epochs == sorted(epochs)
    return _kept(kept), f"the leader stopped for 3 s (its lease: 2 s), terms {epochs}; {_counts(result)}"


def _gap(result: Result) -> tuple[Verdict, str]:
    pauses = {kind: _pauses(result, kind) for kind in (*RUNNING, *sorted(CONTROL))}
    creation = pauses["creation"]
    limit_s = CREATION_MAX_S if result.facts["store"] == "etcd" else SQLITE_BACK_S
    in_time = creation.median <= CREATION_MEDIAN_S and creation.max <= limit_s
    said = "; ".join(f"{kind} {each.text()}" for kind, each in pauses.items())
    return _kept(result.good, in_time), f"longest pause per kill, s (min / median / p99 / max): {said}"


def _lost(result: Result) -> tuple[Verdict, str]:
    return _kept(result.good), _counts(result)


def _running(result: Result) -> tuple[Verdict, str]:
    worst = {kind: _pauses(result, kind).max for kind in RUNNING}
    quiet = {kind: result.classes[kind].quiet.longest_s for kind in RUNNING}
    said = ", ".join(f"{kind} {worst[kind]:.3f} s (before any fault {quiet[kind]:.3f} s)" for kind in RUNNING)
    kept = result.restarts == 0 and result.good
    return _kept(kept, max(worst.values()) <= STALL_MAX_S), f"restarts {result.restarts}; longest pause: {said}"


def _suspicion(result: Result) -> tuple[Verdict, str]:
    return _kept(result.good and result.restarts == 0), (
        f"node processes stopped for 6 s (lease: 10 s), {len(result.seen.deeds)} times: actors restarted "
        f"{result.restarts}; {_counts(result)}"
    )


def _durable(result: Result) -> tuple[Verdict, str]:
    groups = result.classes["group"].tally
    how = "all members of etcd killed" if result.facts["store"] == "etcd" else "the head killed"
    return _kept(result.good), (
        f"{how} {len(result.seen.deeds)} times while groups and actors were made; {groups.count} groups made and "
        f"removed, {groups.lost} not as acknowledged; tasks meanwhile: "
        f"{result.classes['task'].faults.time:.2%} of time"
    )


def _live(result: Result) -> tuple[Verdict, str]:
    quiet_s = result.seen.quiet_s
    kept = quiet_s is not None and result.seen.left == 0
    after = "never" if quiet_s is None else f"after {quiet_s:.2f} s"
    return _kept(kept, (quiet_s or 0) <= 10), f"available == total {after}; processes left {result.seen.left}"


def _availability(result: Result) -> tuple[Verdict, str]:
    running = {kind: result.classes[kind].faults.time for kind in RUNNING if kind != "call"}
    control = {kind: result.classes[kind].faults.time for kind in sorted(CONTROL)}
    in_time = min(running.values()) >= 0.999 and min(control.values()) >= 0.99
    said = ", ".join(f"{kind} {share:.2%}" for kind, share in {**running, **control}.items())
    return _kept(result.good, in_time), f"share of time within the limit, a fault each 5 s: {said}; {_counts(result)}"


RULES: dict[int, Callable[[Result], tuple[Verdict, str]]] = {
    2: _linearizable,
    4: _two_leaders,
    5: _gap,
    6: _lost,
    7: _running,
    8: _suspicion,
    12: _durable,
    13: _live,
    14: _availability,
}
