"""The store in an etcd v3 cluster. Revisions are etcd's own, so other users of that cluster make gaps in them.

Writes are sent one request at a time, in the order in which they were handed in; what waits meanwhile and may be joined
(``core/mvcc/merging.py``) goes as one transaction, so many writers cost one round of etcd's log. Reads go beside them.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Any

from linckia.base.limits import ETCD_REQUEST_MAX_S, TXN_ETCD_MAX_BYTES, TXN_OPS_MAX
from linckia.core.mvcc.checks import check_range, check_size, check_span, check_ttl, check_txn
from linckia.core.mvcc.merging import divided, leading_group, merged
from linckia.core.mvcc.records import (
    Compact,
    Grant,
    KeepAlive,
    Lease,
    LeaseInfo,
    Put,
    Range,
    Request,
    Revision,
    Revoke,
    TimeToLive,
    Txn,
    WatchQuery,
)
from linckia.store.address import EtcdAddress
from linckia.store.errors import (
    CompactedError,
    FutureRevisionError,
    LeaseNotFoundError,
    StoreClosedError,
    StoreError,
    StoreFailedError,
)
from linckia.store.etcd_link import EtcdLink, VerdictError
from linckia.store.etcd_verdicts import Verdict
from linckia.store.etcd_watch import EtcdWatch, compacted_revision
from linckia.store.etcd_wire import EVERYTHING, Wire, pb
from linckia.store.interface import Deliver, Done, OnBatch, StoreLimits, StoreStatus
from linckia.store.local import Deliveries
from linckia.store.requests import RequestStore

Answered = Callable[[Any], None]
_Waiting = tuple[Txn | Revoke, Done[Any]]


class EtcdStore(RequestStore):
    """A ``Store``. Connects when it is first asked; StoreOpenError only for files that cannot be read."""

    limits = StoreLimits(TXN_OPS_MAX, TXN_ETCD_MAX_BYTES)

    def __init__(self, address: EtcdAddress, deliver: Deliver, *, timeout_s: float = ETCD_REQUEST_MAX_S) -> None:
        self._link = EtcdLink(address, timeout_s)
        self._wire = Wire(address.namespace)
        self._deliveries = Deliveries(deliver)
        self._lock = threading.Lock()
        self._writes: deque[_Waiting] = deque()
        self._is_writing = False
        self._watches: dict[EtcdWatch, None] = {}

    # --- verbs --------------------------------------------------------------------------------------------------------

    def submit(self, request: Request, done: Done[Any]) -> None:
        """Check it and send it."""
        try:
            self._check(request)
        except StoreError as error:
            self._answer(done, error)
            return
        match request:
            case Range():
                self._read("Range", self._wire.range(request), partial(self._on_range, request, done))
            case Txn() if not _writes(request):
                self._read("Txn", self._wire.txn(request), partial(self._on_read_txn, request, done))
            case Txn() | Revoke():
                with self._lock:
                    self._writes.append((request, done))
                self._write_next()
            case Grant():
                grant = pb.LeaseGrantRequest(TTL=math.ceil(request.ttl_s))
                self._read("Grant", grant, partial(self._on_lease, 0, done))
            case KeepAlive():
                renewal = pb.LeaseKeepAliveRequest(ID=request.lease_id)
                self._read("KeepAlive", renewal, partial(self._on_lease, request.lease_id, done))
            case TimeToLive():
                question = pb.LeaseTimeToLiveRequest(ID=request.lease_id, keys=True)
                self._read("TimeToLive", question, partial(self._on_time_to_live, request.lease_id, done))
            case Compact():
                compaction = pb.CompactionRequest(revision=request.revision)
                self._read("Compact", compaction, partial(self._on_compact, request, done))

    def status(self, done: Done[StoreStatus]) -> None:
        """See ``Store``. The revision is read through the leader, so ``ok`` means that there is one."""

        def on_status(revision: int, answer: Any) -> None:
            failed = isinstance(answer, StoreError)
            size, health = (0, str(answer)) if failed else (answer.dbSize, "ok")
            self._answer(done, StoreStatus("etcd", repr(self._link.address), revision, size, health))

        def on_read(answer: Any) -> None:
            if isinstance(answer, StoreError):
                self._answer(done, StoreStatus("etcd", repr(self._link.address), 0, 0, str(answer)))
            else:
                self._read("Status", pb.StatusRequest(), partial(on_status, answer.header.revision))

        self._read("Range", self._probe(), on_read)

    def watch(self, query: WatchQuery, on_batch: OnBatch) -> EtcdWatch:
        """See ``Store``. With ``from_revision=None`` it begins when etcd answers, a little after this call."""
        watch = EtcdWatch(self._link, self._wire, query, on_batch, self._deliveries, self._forget)
        try:
            check_span(query.start, query.end)
        except StoreError as error:
            self._answer(watch.tell, error)
            return watch
        with self._lock:
            self._watches[watch] = None
        watch.start()
        return watch

    def close(self) -> None:
        """See ``Store``. A write that is on its way ends with UnknownOutcomeError."""
        with self._lock:
            waiting, watches = list(self._writes), list(self._watches)
            self._writes.clear()
        closed = StoreClosedError("the store is closed")
        self._deliveries.send([partial(done, closed) for _, done in waiting])
        self._link.close()
        for watch in watches:
            watch.close(closed)

    # --- writes, one at a time ----------------------------------------------------------------------------------------

    def _write_next(self) -> None:
        with self._lock:
            if self._is_writing or not self._writes:
                return
            self._is_writing = True
            first = self._writes[0][0]
            count = 1
            if isinstance(first, Txn):
                txns = (each for each, _ in islice(self._writes, TXN_OPS_MAX))
                count = leading_group(_until_revoke(txns), self.limits.txn_bytes)
            group = [self._writes.popleft() for _ in range(count)]
        if isinstance(first, Revoke):
            request = pb.LeaseRevokeRequest(ID=first.lease_id)
            self._link.call("Revoke", request, partial(self._on_revoked, first, group[0][1]), repeatable=True)
        else:
            txn = merged([each for each, _ in group if isinstance(each, Txn)])
            self._link.call("Txn", self._wire.txn(txn), partial(self._on_written, group, txn), repeatable=False)

    def _on_written(self, group: list[_Waiting], txn: Txn, answer: Any) -> None:
        if isinstance(answer, StoreError):
            self._explain(answer, txn, partial(self._end_write, group))
        else:
            txns = [each for each, _ in group if isinstance(each, Txn)]
            self._end_write(group, divided(txns, self._wire.txn_result(answer)))

    def _on_revoked(self, revoke: Revoke, done: Done[Any], answer: Any) -> None:
        if isinstance(answer, VerdictError) and answer.verdict is Verdict.NO_LEASE and answer.earlier:
            self._read("Range", self._probe(), partial(self._on_revoked, revoke, done))  # an earlier attempt did it
        elif isinstance(answer, StoreError):
            self._explain(answer, revoke, partial(self._end_write, [(revoke, done)]))
        else:
            self._end_write([(revoke, done)], [Revision(answer.header.revision)])

    def _end_write(self, group: list[_Waiting], answers: Any) -> None:
        if isinstance(answers, StoreError):
            answers = [answers] * len(group)
        try:
            self._deliveries.send([partial(done, answer) for (_, done), answer in zip(group, answers, strict=True)])
        finally:  # a callback that raises, where it is called at once, must not hold up the writes behind it
            with self._lock:
                self._is_writing = False
            self._write_next()

    # --- the others' answers ------------------------------------------------------------------------------------------

    def _on_range(self, query: Range, done: Done[Any], answer: Any) -> None:
        self._finish(query, done, answer, lambda got: self._wire.range_result(got, got.header.revision))

    def _on_read_txn(self, txn: Txn, done: Done[Any], answer: Any) -> None:
        self._finish(txn, done, answer, self._wire.txn_result)

    def _on_lease(self, lease_id: int, done: Done[Any], answer: Any) -> None:
        if not isinstance(answer, StoreError) and answer.TTL <= 0:
            answer = LeaseNotFoundError(lease_id)
        self._finish(KeepAlive(lease_id), done, answer, lambda got: Lease(got.ID, float(got.TTL)))

    def _on_time_to_live(self, lease_id: int, done: Done[Any], answer: Any) -> None:
        if not isinstance(answer, StoreError) and answer.TTL < 0:
            answer = LeaseNotFoundError(lease_id)

        def info(got: Any) -> LeaseInfo:
            keys = tuple(sorted(self._wire.key(key) for key in got.keys))
            return LeaseInfo(lease_id, float(got.grantedTTL), float(got.TTL), keys)

        self._finish(TimeToLive(lease_id), done, answer, info)

    def _on_compact(self, request: Compact, done: Done[Any], answer: Any) -> None:
        if isinstance(answer, VerdictError) and answer.verdict is Verdict.COMPACTED:
            self._read("Range", self._probe(), partial(self._on_compact, request, done))
        else:
            self._finish(request, done, answer, lambda got: Revision(got.header.revision))

    def _finish(self, request: Request, done: Done[Any], answer: Any, read: Callable[[Any], Any]) -> None:
        if isinstance(answer, StoreError):
            self._explain(answer, request, partial(self._answer, done))
        else:
            self._answer(done, read(answer))

    def _explain(self, error: StoreError, request: Request, then: Answered) -> None:
        """The error that names what was asked for."""
        if not isinstance(error, VerdictError):
            then(error)
        elif error.verdict is Verdict.NO_LEASE:
            then(LeaseNotFoundError(_lease_of(request)))
        elif error.verdict is Verdict.COMPACTED:
            asked = _revision_of(request)
            key = self._wire.namespace or EVERYTHING
            compacted_revision(self._link, key, asked, lambda compacted: then(CompactedError(asked, compacted)))
        elif error.verdict is Verdict.FUTURE:
            asked = _revision_of(request)
            self._read("Range", self._probe(), lambda answer: then(_future(asked, answer)))
        else:
            then(StoreFailedError(f"etcd: {error}"))

    # --- small things -------------------------------------------------------------------------------------------------

    def _check(self, request: Request) -> None:
        match request:
            case Range():
                check_range(request)
            case Txn():
                check_txn(request)
                check_size(request, self.limits.txn_bytes)
            case Grant():
                check_ttl(request.ttl_s)
            case _:
                pass

    def _read(self, method: str, request: Any, then: Answered) -> None:
        self._link.call(method, request, then, repeatable=True)

    def _probe(self) -> Any:
        """The cheapest read through the leader, for its revision. Of the namespace, which is all we may read."""
        return pb.RangeRequest(key=self._wire.namespace or EVERYTHING, limit=1, keys_only=True)

    def _answer(self, done: Done[Any], answer: Any) -> None:
        self._deliveries.send([partial(done, answer)])

    def _forget(self, watch: EtcdWatch) -> None:
        with self._lock:
            self._watches.pop(watch, None)


def _writes(txn: Txn) -> bool:
    return any(not isinstance(op, Range) for op in (*txn.then, *txn.otherwise))


def _until_revoke(requests: Any) -> Any:
    for request in requests:
        if isinstance(request, Revoke):
            return
        yield request


def _lease_of(request: Request) -> int:
    if isinstance(request, Txn):
        ops = (*request.then, *request.otherwise)
        return next((op.lease for op in ops if isinstance(op, Put) and op.lease), 0)
    return getattr(request, "lease_id", 0)


def _revision_of(request: Request) -> int:
    if isinstance(request, Txn):
        ops = (*request.then, *request.otherwise)
        return next((op.revision for op in ops if isinstance(op, Range) and op.revision), 0)
    return getattr(request, "revision", 0) or 0


def _future(asked: int, answer: Any) -> StoreError:
    return answer if isinstance(answer, StoreError) else FutureRevisionError(asked, answer.header.revision)
