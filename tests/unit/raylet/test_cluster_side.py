"""A raylet's view of the cluster: what it asks a head for, and what it does not let others tell it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import msgspec

from linckia.core.leases.manager import LeaseManager
from linckia.core.leases.vectors import to_units
from linckia.model.specs import NodeInfo
from linckia.protocol import messages as m
from linckia.raylet.cluster import ClusterSide
from linckia.testing.clock import VirtualClock


def info(node_id: bytes) -> NodeInfo:
    return NodeInfo(node_id, "ip", "host", "", 1, {"CPU": 2.0}, {}, is_head=False)


def side() -> tuple[ClusterSide, list[Any]]:
    """One that knows another node; and what it says to the head."""
    said: list[Any] = []
    raylet = SimpleNamespace(
        options=SimpleNamespace(node=info(b"here")),
        reactor=VirtualClock(),
        gcs=SimpleNamespace(post=said.append),
        clients={},
        objects=SimpleNamespace(node_joined=lambda: said.append("joined")),
    )
    made = ClusterSide(cast(Any, raylet), LeaseManager(to_units({"CPU": 2.0}), soft_limit=2), lambda: None)
    made.on_nodes(None, m.NodesChanged(joined=[msgspec.msgpack.encode(info(b"there"))]))
    assert said.pop() == "joined", "there may be room for copies that are lacking"
    made.on_nodes(None, m.NodesChanged(joined=[msgspec.msgpack.encode(info(b"here"))]))
    assert not said, "that is this node"
    return made, said


def test_revisions_of_the_last_head_mean_nothing_to_the_next() -> None:
    """It had asked the next head for what is newer than a number of the last one, and heard nothing for long."""
    cluster, said = side()
    cluster.on_delta(None, m.ViewDelta(5_000, []))
    cluster.head_is_back()
    assert said == []
    cluster.want_news(waiting=True)
    assert said == [m.ViewInterest(0)]


def test_what_others_say_of_this_node_is_not_believed() -> None:
    cluster, _ = side()
    news = [m.NodeDelta(node_id, {"CPU": 0}, {}) for node_id in (b"here", b"there")]
    cluster.on_delta(None, m.ViewDelta(7, news))
    assert {node_id: node.available["CPU"] for node_id, node in cluster.view.nodes.items()} == {
        b"here": 20_000,
        b"there": 0,
    }
