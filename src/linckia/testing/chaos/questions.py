"""The questions of docs/consistency.md that an experiment on one machine answers, and the rule for each verdict. Pure.

An experiment is a chaos run; one run may answer several questions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from linckia.testing.chaos.availability import Spread
from linckia.testing.chaos.history import AVAILABLE_SHARE, CONTROL, CONTROL_SHARE
from linckia.testing.chaos.results import Result
from linckia.testing.chaos.schedule import Plan

Verdict = Literal["kept", "kept, slower", "broken", "not run"]
"""As promised | nothing lost, a time was missed | not as promised | not asked here"""
RUNNING = ("task", "call", "retried")
STALL_MAX_S = 0.05
CREATION_MEDIAN_S, CREATION_MAX_S = 0.3, 1.0
SQLITE_BACK_S = 0.5
CUT_OFF_S = 4.0
"""Less than any cut of these experiments lasts."""


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


def experiments(store: str) -> tuple[Experiment, ...]:
    """The runs, cheapest first."""
    with_etcd = store == "etcd"
    fenced = Plan(4, 28.0, 6.0, ("stale-head",)) if with_etcd else Plan(4, 24.0, 6.0, ("stop-head",), lasts_s=3.0)
    runs = [
        Experiment(Plan(5, 34.0, 3.0, ("head",)), (2, 5, 6, 7, 13)),
        Experiment(fenced, (4,)),
        Experiment(Plan(8, 26.0, 8.0, ("stop-raylet",), lasts_s=6.0), (8,)),
        Experiment(Plan(12, 16.0, 5.0, ("etcd-all",) if with_etcd else ("head",), lasts_s=3.0), (12,)),
        Experiment(Plan(3, 26.0, 11.0, ("cut-heads",), lasts_s=6.0), (3,)),
        Experiment(Plan(9, 30.0, 27.0, ("cut-heads",), lasts_s=14.0), (9,)),
        Experiment(Plan(11, 40.0, 4.0, ("clock",)), (11,)),
        Experiment(Plan(10, 38.0, 9.0, ("deaf-node", "mute-node", "part-node"), lasts_s=4.0), (10,)),
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
    epochs, stale = result.seen.epochs, result.seen.stale
    kept = result.good and epochs == sorted(epochs)
    if stale is None:
        return _kept(kept), f"the leader stopped for 3 s, terms {epochs}; {_counts(result)}"
    writes = f"writes in the name of its term {stale.writes_tried}, accepted {stale.writes_accepted}"
    heard = f"of {stale.terms_looked_at} terms of nodes heard later {stale.commands_accepted}"
    return _kept(kept and stale.rounds > 0), (
        f"the leader stopped until another one led, {stale.rounds} times, and let go on: {writes}; {heard}, messages "
        f"refused {stale.commands_refused}; terms {epochs}; {_counts(result)}"
    )


def _minority(result: Result) -> tuple[Verdict, str]:
    """Nothing that needs no head waits, what needs one waits and then succeeds."""
    running = {kind: _pauses(result, kind).max for kind in RUNNING}
    control = {kind: _pauses(result, kind).max for kind in sorted(CONTROL)}
    failed = sum(row.tally.failed for row in result.classes.values())
    said = ", ".join(f"{kind} {pause:.3f} s" for kind, pause in {**running, **control}.items())
    kept = result.good and failed == 0 and max(running.values()) < CUT_OFF_S
    return _kept(kept, max(running.values()) <= STALL_MAX_S), (
        f"all heads' hosts cut off for 6 s, {len(result.seen.deeds)} times: longest pause {said}; errors {failed}; "
        f"{_counts(result)}"
    )


def _mass(result: Result) -> tuple[Verdict, str]:
    dead = result.seen.dead_nodes
    return _kept(result.good and dead == 0 and result.restarts == 0), (
        f"all nodes cut off from all heads for 14 s (lease: 10 s): declared dead {dead}, actors restarted "
        f"{result.restarts}; {_counts(result)}. With 60 % of seven nodes: tests/fault/test_network_faults.py"
    )


def _one_way(result: Result) -> tuple[Verdict, str]:
    kinds = ", ".join(f"{kind} {row.count} times" for kind, row in result.faults.items())
    live = result.seen.quiet_s is not None
    return _kept(result.good and live and result.seen.dead_nodes == 0), (
        f"{kinds}, 4 s each (lease: 10 s): declared dead {result.seen.dead_nodes}, actors restarted {result.restarts}; "
        f"{_counts(result)}"
    )


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


def _clocks(result: Result) -> tuple[Verdict, str]:
    terms, dead = sorted(set(result.seen.epochs)), result.seen.dead_nodes
    failed = sum(row.tally.failed for row in result.classes.values())
    kept = result.good and dead == 0 and result.restarts == 0 and len(terms) == 1 and failed == 0
    return _kept(kept), (
        f"wall clocks of hosts of heads and nodes an hour wrong, forward or back, for 3 to 12 s, "
        f"{len(result.seen.deeds)} times (lease of a head 2 s, of a node 10 s): terms {terms}, nodes declared dead "
        f"{dead}, actors restarted {result.restarts}, errors {failed}; {_counts(result)}. Speed: in virtual time, "
        "tests/sim/test_heads.py"
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
    running = {kind: result.classes[kind].faults.time_1s for kind in RUNNING if kind != "call"}
    control = {kind: result.classes[kind].faults.time_1s for kind in sorted(CONTROL)}
    in_time = min(running.values()) >= AVAILABLE_SHARE and min(control.values()) >= CONTROL_SHARE
    said = ", ".join(f"{kind} {share:.2%}" for kind, share in {**running, **control}.items())
    return _kept(result.good, in_time), (
        f"share of time in which nobody waited for more than 1 s, a fault each 5 s: {said}; {_counts(result)}"
    )


RULES: dict[int, Callable[[Result], tuple[Verdict, str]]] = {
    2: _linearizable,
    3: _minority,
    4: _two_leaders,
    5: _gap,
    6: _lost,
    7: _running,
    8: _suspicion,
    9: _mass,
    10: _one_way,
    11: _clocks,
    12: _durable,
    13: _live,
    14: _availability,
}
