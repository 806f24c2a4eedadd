"""Lineage of generators: lost items are made again by running the whole generator again (R 3.23).

Its large items share one entry, made when the first of them arrives, so that items of a generator that still runs are
covered too. A run yields from the start: what was lost is filled by its index (``streams.py``), everything else is
freed as it arrives. Each lost item knows by which run it is due; when that run has ended without it, the run's error
is the item's, or that the generator did not yield as often as before. Called by ``streams.py`` and ``lineage.py``
under ``Runtime.mutex``.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from linckia.base import errors
from linckia.base.errors.codes import ErrorType
from linckia.worker.lineage import Entry, Lineage
from linckia.worker.refs import ObjectRef, RefExtra
from linckia.worker.tasks import TaskRecord

if TYPE_CHECKING:
    from linckia.worker.runtime import Runtime
    from linckia.worker.submission import Unresolved

Lost = tuple["weakref.ref[ObjectRef[Any]]", int, str]


class StreamEntry(Entry):
    """How to run a generator again. ``record`` is there while it runs."""

    __slots__ = ("attempt", "cancelled", "cut", "length", "lost", "record")

    def __init__(self, record: TaskRecord, unresolved: Unresolved | None) -> None:
        super().__init__(record, unresolved)
        self.record: TaskRecord | None = record
        self.attempt = 0
        self.length = 0
        self.cut = self.cancelled = False
        self.lost: list[Lost] = []  # items on their way to being made again: the attempt that does, and why

    def remake(self, lineage: Lineage, ref: ObjectRef[Any], why: str, /) -> None:
        """By the run under way, unless it is past that item; else by another."""
        record = self.record
        if record is None:
            self._run(lineage, ref, why)
            return
        passed = int.from_bytes(ref._id[24:], "little") - 2 < record.stream.seen
        self.lost.append((weakref.ref(ref), record.attempt + passed, why))
        ref.value = record

    def return_of(self, _lineage: Lineage, object_id: bytes, /) -> ObjectRef[Any]:
        """A stand-in: it is an argument that nobody else holds."""
        ref: ObjectRef[Any] = ObjectRef(object_id)
        ref.extra = RefExtra()
        ref.extra.lineage = self
        return ref

    def _run(self, lineage: Lineage, ref: ObjectRef[Any], why: str) -> None:
        if self.cancelled:
            lineage.refuse(ref, ErrorType.OBJECT_UNRECONSTRUCTABLE_TASK_CANCELLED, why)
            return
        if self.retries_left == 0:
            lineage.refuse(ref, ErrorType.OBJECT_UNRECONSTRUCTABLE_MAX_ATTEMPTS_EXCEEDED, why)
            return
        record = self.record = lineage.record_again(self, why)
        record.attempt = self.attempt
        record.stream = lineage.runtime.streams.again(record, self.length)
        record.stream.entry, record.stream.cut = self, self.cut
        self.lost.append((weakref.ref(ref), self.attempt + 1, why))
        ref.value = record
        lineage.submit_again(record, self)


class Replays:
    """One per runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    def yielded(self, record: TaskRecord, ref: ObjectRef[Any]) -> None:
        """A large item arrived for the first time."""
        stream = record.stream
        if stream.entry is None:
            stream.entry = self.runtime.lineage.entry_of(record, StreamEntry)
        extra = ref.extra = ref.extra or RefExtra()
        extra.lineage = stream.entry
        means = record.template.means
        if means is not None:
            self.runtime.replicas.wanted(ref, means.replicas)

    def ended(self, record: TaskRecord, error: bytes | None) -> None:
        """A run of a generator is over: what was lost and is not back fails, or waits for another run."""
        stream = record.stream
        entry, stream.entry = stream.entry, None
        if not isinstance(entry, StreamEntry):
            return
        entry.record = None
        entry.retries_left, entry.attempt, entry.cancelled = record.retries_left, record.attempt, record.cancelled
        entry.length, entry.cut = stream.received, stream.cut
        lost, entry.lost = entry.lost, []
        for weak, due, why in lost:
            ref = weak()
            if ref is None or ref.state:
                continue
            if due <= record.attempt:
                self.runtime.complete_error(ref, error or self._never_came(record))
            else:
                self.runtime.lineage.make(ref, why)

    def _never_came(self, record: TaskRecord) -> bytes:
        problem = errors.StreamingGeneratorReplayInconsistentError(
            f"generator {record.template.name} ran again for an item that was lost, and did not yield it; a generator "
            "whose items may be lost must yield the same number of items each time"
        )
        return self.runtime.encode_error(problem)
