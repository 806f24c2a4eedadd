"""Who is ended when a node runs out of memory, in which order and why (R 7.18, R 7.19). Called by
raylet/memory_monitor.py.

First idle workers that ran something, the largest first: nothing is lost with them. Then active ones: what may run
again before what may not, the newest lease first, because it has lost least. Nothing here knows tasks: a candidate is a
worker process with what its lease says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from linckia.base.limits import FRESH_WORKER_SPARED_BYTES


class Candidate(NamedTuple):
    """A worker process. ``lease`` counts leases of the node, 0 when it is idle."""

    worker_id: bytes
    private_bytes: int
    has_run: bool = True
    lease: int = 0
    retriable: bool = False
    owner: bytes = b""


class Victim(NamedTuple):
    """Who goes and why. ``is_final``: it fails although it might be retried."""

    candidate: Candidate
    why: str
    is_final: bool = False


def choose(candidates: Sequence[Candidate], need_bytes: int, *, by_group: bool = False) -> list[Victim]:
    """The victims of one round: as many as make ``need_bytes`` free, all if that is not enough."""
    active = [each for each in candidates if each.lease]
    order = _idle([each for each in candidates if not each.lease])
    order += _by_group(active) if by_group else _by_lease(active)
    chosen: list[Victim] = []
    for victim in order:
        if need_bytes <= 0:
            break
        chosen.append(victim)
        need_bytes -= victim.candidate.private_bytes
    return chosen


def _idle(idle: list[Candidate]) -> list[Victim]:
    worth = [each for each in idle if each.has_run or each.private_bytes > FRESH_WORKER_SPARED_BYTES]
    worth.sort(key=lambda each: (-each.private_bytes, each.worker_id))
    return [Victim(each, "it was idle, and the largest idle worker") for each in worth]


def _by_lease(active: list[Candidate]) -> list[Victim]:
    order = sorted(active, key=lambda each: (not each.retriable, -each.lease))
    retriable = "its work may run again, and no other work that may is newer"
    final = "nothing that may run again is left, and no other work is newer"
    return [Victim(each, retriable if each.retriable else final) for each in order]


def _by_group(active: list[Candidate]) -> list[Victim]:
    """The policy of old: of the owner with most retriable work its newest; the last of a group is not retried."""
    groups: dict[tuple[bytes, int], list[Candidate]] = {}
    for each in sorted(active, key=lambda each: each.lease):
        groups.setdefault((each.owner, 0) if each.retriable else (each.owner, each.lease), []).append(each)
    order: list[Victim] = []
    while groups:
        key = max(groups, key=lambda key: (groups[key][0].retriable, len(groups[key]), groups[key][0].lease))
        group = groups[key]
        victim = group.pop()
        size = len(group) + 1
        why = f"its owner has most retriable work here ({size} workers), and it is the newest of them"
        if not victim.retriable:
            why = "nothing that may run again is left, and no other work is newer"
        order.append(Victim(victim, why, is_final=size == 1))
        if not group:
            del groups[key]
    return order
