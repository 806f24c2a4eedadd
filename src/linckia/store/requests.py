"""The verbs of ``Store`` as requests: what every backend inherits, so that it has to carry out requests only."""

from __future__ import annotations

import abc
from typing import Any

from linckia.core.mvcc.records import (
    Compact,
    Grant,
    KeepAlive,
    Lease,
    LeaseInfo,
    Range,
    RangeResult,
    Request,
    Revision,
    Revoke,
    TimeToLive,
    Txn,
    TxnResult,
)
from linckia.store.interface import Done


class RequestStore(abc.ABC):
    """``submit`` carries out whatever comes; see ``Store`` for what each verb promises."""

    @abc.abstractmethod
    def submit(self, request: Request, done: Done[Any]) -> None:
        """Carry out and answer."""

    def range(self, query: Range, done: Done[RangeResult]) -> None:
        """See ``Store``."""
        self.submit(query, done)

    def txn(self, txn: Txn, done: Done[TxnResult]) -> None:
        """See ``Store``."""
        self.submit(txn, done)

    def grant(self, ttl_s: float, done: Done[Lease]) -> None:
        """See ``Store``."""
        self.submit(Grant(ttl_s), done)

    def keep_alive(self, lease_id: int, done: Done[Lease]) -> None:
        """See ``Store``."""
        self.submit(KeepAlive(lease_id), done)

    def revoke(self, lease_id: int, done: Done[Revision]) -> None:
        """See ``Store``."""
        self.submit(Revoke(lease_id), done)

    def time_to_live(self, lease_id: int, done: Done[LeaseInfo]) -> None:
        """See ``Store``."""
        self.submit(TimeToLive(lease_id), done)

    def compact(self, revision: int, done: Done[Revision]) -> None:
        """See ``Store``."""
        self.submit(Compact(revision), done)
