"""Who submits without a pause looks now and then at what has arrived, and nothing of the user's runs in there."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from linckia.rpc.reactor import Reactor
from linckia.worker.progress import Flag, Progress


@pytest.fixture
def progress() -> Iterator[Progress]:
    made = Progress(Reactor(), lambda: None)
    yield made
    made.close_reactor()


def test_what_has_arrived_is_handled_and_callbacks_wait(progress: Progress) -> None:
    reactor = progress.reactor
    happened: list[str] = []
    reading, writing = os.pipe()
    reactor.register(reading, lambda _events: happened.append(os.read(reading, 9).decode()))
    reactor.call_soon(lambda: happened.append("a callback of the user"))
    reactor.call_later(0.0, lambda: happened.append("a timer"))
    os.write(writing, b"a message")
    progress.take_ready_if_free()
    assert happened == ["a message"]
    assert reactor.epoll.poll(0), "an event loop that watches it hears that something is left"
    reactor.poll(0.0)
    assert happened == ["a message", "a callback of the user", "a timer"]
    os.close(reading)
    os.close(writing)


def test_who_handles_a_message_is_not_interrupted_by_another(progress: Progress) -> None:
    reactor = progress.reactor
    flag, depth = Flag(), [0, 0]
    reading, writing = os.pipe()

    def handle(_events: int) -> None:
        depth[0] += 1
        depth[1] = max(depth)
        progress.take_ready_if_free()
        os.read(reading, 1)
        depth[0] -= 1
        flag.state = 1

    reactor.register(reading, handle)
    os.write(writing, b"1")
    assert progress.wait_for(flag)
    assert depth == [0, 1]
    os.close(reading)
    os.close(writing)
