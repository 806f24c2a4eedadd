"""Why the store refuses a request: the errors that the decisions themselves make. ``store/errors.py`` has the shell's.

``StoreError`` answers three questions: was something changed (``changed``: no, or unknown), may the same request
succeed later (``retryable``), and, in its text, what to do next.
"""

from __future__ import annotations


class StoreError(Exception):
    """Root of all errors of the metadata store."""

    changed: str = "no"
    """``no``: nothing was written. ``unknown``: it may have been written, or may still be."""
    retryable: bool = False


class InvalidRequestError(StoreError):
    """The request can never be carried out: a bug of the caller, or a value that is too large for this backend."""


class CompactedError(StoreError):
    """The history that the request needs is gone. Read the present state, and watch from its revision + 1."""

    def __init__(self, asked: int, compacted: int) -> None:
        self.asked, self.compacted = asked, compacted
        super().__init__(
            f"revision {asked} was asked for, but the history up to revision {compacted} is compacted: "
            "read the present state and go on from its revision"
        )

    def __reduce__(self) -> tuple[object, ...]:
        return (CompactedError, (self.asked, self.compacted))


class FutureRevisionError(StoreError):
    """The revision does not exist yet: it is from another store, or from a store that lost writes."""

    def __init__(self, asked: int, revision: int) -> None:
        self.asked, self.revision = asked, revision
        super().__init__(
            f"revision {asked} was asked for, but the store is at revision {revision}: the number is from another "
            "store, or this one was replaced"
        )

    def __reduce__(self) -> tuple[object, ...]:
        return (FutureRevisionError, (self.asked, self.revision))


class LeaseNotFoundError(StoreError):
    """The lease expired, was revoked or never was; its keys are gone. Grant a new one."""

    def __init__(self, lease_id: int) -> None:
        self.lease_id = lease_id
        super().__init__(
            f"lease {lease_id} does not exist: it expired, was revoked or was never granted; grant a new one"
        )

    def __reduce__(self) -> tuple[object, ...]:
        return (LeaseNotFoundError, (self.lease_id,))
