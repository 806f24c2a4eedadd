"""What a daemon of ours says on its log: a line with the time, in UTC. Its standard error is the log's file."""

from __future__ import annotations

import sys
import time

from linckia.host import environment


def say(text: str) -> None:
    """One event; more lines of the same event follow without a time of their own."""
    now_s = environment.wall_time_s()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now_s))
    print(f"{stamp}.{int(now_s % 1 * 1000):03}Z {text}", file=sys.stderr, flush=True)  # noqa: T201
