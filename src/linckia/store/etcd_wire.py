"""Our requests as etcd's messages and back, with a namespace in front of every key. Pure but for the message classes.

The message classes are those of the maintained client (docs/adr/0003-store.md); only heads with etcd import them.
"""

from __future__ import annotations

from typing import Any

from pyetcd.etcdrpc import rpc_pb2

from linckia.core.mvcc.records import (
    KEYSPACE_END,
    Compare,
    Delete,
    Event,
    EventKind,
    KeyValue,
    Op,
    Put,
    Range,
    RangeResult,
    Txn,
    TxnResult,
    WatchQuery,
    Written,
    prefix_end,
)

pb: Any = rpc_pb2  # its types are made at run time
RELATIONS = {"=": 0, "!=": 3, "<": 2, ">": 1}
TARGETS = {
    "version": (0, "version"),
    "create_revision": (1, "create_revision"),
    "mod_revision": (2, "mod_revision"),
    "value": (3, "value"),
}
EVERYTHING = b"\0"
DELETED = 1


class Wire:
    """Translates for one namespace."""

    def __init__(self, namespace: bytes) -> None:
        self.namespace = namespace

    # --- to etcd ------------------------------------------------------------------------------------------------------

    def span(self, start: bytes, end: bytes | None) -> dict[str, bytes]:
        """``key`` and ``range_end`` as etcd wants them."""
        key = self.namespace + start
        if end is None:
            return {"key": key}
        if end != KEYSPACE_END:
            return {"key": key or EVERYTHING, "range_end": self.namespace + end}
        return {"key": key or EVERYTHING, "range_end": prefix_end(self.namespace) or EVERYTHING}

    def range(self, query: Range) -> Any:
        """A RangeRequest; one key more than the limit is asked for by etcd itself (``more``)."""
        return pb.RangeRequest(
            **self.span(query.start, query.end), revision=query.revision or 0, limit=query.limit or 0
        )

    def txn(self, txn: Txn) -> Any:
        """A TxnRequest."""
        return pb.TxnRequest(
            compare=[self._compare(each) for each in txn.compare],
            success=[self._op(op) for op in txn.then],
            failure=[self._op(op) for op in txn.otherwise],
        )

    def watch(self, query: WatchQuery, start_revision: int) -> Any:
        """A WatchRequest that creates."""
        create = pb.WatchCreateRequest(
            **self.span(query.start, query.end), start_revision=start_revision, prev_kv=query.with_previous
        )
        return pb.WatchRequest(create_request=create)

    def _compare(self, compare: Compare) -> Any:
        target, field = TARGETS[compare.target]
        return pb.Compare(
            result=RELATIONS[compare.relation],
            target=target,
            key=self.namespace + compare.key,
            **{field: compare.operand},
        )

    def _op(self, op: Op) -> Any:
        match op:
            case Put():
                put = pb.PutRequest(key=self.namespace + op.key, value=op.value, lease=op.lease)
                return pb.RequestOp(request_put=put)
            case Delete():
                return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(**self.span(op.start, op.end)))
            case Range():
                return pb.RequestOp(request_range=self.range(op))

    # --- from etcd ----------------------------------------------------------------------------------------------------

    def range_result(self, response: Any, revision: int) -> RangeResult:
        """Of a RangeResponse."""
        return RangeResult(revision, tuple(self._kv(kv) for kv in response.kvs), bool(response.more))

    def txn_result(self, response: Any) -> TxnResult:
        """Of a TxnResponse."""
        revision = response.header.revision
        results: list[Written | RangeResult] = []
        for each in response.responses:
            match each.WhichOneof("response"):
                case "response_put":
                    results.append(Written(1))
                case "response_delete_range":
                    results.append(Written(each.response_delete_range.deleted))
                case _:
                    results.append(self.range_result(each.response_range, revision))
        return TxnResult(revision, bool(response.succeeded), tuple(results))

    def key(self, key: bytes) -> bytes:
        """Without the namespace."""
        return key[len(self.namespace) :]

    def events(self, response: Any, from_revision: int, *, with_previous: bool) -> tuple[Event, ...]:
        """Of a WatchResponse; older ones were seen."""
        return tuple(
            self._event(each, with_previous=with_previous)
            for each in response.events
            if each.kv.mod_revision >= from_revision
        )

    def _event(self, event: Any, *, with_previous: bool) -> Event:
        prev = self._kv(event.prev_kv) if with_previous and event.HasField("prev_kv") else None
        kind = EventKind.DELETE if event.type == DELETED else EventKind.PUT
        return Event(kind, self._kv(event.kv), prev)

    def _kv(self, kv: Any) -> KeyValue:
        return KeyValue(self.key(kv.key), kv.value, kv.create_revision, kv.mod_revision, kv.version, kv.lease)
