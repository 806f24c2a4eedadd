"""Lineage: how an owner makes lost objects again by running their tasks again (R 3.19-3.23).

For each large result of a task that may be retried, the owner keeps what the task was: its template, arguments and, for
references among them, their lineage in turn, but not their values. When the only copy of an object is lost with its
node, the task is submitted again under the same id, its lost arguments first. What cannot be made again says why
(every reason of R 3.37); of generators see ``replays.py``. Kept up to ``max_lineage_bytes`` (1 GiB); then the older
half is dropped. Runs under ``Runtime.mutex``.
"""

from __future__ import annotations

import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

from linckia.base import errors
from linckia.base.errors.codes import ErrorType
from linckia.host import environment
from linckia.worker.refs import BLOCK, ERROR, INLINE, PENDING, ObjectRef, RefExtra
from linckia.worker.submission import Unresolved, resubmit
from linckia.worker.tasks import TaskRecord

if TYPE_CHECKING:
    from linckia.worker.runtime import Runtime

PUT_INDEX = b"\x00\x00\x00\x80"
ENTRY_BYTES = 400
Why = ErrorType


class Remembered:
    """A reference among a task's arguments: the live ref if there is one, else how to get its value again."""

    __slots__ = ("entry", "inline", "object_id", "ref", "strong")

    def __init__(self, ref: ObjectRef[Any]) -> None:
        self.object_id = ref._id
        self.ref = weakref.ref(ref)
        extra = ref.extra
        self.entry: Any = extra.lineage if extra is not None else None
        self.inline: bytes | None = ref.value if ref.state == INLINE else None
        self.strong = ref if extra is not None and extra.owner is not None else None  # borrowed: its owner's to rebuild


class Entry:
    """How to run a finished task again. ``refs`` are its returns, as long as somebody holds them."""

    __slots__ = (
        "__weakref__",
        "actor",
        "args",
        "bytes",
        "evicted",
        "inner",
        "owner",
        "refs",
        "retries_left",
        "running",
        "slots",
        "task_id",
        "template",
    )

    def __init__(self, record: TaskRecord, unresolved: Unresolved | None) -> None:
        self.task_id, self.template, self.args = record.task_id, record.template, record.args
        self.retries_left, self.actor = record.retries_left, record.actor
        self.slots = [Remembered(ref) for ref in unresolved.slots] if unresolved is not None else []
        self.inner = [Remembered(ref) for ref in unresolved.inner] if unresolved is not None else []
        self.refs = [weakref.ref(ref) for ref in record.refs()]
        self.bytes = ENTRY_BYTES + len(self.args) + sum(len(each.inline or b"") for each in self.slots)
        self.evicted = False
        self.running = False
        self.owner: Lineage | None = None

    def remake(self, lineage: Lineage, _ref: ObjectRef[Any], why: str, /) -> None:
        """Run the task again for the sake of an opened return of it; once for all that are lost."""
        if not self.running:
            lineage.run_again(self, why)

    def return_of(self, lineage: Lineage, object_id: bytes, /) -> ObjectRef[Any]:
        """One of its returns; a stand-in when nobody holds that any more."""
        return lineage.returns(self)[int.from_bytes(object_id[24:], "little") - 1]

    def __del__(self) -> None:
        if self.owner is not None:
            self.owner.total_bytes -= ENTRY_BYTES if self.evicted else self.bytes


class Lineage:
    """One per runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.enabled = environment.option_on("lineage_pinning_enabled", default=True)
        self.max_bytes = int(environment.option("max_lineage_bytes") or 1 << 30)
        self.total_bytes = 0
        self._entries: deque[weakref.ref[Entry]] = deque()
        self._at: dict[bytes, weakref.WeakSet[ObjectRef[Any]]] = {}  # node -> own objects whose primary is there

    # --- remembering --------------------------------------------------------------------------------------------------

    def placed(self, ref: ObjectRef[Any], node_id: bytes) -> None:
        """The primary copy of an object of ours is on that (other) node."""
        self._at.setdefault(node_id, weakref.WeakSet()).add(ref)

    def finished(self, record: TaskRecord) -> None:
        """A task answered with large results: remember how it was made, if it may run again."""
        large = [ref for ref in record.refs() if ref.state == BLOCK]
        if large:
            entry = self.entry_of(record, Entry)
            for ref in large:
                extra = ref.extra = ref.extra or RefExtra()
                extra.lineage = entry
            if record.template.means is not None:
                for ref in large:
                    self.runtime.replicas.wanted(ref, record.template.means.replicas)

    def failed(self, record: TaskRecord) -> None:
        """A task that ran again for the sake of some returns may have failed; the others are as they were."""
        for ref in record.refs():
            entry = ref.extra.lineage if ref.extra is not None else None
            if isinstance(entry, Entry):
                entry.running, entry.retries_left = False, record.retries_left

    def entry_of(self, record: TaskRecord, kind: type[Entry]) -> Entry | ErrorType:
        """How the task was made, remembered from now on; or why it may not be made again."""
        if not self.enabled:
            return Why.OBJECT_UNRECONSTRUCTABLE_LINEAGE_DISABLED
        if record.template.max_retries == 0:
            return Why.OBJECT_UNRECONSTRUCTABLE_RETRIES_DISABLED
        entry = kind(record, record.lineage)
        self._keep(entry)
        return entry

    def _keep(self, entry: Entry) -> None:
        size = entry.bytes
        self.total_bytes += size
        entry.owner = self
        self._entries.append(weakref.ref(entry))
        if self.total_bytes > self.max_bytes:
            self._evict()
        while self._entries and self._entries[0]() is None:
            self._entries.popleft()

    def _evict(self) -> None:
        """The older half."""
        kept = 0
        for _ in range(len(self._entries)):
            entry = self._entries.popleft()()
            if entry is None or entry.evicted:
                continue
            kept += entry.bytes
            entry.evicted, entry.args, entry.slots, entry.inner = True, b"", [], []
            self.total_bytes -= entry.bytes - ENTRY_BYTES
            if kept >= self.max_bytes // 2:
                return

    # --- losing and making again --------------------------------------------------------------------------------------

    def node_dead(self, node_id: bytes, why: str) -> None:
        """What had its primary copy there is lost, unless another node has one."""
        for ref in list(self._at.pop(node_id, ())):
            if ref.state == BLOCK and ref.value.node_id == node_id:
                self.runtime.locations.primary_lost(ref, why)

    def lost(self, ref: ObjectRef[Any], why: str) -> None:
        """No copy of an own object is left: make it again, or say why that cannot be."""
        if ref.state != BLOCK:
            return
        self.open(ref)
        self.make(ref, why)

    def open(self, ref: ObjectRef[Any]) -> None:
        """It has no value any more; who asks waits again."""
        assert ref.extra is not None
        ref.extra.token = None
        ref.value, ref.state = None, PENDING
        self.runtime.borrowing.by_id[ref._id] = ref

    def make(self, ref: ObjectRef[Any], why: str) -> None:
        """Run the task of an opened ref again."""
        extra = ref.extra
        entry = extra.lineage if extra is not None else None
        if ref._id[24:] == PUT_INDEX and entry is None:
            self.refuse(ref, Why.OBJECT_UNRECONSTRUCTABLE_PUT, why)
        elif not isinstance(entry, Entry):
            self.refuse(ref, entry or Why.OBJECT_UNRECONSTRUCTABLE_REF_NOT_FOUND, why)
        elif entry.evicted:
            self.refuse(ref, Why.OBJECT_UNRECONSTRUCTABLE_LINEAGE_EVICTED, why)
        else:
            entry.remake(self, ref, why)

    def refuse(self, ref: ObjectRef[Any], reason: ErrorType, why: str) -> None:
        """It cannot be made again."""
        error = errors.ObjectReconstructionFailedError(ref.hex(), reason, None, ref.owner_address(), ref.call_site())
        error.reason_message = f"{error.reason_message} It was lost because {why}."
        self.runtime.complete_error(ref, self.runtime.encode_error(error))

    def run_again(self, entry: Entry, why: str) -> None:
        """Submit the task again, if it has a retry left."""
        returns = self.returns(entry)
        if entry.retries_left == 0:
            for ref in returns:
                self.refuse(ref, Why.OBJECT_UNRECONSTRUCTABLE_MAX_ATTEMPTS_EXCEEDED, why)
            return
        record = self.record_again(entry, why)
        for ref in returns:
            if not ref.state:
                ref.value = record
        record.ref, record.more_refs = returns[0], tuple(returns[1:])
        entry.running = True
        self.submit_again(record, entry)

    def record_again(self, entry: Entry, why: str) -> TaskRecord:
        """The task once more, its lost arguments on their way; without returns."""
        record = TaskRecord(entry.task_id, entry.template, entry.retries_left, args=entry.args)
        slots = [self._again(each, why) for each in entry.slots]
        inner = [self._again(each, why) for each in entry.inner]
        if slots or inner:
            record.options = Unresolved(slots, inner, None)
            record.holds = [*slots, *inner]
        return record

    def submit_again(self, record: TaskRecord, entry: Entry) -> None:
        """It counts as a retry."""
        if entry.actor is not None:
            entry.actor.revive(record)
        self.runtime.submitter.note_retry(record)
        resubmit(self.runtime, record, entry.actor)

    def returns(self, entry: Entry) -> list[ObjectRef[Any]]:
        """All its returns; those that nobody holds any more are only stand-ins."""
        found = []
        for index, weak in enumerate(entry.refs):
            ref = weak()
            if ref is None:
                ref = ObjectRef(entry.task_id + (index + 1).to_bytes(4, "little"))
                ref.extra = RefExtra()
                ref.extra.lineage = entry
                entry.refs[index] = weakref.ref(ref)
            found.append(ref)
        return found

    def _again(self, remembered: Remembered, why: str) -> ObjectRef[Any]:
        """An argument that was a reference: as it is, or on its way to being made again."""
        ref = remembered.ref()
        if ref is not None and ref.state != ERROR:
            return ref
        if remembered.inline is not None:
            ref = ObjectRef(remembered.object_id)
            ref.value, ref.state = remembered.inline, INLINE
        elif isinstance(remembered.entry, Entry):
            ref = remembered.entry.return_of(self, remembered.object_id)
            if ref.state == PENDING:
                self.make(ref, why)
        else:
            ref = ObjectRef(remembered.object_id)
            self.make(ref, why)
        self.runtime.borrowing.by_id[ref._id] = ref
        remembered.ref = weakref.ref(ref)
        return ref
