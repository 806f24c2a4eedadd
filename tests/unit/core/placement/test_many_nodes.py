"""Bundles among many nodes: only some nodes are looked at first, and what is said is what looking at all would say."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from linckia.core.leases import vectors
from linckia.core.leases.vectors import Units, to_units
from linckia.core.placement import bundles
from linckia.core.placement.bundles import STRATEGIES, BundleAsk, NotPlaced, Placed, place_bundles
from linckia.core.scheduling.view import ClusterView, NodeView


def cluster(nodes: int, rng: Random, fullest: int = 4) -> ClusterView:
    view = ClusterView()
    for number in range(nodes):
        node_id = b"n%05d" % number
        view.join(NodeView(node_id, to_units({"CPU": 4.0}), {"zone": f"z{number % 3}"}))
        view.debit(node_id, to_units({"CPU": float(rng.randint(0, fullest))}))
        if rng.random() < 0.1:
            view.mark(node_id, takes_work=False)
    return view


def check(view: ClusterView, ask: BundleAsk, nodes: dict[int, bytes]) -> None:
    """Every bundle has a node, nowhere is more than there is, and the strategy holds."""
    where = {**ask.fixed, **nodes}
    assert sorted(where) == list(range(len(ask.bundles)))
    taken: dict[bytes, Units] = {}
    for index, node_id in nodes.items():
        assert view.nodes[node_id].takes_work
        vectors.add(taken.setdefault(node_id, {}), ask.bundles[index])
        assert not ask.selectors or ask.selectors[index].items() <= view.nodes[node_id].labels.items()
    assert all(vectors.fits(units, view.nodes[node_id].available) for node_id, units in taken.items())
    counts = Counter(where.values())
    assert ask.strategy != "STRICT_PACK" or len(counts) == 1
    assert ask.strategy != "STRICT_SPREAD" or max(counts.values()) == 1


def an_ask(rng: Random, view: ClusterView) -> BundleAsk:
    asked = [to_units({"CPU": rng.choice([0.5, 1.0, 2.0, 4.0])}) for _ in range(rng.randint(1, 6))]
    strategy = rng.choice(STRATEGIES)
    fixed = {0: rng.choice(list(view.nodes))} if rng.random() < 0.3 else {}
    selectors = [{"zone": rng.choice(["z0", "z1"])} for _ in asked] if rng.random() < 0.2 else []
    return BundleAsk(asked, strategy, fixed, selectors, rng.choice([b"", rng.choice(list(view.nodes))]))


@pytest.mark.row("6.3", "6.4", "6.5", "6.6")
@pytest.mark.parametrize("seed", range(300))
def test_what_fits_among_all_fits_among_some(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = Random(seed)
    view = cluster(rng.randint(8, 30), rng, rng.choice([3, 4, 5]))
    ask = an_ask(rng, view)
    exact = place_bundles(view, ask)
    monkeypatch.setattr(bundles, "ALL_LOOKED_AT_MAX", 4)
    monkeypatch.setattr(bundles, "SOME_NODES", 1)
    found = place_bundles(view, ask, turn=seed)
    if isinstance(found, Placed):
        check(view, ask, found.nodes)
    else:
        assert isinstance(exact, NotPlaced) and found.reason == exact.reason


def test_in_turn_all_nodes_get_something() -> None:
    view = cluster(1000, Random(1), fullest=0)
    ask = BundleAsk([to_units({"CPU": 1.0})] * 4, "SPREAD")
    used: Counter[bytes] = Counter()
    for turn in range(500):
        found = place_bundles(view, ask, turn)
        assert isinstance(found, Placed)
        for node_id in found.nodes.values():
            view.debit(node_id, ask.bundles[0])
            used[node_id] += 1
    working = sum(1 for node in view.nodes.values() if node.takes_work)
    assert len(used) > 0.9 * working, "the load is spread over the cluster"


@pytest.mark.row("P18")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_few_nodes_are_looked_at_whether_it_fits_or_not(strategy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    view = cluster(2000, Random(1), fullest=0)
    looked: list[int] = []
    place = bundles._place

    def counted(nodes: list[NodeView], *rest: object) -> dict[int, bytes] | None:
        looked.append(len(nodes))
        return place(nodes, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(bundles, "_place", counted)
    one = to_units({"CPU": 1.0})
    assert isinstance(place_bundles(view, BundleAsk([one] * 4, strategy)), Placed)
    too_large = place_bundles(view, BundleAsk([one, to_units({"CPU": 64.0})], strategy))
    assert isinstance(too_large, NotPlaced) and too_large.kind == "infeasible"
    for node_id in view.nodes:
        view.report(node_id, {})
    full = place_bundles(view, BundleAsk([one] * 4, strategy))
    assert isinstance(full, NotPlaced) and full.kind == "no_resources"
    assert max(looked) < 200
