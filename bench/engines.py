"""Who takes part, which interpreter runs whom, which steps each of them has, and the plan of a run. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum


class Interpreter(Enum):
    """Which Python runs an engine."""

    OWN = "the one that runs the bench"
    PEERS = "the peers' virtual environment"


@dataclass(frozen=True)
class Engine:
    """One participant. `distribution` is what its version is read from."""

    name: str
    title: str
    interpreter: Interpreter
    steps: tuple[str, ...]
    long_steps: tuple[str, ...] = ()
    distribution: str | None = None
    cluster_steps: frozenset[str] = frozenset()


API_STEPS = (
    "startup",
    "import",
    "idle",
    "task_sync",
    "task_1000",
    "actors_20",
    "actor_sync",
    "actor_1000",
    "actor_4",
    "actor_ref",
    "async_actor_sync",
    "async_actor_1000",
    "put_small",
    "get_small",
    "wait_1000",
    "get_10000_refs",
    "put_1mib",
    "put_256mib",
    "get_256mib",
    "shutdown",
)
GROWTH_STEPS = ("growth_tasks", "growth_pending", "growth_objects")
POOL_STEPS = ("startup", "idle", "task_sync", "task_1000")
SHUTDOWN = ("shutdown",)

CLUSTER_PARTS: tuple[tuple[str, ...], ...] = (
    ("cluster_join",),
    ("cluster_idle", "cluster_tasks", "cluster_groups", "cluster_actors"),
    ("cluster_queue",),
    ("cluster_sockets", "cluster_transfer"),
    ("cluster_links",),
    ("cluster_disk", "cluster_spill"),
    ("cluster_decision",),
    ("store_disk", "store_bare_etcd", "store_sqlite", "store_etcd"),
    ("store_heads",),
)
"""Steps that share a process, and with it a cluster, or that are compared with each other and belong side by side."""

STORE_STEPS = frozenset({"store_sqlite", "store_etcd", "store_heads"})
LIMIT_STEPS = frozenset({"cluster_sockets", "cluster_disk", "store_disk", "store_bare_etcd"})
OWN_STEPS = STORE_STEPS | {"cluster_decision", "cluster_links"}
"""Of parts that only Linckia lets one measure by themselves."""

CLUSTER_ENGINE_STEPS = frozenset(step for part in CLUSTER_PARTS for step in part) - LIMIT_STEPS - OWN_STEPS
OUR_CLUSTER_STEPS = CLUSTER_ENGINE_STEPS | OWN_STEPS

ENGINES: tuple[Engine, ...] = (
    Engine(
        "limits",
        "limits",
        Interpreter.OWN,
        ("ping_pong", "ping_pong_polling", "pipelined", "memcpy", "memcpy_fresh"),
        cluster_steps=LIMIT_STEPS,
    ),
    Engine("prototype", "hot-path floor", Interpreter.OWN, ("task_sync", "task_1000")),
    Engine("linckia", "Linckia", Interpreter.OWN, API_STEPS, GROWTH_STEPS, "linckia", OUR_CLUSTER_STEPS),
    Engine("futures", "concurrent.futures", Interpreter.OWN, POOL_STEPS + SHUTDOWN),
    Engine("multiprocessing", "multiprocessing", Interpreter.OWN, (*POOL_STEPS, "pool_map", *SHUTDOWN)),
    Engine("loky", "loky", Interpreter.PEERS, POOL_STEPS + SHUTDOWN, distribution="loky"),
    Engine(
        "dask",
        "dask",
        Interpreter.PEERS,
        (*POOL_STEPS, "actor_sync", "actor_1000", *SHUTDOWN),
        distribution="distributed",
    ),
    Engine("ray", "Ray", Interpreter.PEERS, API_STEPS, GROWTH_STEPS, "ray", CLUSTER_ENGINE_STEPS),
)
"""In the order of a round. Limits, floor and Linckia stand side by side: drift of the machine hits them alike."""


@dataclass(frozen=True)
class Run:
    """One process to start: an engine, the round it belongs to, the steps it shall do."""

    engine: Engine
    round: int
    steps: tuple[str, ...]
    is_long: bool = False
    is_cluster: bool = False


def choose(names: Sequence[str]) -> tuple[Engine, ...]:
    """Return the engines of that name, in the order of a round; all when none is named."""
    known = [engine.name for engine in ENGINES]
    if unknown := [name for name in names if name not in known]:
        message = f"--engines {','.join(unknown)}: unknown; known: {', '.join(known)}"
        raise ValueError(message)
    return tuple(engine for engine in ENGINES if not names or engine.name in names)


def plan(engines: Iterable[Engine], rounds: int, steps: frozenset[str], long: frozenset[str]) -> list[Run]:
    """Return the processes to start: round robin over the engines, then the long steps of those named in `long`, then
    the parts of the cluster figures, engines side by side in each.

    Each long step gets a process of its own: memory that another one freed would be filled first.
    """
    engines = tuple(engines)
    runs = [
        Run(engine, number, chosen)
        for number in range(1, rounds + 1)
        for engine in engines
        if (chosen := tuple(step for step in engine.steps if step in steps))
    ]
    runs += [
        Run(engine, 1, (step,), is_long=True)
        for engine in engines
        if engine.name in long
        for step in engine.long_steps
        if step in steps
    ]
    runs += [
        Run(engine, number, chosen, is_cluster=True)
        for number in range(1, rounds + 1)
        for part in CLUSTER_PARTS
        for engine in engines
        if (chosen := tuple(step for step in part if step in steps and step in engine.cluster_steps))
    ]
    return runs
