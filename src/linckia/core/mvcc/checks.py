"""What no backend carries out: malformed spans, keys written twice, too many operations. One place, so all agree.

The rules are etcd's where etcd has one; a program that runs on SQLite then runs on etcd.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from linckia.base.limits import LEASE_MAX_TTL_S, LEASE_MIN_TTL_S, TXN_OPS_MAX
from linckia.core.mvcc.errors import InvalidRequestError
from linckia.core.mvcc.records import KEYSPACE_END, Compare, Delete, Op, Put, Range, Txn, in_span

RELATIONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}
TARGETS = ("value", "version", "create_revision", "mod_revision")


def related(found: bytes | int, relation: str, operand: bytes | int) -> bool:
    """``found relation operand``, both of one type."""
    return RELATIONS[relation](found, operand)


def check_span(start: bytes, end: bytes | None) -> None:
    """InvalidRequestError unless it is a key or a span."""
    if end is None and not start:
        raise InvalidRequestError("a key must not be empty: give at least one byte, or an end for a span")
    if end not in (None, KEYSPACE_END) and end <= start:
        raise InvalidRequestError(f"a span ends after it starts: found start {start!r} and end {end!r}")


def check_range(query: Range) -> None:
    """InvalidRequestError unless it can be read."""
    check_span(query.start, query.end)
    if query.limit is not None and query.limit < 1:
        raise InvalidRequestError(f"a limit is at least 1: found {query.limit}")


def check_ttl(ttl_s: float) -> None:
    """InvalidRequestError unless a lease may last so long."""
    if not LEASE_MIN_TTL_S <= ttl_s <= LEASE_MAX_TTL_S:
        raise InvalidRequestError(f"a lease lasts {LEASE_MIN_TTL_S:g} to {LEASE_MAX_TTL_S:g} s: found ttl_s={ttl_s!r}")


def check_txn(txn: Txn) -> None:
    """InvalidRequestError unless the transaction can be carried out."""
    for name, part in (("compare", txn.compare), ("then", txn.then), ("otherwise", txn.otherwise)):
        if len(part) > TXN_OPS_MAX:
            raise InvalidRequestError(
                f"a transaction has at most {TXN_OPS_MAX} entries in `{name}`: found {len(part)}; make it several"
            )
    for compare in txn.compare:
        _check_compare(compare)
    check_branch(txn.then)
    check_branch(txn.otherwise)


def check_size(txn: Txn, max_bytes: int) -> None:
    """InvalidRequestError when the transaction is too large for a backend."""
    size = size_bytes(txn)
    if size > max_bytes:
        raise InvalidRequestError(
            f"a transaction of this store carries at most {max_bytes} bytes of keys and values: found {size}; "
            "divide it, or keep large values elsewhere"
        )


def _check_compare(compare: Compare) -> None:
    check_span(compare.key, None)
    if compare.relation not in RELATIONS or compare.target not in TARGETS:
        raise InvalidRequestError(
            f"a comparison is one of {', '.join(TARGETS)} and one of {' '.join(RELATIONS)}: "
            f"found {compare.target!r} {compare.relation!r}"
        )
    wanted = bytes if compare.target == "value" else int
    if not isinstance(compare.operand, wanted):
        raise InvalidRequestError(
            f"comparing the {compare.target} of {compare.key!r} needs {wanted.__name__}: found {compare.operand!r}"
        )


def check_branch(ops: tuple[Op, ...]) -> None:
    """InvalidRequestError when a key is put twice, or put and deleted."""
    puts: dict[bytes, None] = {}
    for op in ops:
        match op:
            case Put():
                check_span(op.key, None)
                if op.key in puts:
                    raise InvalidRequestError(f"key {op.key!r} is put twice in one transaction: keep the last one")
                puts[op.key] = None
            case Delete():
                check_span(op.start, op.end)
            case Range():
                check_range(op)
    for op in ops:
        if isinstance(op, Delete):
            both = next((key for key in puts if in_span(key, op.start, op.end)), None)
            if both is not None:
                raise InvalidRequestError(f"key {both!r} is put and deleted in one transaction: do one of them")


def size_bytes(txn: Txn) -> int:
    """Keys and values that the transaction carries."""
    total = 0
    for compare in txn.compare:
        total += len(compare.key) + (len(compare.operand) if isinstance(compare.operand, bytes) else 8)
    for op in (*txn.then, *txn.otherwise):
        if isinstance(op, Put):
            total += len(op.key) + len(op.value)
        else:
            total += len(op.start) + len(op.end or b"")
    return total
