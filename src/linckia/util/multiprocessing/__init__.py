"""`Pool`: the interface of `multiprocessing.Pool` on the CPUs of a cluster.

User programs change one import. `JoinableQueue` and `TimeoutError` are the standard ones, so that `except` clauses and
single-machine queues keep working.
"""

from __future__ import annotations

from multiprocessing import JoinableQueue, TimeoutError

from linckia.util.multiprocessing.pool import Pool

__all__ = ["JoinableQueue", "Pool", "TimeoutError"]
