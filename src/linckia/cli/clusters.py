"""Clusters of this user on this machine: start one that outlives programs, show them, stop them. Called by cli/main.py.

What lives is decided by `host.session` (lock, boot, pid and start time); signals go through pidfds to exactly the
processes found there. It never looks for processes by name and never touches another user's.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, NamedTuple

import linckia
from linckia.host import environment, process, session

REMOVE_GRACE_S = 2.0
GIB = 1024**3


class Cluster(NamedTuple):
    """A living session: its directory and what `session.json` says."""

    path: str
    facts: dict[str, Any]

    @property
    def name(self) -> str:
        return os.path.basename(self.path)

    @property
    def belongs_to_a_program(self) -> bool:
        return bool(self.facts.get("fate_share_with_driver"))


def living() -> list[Cluster]:
    """All clusters of this user here, oldest first."""
    return [Cluster(path, facts) for path, facts in session.live_sessions(environment.temporary_directory())]


# --- stop -------------------------------------------------------------------------------------------------------------


def stop(name: str, *, everything: bool, grace_s: float) -> int:
    """Stop clusters and report each. Returns 1 when there is no session `name`, or when something would not end."""
    clusters = living()
    if name:
        clusters = [cluster for cluster in clusters if name in (cluster.name, cluster.path)]
        if not clusters:
            return _refuse(f"no living session {name!r}; `linckia status` lists them")
    spared = [cluster for cluster in clusters if cluster.belongs_to_a_program and not (everything or name)]
    chosen = [cluster for cluster in clusters if cluster not in spared]
    results = _stop_all(chosen, grace_s)
    for cluster, how in zip(chosen, results, strict=True):
        print(f"{cluster.name} (pid {cluster.facts['pid']}) {how or 'did not end'}")
    for cluster in spared:
        print(f"{cluster.name} belongs to a running program and ends with it (--all stops it too)")
    if not clusters:
        print("nothing to stop: no cluster of yours runs on this machine")
    return 0 if all(results) else 1


def _stop_all(clusters: list[Cluster], grace_s: float) -> list[str]:
    """How each one ended; empty text: it did not. All are asked first, so that one slow one does not hold up others."""
    held = [_open_exactly(cluster.facts) for cluster in clusters]
    for pidfd in held:
        if pidfd is not None:
            process.signal_pidfd(pidfd, signal.SIGTERM)
    return [_finish(cluster, pidfd, grace_s) for cluster, pidfd in zip(clusters, held, strict=True)]


def _open_exactly(facts: dict[str, Any]) -> int | None:
    """A pidfd of that very process, if it lives."""
    try:
        pidfd = os.pidfd_open(facts["pid"])
    except ProcessLookupError:
        return None
    if process.is_alive(
        facts["pid"], facts["start_time"]
    ):  # asked while the pidfd is held: the pid cannot change hands
        return pidfd
    os.close(pidfd)
    return None


def _finish(cluster: Cluster, pidfd: int | None, grace_s: float) -> str:
    if pidfd is None:
        return "had just ended"
    try:
        if process.wait_pidfd(pidfd, grace_s):
            return "stopped"
        process.signal_pidfd(pidfd, signal.SIGKILL)
        ended = process.wait_pidfd(pidfd, REMOVE_GRACE_S)
    finally:
        os.close(pidfd)
    if ended and not cluster.facts.get("keep") and session.is_dead(cluster.path):
        session.remove_tree(cluster.path)
    return f"was killed: it did not stop within {grace_s:g} s" if ended else ""


# --- timeline ------------------------------------------------------------------------------------------------------


def write_timeline(file: str) -> int:
    """Ask the newest cluster for its events. Returns the exit code."""
    try:
        with linckia.init(address="auto", log_to_driver=False):
            events = linckia.timeline() or []
    except (OSError, linckia.exceptions.RayError) as error:
        return _refuse(str(error))
    Path(file).write_text(json.dumps(events), encoding="utf-8")
    print(f"{file}: {len(events)} events; open it at https://ui.perfetto.dev or chrome://tracing")
    if not events:
        print("programs report events when they run with LINCKIA_PROFILING=1")
    return 0


def _refuse(why: str) -> int:
    print(f"linckia: {why}", file=sys.stderr)
    return 1
