"""Answers are shared, asked for once at a time, and shown with their age while nobody answers. The time is ours."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from linckia.base import limits
from linckia.dashboard import snapshots
from linckia.dashboard.questions import OVERVIEW, Question, state_question
from linckia.dashboard.snapshots import NothingKnownError, Snapshots

pytestmark = pytest.mark.row("S10")


class Cluster:
    """Answers, or does not; each answer takes ``takes_s`` of the time that this keeps."""

    def __init__(self) -> None:
        self.now_s, self.takes_s, self.asked = 100.0, 0.0, 0
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()

    def ask(self, question: Question) -> bytes:
        self.asked += 1
        assert self.gate.wait(10), "nobody let it answer"
        self.now_s += self.takes_s
        if self.error is not None:
            raise self.error
        return f"{question.what} {self.asked}".encode()


Scene = Callable[[Snapshots, Cluster], Coroutine[Any, Any, None]]


def play(scene: Scene) -> None:
    async def act() -> None:
        cluster = Cluster()
        async with asyncio.TaskGroup() as group:
            await scene(Snapshots(cluster.ask, lambda: cluster.now_s, group), cluster)

    asyncio.run(act())


def test_many_readers_are_one_question() -> None:
    async def scene(known: Snapshots, cluster: Cluster) -> None:
        cluster.gate.clear()
        async with asyncio.TaskGroup() as group:
            readers = [group.create_task(known.get(OVERVIEW)) for _ in range(50)]
            group.create_task(asyncio.to_thread(cluster.gate.set))
        assert {reader.result().body for reader in readers} == {b"overview 1"}
        assert cluster.asked == 1

    play(scene)


def test_an_answer_is_fresh_for_a_moment() -> None:
    async def scene(known: Snapshots, cluster: Cluster) -> None:
        await known.get(OVERVIEW)
        cluster.now_s += limits.DASHBOARD_FRESH_S - 0.01
        assert (await known.get(OVERVIEW)).body == b"overview 1"
        cluster.now_s += 0.02
        assert (await known.get(OVERVIEW)).body == b"overview 2"

    play(scene)


def test_answers_that_take_long_are_shown_longer() -> None:
    """Asking takes at most a tenth of the time, however slow the cluster is."""

    async def scene(known: Snapshots, cluster: Cluster) -> None:
        cluster.takes_s = 2.0
        await known.get(OVERVIEW)
        second = await known.get(OVERVIEW)
        assert second.body == b"overview 2"
        cluster.now_s = second.as_of_s + 19.9
        assert (await known.get(OVERVIEW)) is second
        cluster.now_s = second.as_of_s + 20.1
        assert (await known.get(OVERVIEW)).body == b"overview 3"

    play(scene)


def test_an_answer_that_waited_for_a_head_is_not_shown_longer() -> None:
    async def scene(known: Snapshots, cluster: Cluster) -> None:
        await known.get(OVERVIEW)
        cluster.now_s, cluster.takes_s = cluster.now_s + 1.0, 4.0
        await known.get(OVERVIEW)
        cluster.now_s, cluster.takes_s = cluster.now_s + 1.0, 0.0
        assert (await known.get(OVERVIEW)).body == b"overview 3"

    play(scene)


def test_what_was_known_last_is_shown_with_its_age_while_nobody_answers() -> None:
    async def scene(known: Snapshots, cluster: Cluster) -> None:
        first = await known.get(OVERVIEW)
        cluster.gate.clear()  # no head leads: the question waits
        cluster.now_s += 4.2
        seen = [await known.get(OVERVIEW, patience_s=0.0) for _ in range(3)]
        assert seen == [first] * 3
        assert known.age_s(first) == pytest.approx(4.2)
        assert known.asked == 2, "one question waits, for all"
        cluster.gate.set()
        assert (await known.get(OVERVIEW, patience_s=10.0)).body == b"overview 2"

    play(scene)


def test_where_nothing_is_known_the_reason_is_told_and_not_asked_for_too_often() -> None:
    async def scene(known: Snapshots, cluster: Cluster) -> None:
        cluster.error = OSError("nobody answers at unix:x")
        for _ in range(3):
            with pytest.raises(NothingKnownError, match="nobody answers at unix:x"):
                await known.get(OVERVIEW)
        assert cluster.asked == 1
        cluster.error, cluster.now_s = None, cluster.now_s + 1.0
        assert (await known.get(OVERVIEW)).body == b"overview 2"
        cluster.error, cluster.now_s = OSError("gone"), cluster.now_s + 1.0
        assert (await known.get(OVERVIEW)).body == b"overview 2", "an error does not take away what is known"

    play(scene)


def test_what_nobody_looks_at_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "DASHBOARD_CACHE_MAX_BYTES", 100)

    async def scene(known: Snapshots, cluster: Cluster) -> None:
        for number in range(50):
            await known.get(state_question("actors", number))
        await known.get(state_question("actors", 49))
        assert cluster.asked == 50, "the last one is still known"
        await known.get(state_question("actors", 0))
        assert cluster.asked == 51, "the first one is not"

    play(scene)


def test_few_questions_at_a_time() -> None:
    async def scene(known: Snapshots, cluster: Cluster) -> None:
        cluster.gate.clear()
        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(known.get(state_question("actors", number)))
            while cluster.asked < limits.DASHBOARD_QUESTIONS_MAX:
                await asyncio.to_thread(lambda: None)
            assert cluster.asked == limits.DASHBOARD_QUESTIONS_MAX
            cluster.gate.set()
        assert cluster.asked == 20

    play(scene)
