"""``Mvcc``: the whole state of a store, and what each request makes of it. The memory and SQLite backends are shells.

Every request is checked before anything is changed, so a refused one leaves no trace. What has to be made durable or
told to watchers is collected in ``Effects``.
"""

from __future__ import annotations

import msgspec

from linckia.base.limits import HISTORY_MAX_BYTES, HISTORY_MAX_EVENTS
from linckia.core.mvcc import checks
from linckia.core.mvcc.errors import CompactedError, FutureRevisionError
from linckia.core.mvcc.leases import LeaseTable
from linckia.core.mvcc.records import (
    Answer,
    Compact,
    Compare,
    Delete,
    Event,
    Grant,
    KeepAlive,
    KeyValue,
    Lease,
    LeaseInfo,
    Put,
    Range,
    RangeResult,
    Request,
    Revision,
    Revoke,
    TimeToLive,
    Txn,
    TxnResult,
    WatchBatch,
    WatchQuery,
    Written,
    in_span,
)
from linckia.core.mvcc.space import KeySpace


class Effects(msgspec.Struct):
    """What requests changed, in order: rows to write, and events to tell."""

    events: list[Event] = []
    granted: list[Lease] = []
    ended: list[int] = []
    dropped: list[KeyValue] = []
    compacted: int = 0

    @property
    def any(self) -> bool:
        """Whether there is something to make durable."""
        return bool(self.events or self.granted or self.ended or self.compacted)


class Watcher:
    """One watch: what of the log it has not been told yet."""

    __slots__ = ("next_revision", "query")

    def __init__(self, query: WatchQuery, next_revision: int) -> None:
        self.query, self.next_revision = query, next_revision


class Mvcc:
    """Single-threaded, deterministic; the time is an argument."""

    def __init__(self) -> None:
        self.space = KeySpace()
        self.leases = LeaseTable()

    @property
    def revision(self) -> int:
        """The last one made."""
        return self.space.revision

    def apply(self, request: Request, now_s: float, effects: Effects) -> Answer:
        """Carry out one request. Raises the errors of ``errors.py``, then nothing has changed."""
        match request:
            case Range():
                return self.range(request)
            case Txn():
                return self._txn(request, effects)
            case KeepAlive():
                record = self.leases.renew(request.lease_id, now_s)
                return Lease(record.lease_id, record.ttl_s)
            case Grant():
                return self._grant(request, now_s, effects)
            case Revoke():
                self._end_lease(request.lease_id, effects)
                return Revision(self.revision)
            case TimeToLive():
                record = self.leases.find(request.lease_id)
                left_s = max(0.0, record.due_s - now_s)
                return LeaseInfo(record.lease_id, record.ttl_s, left_s, tuple(sorted(record.keys)))
            case Compact():
                return self._compact(request.revision, effects)

    # --- reading ------------------------------------------------------------------------------------------------------

    def range(self, query: Range) -> RangeResult:
        """The keys of a span."""
        checks.check_range(query)
        self._check_revision(query.revision)
        most = None if query.limit is None else query.limit + 1
        found = self.space.span(query.start, query.end, query.revision, most)
        more = query.limit is not None and len(found) > query.limit
        return RangeResult(self.revision, tuple(found[: query.limit] if more else found), more)

    def _check_revision(self, asked: int | None) -> None:
        if asked is None:
            return
        if asked > self.revision:
            raise FutureRevisionError(asked, self.revision)
        if asked < max(1, self.space.compacted):
            raise CompactedError(asked, self.space.compacted)

    # --- transactions -------------------------------------------------------------------------------------------------

    def _txn(self, txn: Txn, effects: Effects) -> TxnResult:
        checks.check_txn(txn)
        succeeded = all(self._holds(compare) for compare in txn.compare)
        ops = txn.then if succeeded else txn.otherwise
        for op in ops:
            if isinstance(op, Put) and op.lease:
                self.leases.find(op.lease)
            elif isinstance(op, Range):
                self._check_revision(op.revision)
        revision = self.revision + 1
        results: list[Written | RangeResult] = []
        for op in ops:
            match op:
                case Put():
                    self._put(op, revision, effects)
                    results.append(Written(1))
                case Delete():
                    kvs = self.space.span(op.start, op.end, None, None)
                    for kv in kvs:
                        self._delete(kv, revision, effects)
                    results.append(Written(len(kvs)))
                case Range():
                    results.append(self.range(op))
        # A read between the writes names the revision that the transaction makes, as it sees what it wrote.
        results = [
            msgspec.structs.replace(each, revision=self.revision) if isinstance(each, RangeResult) else each
            for each in results
        ]
        return TxnResult(self.revision, succeeded, tuple(results))

    def _holds(self, compare: Compare) -> bool:
        kv = self.space.now(compare.key)
        if compare.target == "value":
            return kv is not None and checks.related(kv.value, compare.relation, compare.operand)
        found: int = getattr(kv, compare.target) if kv else 0
        return checks.related(found, compare.relation, compare.operand)

    def _put(self, put: Put, revision: int, effects: Effects) -> None:
        event = self.space.put(put.key, put.value, put.lease, revision)
        self.leases.attach(put.key, put.lease, event.prev.lease if event.prev else 0)
        self._changed(event, effects)

    def _delete(self, kv: KeyValue, revision: int, effects: Effects) -> None:
        self.leases.attach(kv.key, 0, kv.lease)
        self._changed(self.space.delete(kv.key, revision), effects)

    def _changed(self, event: Event, effects: Effects) -> None:
        self.space.revision = event.kv.mod_revision
        effects.events.append(event)

    # --- leases -------------------------------------------------------------------------------------------------------

    def _grant(self, grant: Grant, now_s: float, effects: Effects) -> Lease:
        checks.check_ttl(grant.ttl_s)
        record = self.leases.add(self.leases.last_id + 1, grant.ttl_s, now_s)
        lease = Lease(record.lease_id, record.ttl_s)
        effects.granted.append(lease)
        return lease

    def _end_lease(self, lease_id: int, effects: Effects) -> None:
        record = self.leases.remove(lease_id)
        revision = self.revision + 1
        for key in sorted(record.keys):
            kv = self.space.now(key)
            if kv is not None:
                self._delete(kv, revision, effects)
        effects.ended.append(lease_id)

    def expire(self, now_s: float, effects: Effects) -> None:
        """End the leases whose time is over; each makes a revision of its own if it has keys."""
        due_s = self.leases.next_due_s()
        if due_s is not None and due_s <= now_s:
            for lease_id in self.leases.expired(now_s):
                self._end_lease(lease_id, effects)

    def restore(self, kv: KeyValue) -> None:
        """A version as a file has it; leases were restored before, and revisions come in order."""
        prev = self.space.now(kv.key)
        self.space.restore(kv)
        self.leases.attach(kv.key, kv.lease if kv.lease in self.leases else 0, prev.lease if prev else 0)

    # --- history ------------------------------------------------------------------------------------------------------

    def _compact(self, revision: int, effects: Effects) -> Revision:
        if revision > self.revision:
            raise FutureRevisionError(revision, self.revision)
        if revision > self.space.compacted:
            effects.dropped += self.space.compact(revision)
            effects.compacted = revision
        return Revision(self.revision)

    def trim(self, effects: Effects) -> None:
        """Keep the history within its limits: drop the older half when it has outgrown them."""
        space = self.space
        if len(space.log) > HISTORY_MAX_EVENTS:
            self._compact(space.log[len(space.log) // 2].kv.mod_revision, effects)
        if space.history_bytes > HISTORY_MAX_BYTES:
            self._compact(space.revision_of_half(), effects)

    # --- watches ------------------------------------------------------------------------------------------------------

    def watcher(self, query: WatchQuery) -> Watcher:
        """A watch of what comes, and of what came since ``from_revision``. Raises CompactedError."""
        checks.check_span(query.start, query.end)
        first = self.revision + 1 if query.from_revision is None else query.from_revision
        if first <= self.space.compacted:
            raise CompactedError(first, self.space.compacted)
        return Watcher(query, first)

    def missed(self, watcher: Watcher) -> WatchBatch | None:
        """What a new watcher has to be told of the past. CompactedError when that was forgotten meanwhile."""
        if watcher.next_revision <= self.space.compacted:
            raise CompactedError(watcher.next_revision, self.space.compacted)
        return unseen(watcher, self.space.log_from(watcher.next_revision))


def unseen(watcher: Watcher, events: list[Event]) -> WatchBatch | None:
    """What of these whole revisions the watcher has to be told; it counts as told."""
    query = watcher.query
    mine = [
        event if query.with_previous or event.prev is None else Event(event.kind, event.kv)
        for event in events
        if event.kv.mod_revision >= watcher.next_revision and in_span(event.kv.key, query.start, query.end)
    ]
    if events:
        watcher.next_revision = max(watcher.next_revision, events[-1].kv.mod_revision + 1)
    return WatchBatch(mine[-1].kv.mod_revision, tuple(mine)) if mine else None
