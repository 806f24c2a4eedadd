"""What is measured and what is asked: every figure with unit, step and targets, and the verdict on them. Pure.

The targets are those of the issues "One machine", "Many machines" and "Survive". A target that could not be computed
(an engine that did not run) is neither met nor missed.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

OURS = "linckia"
MACHINE, CLUSTER, STORE = "machine", "cluster", "store"


@dataclass(frozen=True)
class Summary:
    """What the rounds gave."""

    median: float
    low: float
    high: float
    rounds: int


@dataclass(frozen=True)
class AtMost:
    """The value itself is bounded."""

    limit: float
    note: str = ""


@dataclass(frozen=True)
class AtLeast:
    """The value is at least `factor` times another engine's value of the same figure, or of the figure `figure`."""

    factor: float
    engine: str
    figure: str | None = None


Target = AtMost | AtLeast


@dataclass(frozen=True)
class Figure:
    """One line of the table. `step` is the piece of work that yields it, `title` what the reader sees."""

    id: str
    step: str
    title: str
    unit: str
    targets: tuple[Target, ...] = ()
    higher_is_better: bool = True
    group: str = MACHINE
    is_fact: bool = False
    """Says how much was measured, so nobody is better at it."""


@dataclass(frozen=True)
class Verdict:
    """Whether a target is met; None means that it could not be told."""

    figure: Figure
    met: bool | None
    asked: str
    reached: str

    def text(self) -> str:
        """Return the last column of the table of targets."""
        if self.met is None:
            return f"not measured ({self.reached})"
        return "met" if self.met else f"**not met**: reached {self.reached}, asked {self.asked}"


def _rate(id_: str, title: str, *targets: Target, step: str | None = None, unit: str = "/s") -> Figure:
    return Figure(id_, step or id_, title, unit, targets)


def _cost(id_: str, step: str, title: str, unit: str, *targets: Target) -> Figure:
    return Figure(id_, step, title, unit, targets, higher_is_better=False)


def _fact(id_: str, step: str, title: str, unit: str = "") -> Figure:
    return Figure(id_, step, title, unit, is_fact=True)


def _ray(factor: float) -> AtLeast:
    return AtLeast(factor, "ray")


MACHINE_FIGURES: tuple[Figure, ...] = (
    _cost("startup_s", "startup", "import + init + first task result", "s", AtMost(0.5, "goal 0.25 s")),
    _cost("startup_process_s", "startup", "the same, the interpreter's own start included", "s"),
    _cost("import_ms", "import", "import", "ms", AtMost(60)),
    _cost("import_heavy", "import", "import: numpy loaded by it", "", AtMost(0)),
    _cost("idle_pss_mb", "idle", "daemons + 2 idle workers, PSS", "MB", AtMost(100)),
    _cost("idle_worker_uss_mb", "idle", "an idle worker, USS", "MB", AtMost(10)),
    _cost("idle_processes", "idle", "processes of an idle session", ""),
    _cost("actors_20_s", "actors_20", "20 actors created and called once", "s", AtMost(0.5)),
    _rate(
        "task_sync",
        "task, one at a time",
        _ray(30),
        AtLeast(3, "futures"),
        AtLeast(0.5, "limits", "ping_pong"),
        AtLeast(0.5, "prototype"),
    ),
    _rate("task_1000", "1,000 tasks in flight", _ray(50), AtLeast(5, "multiprocessing"), AtLeast(0.4, "prototype")),
    _rate("task_1000_args", "1,000 tasks in flight, two arguments", step="task_1000"),
    _rate("pool_map", "1,000 tasks by `map`, one per message"),
    _rate("pool_map_chunked", "1,000 calls by `map` in the pool's chunks", step="pool_map"),
    _rate("actor_sync", "actor call, one at a time", _ray(9)),
    _rate("actor_1000", "actor calls, 1,000 in flight", _ray(25)),
    _rate("actor_4", "1 caller to 4 actors, 1,000 in flight", _ray(20)),
    _rate("actor_ref", "actor calls with a ref argument, 1,000 in flight", _ray(25)),
    _rate("async_actor_sync", "async actor call, one at a time", _ray(9)),
    _rate("async_actor_1000", "async actor calls, 1,000 in flight", _ray(20)),
    _rate("put_small", "put(0)", _ray(50)),
    _rate("get_small", "get of a small local ref", _ray(20)),
    _rate("put_1mib", "put 1 MiB", _ray(6)),
    _rate("put_256mib", "put 256 MiB", AtLeast(0.85, "limits", "memcpy"), unit="GB/s"),
    _rate("get_256mib", "get 256 MiB", _ray(5)),
    _cost("get_copied_mb", "get_256mib", "get 256 MiB, three times: bytes copied", "MB", AtMost(1, "zero copies")),
    _rate("wait_1000", "wait over 1,000 refs until all are done", _ray(15)),
    _rate("get_10000_refs", "get of an object with 10,000 refs", _ray(4)),
    _cost("growth_submitted", "growth_tasks", "cost per task, all submitted at once : 1,000", "x", AtMost(1.2)),
    _cost("growth_history", "growth_tasks", "cost per task, 1,000 after all those : before", "x", AtMost(1.2)),
    _cost("pending_bytes", "growth_pending", "memory per pending task", "B", AtMost(2048)),
    _cost(
        "growth_objects_mb", "growth_objects", "memory kept by put/get/free of small objects", "MB", AtMost(5, "flat")
    ),
    _cost("growth_shared_mb", "growth_objects", "memory kept by put/get/free of 1 MiB", "MB", AtMost(5, "flat")),
    _cost("shutdown_call_s", "shutdown", "shutdown() returns", "s"),
    _cost("shutdown_s", "shutdown", "shutdown, until no process is left", "s", AtMost(0.5)),
    _cost("left_behind", "shutdown", "processes left after shutdown", "", AtMost(0)),
    _rate("ping_pong", "limit: Unix-socket ping-pong, blocking"),
    _rate("ping_pong_polling", "limit: the same, both sides poll 20 us first"),
    _rate("pipelined", "limit: pickles pipelined through a Unix socket"),
    _rate("memcpy", "limit: memcpy of 256 MiB, touched memory", unit="GB/s"),
    _rate("memcpy_fresh", "limit: memcpy of 256 MiB, fresh pages", unit="GB/s"),
)

CLUSTER_FIGURES: tuple[Figure, ...] = tuple(
    replace(figure, group=CLUSTER)
    for figure in (
        _cost("head_start_s", "cluster_join", "`start --head` returns its prompt", "s"),
        _cost("join_start_s", "cluster_join", "`start --address` returns its prompt", "s"),
        _cost("join_first_task_s", "cluster_join", "first task there, after that prompt", "s", AtMost(0.7)),
        _cost("join_total_s", "cluster_join", "both together", "s"),
        _fact("nodes", "cluster_idle", "nodes, head included, of the next seven figures"),
        _cost("node_start_s", "cluster_idle", "start of the cluster, per node", "s"),
        _cost("node_pss_mb", "cluster_idle", "a node that ran tasks and is idle, PSS", "MB", AtMost(60)),
        _cost("nodes_idle_cpu", "cluster_idle", "idle CPU of all nodes, of one core", "%", AtMost(5)),
        _rate("nodes_tasks", "10,000 tasks over the nodes", _ray(10), step="cluster_tasks"),
        _rate("groups_made", "1,000 placement groups made", _ray(10), step="cluster_groups"),
        _rate("groups_removed", "1,000 placement groups removed", _ray(10), step="cluster_groups"),
        _rate("nodes_actors", "actors made and called once, all alive", _ray(10), step="cluster_actors"),
        _fact("nodes_actors_count", "cluster_actors", "actors of that figure"),
        _fact("queue_tasks", "cluster_queue", "tasks queued on 4 busy nodes, then drained"),
        _rate("queue_rate", "queue and drain", _ray(3), step="cluster_queue"),
        _rate("queue_submit", "queue", step="cluster_queue"),
        _rate("queue_drain", "drain", step="cluster_queue"),
        _cost("queue_submit_slowdown", "cluster_queue", "queue: cost of last tenths : first", "x", AtMost(1.2)),
        _cost("queue_drain_slowdown", "cluster_queue", "drain: cost of last tenths : first", "x", AtMost(1.2)),
        _cost("queue_driver_bytes", "cluster_queue", "driver's memory per queued task", "B", AtMost(2048)),
        _cost("queue_daemon_bytes", "cluster_queue", "all other processes' memory per queued task", "B"),
        _fact("transfer_mib", "cluster_transfer", "array that goes from node to node", "MiB"),
        _rate(
            "transfer_one",
            "node to node, until a task there has read it",
            AtLeast(0.8, "limits", "socket_stream"),
            step="cluster_transfer",
            unit="GB/s",
        ),
        _rate("transfer_fresh", "the same, into memory never used before", step="cluster_transfer", unit="GB/s"),
        _cost("broadcast_ratio", "cluster_transfer", "time to 8 nodes : to one", "x", AtMost(3)),
        _fact("links_mib", "cluster_links", "array to nodes on links of 500 Mbit/s", "MiB"),
        _rate("links_one", "the same, to one", step="cluster_links", unit="MB/s"),
        _rate("links_share", "the same, of what the link can do", step="cluster_links", unit="%"),
        _cost("links_ratio", "cluster_links", "time to 8 such nodes : to one", "x", AtMost(3)),
        _fact("spill_put_mib", "cluster_spill", "put into a store of a quarter", "MiB"),
        _fact("spill_disk_mib", "cluster_spill", "of that on the disk", "MiB"),
        _rate("spill", "spill, disk synced", AtLeast(0.8, "limits", "disk_write"), step="cluster_spill", unit="GB/s"),
        _rate(
            "restore", "restore, nothing cached", AtLeast(0.8, "limits", "disk_read"), step="cluster_spill", unit="GB/s"
        ),
        _cost("decision_us", "cluster_decision", "decision at 2,000 nodes, with its reason", "us", AtMost(200)),
        _cost("decision_spread_us", "cluster_decision", "the same, SPREAD", "us", AtMost(200)),
        _cost("decision_labels_us", "cluster_decision", "the same, by labels", "us", AtMost(200)),
        _cost("decision_infeasible_us", "cluster_decision", "the same, no node can ever run it", "us", AtMost(200)),
        _rate("socket_stream", "limit: TCP on loopback, one buffer (iperf3)", step="cluster_sockets", unit="GB/s"),
        _rate("socket_memory", "limit: TCP, from memory to memory", step="cluster_sockets", unit="GB/s"),
        _cost("sockets_ratio", "cluster_sockets", "limit: time of 8 pairs at once : one pair", "x"),
        _rate("disk_write", "limit: sequential write, synced", step="cluster_disk", unit="GB/s"),
        _rate("disk_read", "limit: sequential read, nothing cached", step="cluster_disk", unit="GB/s"),
    )
)

STORE_FIGURES: tuple[Figure, ...] = tuple(
    replace(figure, group=STORE)
    for figure in (
        _rate("store_sqlite_1", "SQLite, 1 writer", AtLeast(0.5, "limits", "store_commits"), step="store_sqlite"),
        _rate("store_sqlite_64", "SQLite, 64 writers", step="store_sqlite"),
        _rate("store_etcd_1", "etcd, 1 writer", step="store_etcd"),
        _rate(
            "store_etcd_64",
            "etcd, 64 writers",
            AtLeast(0.5, OURS, "store_sqlite_64"),
            AtLeast(0.9, "limits", "store_bare_etcd_64"),
            step="store_etcd",
        ),
        _rate("heads_groups_none", "placement groups made, head without a store", step="store_heads"),
        _rate("heads_groups_sqlite", "the same, head with SQLite", step="store_heads"),
        _rate(
            "heads_groups_etcd",
            "the same, head with etcd",
            AtLeast(0.5, OURS, "heads_groups_sqlite"),
            step="store_heads",
        ),
        _rate("heads_actors_none", "actors made and called, head without a store", step="store_heads"),
        _rate("heads_actors_sqlite", "the same, head with SQLite", step="store_heads"),
        _rate(
            "heads_actors_etcd",
            "the same, head with etcd",
            AtLeast(0.5, OURS, "heads_actors_sqlite"),
            step="store_heads",
        ),
        _cost(
            "heads_failover",
            "store_heads",
            "kill -9 of the head until an actor is made, 3 heads, median",
            "s",
            AtMost(0.3),
        ),
        _cost("heads_failover_max", "store_heads", "the same, longest of 10", "s", AtMost(1.0)),
        _rate("store_fsyncs", "limit: append 4 KiB and sync", step="store_disk"),
        _rate("store_commits", "limit: bare SQLite, a commit of one row", step="store_disk"),
        _rate("store_bare_etcd_1", "limit: etcd by its client's stubs, one at a time", step="store_bare_etcd"),
        _rate("store_bare_etcd_64", "limit: the same, 64 in flight, no order", step="store_bare_etcd"),
    )
)

FIGURES: tuple[Figure, ...] = MACHINE_FIGURES + CLUSTER_FIGURES + STORE_FIGURES

Medians = Mapping[tuple[str, str], Summary]
"""By engine and figure id."""


def summarize(samples: Iterable[tuple[str, str, float]]) -> dict[tuple[str, str], Summary]:
    """Return median and spread of (engine, figure, value) samples."""
    values: dict[tuple[str, str], list[float]] = {}
    for engine, figure, value in samples:
        values.setdefault((engine, figure), []).append(value)
    return {key: Summary(statistics.median(found), min(found), max(found), len(found)) for key, found in values.items()}


def select(names: Sequence[str], group: str = "") -> tuple[Figure, ...]:
    """Return the figures (of the group) whose id or title contains one of the names; all of them when none is given."""
    figures = tuple(figure for figure in FIGURES if group in {"", figure.group})
    if not names:
        return figures
    lowered = [name.lower() for name in names]
    found = tuple(f for f in figures if any(name in f.id or name in f.title.lower() for name in lowered))
    if not found:
        known = ", ".join(figure.id for figure in figures)
        message = f"--only {' '.join(names)}: no such figure; known: {known}"
        raise ValueError(message)
    return found


def needed_steps(figures: Sequence[Figure]) -> frozenset[str]:
    """Return the steps that yield the figures and whatever their targets compare them with."""
    steps = {figure.step for figure in figures}
    by_id = {figure.id: figure for figure in FIGURES}
    for figure in figures:
        for target in figure.targets:
            if isinstance(target, AtLeast) and target.figure:
                steps.add(by_id[target.figure].step)
    return frozenset(steps)


def judge(figure: Figure, target: Target, medians: Medians) -> Verdict:
    """Compare our median with the target."""
    asked = asked_text(figure, target)
    ours = medians.get((OURS, figure.id))
    if ours is None:
        return Verdict(figure, None, asked, f"no figure from {OURS}")
    if isinstance(target, AtMost):
        return Verdict(figure, ours.median <= target.limit, asked, with_unit(ours.median, figure.unit))
    theirs = medians.get((target.engine, target.figure or figure.id))
    if theirs is None or theirs.median <= 0:
        return Verdict(figure, None, asked, f"no figure from {target.engine}")
    ratio = ours.median / theirs.median
    return Verdict(figure, ratio >= target.factor, asked, ratio_text(ratio, target.factor))


def asked_text(figure: Figure, target: Target) -> str:
    """Say what a target asks for."""
    if isinstance(target, AtMost):
        note = f" ({target.note})" if target.note else ""
        return f"<= {with_unit(target.limit, figure.unit)}{note}"
    other = f"{target.engine}'s {target.figure}" if target.figure else target.engine
    if target.factor < 1:
        return f">= {target.factor:.0%} of {other}"
    return f">= {target.factor:g}x {other}"


def ratio_text(ratio: float, factor: float) -> str:
    """Write a ratio in the manner of its target: a share of a limit or a multiple of a peer."""
    return f"{ratio:.0%}" if factor < 1 else f"{number(ratio)}x"


def number(value: float) -> str:
    """Write a number with three significant digits, thousands separated."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 0.01 else f"{value:.2g}"


def with_unit(value: float, unit: str) -> str:
    """Write a number with its unit."""
    if not unit:
        return number(value)
    return f"{number(value)}{unit}" if unit.startswith(("/", "x")) else f"{number(value)} {unit}"
