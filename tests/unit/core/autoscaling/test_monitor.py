"""The autoscaler's loop with the fake provider in virtual time, and the head's real side of it: nodes come, fail and
go; the brake stops everything; and a loop that begins anew goes on where the last one was.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, cast

import msgspec
import pytest

from linckia.core.autoscaling.instances import JOIN_MAX_S, TERMINATE_MAX_S
from linckia.core.autoscaling.records import Demand, Limits, NodeType, RunningNode
from linckia.core.autoscaling.rounds import INSTANCE_LABEL, TYPE_LABEL
from linckia.gcs.demand import DemandService
from linckia.gcs.journal import Outbox
from linckia.gcs.nodes import NodeService
from linckia.gcs.scaling import ScalingService
from linckia.protocol import messages as m
from linckia.scaling import config
from linckia.scaling.monitor import Monitor
from linckia.scaling.providers.fake import FakeProvider
from linckia.testing.clock import VirtualClock

KIND = NodeType("small", {"CPU": 1.0}, max_workers=3, idle_timeout_s=30.0)


class StubNodes:
    """The head's nodes, as far as scaling asks for them."""

    def __init__(self, clock: VirtualClock) -> None:
        self.now_s = clock.monotonic
        self.on_dead: list[Any] = []
        self.refuse = ""
        self.missing: list[object] = []
        self.sent: list[Any] = []

    def absent(self) -> list[object]:
        return self.missing

    def note(self, _severity: str, _text: str) -> None: ...

    def drain(self, _node_id: bytes, _reason: str) -> str:
        return self.refuse

    def send(self, _node_id: bytes, message: m.Message) -> None:
        self.sent.append(message)


class StubDemand:
    """What waits, and the living nodes."""

    def __init__(self, world: World) -> None:
        self._world = world

    @property
    def braked(self) -> bool:
        return self._world.braked

    def nodes(self) -> list[RunningNode]:
        return list(self._world.nodes.values())

    def demand(self) -> Demand:
        waiting = self._world.waiting
        return Demand(shapes=[({"CPU": 1.0}, waiting, [])] if waiting else [])


class World:
    """A head, a fake provider and a clock."""

    def __init__(self, types: list[NodeType] | None = None) -> None:
        self.clock = VirtualClock()
        self.nodes: dict[str, RunningNode] = {}
        self.waiting = 0
        self.braked = False
        self.stub = StubNodes(self.clock)
        self.scaling = ScalingService(cast(NodeService, self.stub), cast(DemandService, StubDemand(self)), 1, Outbox())
        self.provider = FakeProvider(self.clock.call_later, self._join, self._leave)
        self.names = itertools.count(1)
        self.begin(types or [KIND])

    def begin(self, types: list[NodeType]) -> None:
        """A loop that knows nothing."""
        self.monitor = Monitor(
            Limits(types), self.provider, self, self.clock.call_later, self.clock.monotonic,
            lambda: f"i{next(self.names)}",
        )  # fmt: skip
        self.monitor.start()

    def ask(self, what: str, body: bytes, then: Callable[[bytes], None]) -> None:
        class Peer:
            def post(self, message: m.HeadSays) -> None:
                then(message.body)

        self.scaling.on_ask(Peer(), m.AskHead(1, what, body))

    def _join(self, name: str, kind: NodeType) -> None:
        labels = {INSTANCE_LABEL: name, TYPE_LABEL: kind.name}
        idle_since_s = self.clock.monotonic()
        self.nodes[name] = RunningNode(name.encode(), "", kind.resources, kind.resources, labels, idle_since_s)

    def _leave(self, name: str) -> None:
        self.nodes.pop(name, None)

    def run(self, seconds: float) -> None:
        end_s = self.clock.monotonic() + seconds
        while self.clock.monotonic() < end_s:
            self.clock.step()

    @property
    def events(self) -> list[str]:
        return self.scaling.events

    def states(self) -> dict[str, str]:
        return {name: known.state.value for name, known in self.scaling.instances.items()}


@pytest.mark.row("10.4", "10.9", "10.13")
def test_nodes_come_with_demand_and_go_when_idle() -> None:
    world = World()
    world.waiting = 2
    world.run(10)
    assert len(world.nodes) == 2
    world.waiting = 0
    world.run(60)
    assert world.nodes == {}
    assert world.states() == {}


@pytest.mark.row("10.13")
def test_a_launch_that_fails_is_tried_again() -> None:
    world = World()
    world.provider.failures = 1
    world.waiting = 1
    world.run(10)
    assert len(world.nodes) == 1
    assert any("failed" in event for event in world.events)


@pytest.mark.row("10.14")
def test_a_node_that_does_not_join_is_given_up_and_another_started() -> None:
    world = World()
    world.provider.delay_s = 1e6
    world.waiting = 1
    world.run(JOIN_MAX_S - 10)
    assert len(world.states()) == 1
    world.provider.delay_s = 2.0
    world.run(20)
    assert len(world.nodes) == 1
    assert any("did not join in time" in event for event in world.events)


@pytest.mark.row("10.14", "10.15")
def test_a_termination_that_has_no_effect_is_asked_again() -> None:
    world = World()
    world.waiting = 1
    world.run(10)
    world.waiting, world.provider.deaf = 0, 2
    world.run(35 + 3 * TERMINATE_MAX_S)
    assert (world.nodes, world.states()) == ({}, {})
    said = [event for event in world.events if "end" in event]
    assert [event.split()[0] for event in said] == ["ending", "small", "small"]
    assert "idle for" in said[0], "the cause"


@pytest.mark.row("7.9", "10.13")
def test_a_refused_drain_leaves_the_node() -> None:
    world = World()
    world.waiting = 1
    world.run(10)
    world.waiting, world.stub.refuse = 0, "it has work"
    world.run(60)
    assert len(world.nodes) == 1


@pytest.mark.row("S19")
def test_the_brake_stops_launches_and_terminations() -> None:
    world = World()
    world.braked = True
    world.waiting = 3
    world.run(60)
    assert (world.nodes, world.events) == ({}, [])


@pytest.mark.row("S19", "S1")
def test_while_nodes_of_the_last_head_are_missing_nothing_is_started_or_ended() -> None:
    world = World()
    world.stub.missing = [object()]
    world.waiting = 3
    world.run(30)
    assert (world.nodes, world.states()) == ({}, {})
    assert "have not come" in world.scaling.status()["hold"]
    world.stub.missing = []
    world.run(5)
    assert len(world.nodes) == 3


@pytest.mark.row("S10")
@pytest.mark.parametrize("after_s", [0.5, 1.5, 2.5, 10.0])
def test_a_loop_that_begins_anew_launches_nothing_twice_and_forgets_nothing(after_s: float) -> None:
    world = World()
    world.waiting = 2
    world.run(after_s)
    world.monitor.stop()
    world.begin([KIND])
    world.run(20)
    assert len(world.nodes) == 2
    assert len(world.provider._launched) == 2
    world.monitor.stop()
    world.begin([KIND])
    world.waiting = 0
    world.run(60)
    assert (world.nodes, world.states()) == ({}, {})


@pytest.mark.row("S1")
def test_what_nobody_wrote_down_is_taken_in_and_ended_when_idle() -> None:
    world = World()
    world.provider.launch(KIND, "stray")
    world.run(1.5)
    assert world.states() == {"stray": "ALLOCATED"}
    world.run(3)
    assert world.states() == {"stray": "RUNNING"}
    world.scaling.instances.clear()  # as if the store had lost it
    world.run(60)
    assert (world.nodes, world.states(), world.provider.non_terminated()) == ({}, {}, {})


@pytest.mark.row("10.8")
def test_what_a_node_takes_as_it_joins_is_not_asked_for_again_by_an_old_report() -> None:
    world = World()
    world.waiting = 1
    world.run(1.5)
    (name,) = world.provider.non_terminated()
    while not world.nodes:
        world.clock.step()
    world.nodes[name] = msgspec.structs.replace(world.nodes[name], available={"CPU": 0.0}, idle_since_s=0.0)
    while world.states()[name] != "RUNNING":
        world.clock.step()
    world.waiting = 0  # the report of whoever had it waiting comes now
    world.run(5)
    assert list(world.provider._launched) == [name]


@pytest.mark.row("10.15")
def test_what_a_dead_node_left_behind_is_ended() -> None:
    world = World()
    world.waiting = 1
    world.run(5)
    (name,) = world.nodes
    del world.nodes[name]  # it was declared dead; the provider still has it
    world.run(5)
    assert name not in world.provider.non_terminated()
    assert len(world.nodes) == 1, "another one, for what waits"
    assert f"ending small {name}: its node is dead" in world.events


def test_what_is_not_in_the_configuration_any_more_is_given_up() -> None:
    world = World()
    world.provider.delay_s = 1e6
    world.waiting = 1
    world.run(3)
    world.monitor.stop()
    world.waiting = 0
    world.begin([NodeType("other", {"CPU": 2.0})])
    world.run(3)
    assert (world.states(), world.provider.non_terminated()) == ({}, {})
    assert "not in the configuration" in world.events[-1]


@pytest.mark.row("S14")
def test_what_the_store_does_not_take_the_provider_never_hears_of() -> None:
    world = World()
    asked: list[str] = []
    answer = world.ask

    def never_written(what: str, body: bytes, then: Callable[[bytes], None]) -> None:
        asked.append(what)
        if what == "see":
            answer(what, body, then)

    world.ask = never_written  # type: ignore[method-assign]
    world.waiting = 2
    world.run(40)
    assert set(asked) == {"see", "round"}
    assert world.provider.non_terminated() == {}


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
