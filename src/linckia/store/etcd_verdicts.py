"""What an error of etcd or of the way to it means for the request. Pure: status code and text in, verdict out."""

from __future__ import annotations

import enum


class Verdict(enum.Enum):
    """What to do with a request that failed."""

    ELSEWHERE = "it did not reach a server that could have done it: ask another endpoint"
    UNKNOWN = "it may have been done"
    SIGN_IN = "the token is not valid (any more): authenticate, then again"
    COMPACTED = "the revision is compacted"
    FUTURE = "the revision is yet to come"
    NO_LEASE = "the lease is gone"
    FULL = "no space"
    DENIED = "credentials"
    INVALID = "never possible"
    CLOSED = "we closed it"


NEVER_SENT = (
    "failed to connect to all addresses",
    "connections to all backends failing",
    "dns resolution failed",
    "name resolution",
    "ssl handshake failed",
    "etcdserver: no leader",
    "etcdserver: not capable",
    "etcdserver: server stopped",
)
_DENIED = ("authentication failed", "user name is empty", "permission denied", "auth")


def judge(code: str, details: str) -> Verdict:
    """``code`` is the name of the gRPC status."""
    text = details.lower()
    match code:
        case "UNAVAILABLE":
            return Verdict.ELSEWHERE if any(sign in text for sign in NEVER_SENT) else Verdict.UNKNOWN
        case "UNAUTHENTICATED":
            return Verdict.SIGN_IN
        case "PERMISSION_DENIED":
            return Verdict.DENIED
        case "OUT_OF_RANGE":
            return Verdict.COMPACTED if "compacted" in text else Verdict.FUTURE
        case "NOT_FOUND" if "lease" in text:
            return Verdict.NO_LEASE
        case "RESOURCE_EXHAUSTED":
            if "space" in text:
                return Verdict.FULL
            return Verdict.ELSEWHERE if "too many requests" in text else Verdict.INVALID
        case "INVALID_ARGUMENT":
            return Verdict.DENIED if any(sign in text for sign in _DENIED) else Verdict.INVALID
        case "UNIMPLEMENTED" | "NOT_FOUND" | "FAILED_PRECONDITION":
            return Verdict.INVALID
        case "CANCELLED":
            return Verdict.CLOSED
        case _:
            return Verdict.UNKNOWN
