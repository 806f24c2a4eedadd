"""Which fault happens when: drawn from a seed before anything runs. Pure.

One seed and the same arguments give the same schedule. Which process a fault hits is decided when it happens, by
``Fault.draw`` among those that live then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from types import MappingProxyType

import msgspec

from linckia.testing.chaos.history import CLASSES

NOTHING: Mapping[str, str] = MappingProxyType({})
KINDS = {
    "head": "SIGKILL to the head that leads",
    "raylet": "SIGKILL to a node process; another node takes its place",
    "worker": "SIGKILL to a worker, one that works if there is one",
    "etcd": "SIGKILL to one member of etcd, started again",
    "etcd-all": "SIGKILL to all members of etcd, started again",
    "stop-head": "SIGSTOP to the head that leads, then SIGCONT",
    "stale-head": "SIGSTOP to the head that leads until another one does, then SIGCONT; its term is used once more",
    "stop-raylet": "SIGSTOP to a node process, then SIGCONT",
    "stop-worker": "SIGSTOP to a worker, then SIGCONT",
    "stop-etcd": "SIGSTOP to one member of etcd, then SIGCONT",
    "cut-node": "the link of a node's host is down, then up",
    "deaf-node": "what heads send to a node is lost, the other direction works; then healed",
    "mute-node": "what a node sends to heads is lost, the other direction works; then healed",
    "part-node": "a node and the driver's host do not reach each other, both reach all others; then healed",
    "cut-head": "the link of the leader's host is down, then up",
    "cut-heads": "the links of all heads' hosts are down, then up",
    "cut-store": "the leader's host does not reach etcd, everybody else reaches both; then healed",
    "host": "the leader's host is lost: its link is down and all its processes are frozen; it comes back later",
    "host-etcd": "the leader's host and that of the member that leads etcd are lost together; they come back later",
    "full-store": "the disk of the store (of one member of etcd) is full, then not",
    "full-spill": "the disk where the driver's node spills is full, then not",
    "slow-disk": "each fsync of the store (of the member that leads etcd) takes 200 ms longer, then not",
    "clock": "the wall clock of a node's or a head's host jumps by an hour, forward or back, and later back again",
    "busy": "other programs spin, four for each core of the machine, then end",
    "memory": "another program takes a node's memory up to its limit, then ends",
}
STOPS = ("stop-head", "stop-raylet", "stop-worker", "stop-etcd")
CUTS = ("cut-node", "deaf-node", "mute-node", "part-node", "cut-head", "cut-heads", "cut-store")
LOSSES = ("host", "host-etcd")
DISKS = ("full-store", "full-spill", "slow-disk")
GROUPS = {"stop": STOPS, "cut": CUTS, "lost": LOSSES, "disk": DISKS, "all": tuple(KINDS)}
NEEDS_ETCD = frozenset({"etcd", "etcd-all", "stop-etcd", "stale-head", "cut-store", *LOSSES})
HOSTS, SMALL_DISKS, TRACER, LITTLE_MEMORY, CLOCKS = "hosts", "small disks", "strace", "little memory", "clocks"
NEEDS = {
    **dict.fromkeys((*CUTS, *LOSSES), HOSTS),
    **dict.fromkeys(("full-store", "full-spill"), SMALL_DISKS),
    "slow-disk": TRACER,
    "memory": LITTLE_MEMORY,
    "clock": CLOCKS,
}
"""What the cluster has to stand on, beyond processes."""
FOUND = frozenset({"head", "raylet", "worker", "stop-head", "stop-raylet", "stop-worker", "slow-disk", "busy"})
"""What can be done to a cluster that the run did not start."""
ENDS_WORK = frozenset({"raylet", "worker", "stop-raylet", "cut-node", "deaf-node", "mute-node", "part-node", "memory"})
"""After these, work may run a second time where retries were declared."""
LASTS_S = {
    "etcd": (0.5, 0.5),
    "etcd-all": (3.0, 3.0),
    "stop-head": (0.5, 3.0),
    "stale-head": (3.0, 3.0),
    "stop-raylet": (1.0, 12.0),
    "stop-worker": (0.5, 3.0),
    "stop-etcd": (0.5, 3.0),
    "cut-node": (3.0, 12.0),
    "deaf-node": (3.0, 12.0),
    "mute-node": (3.0, 12.0),
    "part-node": (3.0, 6.0),
    "cut-head": (1.0, 4.0),
    "cut-heads": (4.0, 12.0),
    "cut-store": (1.0, 4.0),
    "host": (6.0, 6.0),
    "host-etcd": (7.0, 7.0),
    "full-store": (2.0, 4.0),
    "full-spill": (2.0, 4.0),
    "slow-disk": (4.0, 4.0),
    "clock": (3.0, 12.0),
    "busy": (3.0, 12.0),
    "memory": (2.0, 2.0),
}
"""Shorter and longer than the lease in question: 2 s for heads, 10 s for nodes."""


class Fault(msgspec.Struct, frozen=True):
    """``at_s`` after the load began. ``draw`` in [0, 1) chooses the victim; ``lasts_s`` 0: nothing is undone."""

    at_s: float
    kind: str
    draw: float
    lasts_s: float = 0.0


class Plan(msgspec.Struct, frozen=True):
    """What one run does. ``quiet_s`` pass before the first fault, so that there is something to compare with."""

    seed: int
    for_s: float
    every_s: float
    kinds: tuple[str, ...]
    quiet_s: float = 3.0
    lasts_s: float = 0.0
    """0: drawn per fault, short or long."""
    classes: tuple[str, ...] = ()
    """Of operations, those of the load; empty: all (``history.CLASSES``)."""


def kinds_of(words: str, with_etcd: bool, impossible: Mapping[str, str] = NOTHING) -> tuple[str, ...]:
    """`head,stop` to kinds. A group goes without those that need etcd where there is none and without ``impossible``
    kinds (kind -> why not here); ValueError for one of these that is named itself, and for an unknown word.
    """
    found: list[str] = []
    for word in filter(None, (part.strip() for part in words.split(","))):
        if word not in KINDS and word not in GROUPS:
            raise ValueError(f"there is no fault {word!r}; there are {', '.join([*KINDS, *GROUPS])}")
        members = GROUPS.get(word, (word,))
        usable = [kind for kind in members if with_etcd or kind not in NEEDS_ETCD]
        if not usable:
            raise ValueError(f"the fault {word!r} needs a cluster on etcd: --store etcd")
        possible = [kind for kind in usable if kind not in impossible]
        if not possible:
            raise ValueError(f"the fault {word!r} cannot be done: {impossible[usable[0]]}")
        found += [kind for kind in possible if kind not in found]
    return tuple(found)


def classes_of(words: str) -> tuple[str, ...]:
    """`task,call` to classes of operations, each once; ValueError for an unknown word."""
    found = tuple(dict.fromkeys(filter(None, (part.strip() for part in words.split(",")))))
    unknown = [word for word in found if word not in CLASSES]
    if unknown:
        raise ValueError(f"there is no load {unknown[0]!r}; there are {', '.join(CLASSES)}")
    return found


def not_for_found() -> tuple[str, ...]:
    """What can be done only to a cluster that the run started."""
    return tuple(kind for kind in KINDS if kind not in FOUND)


def needs(kinds: Sequence[str]) -> tuple[str, ...]:
    """What these faults ask of the ground, sorted."""
    return tuple(sorted({NEEDS[kind] for kind in kinds if kind in NEEDS}))


def draw(plan: Plan) -> tuple[Fault, ...]:
    """The faults of a plan, in order. Kinds take turns in a shuffled order, so that none is left out."""
    rng = Random(f"chaos {plan.seed}")
    faults: list[Fault] = []
    turn: list[str] = []
    free_s, number = plan.quiet_s, 0
    while plan.kinds and plan.quiet_s + number * plan.every_s < plan.for_s:
        if not turn:
            turn = _shuffled(plan.kinds, rng)
        kind = turn.pop()
        at_s = max(free_s, plan.quiet_s + (number + 0.5 * rng.random()) * plan.every_s)
        lasts_s = _lasts(kind, plan, rng)
        victim = rng.random()
        if at_s >= plan.for_s:
            break
        faults.append(Fault(round(at_s, 3), kind, victim, lasts_s))
        free_s, number = at_s + lasts_s, number + 1
    return tuple(faults)


def _lasts(kind: str, plan: Plan, rng: Random) -> float:
    if kind not in LASTS_S:
        return 0.0
    drawn = rng.choice(LASTS_S[kind])
    return plan.lasts_s or drawn


def _shuffled(kinds: Sequence[str], rng: Random) -> list[str]:
    return rng.sample(list(kinds), len(kinds))
