"""A connection breaks between two processes that both live: what was on its way, and what comes after it."""

from __future__ import annotations

from typing import Any

import pytest

import linckia
from linckia import exceptions
from linckia.worker import current

pytestmark = pytest.mark.fault


@linckia.remote
class Log:
    """Remembers what it was told, in order."""

    def __init__(self) -> None:
        self.lines: list[int] = []

    def add(self, line: int) -> int:
        self.lines.append(line)
        return line

    def read(self) -> list[int]:
        return self.lines


def break_connection(actor: Any) -> None:
    """Of this process with the actor's. What was sent and not read is lost."""
    runtime: Any = current.runtime
    with runtime.mutex:
        runtime.actors.clients[actor._actor_id.binary()].peer.conn.close("the test has cut it")


@pytest.mark.row("5.7", "7.23", "5.5")
@pytest.mark.parametrize("retries", [0, -1])
def test_calls_are_never_out_of_order_or_held_up_by_one_that_is_missing(cluster: Any, retries: int) -> None:
    """Calls have no numbers: what is missing is missing with its connection, and then the caller knows at once."""
    log = Log.options(max_task_retries=retries).remote()
    linckia.get(log.add.remote(0))
    first = [log.add.remote(number) for number in range(1, 200)]
    break_connection(log)
    second = [log.add.remote(number) for number in range(200, 400)]
    linckia.wait(first + second, num_returns=len(first + second), timeout=60)
    lost = []
    for number, ref in enumerate(first + second, 1):
        try:
            assert linckia.get(ref, timeout=60) == number
        except exceptions.ActorUnavailableError:
            lost.append(number)
    ran = linckia.get(log.read.remote(), timeout=60)
    once = list(dict.fromkeys(ran))
    if retries:
        assert lost == []
        assert set(ran) == set(range(400)), "each at least once"
    else:
        assert ran == sorted(set(ran)), "in order, and none twice"
        assert set(range(200, 400)) <= set(ran), "what was sent afterwards has run"
        assert set(range(200)) - set(ran) <= set(lost), "who did not run was told so"
    print(f"{len(lost)} of {len(first)} calls lost, {len(ran) - len(once)} ran twice")
