"""What every provider of nodes promises, whichever it is. A new provider gets a maker here and no test of its own for
these.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from linckia.core.autoscaling.records import Demand, NodeType, Observation
from linckia.core.autoscaling.rounds import INSTANCE_LABEL, TYPE_LABEL
from linckia.node.instances import InstanceHost
from linckia.protocol import messages as m
from linckia.scaling.providers.base import Provider
from linckia.scaling.providers.fake import FakeProvider
from linckia.scaling.providers.local import LocalProvider

pytestmark = pytest.mark.row("S21")
SMALL = NodeType(name="small", resources={"CPU": 1.0}, labels={"colour": "blue"})
LARGE = NodeType(name="large", resources={"CPU": 64.0})


class Cloud:
    """A provider, what it stands on, and what a test may do to that."""

    provider: Provider

    def __init__(self) -> None:
        self.running: dict[str, str] = {}  # instance -> type, of machines that really run

    def pass_time(self) -> None:
        """What is under way comes to its end."""

    def fail_next(self) -> None:
        """The next launch goes wrong."""


class FakeCloud(Cloud):
    def __init__(self) -> None:
        super().__init__()
        self._due: list[Callable[[], None]] = []
        self.provider = self.fake = FakeProvider(
            lambda _delay_s, callback: self._due.append(callback),
            lambda instance, node_type: self.running.__setitem__(instance, node_type.name),
            lambda instance: self.running.pop(instance, None) and None,
        )

    def pass_time(self) -> None:
        due, self._due = self._due, []
        for callback in due:
            callback()

    def fail_next(self) -> None:
        self.fake.failures += 1


class StubProcess:
    """What ``start_node`` would give."""

    def __init__(self, cloud: LocalCloud, labels: dict[str, str]) -> None:
        self.cloud, self.labels, self.pid = cloud, labels, 4_000_000 + len(cloud.started)
        self.pidfd = self.pid
        self.reaped = self.deaf = False

    def begin_stop(self) -> None:
        self.cloud.ending.append(self)

    def stop(self, grace_s: float = 1.0, *, ask_first: bool = True) -> None:
        del grace_s, ask_first
        self.cloud.running.pop(self.labels[INSTANCE_LABEL], None)
        self.reaped = True

    def end(self) -> None:
        """By itself, or because it was asked to."""
        if not self.deaf and self.pidfd in self.cloud.watched:
            self.cloud.running.pop(self.labels[INSTANCE_LABEL], None)
            self.cloud.watched[self.pidfd](0)


class LocalCloud(Cloud):
    """The local provider, the node that starts processes for it, and a head that passes on what they say."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[StubProcess] = []
        self.ending: list[StubProcess] = []
        self.watched: dict[int, Callable[[int], None]] = {}
        self.later: list[Callable[[], None]] = []
        self.broken = self.epoch = 0
        self.host = InstanceHost(self, b"node", self._start, self._told, lambda: self.epoch)
        self.provider = self.local = LocalProvider(self._ask_to_start, self._ask_to_end)

    def _ask_to_start(self, name: str, node_type: NodeType) -> None:
        self.order(m.StartInstance(name, msgspec.msgpack.encode(node_type), self.epoch))

    def _ask_to_end(self, name: str) -> None:
        self.order(m.EndInstance(name, self.epoch))

    def order(self, message: m.Message) -> None:
        self.host.handlers()[type(message)](None, message)

    def _told(self, message: Any) -> None:
        self.local.observed(Observation([], Demand(), 0.0, hosted=message.running, failed=message.failed))

    def register(self, fd: int, handler: Callable[[int], None]) -> None:
        self.watched[fd] = handler

    def unregister(self, fd: int) -> None:
        self.watched.pop(fd, None)

    def call_later(self, _delay_s: float, callback: Callable[[], None]) -> None:
        self.later.append(callback)

    def _start(self, node_type: NodeType, labels: dict[str, str]) -> Any:
        if self.broken:
            self.broken -= 1
            raise BlockingIOError("no more processes")
        assert labels[TYPE_LABEL] == node_type.name
        assert {**node_type.labels}.items() <= labels.items()
        process = StubProcess(self, labels)
        self.started.append(process)
        self.running[labels[INSTANCE_LABEL]] = node_type.name
        return process

    def pass_time(self) -> None:
        while self.ending:
            self.ending.pop().end()
        while self.later:
            self.later.pop()()

    def fail_next(self) -> None:
        self.broken += 1


@pytest.fixture(params=[FakeCloud, LocalCloud], ids=["fake", "local processes"])
def cloud(request: pytest.FixtureRequest) -> Cloud:
    made = request.param()
    assert isinstance(made, Cloud)
    return made


def test_launches_come_up(cloud: Cloud) -> None:
    wanted = {"a": "small", "b": "small", "c": "large"}
    for name, kind in wanted.items():
        cloud.provider.launch(SMALL if kind == "small" else LARGE, name)
    assert cloud.provider.non_terminated() == wanted, "from the moment of the launch"
    cloud.pass_time()
    assert cloud.running == wanted
    assert cloud.provider.non_terminated() == wanted
    assert cloud.provider.poll_errors() == []


@pytest.mark.row("10.17")
def test_a_launch_that_is_asked_again_launches_nothing(cloud: Cloud) -> None:
    for _ in range(2):
        cloud.provider.launch(SMALL, "a")
        cloud.pass_time()
    assert cloud.provider.non_terminated() == cloud.running == {"a": "small"}
    cloud.provider.terminate(["a"])
    cloud.provider.launch(SMALL, "a")
    cloud.pass_time()
    assert cloud.provider.non_terminated() == cloud.running == {}, "not even when it has ended"


def test_termination_ends_exactly_what_is_named_whenever_it_comes(cloud: Cloud) -> None:
    cloud.provider.launch(SMALL, "young")
    cloud.provider.launch(SMALL, "kept")
    cloud.provider.terminate(["young", "never heard of", "young"])
    assert cloud.provider.non_terminated() == {"kept": "small"}
    cloud.pass_time()
    assert cloud.running == {"kept": "small"}, "what was ended while it started does not come up"
    cloud.provider.terminate(["young"])
    cloud.provider.terminate(["kept"])
    cloud.pass_time()
    assert cloud.provider.non_terminated() == cloud.running == {}
    assert cloud.provider.poll_errors() == [], "an end that was asked for is no error"


def test_a_launch_that_fails_is_told_and_the_others_stand(cloud: Cloud) -> None:
    cloud.fail_next()
    cloud.provider.launch(SMALL, "a")
    cloud.provider.launch(SMALL, "b")
    cloud.pass_time()
    assert cloud.provider.non_terminated() == {"b": "small"} == cloud.running
    ((failed, why),) = cloud.provider.poll_errors()
    assert failed == "a"
    assert why
    cloud.provider.launch(SMALL, "a")
    cloud.pass_time()
    assert cloud.running == {"b": "small"}, "another attempt has another name"
    cloud.provider.launch(SMALL, "c")
    cloud.pass_time()
    assert cloud.running == {"b": "small", "c": "small"}


# --- processes of the head's machine ----------------------------------------------------------------------------------


def test_local_processes_that_end_by_themselves_are_reaped_and_told() -> None:
    cloud = LocalCloud()
    cloud.provider.launch(SMALL, "first")
    cloud.provider.launch(SMALL, "second")
    cloud.started[0].end()
    assert cloud.provider.non_terminated() == {"second": "small"}
    assert cloud.started[0].reaped
    assert [instance for instance, _ in cloud.provider.poll_errors()] == ["first"]
    cloud.provider.terminate(["second"])
    assert cloud.host.pids() == {cloud.started[1].pid}, "not reaped yet: nobody else may take its pid"
    cloud.pass_time()
    assert cloud.host.pids() == set()
    assert cloud.started[1].reaped


def test_a_local_process_that_does_not_end_is_killed() -> None:
    cloud = LocalCloud()
    cloud.provider.launch(SMALL, "a")
    cloud.started[0].deaf = True
    cloud.provider.terminate(["a"])
    cloud.pass_time()
    assert cloud.started[0].reaped
    assert (cloud.running, cloud.host.pids(), cloud.watched) == ({}, set(), {})


@pytest.mark.row("S14")
def test_orders_of_an_old_leader_are_not_followed() -> None:
    cloud = LocalCloud()
    cloud.epoch = 7
    cloud.provider.launch(SMALL, "a")
    cloud.order(m.StartInstance("b", msgspec.msgpack.encode(SMALL), 6))
    cloud.order(m.EndInstance("a", 6))
    cloud.pass_time()
    assert cloud.running == {"a": "small"}
    cloud.order(m.EndInstance("a", 8))
    cloud.pass_time()
    assert cloud.running == {}


def test_the_next_head_is_told_what_runs() -> None:
    cloud = LocalCloud()
    cloud.host.begin()
    cloud.provider.launch(SMALL, "a")
    cloud.local.observed(Observation([], Demand(), 0.0))
    cloud.host.begin()
    assert cloud.provider.non_terminated() == {"a": "small"}


def test_the_end_of_the_node_ends_everything_and_may_come_twice() -> None:
    cloud = LocalCloud()
    for name in ("a", "b", "c"):
        cloud.provider.launch(SMALL, name)
    cloud.provider.terminate(["a"])
    cloud.host.close()
    cloud.host.close()
    assert (cloud.running, cloud.host.pids(), cloud.watched) == ({}, set(), {})
    assert all(process.reaped for process in cloud.started)
    cloud.pass_time()
