"""What etcd's errors mean: nothing that may have been written is ever taken for not written."""

from __future__ import annotations

import pytest

from linckia.store.etcd_verdicts import Verdict, judge

V = Verdict


@pytest.mark.parametrize(
    ("code", "details", "verdict"),
    [
        ("UNAVAILABLE", "failed to connect to all addresses; last error: ipv4: refused", V.ELSEWHERE),
        ("UNAVAILABLE", "etcdserver: no leader", V.ELSEWHERE),
        ("UNAVAILABLE", "DNS resolution failed for h:1", V.ELSEWHERE),
        ("UNAVAILABLE", "Socket closed", V.UNKNOWN),
        ("UNAVAILABLE", "recvmsg:Connection reset by peer", V.UNKNOWN),
        ("UNAVAILABLE", "etcdserver: request timed out", V.UNKNOWN),
        ("UNAVAILABLE", "etcdserver: leader changed", V.UNKNOWN),
        ("UNAVAILABLE", "", V.UNKNOWN),
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", V.UNKNOWN),
        ("INTERNAL", "anything", V.UNKNOWN),
        ("UNKNOWN", "context deadline exceeded", V.UNKNOWN),
        ("DATA_LOSS", "corrupt", V.UNKNOWN),
        ("A_CODE_OF_THE_FUTURE", "", V.UNKNOWN),
        ("UNAUTHENTICATED", "etcdserver: invalid auth token", V.SIGN_IN),
        ("PERMISSION_DENIED", "etcdserver: permission denied", V.DENIED),
        ("INVALID_ARGUMENT", "etcdserver: user name is empty", V.DENIED),
        ("INVALID_ARGUMENT", "etcdserver: authentication failed, invalid user ID or password", V.DENIED),
        ("INVALID_ARGUMENT", "etcdserver: request is too large", V.INVALID),
        ("INVALID_ARGUMENT", "etcdserver: duplicate key given in txn request", V.INVALID),
        ("OUT_OF_RANGE", "etcdserver: mvcc: required revision has been compacted", V.COMPACTED),
        ("OUT_OF_RANGE", "etcdserver: mvcc: required revision is a future revision", V.FUTURE),
        ("NOT_FOUND", "etcdserver: requested lease not found", V.NO_LEASE),
        ("RESOURCE_EXHAUSTED", "etcdserver: mvcc: database space exceeded", V.FULL),
        ("RESOURCE_EXHAUSTED", "etcdserver: too many requests", V.ELSEWHERE),
        ("RESOURCE_EXHAUSTED", "Received message larger than max", V.INVALID),
        ("UNIMPLEMENTED", "unknown service", V.INVALID),
        ("CANCELLED", "Channel closed!", V.CLOSED),
    ],
)
def test_verdicts(code: str, details: str, verdict: Verdict) -> None:
    assert judge(code, details) is verdict
