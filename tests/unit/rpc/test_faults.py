"""Faults in the real transport: switched on for a test, gone afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from linckia.protocol import messages as m
from linckia.rpc import faults
from linckia.rpc.connection import Connection
from linckia.rpc.faults import FaultPlan


class FakeReactor:
    """Collects what is to be sent later."""

    def __init__(self) -> None:
        self.later: list[Callable[[], None]] = []

    def call_later(self, _delay_s: float, callback: Callable[[], None]) -> None:
        self.later.append(callback)


class Bare(Connection):
    """A connection without a socket: it remembers what leaves."""

    def __init__(self) -> None:
        self.reactor = FakeReactor()  # type: ignore[assignment]
        self.outbox = []
        self.dirty = True
        self.closed = False

    def flush(self) -> None:
        """Nothing leaves."""


@pytest.fixture
def installed() -> Iterator[Callable[[FaultPlan], None]]:
    undo: list[Callable[[], None]] = []
    yield lambda plan: undo.append(faults.install(plan))
    for each in undo:
        each()


def test_without_a_plan_the_transport_is_untouched() -> None:
    assert Connection.post.__module__ == Connection.send.__module__ == Connection.__module__


@pytest.mark.parametrize("how", ["post", "send"])
def test_requests_are_lost_and_others_are_not(installed: Callable[[FaultPlan], None], how: str) -> None:
    installed(FaultPlan(drop=1.0))
    connection = Bare()
    getattr(connection, how)(m.AllocExtent(1, 1))
    getattr(connection, how)(m.TakeBack(1))
    assert connection.outbox == [m.TakeBack(1)]


@pytest.mark.row("7.23", "7.24")
def test_requests_are_repeated_until_they_are_answered() -> None:
    connection, sent = Bare(), []
    repeater = faults.Repeater(lambda _connection, message: sent.append(message))
    later = connection.reactor.later  # type: ignore[attr-defined]
    request = m.AllocExtent(1, 1)
    repeater.asked(connection, request)
    for _ in range(2):
        later.pop()()
    assert sent == [request] * 2
    repeater.heard(connection, [m.ExtentGranted(2, 0, 1), m.MaySpill(1, [])])
    later.pop()()
    assert sent == [request] * 3, "neither another request's answer nor a request of the peer's is an answer"
    repeater.heard(connection, [m.ExtentGranted(1, 0, 1)])
    later.pop()()
    assert (len(sent), later, repeater.open) == (3, [], {})


@pytest.mark.row("7.23", "7.24")
def test_requests_to_a_closed_connection_are_not_repeated() -> None:
    connection, sent = Bare(), []
    repeater = faults.Repeater(lambda _connection, message: sent.append(message))
    repeater.asked(connection, m.AllocExtent(1, 1))
    connection.closed = True
    connection.reactor.later.pop()()  # type: ignore[attr-defined]
    assert (sent, repeater.open) == ([], {})


def test_late_and_doubled_requests_leave_by_the_reactor(installed: Callable[[FaultPlan], None]) -> None:
    installed(FaultPlan(duplicate=1.0, delay=1.0))
    connection = Bare()
    connection.post(m.AllocExtent(1, 1))
    assert connection.outbox == []
    for send in connection.reactor.later:  # type: ignore[attr-defined]
        send()
    assert connection.outbox == [m.AllocExtent(1, 1)] * 2


def test_taken_out_it_is_as_before() -> None:
    post = Connection.post
    undo = faults.install(FaultPlan(drop=1.0))
    assert Connection.post is not post
    undo()
    assert Connection.post is post


@pytest.mark.parametrize("text", ["", "[]", '{"dorp": 0.1}', '{"drop": "much"}'])
def test_a_plan_that_is_none_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="LINCKIA_TESTING_FAULTS="):
        faults.install_from(text)


def test_a_plan_is_read_from_text() -> None:
    undo = faults.install_from('{"seed": 7, "duplicate": 0.1, "delay": 0.2}')
    undo()
    assert Connection.post.__module__ == Connection.__module__
