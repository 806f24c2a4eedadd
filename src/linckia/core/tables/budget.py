"""Budgets of tables: records of what is over are kept for whoever asks, up to so many bytes; the oldest go first.

What lives is never in a ledger, so it never goes. All operations cost the same however much is there, apart from the
records that they evict. Sizes are estimates in bytes, made by the table's owner; the head's memory per record was
measured (tests/unit/core/tables). Used by the directories of `core` and the services of `gcs`.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Generic, TypeVar

import msgspec

Key = TypeVar("Key")
Value = TypeVar("Value")


class TableFacts(msgspec.Struct, frozen=True):
    """One row of `linckia status -v`. ``bytes`` are of the ``ended`` records, which the budget bounds; ``evicted``
    since this head began to lead.
    """

    table: str
    live: int
    ended: int
    bytes: int
    budget_bytes: int
    evicted: int
    evicted_bytes: int
    rule: str


class Ledger(Generic[Key]):
    """Which records of one table are over, oldest first, and how large they are. ``rule`` says in words what goes."""

    def __init__(self, budget_bytes: int, rule: str) -> None:
        self.budget_bytes, self.rule = budget_bytes, rule
        self.bytes = self.evicted = self.evicted_bytes = 0
        self._sizes: OrderedDict[Key, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sizes)

    def __iter__(self) -> Iterator[Key]:
        """Oldest first."""
        return iter(self._sizes)

    def __contains__(self, key: object) -> bool:
        return key in self._sizes

    def add(self, key: Key, size_bytes: int) -> list[Key]:
        """A record is over. Those that go now to make room: the caller removes them, and says so to the store in the
        same turn. The one that was just added stays, whatever its size: somebody may want to know why it ended.
        """
        self.remove(key)
        self._sizes[key] = size_bytes
        self.bytes += size_bytes
        evicted: list[Key] = []
        while self.bytes > self.budget_bytes and len(self._sizes) > 1:
            oldest, size = self._sizes.popitem(last=False)
            self.bytes -= size
            self.evicted += 1
            self.evicted_bytes += size
            evicted.append(oldest)
        return evicted

    def remove(self, key: Key) -> None:
        """It lives again, or is gone. Idempotent."""
        self.bytes -= self._sizes.pop(key, 0)

    def facts(self, table: str, live: int) -> TableFacts:
        """For `linckia status -v`."""
        return TableFacts(
            table, live, len(self), self.bytes, self.budget_bytes, self.evicted, self.evicted_bytes, self.rule
        )


class Recent(Generic[Value]):
    """The latest values of a stream, up to a budget."""

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self.bytes = self.evicted = self.evicted_bytes = 0
        self._values: deque[tuple[Value, int]] = deque()

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[Value]:
        """Oldest first."""
        return (value for value, _ in self._values)

    def add(self, value: Value, size_bytes: int) -> None:
        """One more; the oldest go. The latest stays, whatever its size."""
        self._values.append((value, size_bytes))
        self.bytes += size_bytes
        while self.bytes > self.budget_bytes and len(self._values) > 1:
            _, size = self._values.popleft()
            self.bytes -= size
            self.evicted += 1
            self.evicted_bytes += size

    def facts(self, table: str) -> TableFacts:
        """For `linckia status -v`."""
        rule = "the oldest go first"
        return TableFacts(table, 0, len(self), self.bytes, self.budget_bytes, self.evicted, self.evicted_bytes, rule)
