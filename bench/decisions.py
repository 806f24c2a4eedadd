"""What one scheduling decision costs among 2,000 nodes, its reason included; no cluster runs for it.

The policy, the view and the reasons are those of raylets and of the head. Half of the nodes are busy and each decision
takes from the node that it names, until little is left; then all is given back, so that the cluster does not just fill.
"""

from __future__ import annotations

import statistics
import time
from random import Random
from typing import TYPE_CHECKING

from bench.measure import Timing, expect
from linckia.core.leases.vectors import to_units
from linckia.core.scheduling.policy import Ask, Scheduler
from linckia.core.scheduling.view import ClusterView, NodeView
from linckia.model.placement import DEFAULT, Strategy

if TYPE_CHECKING:
    from bench.cluster_nodes import Clusters

NODES, CPUS = 2000, 8.0
ZONES = 4
DECISIONS = 2000
IN_ZONE = Strategy(selectors=[{"zone": "in(z1, z2)"}])
KINDS: dict[str, tuple[Strategy, float, str]] = {
    "decision_us": (DEFAULT, 1.0, "node"),
    "decision_spread_us": (Strategy("SPREAD"), 1.0, "node"),
    "decision_labels_us": (IN_ZONE, 1.0, "node"),
    "decision_infeasible_us": (DEFAULT, 64.0, "infeasible"),
}
"""By figure: the strategy, the CPUs that are asked for, what the answer must be."""


def view_of_many() -> ClusterView:
    """Return 2,000 nodes, every second one with half of its CPUs taken."""
    view = ClusterView()
    for number in range(NODES):
        node_id = b"node %04d" % number
        view.join(NodeView(node_id, to_units({"CPU": CPUS}), {"zone": f"z{number % ZONES}"}))
        if number % 2:
            view.debit(node_id, to_units({"CPU": CPUS / 2}))
    return view


def decisions(_clusters: Clusters, timing: Timing) -> dict[str, float]:
    """Return the median microseconds of each kind of decision."""
    count = max(100, int(DECISIONS * timing.scale))
    return {figure: _median_us(*kind, count) for figure, kind in KINDS.items()}


def _median_us(strategy: Strategy, cpus: float, wanted: str, count: int) -> float:
    view, scheduler, rng = view_of_many(), Scheduler(), Random(0)
    ask = Ask(to_units({"CPU": cpus}), strategy=strategy)
    took_us: list[float] = []
    for _ in range(count):
        start = time.perf_counter()
        decision = scheduler.decide(view, ask, rng)
        has_reason = bool(decision.reason)
        took_us.append((time.perf_counter() - start) * 1e6)
        expect((decision.kind, has_reason), (wanted, True), "a decision and its reason")
        if decision.kind == "node":
            view.debit(decision.node_id, ask.need)
    return statistics.median(took_us)
