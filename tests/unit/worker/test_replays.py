"""Lost items of generators, the owner's records alone: who is made again, by which run, and what cannot be."""

from __future__ import annotations

import threading
import weakref
from types import SimpleNamespace
from typing import Any

import pytest

from linckia.base import errors
from linckia.base.errors.codes import ErrorType
from linckia.model.wire import Block, Result
from linckia.protocol import messages as m
from linckia.worker.lineage import Lineage
from linckia.worker.refs import BLOCK, ERROR, INLINE, PENDING, ObjectRef, RefExtra
from linckia.worker.replays import Replays
from linckia.worker.streams import Stream, Streams
from linckia.worker.tasks import TaskRecord

TASK = b"t" * 24
NODE = b"n" * 28
SENDER = b"s" * 28


class FakeRuntime:
    """What streams and lineage need of a runtime. Submitted tasks wait in ``submitted``; blocks that are free again
    are in ``freed``.
    """

    def __init__(self) -> None:
        self.mutex = threading.RLock()
        self.by_id: weakref.WeakValueDictionary[bytes, ObjectRef[Any]] = weakref.WeakValueDictionary()
        self.borrowing = SimpleNamespace(by_id=self.by_id)
        self.submitted: list[TaskRecord] = []
        self.freed: list[bytes] = []
        self.sent: list[m.StreamConsumed] = []
        self.streams = Streams(self)  # type: ignore[arg-type]
        self.lineage = Lineage(self)  # type: ignore[arg-type]
        self.replays = Replays(self)  # type: ignore[arg-type]
        self.submitter = self
        self.actors = SimpleNamespace(find=lambda _actor_id: None)

    def note_retry(self, record: TaskRecord) -> None:
        record.retries_left -= record.retries_left > 0
        record.attempt += 1
        if record.stream is not None:
            record.stream.restart()

    def enqueue(self, record: TaskRecord) -> None:
        record.peer = SimpleNamespace(closed=False, conn=SimpleNamespace(send=self.sent.append, post=self.sent.append))
        self.submitted.append(record)

    def complete_result(self, ref: ObjectRef[Any], result: Result, _sender: bytes) -> None:
        if ref.state:
            self.freed.append(ref._id)
        elif result.block is not None:
            ref.extra = ref.extra or RefExtra()
            ref.value, ref.state = result.block, BLOCK
            self.by_id[ref._id] = ref
            weakref.finalize(ref, self.freed.append, ref._id)
        else:
            ref.value, ref.state = result.inline, INLINE

    def complete_error(self, ref: ObjectRef[Any], error: Any) -> None:
        if not ref.state:
            ref.value, ref.state = error, ERROR

    def encode_error(self, error: Exception) -> Any:
        return error


class World:
    """One generator and its runtime."""

    def __init__(self, max_retries: int = 3, backpressure: int = 0) -> None:
        self.runtime = FakeRuntime()
        definition = SimpleNamespace(backpressure=backpressure)
        template: Any = SimpleNamespace(
            max_retries=max_retries, name="g", num_returns=-1, definition=definition, function=object(), means=None
        )
        self.record = TaskRecord(TASK, template, max_retries)
        self.stream = self.record.stream = Stream(self.record)
        self.runtime.enqueue(self.record)

    def yields(self, first: int, last: int, record: TaskRecord | None = None) -> None:
        """The items ``first..last - 1`` arrive."""
        for index in range(first, last):
            message = m.Yielded(TASK, index, Result(block=Block(index, 10**6, NODE)))
            self.runtime.streams.on_yielded(record or self.record, message, SENDER)

    def ends(self, length: int, record: TaskRecord | None = None, error: Any = None) -> None:
        """It answers."""
        record = record or self.record
        results = [Result(error=error)] if error is not None else []
        done = m.DoneMany(TASK, results, failed=error is not None, stream_length=length)
        self.runtime.streams.on_done(record, done)
        record.stream = None

    def take(self, count: int) -> list[ObjectRef[Any]]:
        """The consumer's next refs."""
        return [ref for _ in range(count) if (ref := self.runtime.streams.take(self.stream)) is not None]

    def lose(self, *refs: ObjectRef[Any]) -> None:
        """Their node is gone."""
        for ref in refs:
            self.runtime.lineage.lost(ref, "its node died")

    @property
    def latest(self) -> TaskRecord:
        """What was submitted last."""
        return self.runtime.submitted[-1]


@pytest.mark.row("3.23")
def test_one_run_makes_all_lost_items_again_and_frees_the_others() -> None:
    world = World()
    world.yields(0, 5)
    world.ends(5)
    refs = world.take(4)
    kept = refs[1].value
    world.lose(refs[0], refs[2])
    assert [ref.state for ref in refs] == [PENDING, BLOCK, PENDING, BLOCK]
    assert len(world.runtime.submitted) == 2
    assert (world.latest.retries_left, world.latest.attempt) == (2, 1)
    world.yields(0, 5, world.latest)
    world.ends(5, world.latest)
    assert [ref.state for ref in refs] == [BLOCK] * 4
    assert refs[1].value is kept
    assert len(world.runtime.freed) == 3, "what was not lost came a second time"
    assert len(world.stream.items) == 1, "the consumer goes on where it was"
    assert len(world.runtime.submitted) == 2


@pytest.mark.row("3.23", "3.21")
@pytest.mark.parametrize(
    ("max_retries", "losses", "reason"),
    [
        (0, 1, ErrorType.OBJECT_UNRECONSTRUCTABLE_RETRIES_DISABLED),
        (1, 2, ErrorType.OBJECT_UNRECONSTRUCTABLE_MAX_ATTEMPTS_EXCEEDED),
        (2, 3, ErrorType.OBJECT_UNRECONSTRUCTABLE_MAX_ATTEMPTS_EXCEEDED),
    ],
)
def test_runs_for_lost_items_count_as_retries(max_retries: int, losses: int, reason: ErrorType) -> None:
    world = World(max_retries)
    world.yields(0, 1)
    world.ends(1)
    (ref,) = world.take(1)
    for _ in range(losses - 1):
        world.lose(ref)
        world.yields(0, 1, world.latest)
        world.ends(1, world.latest)
        assert ref.state == BLOCK
    world.lose(ref)
    assert ref.state == ERROR
    assert ref.value.reason == reason
    assert len(world.runtime.submitted) == losses


@pytest.mark.row("3.23", "3.62")
def test_an_item_that_does_not_come_again_says_so() -> None:
    world = World()
    world.yields(0, 3)
    world.ends(3)
    refs = world.take(3)
    world.lose(*refs)
    world.yields(0, 2, world.latest)
    world.ends(2, world.latest)
    assert [ref.state for ref in refs] == [BLOCK, BLOCK, ERROR]
    assert type(refs[2].value) is errors.StreamingGeneratorReplayInconsistentError
    assert len(world.runtime.submitted) == 2, "it is not tried again and again"


@pytest.mark.row("3.23")
def test_the_error_of_the_run_is_that_of_the_items_it_did_not_make() -> None:
    world = World()
    world.yields(0, 2)
    world.ends(2)
    refs = world.take(2)
    world.lose(*refs)
    world.yields(0, 1, world.latest)
    world.ends(1, world.latest, error="boom")
    assert refs[0].state == BLOCK
    assert (refs[1].state, refs[1].value) == (ERROR, "boom")


@pytest.mark.row("3.23", "4.28")
def test_an_item_lost_while_the_generator_runs_waits_for_the_next_run() -> None:
    world = World()
    world.yields(0, 2)
    refs = world.take(2)
    world.lose(refs[0])
    world.yields(2, 3)
    world.ends(3)
    assert world.latest is not world.record
    world.yields(0, 3, world.latest)
    world.ends(3, world.latest)
    assert [ref.state for ref in refs] == [BLOCK, BLOCK]
    assert len(world.runtime.submitted) == 2


@pytest.mark.row("3.23", "4.28", "4.18")
def test_the_retry_of_a_running_generator_fills_what_was_lost_with_its_worker() -> None:
    world = World()
    world.yields(0, 3)
    refs = world.take(3)
    world.runtime.note_retry(world.record)
    world.lose(*refs)
    world.yields(0, 4)
    world.ends(4)
    assert [ref.state for ref in refs] == [BLOCK] * 3
    assert len(world.take(2)) == 1, "one more, then the end"
    assert len(world.runtime.submitted) == 1


@pytest.mark.row("3.23", "4.28")
def test_a_retry_that_fails_before_a_lost_item_is_the_last_try_for_it() -> None:
    world = World()
    world.yields(0, 3)
    refs = world.take(3)
    world.runtime.note_retry(world.record)
    world.lose(*refs)
    world.yields(0, 1)
    world.ends(1, error="boom")
    assert [ref.value for ref in refs[1:]] == ["boom", "boom"]
    assert len(world.runtime.submitted) == 1, "what fails each time is not run each time"


@pytest.mark.row("3.23", "2.23")
def test_back_pressure_does_not_hold_up_a_run_for_lost_items() -> None:
    world = World(backpressure=1)
    world.yields(0, 3)
    world.ends(3)
    (ref,) = world.take(1)
    world.lose(ref)
    world.runtime.sent.clear()
    world.yields(0, 1, world.latest)
    assert [message.consumed for message in world.runtime.sent] == [3]


@pytest.mark.row("4.28", "2.23")
def test_back_pressure_does_not_hold_up_a_retry() -> None:
    world = World(backpressure=1)
    world.yields(0, 2)
    world.take(2)
    world.runtime.note_retry(world.record)
    world.runtime.sent.clear()
    world.yields(0, 1)
    assert [message.consumed for message in world.runtime.sent] == [2], "the new run hears what is consumed already"


@pytest.mark.row("3.23", "4.28")
def test_a_run_for_an_item_of_an_endless_generator_ends() -> None:
    world = World()
    world.yields(0, 3)
    refs = world.take(3)
    world.runtime.streams.drop(world.stream)
    world.ends(4)
    world.lose(refs[1])
    world.runtime.sent.clear()
    world.yields(0, 2, world.latest)
    assert refs[1].state == BLOCK
    assert world.runtime.sent == []
    world.yields(2, 3, world.latest)
    assert [message.dropped for message in world.runtime.sent] == [True]


@pytest.mark.row("3.23", "3.21", "4.23")
def test_items_of_a_cancelled_generator_stay_lost() -> None:
    world = World()
    world.yields(0, 1)
    (ref,) = world.take(1)
    world.record.cancelled = True
    world.ends(1, error="cancelled")
    world.lose(ref)
    assert ref.value.reason == ErrorType.OBJECT_UNRECONSTRUCTABLE_TASK_CANCELLED


@pytest.mark.row("3.19")
def test_lineage_of_a_generator_is_remembered_once_and_ends_with_its_last_item() -> None:
    world = World()
    world.yields(0, 3)
    refs = world.take(3)
    entry_bytes = world.runtime.lineage.total_bytes
    assert 0 < entry_bytes < 1000
    world.ends(3)
    del refs[:2]
    assert world.runtime.lineage.total_bytes == entry_bytes
    refs.clear()
    assert world.runtime.lineage.total_bytes == 0
