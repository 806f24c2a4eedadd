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

from rich.console import Console
from rich.table import Table

import linckia
from linckia.api import session_options
from linckia.host import environment, process, session
from linckia.node.launch import NodeProcess, NodeStartError, start_node

REMOVE_GRACE_S = 2.0
GIB = 1024**3


class Offer(NamedTuple):
    """What a new node offers; None means that the node finds out."""

    num_cpus: int | None
    num_gpus: int | None
    resources: str
    object_store_memory: int | None


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


# --- start ------------------------------------------------------------------------------------------------------------


def start(offer: Offer, *, head: bool, block: bool) -> int:
    """Start a head node, say how to use it, and with `block` wait for its end. Returns the exit code."""
    if not head:
        return _refuse("`linckia start` needs --head; joining a cluster on another machine is not available yet")
    try:
        options = session_options.parse(None, _given(offer)).node._replace(fate_share_with_driver=False)
    except (TypeError, ValueError) as error:
        return _refuse(str(error))
    node = start_node(options)
    try:
        node.wait_ready()
    except NodeStartError as error:
        return _refuse(str(error))
    print(f"cluster {node.session_name} runs\n")
    print('  in a program     linckia.init(address="auto")')
    print(f"  its address      {node.endpoint}")
    print(f"  its logs         {node.session_dir}/logs")
    print("  look at it       linckia status")
    print(f"  stop it          {'Ctrl-C' if block else f'linckia stop {node.session_name}'}", flush=True)
    return _stay(node) if block else 0


def _given(offer: Offer) -> dict[str, Any]:
    try:
        resources = json.loads(offer.resources)
    except ValueError as error:
        raise ValueError(f"--resources {offer.resources!r} is not JSON: {error}") from error
    return {**offer._asdict(), "resources": resources}


def _stay(node: NodeProcess) -> int:
    """Until the node ends or a signal asks for its end."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        while not process.wait_pidfd(node.pidfd, 3600.0):
            pass
    except KeyboardInterrupt:
        print("\nstopping", flush=True)
        node.stop(REMOVE_GRACE_S)
        return 0
    node.stop()
    return _refuse(f"the node process {node.pid} has ended; see {node.session_dir}/logs if it is still there")


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


# --- status, timeline -------------------------------------------------------------------------------------------------


def show_status(*, as_json: bool) -> bool:
    """Print all clusters; False when there are none."""
    reports = [_report(cluster) for cluster in living()]
    if as_json:
        print(json.dumps({"clusters": reports}, indent=2))
    elif not reports:
        print(
            "no cluster of yours runs on this machine; `linckia start --head` starts one, linckia.init() a private one"
        )
    for report in reports if not as_json else []:
        _print_report(report)
    return bool(reports)


def _report(cluster: Cluster) -> dict[str, Any]:
    """What is known about one cluster; `error` says why the rest is missing."""
    born_s = Path(cluster.path, "lock").stat().st_mtime
    report: dict[str, Any] = {
        "session": cluster.name,
        "session_dir": cluster.path,
        "address": cluster.facts.get("endpoint", ""),
        "pid": cluster.facts["pid"],
        "uptime_s": round(environment.wall_time_s() - born_s, 1),
        "belongs_to_a_program": cluster.belongs_to_a_program,
        "nodes": [],
        "total": {},
        "available": {},
        "error": "",
    }
    try:
        with linckia.init(address=cluster.path, log_to_driver=False):
            report["nodes"] = linckia.nodes()
            report["total"] = linckia.cluster_resources()
            report["available"] = linckia.available_resources()
    except (OSError, linckia.exceptions.RayError) as error:  # OSError: it has just ended, or will not let us in
        report["error"] = f"{type(error).__name__}: {error}"
    return report


def _print_report(report: dict[str, Any]) -> None:
    console = Console(highlight=False)
    owner = "a running program (ends with it)" if report["belongs_to_a_program"] else "nobody (linckia stop ends it)"
    table = Table(title=report["session"], title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(overflow="fold")  # an address is there to be copied
    table.add_row("address", report["address"])
    table.add_row("belongs to", owner)
    table.add_row("running for", f"{report['uptime_s']:,.0f} s, node process {report['pid']}")
    for node in report["nodes"]:
        table.add_row("node", f"{node['NodeID'][:12]} {'alive' if node['Alive'] else 'dead'} {node['NodeName']}")
    for name, total in sorted(report["total"].items()):
        if not name.startswith("node:"):
            free = report["available"].get(name, 0.0)
            table.add_row(name, f"{_amount(name, total - free)} of {_amount(name, total)} in use")
    if report["error"]:
        table.add_row("does not answer", report["error"], style="red")
    console.print(table)


def _amount(name: str, value: float) -> str:
    return f"{value / GIB:.2f} GiB" if name.endswith("memory") else f"{value:g}"


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
