"""Which transactions may be sent as one, so that a store that answers one request at a time commits many writers' work.

Used by the etcd shell. Transactions join when they make the same comparisons, have no other branch, and write keys
that neither another one nor the comparisons touch, without leases: then doing them together is the same as doing them
in order, except that they share a revision.
"""

from __future__ import annotations

from collections.abc import Iterable

from linckia.base.limits import TXN_OPS_MAX
from linckia.core.mvcc.checks import size_bytes
from linckia.core.mvcc.records import Put, Txn, TxnResult


def leading_group(txns: Iterable[Txn], max_bytes: int) -> int:
    """How many of the waiting transactions, from the first on, may be sent as one; at least 1."""
    count = ops = size = 0
    compare: tuple[object, ...] = ()
    written: dict[bytes, None] = {}
    for txn in txns:
        keys = _plain_puts(txn)
        if count == 0:
            compare = txn.compare
        elif txn.compare != compare:
            break
        if keys is None:
            return max(count, 1)
        ops, size = ops + len(txn.then), size + size_bytes(txn)
        touches = any(key in written for key in keys) or any(each.key in keys for each in txn.compare)
        if count and (touches or ops > TXN_OPS_MAX or size > max_bytes):
            break
        count += 1
        if touches:
            break
        written.update(keys)
    return max(count, 1)


def merged(txns: list[Txn]) -> Txn:
    """One transaction for a group."""
    if len(txns) == 1:
        return txns[0]
    return Txn(txns[0].compare, tuple(op for txn in txns for op in txn.then))


def divided(txns: list[Txn], result: TxnResult) -> list[TxnResult]:
    """The answer to each transaction of a group."""
    if len(txns) == 1:
        return [result]
    if not result.succeeded:
        return [result] * len(txns)
    answers, place = [], 0
    for txn in txns:
        after = place + len(txn.then)
        answers.append(TxnResult(result.revision, True, result.results[place:after]))
        place = after
    return answers


def _plain_puts(txn: Txn) -> dict[bytes, None] | None:
    if txn.otherwise:
        return None
    keys: dict[bytes, None] = {}
    for op in txn.then:
        if not isinstance(op, Put) or op.lease:  # a lease that is gone must refuse its own transaction only
            return None
        keys[op.key] = None
    return keys
