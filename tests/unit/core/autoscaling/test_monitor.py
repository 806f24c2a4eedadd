"""The autoscaler's loop with the fake provider in virtual time: nodes come, fail and go; the brake stops everything."""

from __future__ import annotations

import pytest

from linckia.core.autoscaling.instances import JOIN_MAX_S, TERMINATE_MAX_S
from linckia.core.autoscaling.records import Demand, Limits, NodeType, RunningNode
from linckia.scaling import config
from linckia.scaling.monitor import Monitor, Observation
from linckia.scaling.providers.base import INSTANCE_LABEL
from linckia.scaling.providers.fake import FakeProvider
from linckia.testing.clock import VirtualClock

KIND = NodeType("small", {"CPU": 1.0}, max_workers=3, idle_timeout_s=30.0)


class World:
    """A head, a fake provider and a clock."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.nodes: dict[str, RunningNode] = {}
        self.waiting = 0
        self.braked = False
        self.refuse = ""
        self.provider = FakeProvider(self.clock.call_later, self._join, self._leave)
        self.monitor = Monitor(
            Limits([KIND]),
            self.provider,
            self._observe,
            lambda _node: self.refuse,
            self.clock.call_later,
            self.clock.monotonic,
            lambda _text: None,
        )
        self.monitor.start()

    def _join(self, name: str, kind: NodeType) -> None:
        labels = {INSTANCE_LABEL: name}
        idle_since_s = self.clock.monotonic()
        self.nodes[name] = RunningNode(name.encode(), "", kind.resources, kind.resources, labels, idle_since_s)

    def _leave(self, name: str) -> None:
        self.nodes.pop(name, None)

    def _observe(self) -> Observation:
        demand = Demand(shapes=[({"CPU": 1.0}, self.waiting, [])] if self.waiting else [])
        return Observation(list(self.nodes.values()), demand, self.braked)

    def run(self, seconds: float) -> None:
        end_s = self.clock.monotonic() + seconds
        while self.clock.monotonic() < end_s:
            self.clock.step()


@pytest.mark.row("10.4", "10.9", "10.13")
def test_nodes_come_with_demand_and_go_when_idle() -> None:
    world = World()
    world.waiting = 2
    world.run(10)
    assert len(world.nodes) == 2
    world.waiting = 0
    world.run(60)
    assert world.nodes == {}
    assert world.monitor.instances == {}


@pytest.mark.row("10.13")
def test_a_launch_that_fails_is_tried_again() -> None:
    world = World()
    world.provider.failures = 1
    world.waiting = 1
    world.run(10)
    assert len(world.nodes) == 1
    assert any("failed" in event for event in world.monitor.events)


@pytest.mark.row("10.14")
def test_a_node_that_does_not_join_is_given_up_and_another_started() -> None:
    world = World()
    world.provider.delay_s = 1e6
    world.waiting = 1
    world.run(JOIN_MAX_S - 10)
    assert len(world.monitor.instances) == 1
    world.provider.delay_s = 2.0
    world.run(20)
    assert len(world.nodes) == 1
    assert any("did not join in time" in event for event in world.monitor.events)


@pytest.mark.row("10.14", "10.15")
def test_a_termination_that_has_no_effect_is_asked_again() -> None:
    world = World()
    world.waiting = 1
    world.run(10)
    world.waiting, world.provider.deaf = 0, 2
    world.run(35 + 3 * TERMINATE_MAX_S)
    assert (world.nodes, world.monitor.instances) == ({}, {})
    said = [event for event in world.monitor.events if "end" in event]
    assert [event.split()[0] for event in said] == ["ending", "small", "small"]
    assert "idle for" in said[0], "the cause"


@pytest.mark.row("7.9", "10.13")
def test_a_refused_drain_leaves_the_node() -> None:
    world = World()
    world.waiting = 1
    world.run(10)
    world.waiting, world.refuse = 0, "it has work"
    world.run(60)
    assert len(world.nodes) == 1


@pytest.mark.row("S19")
def test_the_brake_stops_launches_and_terminations() -> None:
    world = World()
    world.braked = True
    world.waiting = 3
    world.run(60)
    assert (world.nodes, world.monitor.events) == ({}, [])


@pytest.mark.row("10.17")
def test_the_same_request_twice_is_one_launch() -> None:
    world = World()
    first = world.provider.launch(KIND, 2, "once")
    assert world.provider.launch(KIND, 2, "once") == first
    assert len(world.provider.non_terminated()) == 2


@pytest.mark.row("10.1", "10.2", "10.3")
def test_the_configuration_is_checked() -> None:
    good = {
        "cluster_name": "x",
        "provider": {"type": "local"},
        "idle_timeout_minutes": 1,
        "available_node_types": {"a": {"resources": {"CPU": 1}, "max_workers": 2}},
    }
    limits = config.parse(good)
    assert (limits.idle_timeout_s, limits.types[0].max_workers) == (60.0, 2)
    for wrong, complaint in (
        ({**good, "max_worker": 1}, "did you mean 'max_workers'"),
        ({**good, "docker": {}}, "cluster launcher"),
        ({**good, "provider": {"type": "aws"}}, "provider.type is 'aws'"),
        ({key: good[key] for key in good if key != "provider"}, "'provider' is required"),
        ({**good, "available_node_types": {"a": {"resources": {"CPU": -1}}}}, "resources must be"),
        ({**good, "available_node_types": {"a": {"resources": {}, "min_workers": 3, "max_workers": 1}}}, "is above"),
    ):
        with pytest.raises(config.ConfigError, match=complaint):
            config.parse(wrong)
