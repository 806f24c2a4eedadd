"""Why the store could not do what it was asked: files, networks, credentials. ``core/mvcc/errors.py`` has the rest.

```
StoreError                       changed     retryable
├── InvalidRequestError          no          never; our mistake, or too large
├── CompactedError               no          no; read the present state
├── FutureRevisionError          no          no; another store
├── LeaseNotFoundError           no          no; grant anew
├── StoreUnavailableError        no          yes
├── UnknownOutcomeError          unknown     look first
├── StoreFullError               no          after space was made
├── StoreAuthError               no          with other credentials
├── StoreClosedError             no          no
├── StoreFailedError             unknown     after a restart of the process
└── StoreOpenError               no          after what the text says
```
"""

from __future__ import annotations

from linckia.core.mvcc.errors import (
    CompactedError,
    FutureRevisionError,
    InvalidRequestError,
    LeaseNotFoundError,
    StoreError,
)

__all__ = [
    "CompactedError",
    "FutureRevisionError",
    "InvalidRequestError",
    "LeaseNotFoundError",
    "StoreAuthError",
    "StoreClosedError",
    "StoreError",
    "StoreFailedError",
    "StoreFullError",
    "StoreOpenError",
    "StoreUnavailableError",
    "UnknownOutcomeError",
]


class StoreUnavailableError(StoreError):
    """No server answered in time, and none got the request so far that it could have written something."""

    retryable = True


class UnknownOutcomeError(StoreError):
    """A write was sent and its answer never came: it was done, or not, or it still will be.

    Read to find out. Who must rule out that it happens later changes what its comparisons look at.
    """

    changed = "unknown"


class StoreFullError(StoreError):
    """No space: the disk of SQLite, or the quota of etcd."""

    retryable = True


class StoreAuthError(StoreError):
    """etcd refuses the user, the password or the user's rights."""


class StoreClosedError(StoreError):
    """The store was closed by its owner before the request was carried out."""


class StoreFailedError(StoreError):
    """The disk refused a write in a way that leaves its content uncertain. The store serves nothing any more."""

    changed = "unknown"


class StoreOpenError(StoreError):
    """The store cannot be used as it was found: in use, of a newer version, not ours, or a bad address."""
