"""Was anything lost or done twice? From the history, the ledger and what was found at the end. Pure.

*Lost*: an operation that was acknowledged and did not happen, or that never ended. *Duplicated*: work that ran more
than once although nothing allowed it: its retries are off, or no fault ended any work.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from itertools import pairwise

import msgspec

from linckia.testing.chaos.history import WITHOUT_RETRIES, Execution, Op

TELLS = frozenset({"task", "call", "retried", "creation"})
"""Classes whose executions are in the ledger under the operation's number. Those of `tasks` are there as `part`."""
PARTS = 6


class Tally(msgspec.Struct):
    """Of one class."""

    count: int = 0
    failed: int = 0
    retry_allowed: bool = True
    wrong: int = 0
    never: int = 0
    unseen: int = 0
    """Acknowledged, but it did not happen, or is not there at the end."""
    ran_again: int = 0
    """More than once, as declared retries allow after a fault that ended work."""
    duplicated: int = 0
    errors: list[str] = []

    @property
    def lost(self) -> int:
        """All that was promised and is not so."""
        return self.wrong + self.never + self.unseen


def tally(
    ops: Sequence[Op], ledger: Sequence[Execution], missing: Collection[str], work_ended: bool
) -> dict[str, Tally]:
    """By class. ``missing`` are `class number` of what should have been there at the end; ``work_ended``: whether any
    fault ended a worker.
    """
    found: dict[str, Tally] = defaultdict(Tally)
    ran = Counter((each.kind, each.number) for each in ledger)
    for op in ops:
        mine = found[op.kind]
        mine.retry_allowed = op.kind not in WITHOUT_RETRIES
        mine.count += 1
        mine.failed += op.outcome == "failed"
        mine.wrong += op.outcome == "wrong"
        mine.never += op.outcome == "never"
        if op.outcome != "ok" and len(mine.errors) < 5:
            mine.errors.append(op.value)
        times = _times(op, ran)
        mine.unseen += op.outcome == "ok" and 0 in times
        again = sum(each - 1 for each in times if each > 1)
        if mine.retry_allowed and work_ended:
            mine.ran_again += again
        else:
            mine.duplicated += again
    for name in missing:
        found[name.split()[0]].unseen += 1
    return dict(found)


def _times(op: Op, ran: Counter[tuple[str, int]]) -> list[int]:
    if op.kind == "tasks":
        return [ran["part", op.number * PARTS + part] for part in range(PARTS)]
    return [ran[op.kind, op.number]] if op.kind in TELLS else []


def out_of_order(ops: Sequence[Op]) -> int:
    """Answers of the counter that no order in real time explains. The answer is `pid value`: increments of one process
    are linearizable exactly when values differ and an operation that began after another ended has the greater one.
    """
    wrong = 0
    by_pid: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
    for op in ops:
        if op.outcome == "ok" and op.value:
            pid, _, value = op.value.partition(" ")
            by_pid[pid].append((op.began_ns, op.ended_ns, int(value)))
    for answers in by_pid.values():
        wrong += len(answers) - len({count for _, _, count in answers})
        ended = sorted((end, count) for _, end, count in answers)
        greatest, place = 0, 0
        for began, _, count in sorted(answers):
            while place < len(ended) and ended[place][0] < began:
                greatest, place = max(greatest, ended[place][1]), place + 1
            wrong += count < greatest
    return wrong


def homes(ledger: Sequence[Execution], kind: str) -> int:
    """How many processes an actor lived in."""
    return len({each.pid for each in ledger if each.kind == kind})


def retry_starts_s(
    ledger: Sequence[Execution], kills: Sequence[tuple[int, int]], within_s: float = 30.0
) -> list[float]:
    """For each (pid, ns) that was killed while it ran a task that ran again: from the kill to that second beginning."""
    begun: dict[tuple[str, int], list[Execution]] = defaultdict(list)
    for each in ledger:
        begun[each.kind, each.number].append(each)
    killed: dict[int, list[int]] = defaultdict(list)
    for pid, at_ns in kills:
        killed[pid].append(at_ns)
    found = []
    for attempts in begun.values():
        attempts.sort(key=lambda each: each.at_ns)
        for first, second in pairwise(attempts):
            for at_ns in killed.get(first.pid, ()):
                if first.at_ns <= at_ns <= second.at_ns <= at_ns + int(within_s * 1e9):
                    found.append((second.at_ns - at_ns) / 1e9)
    return found
