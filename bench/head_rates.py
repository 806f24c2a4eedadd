"""What keeping the head's state costs those who use it: groups and actors made per second by a head that keeps nothing,
one with SQLite, and one with etcd (one member). And how long it takes until an actor can be made after kill -9
of the head that leads (three heads, three members).

Run by `child.py`. Groups are 64 at a time, actors 16 (each is a process).
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

import linckia
from bench.measure import Timing, expect, rate
from bench.store_rates import etcd_cluster
from bench.workloads import Values
from linckia.cluster_utils import Cluster
from linckia.protocol import messages as m
from linckia.rpc.ask import ask
from linckia.util.placement_group import placement_group, remove_placement_group

GROUPS, ACTORS, FAILOVERS = 64, 16, 10
HEADS = 3
READY_MAX_S = 60.0


class SmallActor:
    """Made, called, forgotten."""

    def small(self) -> bytes:
        """Its only call."""
        return b"ok"


def head_rates(timing: Timing) -> Values:
    """All of them."""
    figures = _rates("none", "", timing) | _rates("sqlite", "session", timing)
    with tempfile.TemporaryDirectory(prefix="lb-store-") as folder:
        members = etcd_cluster(folder)
        try:
            store = f"etcd://{','.join(members.endpoints)}"
            figures |= _rates("etcd", store, timing)
        finally:
            members.close()
    with tempfile.TemporaryDirectory(prefix="lb-store-") as folder:
        members = etcd_cluster(folder, 3)
        try:
            return figures | _failover(f"etcd://{','.join(members.endpoints)}")
        finally:
            members.close()


def _rates(name: str, store: str, timing: Timing) -> Values:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "store": store})
    try:
        linckia.init(address=cluster.add_node(num_cpus=GROUPS).address, log_to_driver=False)
        actor: Any = linckia.remote(num_cpus=0)(SmallActor)

        def groups() -> None:
            made = [placement_group([{"CPU": 1}]) for _ in range(GROUPS)]
            expect([group.wait(READY_MAX_S) for group in made], [True] * GROUPS, "groups that are ready")
            for group in made:
                remove_placement_group(group)

        def actors() -> None:
            made = [actor.remote() for _ in range(ACTORS)]
            expect(linckia.get([each.small.remote() for each in made]), [b"ok"] * ACTORS, "calls of new actors")

        return {
            f"heads_groups_{name}": rate(groups, GROUPS, timing.seconds),
            f"heads_actors_{name}": rate(actors, ACTORS, timing.seconds),
        }
    finally:
        linckia.shutdown()
        cluster.shutdown()


def _failover(store: str) -> Values:
    """The longest wait of whoever makes actors one after the other, over kills of the leader."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "store": store})
    try:
        for _ in range(HEADS - 1):
            cluster.add_node(num_cpus=0, store=store)
        node = cluster.add_node(num_cpus=2)
        linckia.init(address=node.address, log_to_driver=False)
        actor: Any = linckia.remote(num_cpus=0)(SmallActor)
        gaps = []
        for _ in range(FAILOVERS):
            leader = _leader_with_standbys(node)
            start = time.perf_counter()
            os.kill(leader, signal.SIGKILL)
            linckia.get(actor.remote().small.remote(), timeout=READY_MAX_S)
            gaps.append(time.perf_counter() - start)
        gaps.sort()
        return {"heads_failover": gaps[len(gaps) // 2], "heads_failover_max": gaps[-1]}
    finally:
        linckia.shutdown()
        cluster.shutdown()


def _leader_with_standbys(node: Any) -> int:
    """Pid of the leader, once all others stand by."""
    token = Path(node.process.token_path).read_bytes().strip()
    deadline_s = time.monotonic() + READY_MAX_S
    while time.monotonic() < deadline_s:
        heads = msgspec.msgpack.decode(ask(node.endpoint, token, m.ClusterQuery(1, "status")).body)["heads"]
        if sum(not head["leader"] and head["lag_revisions"] >= 0 for head in heads) == HEADS - 1:
            return next(int(head["pid"]) for head in heads if head["leader"])
        time.sleep(0.05)
    raise TimeoutError(f"not all of {HEADS} heads stand by within {READY_MAX_S:g} s")
