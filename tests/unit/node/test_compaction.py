"""The leading head forgets the store's history, five minutes of it at a time, and only while it leads."""

from __future__ import annotations

from typing import Any

import pytest

from linckia.base.limits import HISTORY_KEPT_S
from linckia.core.mvcc.records import Put, Txn
from linckia.node.compaction import Compaction
from linckia.store.errors import CompactedError, StoreUnavailableError
from linckia.store.memory import MemoryStore
from linckia.testing.clock import VirtualClock


class World:
    """A store in virtual time."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.store = MemoryStore(self.clock)
        self.space: Any = self.store._state.mvcc.space

    def compaction(self) -> Compaction:
        return Compaction(self.store, self.clock.call_later, lambda: self.space.revision)

    def pass_time(self, for_s: float) -> None:
        self.clock.pass_time(for_s)

    def write(self) -> int:
        self.store.txn(Txn(then=(Put(b"key", b"value"),)), lambda _answer: None)
        return int(self.space.revision)


def test_what_is_old_is_forgotten_and_what_is_young_is_kept() -> None:
    world = World()
    old = [world.write() for _ in range(3)]
    world.compaction().start()
    young = [world.write() for _ in range(3)]
    world.pass_time(HISTORY_KEPT_S)
    assert world.space.compacted == old[-1]
    world.pass_time(HISTORY_KEPT_S)
    assert world.space.compacted == young[-1]


def test_a_head_that_leads_no_more_forgets_nothing() -> None:
    world = World()
    world.write()
    compaction = world.compaction()
    compaction.start()
    compaction.stop()
    world.pass_time(3 * HISTORY_KEPT_S)
    assert world.space.compacted == 0


def test_a_store_that_does_not_answer_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World()
    asked: list[int] = []

    def refuse(revision: int, done: Any) -> None:
        asked.append(revision)
        done(StoreUnavailableError("no endpoint answers") if len(asked) == 1 else CompactedError(revision, revision))

    monkeypatch.setattr(world.store, "compact", refuse)
    world.write()
    world.compaction().start()
    world.pass_time(2 * HISTORY_KEPT_S)
    assert len(asked) == 2
    said = capsys.readouterr().err
    assert said.count("could not be compacted") == 1
    assert "no endpoint answers" in said
