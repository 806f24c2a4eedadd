"""Memory for copies that are wanted at once: many small ones share what few of them lease."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from linckia.raylet.copies import CopyMemory
from linckia.raylet.store_host import StoreHost
from linckia.shm.segment import Segment

CAPACITY = 64 * 2**20
SHARED = CAPACITY // 64
SMALL = 10_000


class Memory:
    """Copies' memory on a store; turns of the reactor are the test's."""

    def __init__(self, segment: Segment) -> None:
        self._turns: deque[Callable[[], None]] = deque()
        timers = lambda _delay_s, _what: SimpleNamespace(due_s=0.0, cancel=lambda: None)  # noqa: E731
        reactor: Any = SimpleNamespace(call_soon=self._turns.append, call_later=timers)
        self.store = StoreHost(reactor, segment, lambda _client, _message: None, None)  # type: ignore[arg-type]
        self.placed: dict[bytes, int] = {}
        self.denied: list[bytes] = []
        self.memory = CopyMemory(self.store, self._placed, self._denied, lambda: False, lambda _offsets: None)

    def _placed(self, object_id: bytes, offset: int) -> None:
        assert object_id not in self.placed, "twice"
        self.placed[object_id] = offset

    def _denied(self, object_id: bytes, _reason: str) -> None:
        self.denied.append(object_id)

    def turn(self) -> None:
        """Until nothing is left to do."""
        while self._turns:
            self._turns.popleft()()


@pytest.fixture
def memory() -> Iterator[Memory]:
    segment = Segment.create(CAPACITY)
    made = Memory(segment)
    yield made
    segment.close()


def test_many_small_ones_at_once_do_not_lease_the_whole_store(memory: Memory) -> None:
    for number in range(300):
        memory.memory.allocate(b"%d" % number, SMALL)
    memory.turn()
    assert len(set(memory.placed.values())) == 300
    assert memory.store.core.usage().leased_bytes <= 300 * SMALL + 3 * SHARED, "almost nothing but what they need"


def test_a_large_one_waits_for_no_small_one(memory: Memory) -> None:
    memory.memory.allocate(b"small", SMALL)
    memory.memory.allocate(b"large", 20 * SHARED)
    assert memory.store.core.usage().leased_bytes >= 21 * SHARED, "both are asked for"
    memory.turn()
    assert set(memory.placed) == {b"small", b"large"}


def test_when_the_store_is_full_each_is_denied_by_itself(memory: Memory) -> None:
    memory.memory.allocate(b"all", CAPACITY)
    memory.turn()
    for number in range(3):
        memory.memory.allocate(b"%d" % number, SMALL)
    for _ in range(2):
        effects = memory.store.core.tick(1e12)
        memory.store._carry_out(effects)
        memory.turn()
    assert memory.denied == [b"0", b"1", b"2"] and set(memory.placed) == {b"all"}
    memory.memory.free(memory.placed.pop(b"all"))
    memory.memory.arena.trim()
    for number in range(3):
        memory.memory.allocate(b"%d" % number, SMALL)
    memory.turn()
    assert set(memory.placed) == {b"0", b"1", b"2"}, "nothing is stuck"
