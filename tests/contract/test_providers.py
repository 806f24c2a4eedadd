"""What every provider of nodes promises, whichever it is. A new provider gets a maker here and no test of its own for
these.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from linckia.core.autoscaling.records import NodeType
from linckia.scaling.providers.base import INSTANCE_LABEL, TYPE_LABEL, Provider
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
        self.alive, self.reaped = True, False

    def is_alive(self) -> bool:
        return self.alive

    def begin_stop(self) -> None:
        self.cloud.ending.append(self)

    def stop(self) -> None:
        self.end()
        self.reaped = True

    def end(self) -> None:
        self.alive = False
        self.cloud.running.pop(self.labels[INSTANCE_LABEL], None)


class LocalCloud(Cloud):
    def __init__(self) -> None:
        super().__init__()
        self.started: list[StubProcess] = []
        self.ending: list[StubProcess] = []
        self.broken = 0
        self.provider = LocalProvider(self._start, "node")

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

    def fail_next(self) -> None:
        self.broken += 1


@pytest.fixture(params=[FakeCloud, LocalCloud], ids=["fake", "local processes"])
def cloud(request: pytest.FixtureRequest) -> Cloud:
    made = request.param()
    assert isinstance(made, Cloud)
    return made


def test_a_launch_gives_distinct_instances_that_come_up(cloud: Cloud) -> None:
    first = cloud.provider.launch(SMALL, 2, "r1")
    second = cloud.provider.launch(LARGE, 1, "r2")
    wanted = {first[0]: "small", first[1]: "small", second[0]: "large"}
    assert cloud.provider.non_terminated() == wanted, "from the moment of the launch"
    cloud.pass_time()
    assert cloud.running == wanted
    assert cloud.provider.non_terminated() == wanted
    assert cloud.provider.poll_errors() == []


def test_a_launch_that_is_asked_again_launches_nothing(cloud: Cloud) -> None:
    first = cloud.provider.launch(SMALL, 3, "r1")
    assert cloud.provider.launch(SMALL, 3, "r1") == first
    cloud.pass_time()
    assert cloud.provider.launch(SMALL, 3, "r1") == first
    assert len(cloud.provider.non_terminated()) == len(cloud.running) == 3
    cloud.provider.terminate(first, "t1")
    assert cloud.provider.launch(SMALL, 3, "r1") == first, "not even when they have ended"
    cloud.pass_time()
    assert cloud.provider.non_terminated() == cloud.running == {}


def test_termination_ends_exactly_what_is_named_whenever_it_comes(cloud: Cloud) -> None:
    young, kept = cloud.provider.launch(SMALL, 2, "r1")
    cloud.provider.terminate([young, "never heard of", young], "t1")
    assert cloud.provider.non_terminated() == {kept: "small"}
    cloud.pass_time()
    assert cloud.running == {kept: "small"}, "what was ended while it started does not come up"
    cloud.provider.terminate([young], "t1")
    cloud.provider.terminate([kept], "t2")
    cloud.pass_time()
    assert cloud.provider.non_terminated() == cloud.running == {}
    assert cloud.provider.poll_errors() == [], "an end that was asked for is no error"


def test_a_launch_that_fails_is_told_once_and_the_others_stand(cloud: Cloud) -> None:
    cloud.fail_next()
    instances = cloud.provider.launch(SMALL, 2, "r1")
    cloud.pass_time()
    assert len(instances) == 2
    assert cloud.provider.non_terminated() == {instances[1]: "small"} == cloud.running
    ((failed, why),) = cloud.provider.poll_errors()
    assert failed == instances[0]
    assert why
    assert cloud.provider.poll_errors() == []
    assert cloud.provider.launch(SMALL, 2, "r1") == instances, "another attempt is another request"
    assert len(cloud.provider.launch(SMALL, 1, "r2")) == 1
    cloud.pass_time()
    assert len(cloud.running) == 2


def test_close_ends_everything_and_may_come_twice(cloud: Cloud) -> None:
    instances = cloud.provider.launch(SMALL, 2, "r1")
    cloud.pass_time()
    cloud.provider.launch(LARGE, 2, "r2")
    cloud.provider.terminate(instances[:1], "t1")
    cloud.provider.close()
    cloud.provider.close()
    cloud.pass_time()
    assert cloud.provider.non_terminated() == cloud.running == {}


def test_local_processes_that_end_by_themselves_are_reaped_and_told() -> None:
    cloud = LocalCloud()
    first, second = cloud.provider.launch(SMALL, 2, "r1")
    cloud.started[0].end()
    assert cloud.provider.non_terminated() == {second: "small"}
    assert cloud.started[0].reaped
    assert [instance for instance, _ in cloud.provider.poll_errors()] == [first]
    cloud.provider.terminate([second], "t1")
    assert isinstance(cloud.provider, LocalProvider)
    assert cloud.provider.pids() == {cloud.started[1].pid}, "not reaped yet: nobody else may take its pid"
    cloud.pass_time()
    cloud.provider.non_terminated()
    assert cloud.provider.pids() == set()
    assert cloud.started[1].reaped
