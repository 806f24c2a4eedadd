"""What came of a run, as numbers. Pure; ``reporting`` writes them down, ``judging`` judges them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import msgspec

from linckia.testing.chaos import checking
from linckia.testing.chaos.availability import Service, Spread, Successes, lost_s, service, slow_ones, spread
from linckia.testing.chaos.checking import Tally
from linckia.testing.chaos.history import NAMES, Deed, Execution, Op
from linckia.testing.chaos.schedule import ENDS_WORK
from linckia.testing.chaos.stale import Stale


class ClassRow(msgspec.Struct, frozen=True):
    """One class of operations: what was wrong, and what users noticed without and with faults."""

    tally: Tally
    quiet: Service
    faults: Service


class FaultRow(msgspec.Struct, frozen=True):
    """One kind of fault. ``recovery`` and ``pause`` by class."""

    count: int
    recovery: dict[str, Spread]
    """From the fault to the first success that began after it."""
    pause: dict[str, Spread]
    """The longest pause between two successes, from the fault to the next one."""
    lost_s: dict[str, float] = {}
    """From each fault to the next one: seconds in which somebody waited for more than 1 s."""


class Seen(msgspec.Struct, frozen=True):
    """What the runner saw beside the driver."""

    deeds: list[Deed]
    skipped: list[str]
    epochs: list[int]
    left: int
    """Processes of the run that lived a second after its end."""
    missing: list[str]
    quiet_s: float | None
    troubles: list[str] = []
    """What the injector could not undo."""
    stale: Stale | None = None
    """What leaders did after their terms, where that was counted."""
    dead_nodes: int = 0
    """Nodes that were declared dead, by the end; -1 when the head could not tell."""
    kernel_kills: int | None = None
    """What the kernel ended for want of memory; None where memory was not limited."""


class Result(msgspec.Struct, frozen=True):
    """Of one run."""

    facts: dict[str, Any]
    classes: dict[str, ClassRow]
    faults: dict[str, FaultRow]
    retry_start: Spread
    """From SIGKILL of a worker or its node to the next attempt of the task that it ran."""
    restarts: int
    """Of the two counter actors."""
    out_of_order: int
    """Answers of the counter that no order in real time explains."""
    orphans: int
    """Processes below killed nodes that lived a second later."""
    seen: Seen

    @property
    def lost(self) -> int:
        """Over all classes, and what was missing at the end."""
        return sum(row.tally.lost for row in self.classes.values())

    @property
    def duplicated(self) -> int:
        """Over all classes."""
        return sum(row.tally.duplicated for row in self.classes.values())

    @property
    def good(self) -> bool:
        """Nothing lost, nothing duplicated, no impossible answer, terms in order, nothing accepted from an old one."""
        ordered = self.seen.epochs == sorted(self.seen.epochs)
        fenced = self.seen.stale is None or self.seen.stale.good
        return not (self.lost or self.duplicated or self.out_of_order) and ordered and fenced


def summarise(
    facts: dict[str, Any], ops: Sequence[Op], ledger: Sequence[Execution], seen: Seen, between_ns: tuple[int, int]
) -> Result:
    """``between_ns``: when the faults' clock began and ended."""
    began_ns, ended_ns = between_ns
    deeds = seen.deeds
    first_ns = min((deed.at_ns for deed in deeds), default=ended_ns)
    by_class: dict[str, list[Op]] = defaultdict(list)
    for op in ops:
        by_class[op.kind].append(op)
    work_ended = any(deed.kind in ENDS_WORK for deed in deeds)
    tallies = checking.tally(ops, ledger, seen.missing, work_ended)
    classes = {
        kind: ClassRow(
            tallies[kind],
            service(by_class[kind], began_ns, first_ns),
            service(by_class[kind], first_ns, ended_ns),
        )
        for kind in [*NAMES, *sorted(set(tallies) - set(NAMES))]
        if kind in tallies
    }
    kills = [(pid, deed.at_ns) for deed in deeds for pid in deed.ended]
    return Result(
        facts=facts,
        classes=classes,
        faults=_faults(deeds, by_class, ended_ns),
        retry_start=spread(checking.retry_starts_s(ledger, kills)),
        restarts=sum(max(0, checking.homes(ledger, kind) - 1) for kind in ("call", "retried")),
        out_of_order=checking.out_of_order(by_class["call"]),
        orphans=sum(deed.orphans for deed in deeds),
        seen=seen,
    )


def _faults(deeds: Sequence[Deed], by_class: dict[str, list[Op]], ended_ns: int) -> dict[str, FaultRow]:
    tracks = {kind: Successes(by_class[kind]) for kind in NAMES if by_class.get(kind)}
    slow = {kind: slow_ones(by_class[kind]) for kind in tracks}
    ends = [*(deed.at_ns for deed in deeds[1:]), ended_ns][: len(deeds)]
    recovery: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    pause: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    lost: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    counts: dict[str, int] = defaultdict(int)
    for deed, end_ns in zip(deeds, ends, strict=True):
        counts[deed.kind] += 1
        for kind, track in tracks.items():
            took_s = track.recovery_s(deed.at_ns)
            if took_s is not None:
                recovery[deed.kind][kind].append(took_s)
            pause[deed.kind][kind].append(track.longest_pause_s(deed.at_ns, max(end_ns, deed.at_ns + 1)))
            lost[deed.kind][kind] += lost_s(slow[kind], deed.at_ns, end_ns)
    return {
        fault: FaultRow(count, _spreads(recovery[fault]), _spreads(pause[fault]), dict(lost[fault]))
        for fault, count in counts.items()
    }


def _spreads(values: dict[str, list[float]]) -> dict[str, Spread]:
    return {kind: spread(found) for kind, found in values.items()}
