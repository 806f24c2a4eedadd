"""Two ends that count: whatever breaks, each message comes once and in order."""

from __future__ import annotations

from collections import deque
from random import Random

import pytest

from linckia.core.links.windows import ReceiveCount, SendWindow


def test_what_was_acknowledged_is_forgotten() -> None:
    window: SendWindow[str] = SendWindow(10)
    for message in "abcd":
        window.add(message)
    window.acked(2)
    assert window.unacked() == ["c", "d"]
    window.acked(1)
    assert window.unacked() == ["c", "d"], "old news"
    assert len(window) == 2


def test_a_session_goes_on_only_if_nothing_is_missing() -> None:
    window: SendWindow[str] = SendWindow(10)
    for message in "abc":
        window.add(message)
    window.acked(1)
    assert [window.can_resume(count) for count in range(5)] == [False, True, True, True, False]


def test_a_full_window_ends_the_session() -> None:
    window: SendWindow[str] = SendWindow(2)
    for message in "abc":
        window.add(message)
    assert window.overflowed
    assert not window.can_resume(1)
    assert window.unacked() == ["b", "c"]


def test_it_is_told_after_so_many_and_no_more_than_needed() -> None:
    received = ReceiveCount(3)
    assert [received.add() for _ in range(4)] == [False, False, True, True]
    assert (received.told(), received.untold) == (4, False)
    assert (received.add(), received.untold) == (False, True)
    received.restart()
    assert (received.count, received.untold) == (0, False)


@pytest.mark.parametrize("seed", range(50))
def test_each_message_comes_once_and_in_order_over_connections_that_break(seed: int) -> None:
    rng = Random(seed)
    window: SendWindow[int] = SendWindow(1000)
    received = ReceiveCount(4)
    got: list[int] = []
    wire: deque[int] = deque()
    acks: deque[int] = deque()
    sent = 0
    for _ in range(400):
        what = rng.random()
        if what < 0.45:
            window.add(sent)
            wire.append(sent)
            sent += 1
        elif what < 0.8 and wire:
            got.append(wire.popleft())
            if received.add():
                acks.append(received.told())
        elif what < 0.95 and acks:
            window.acked(acks.popleft())
        else:  # it breaks: what is on its way is lost, both ways
            wire.clear()
            acks.clear()
            assert window.can_resume(received.count)
            window.acked(received.told())
            wire.extend(window.unacked())
    got += wire
    assert got == list(range(sent)), f"seed {seed}"
