"""Did a leader whose term had ended do anything? What was tried, refused and accepted, from logs and the store. Pure.

A leader is stopped until another one leads, and goes on at ``continued_s``. Whatever a node heard of the old term after
that moment, it accepted from a head that had lost its term. Nodes write the last moment of each term into their logs
(``core/links/terms.py``); heads write why they end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import msgspec

ENDED = re.compile(r"term (?P<epoch>\d+) ended here: (?P<count>\d+) messages of it, the last at (?P<last_s>[\d.]+) s ")
REFUSED = re.compile(r"refused of ended terms so far: (\d+)")
NO_MORE = "this head leads no more: "
DURATION = re.compile(r"\d+(\.\d+)? s\b")


class Round(msgspec.Struct, frozen=True):
    """One leader that was stopped. Times of CLOCK_MONOTONIC; ``next_epoch`` 0: nobody else led when it went on."""

    epoch: int
    next_epoch: int
    stopped_s: float
    continued_s: float
    write_accepted: bool
    """Whether the store took a write that was fenced by the old term, at that moment."""


class TermEnd(msgspec.Struct, frozen=True):
    """What one node heard in one term."""

    epoch: int
    count: int
    last_s: float


class Stale(msgspec.Struct, frozen=True):
    """The counts. ``rounds``: those in which another head led before the old one went on."""

    rounds: int = 0
    without_follower: int = 0
    writes_tried: int = 0
    writes_accepted: int = 0
    terms_looked_at: int = 0
    """Of all nodes together: those of stopped leaders of which a node has written down when it heard them last."""
    calls_tried: int = 0
    """Nodes were told, in the name of the old term, that its head leads."""
    commands_accepted: int = 0
    """Terms of nodes that were heard after their leader went on."""
    commands_refused: int = 0
    ends: dict[str, int] = {}
    """Why former leaders ended, as they said."""

    @property
    def good(self) -> bool:
        """Nothing of an old term was accepted, and there was something to look at."""
        looked = self.terms_looked_at >= self.rounds
        return looked and not (self.writes_accepted or self.commands_accepted)


def count(rounds: Sequence[Round], calls_tried: int, node_logs: Iterable[str], head_logs: Iterable[str]) -> Stale:
    """From all rounds of a run and the whole logs of its nodes and heads."""
    real = [each for each in rounds if each.next_epoch > each.epoch]
    continued_s = {each.epoch: each.continued_s for each in real}
    logs = list(node_logs)
    ends_by_node = [term_ends(log) for log in logs]
    heard = [end for ends in ends_by_node for end in ends if end.count and end.epoch in continued_s]
    late = [end for end in heard if end.last_s > continued_s[end.epoch]]
    return Stale(
        rounds=len(real),
        without_follower=len(rounds) - len(real),
        writes_tried=len(real),
        writes_accepted=sum(each.write_accepted for each in real),
        calls_tried=calls_tried,
        terms_looked_at=sum(end.epoch in continued_s for ends in ends_by_node for end in ends),
        commands_accepted=len(late),
        commands_refused=sum(max(map(int, REFUSED.findall(log)), default=0) for log in logs),
        ends=_reasons(head_logs),
    )


def term_ends(log: str) -> list[TermEnd]:
    """In order."""
    return [TermEnd(int(found["epoch"]), int(found["count"]), float(found["last_s"])) for found in ENDED.finditer(log)]


def _reasons(head_logs: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for log in head_logs:
        for line in log.splitlines():
            _, found, why = line.partition(NO_MORE)
            if found:
                kind = DURATION.sub("some time", why)
                counts[kind] = counts.get(kind, 0) + 1
    return counts
